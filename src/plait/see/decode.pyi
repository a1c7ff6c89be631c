from array import array
from collections.abc import Callable, Mapping
from typing import Any

from plait.see.model import Actor, Gap, Mark, Pending

class Decoder:
    actors: list[Actor]
    gaps: list[Gap]
    marks: list[Mark]
    pending: list[Pending]
    columns: dict[str, array[int]]
    count: int
    first_ns: int
    last_ns: int
    damaged: int
    def __new__(
        cls, codes: Mapping[int, Mapping[str, Any]], classify: Callable[[int, int, int, Any], tuple[int, int]]
    ) -> Decoder: ...
    def chunk(self, data: bytes, first_slice: int, position: int) -> None: ...
    def finish(self, end_ns: int) -> None: ...

def shuffle(data: bytes) -> bytes: ...
def unshuffle(data: bytes) -> bytes: ...
def codes_in(data: bytes) -> set[int]: ...
