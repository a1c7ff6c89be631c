"""What raw, binary and text files have in common."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

AnyStr = TypeVar("AnyStr", str, bytes)

CLOSED = "I/O operation on closed file"


class FileMethods(Generic[AnyStr]):
    """Lines, `async with`, and what needs no waiting. What is not implemented here is what it stands on: each kind of file has its own."""

    @property
    def closed(self) -> bool:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    def readline(self, size: int | None = -1, /) -> Awaitable[AnyStr]:
        raise NotImplementedError

    def write(self, data: Any, /) -> Awaitable[int]:
        raise NotImplementedError

    def __aiter__(self) -> AsyncIterator[AnyStr]:
        raise NotImplementedError

    def __anext__(self) -> Awaitable[AnyStr]:
        raise NotImplementedError

    def _take_turn(self, waiter_of: Callable[[], asyncio.Future[None]]) -> asyncio.Future[None] | None:
        raise NotImplementedError

    def _end_turn(self) -> None:
        raise NotImplementedError

    _reads: bool
    _writes: bool

    async def _wait_turn(self) -> None:
        """Have the file to oneself, until _end_turn()."""
        waiter = self._take_turn(asyncio.get_running_loop().create_future)
        if waiter is None:
            return
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self._end_turn()  # it was given, and is not wanted any more
            raise

    async def _begin(self, what: str, reads: bool, writes: bool) -> None:
        """What a Turn begins with when that is not possible at once, or not at all."""
        await self._wait_turn()
        try:
            self._check_open()
            if (reads and not self._reads) or (writes and not self._writes):
                raise io.UnsupportedOperation(what)
            await self._settle(reads)
        except BaseException:
            self._end_turn()
            raise

    async def _settle(self, reads: bool) -> None:
        """Until nothing is under way that a cancelled task had begun; before reading, until nothing is to be written."""

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(CLOSED)

    async def aclose(self) -> None:
        """close(), under the name that contextlib.aclosing() wants."""
        await self.close()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _next_line(self) -> AnyStr:
        """The line for `async for` when memory has none."""
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def readlines(self, hint: int | None = -1, /) -> list[AnyStr]:
        """All lines, or as many as have more than `hint` characters or bytes together."""
        self._check_open()
        lines: list[AnyStr] = []
        total = 0
        async for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint < total:
                break
        return lines

    async def writelines(self, lines: Iterable[Any], /) -> None:
        """Write each; line ends are not added."""
        self._check_open()
        for line in lines:
            await self.write(line)


def size_of(size: Any) -> int:
    """An argument of read(): None means all."""
    if size is None:
        return -1
    try:
        return int(size.__index__())
    except AttributeError:
        raise TypeError(f"argument should be integer or None, not {type(size).__name__!r}") from None


def unsupported(what: str) -> io.UnsupportedOperation:
    return io.UnsupportedOperation(what)
