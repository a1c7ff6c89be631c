import asyncio
from collections.abc import Awaitable

from plait.net.calls import Call

# The objects are no instances of it by layout, only by isinstance().
class StreamReader(asyncio.StreamReader):
    _eof: bool
    _exception: BaseException | None
    _limit: int
    _waiter: asyncio.Future[None] | None
    def _start_waiting(self, name: str) -> Awaitable[None]: ...

class ReadCall(Call):
    @property
    def reader(self) -> StreamReader | None: ...
