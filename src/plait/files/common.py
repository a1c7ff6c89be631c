"""What raw, binary and text files have in common."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

AnyStr = TypeVar("AnyStr", str, bytes)

CLOSED = "I/O operation on closed file"


class Turn:
    """`async with` around what waits: one at a time per file, in the order of asking, and nothing in passing meanwhile."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        await self.lock.acquire()
        file = self.file
        if file.closed:
            self.lock.release()
            raise ValueError(CLOSED)
        file._busy = True

    async def __aexit__(self, *error: object) -> None:
        self.file._busy = self.file.closed
        self.lock.release()


class FileMethods(Generic[AnyStr]):
    """Lines, `async with`, and what needs no waiting."""

    @property
    def closed(self) -> bool:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    def readline(self, size: int | None = -1, /) -> Awaitable[AnyStr]:
        raise NotImplementedError

    def write(self, data: Any, /) -> Awaitable[int]:
        raise NotImplementedError

    def __aiter__(self) -> Self:
        raise NotImplementedError

    def __anext__(self) -> Awaitable[AnyStr]:
        raise NotImplementedError

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
