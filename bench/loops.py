"""Event loops by name: for the driver (what to start, with which environment) and for the measured process."""

import asyncio
import functools
import importlib
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """Something that is measured: an event loop (`factory` is "module:function") or a C program (no factory)."""

    name: str
    factory: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    library: str = ""
    """What it uses for files, of bench.workloads.files."""
    files_only: bool = False
    """It is no loop, but a library for files on asyncio's."""
    recorded_only: bool = False
    """It is measured only in rows that say what recording may cost."""

    @property
    def is_floor(self) -> bool:
        return not self.factory

    @property
    def is_ours(self) -> bool:
        return self.is_floor or self.library == "plait"


C_EPOLL = Subject("c-epoll")
C_URING = Subject("c-uring")
FLOORS = (C_EPOLL, C_URING)

FILE_PEERS = tuple(
    Subject(name, "asyncio:new_event_loop", library=name, files_only=True)
    for name in ("sync", "aiofiles", "anyio", "caio")
)

RECORDED = Subject("plait-uring+record", "bench.loops:recorded", {"PLAIT_ENGINE": "uring"}, "plait", recorded_only=True)

DEFAULT_LOOPS = ("uvloop", "asyncio", "rloop", "zuvloop", "plait-uring", "plait-epoll")
"""Those that are not installed are left out, and said so: zuvloop needs Python 3.14."""

_ENGINES: dict[str, dict[str, str]] = {
    "plait": {},
    "plait-uring": {"PLAIT_ENGINE": "uring"},
    "plait-epoll": {"PLAIT_ENGINE": "epoll"},
}


def subject(name: str) -> Subject:
    """`asyncio`, `uvloop`, `rloop` or another module with a new_event_loop, `plait-uring`, `plait-epoll`,
    or `module:factory`.

    `plait-uring+record` runs while the flight recorder has all of it.
    `NAME@FOLDER` is the loop as it is in another checkout, built in place: the way to see what a change brings.
    """
    known, _, folder = name.partition("@")
    known, plus, what = known.partition("+")
    if plus and (known not in _ENGINES or what != "record"):
        raise LookupError(f"{name!r} is no loop: only plait is recorded, as plait-uring+record or plait-epoll+record")
    environment = dict(_ENGINES.get(known, {}))
    if folder:
        environment["PYTHONPATH"] = str(Path(folder).resolve() / "src")
    if known in _ENGINES:
        factory = RECORDED.factory if plus else "plait:new_event_loop"
    else:
        factory = known if ":" in known else f"{known}:new_event_loop"
    return Subject(name, factory, environment, "plait" if known in _ENGINES else "to_thread")


@functools.cache
def flight() -> object:
    """The flight recorder of this thread, which writes nothing down by itself."""
    import plait

    return plait.flight_recorder(tempfile.gettempdir(), on=()).begun()


def recorded() -> asyncio.AbstractEventLoop:
    """One of plait's loops, recorded into memory while it runs."""
    import plait

    flight()
    return plait.new_event_loop()


def run(factory: str, main: Callable[..., Coroutine[Any, Any, T]], *arguments: object) -> T:
    """asyncio.run(main(*arguments)) on the loop that "module:function" makes."""
    module, _, function = factory.partition(":")
    make: Callable[[], asyncio.AbstractEventLoop] = getattr(importlib.import_module(module), function)
    with asyncio.Runner(loop_factory=make) as runner:
        return runner.run(main(*arguments))
