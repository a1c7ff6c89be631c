"""Buffered binary files: what `plait.open(..., "rb")` and its kind give."""

from __future__ import annotations

import asyncio
import io
import os
from typing import Any

from plait.files.common import FileMethods, size_of, unsupported
from plait.files.memory import BinaryMemory, Turn
from plait.files.raw import RawFile, writable_view


class BinaryFile(BinaryMemory, FileMethods[bytes]):
    """A binary file with a buffer for what is read ahead or is to be written: io.BufferedReader, BufferedWriter and BufferedRandom.

    Methods that read, write or move are awaited; tasks that share a file have it one after another. What write() has taken is
    written by flush(), seek(), close() or when the buffer is full; a cancelled one of these leaves the rest in the buffer.
    """

    def __init__(self, raw: RawFile, room: int) -> None:
        self.raw = raw
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._set_buffers(raw, room)

    def __repr__(self) -> str:
        return (
            f"<plait.files.BinaryFile name={self.raw.name!r} mode={self.raw.mode!r}{' closed' if self.closed else ''}>"
        )

    def __del__(self) -> None:
        if not self._closed and self._pending() and self.raw._landing is None and not self.raw.closed:
            self.raw._write_now(self._view_pending())

    # What needs no waiting.

    @property
    def name(self) -> Any:
        return self.raw.name

    @property
    def mode(self) -> str:
        return self.raw.mode

    @property
    def closed(self) -> bool:
        return self._closed

    def fileno(self) -> int:
        """The descriptor. What is in the buffers is not in the file yet, or not any more: flush() before somebody else uses it."""
        self._check_open()
        return self.raw.fileno()

    def isatty(self) -> bool:
        self._check_open()
        return self.raw.isatty()

    def readable(self) -> bool:
        self._check_open()
        return self._reads

    def writable(self) -> bool:
        self._check_open()
        return self._writes

    def seekable(self) -> bool:
        self._check_open()
        return self.raw.seekable()

    # Reading, where memory has too little.

    async def _read(self, size: int | None = -1) -> bytes:
        number = size_of(size)
        if number < -1:
            raise ValueError("read length must be non-negative or -1")
        async with Turn(self, "read", reads=True):
            if number < 0:
                return await self._read_all()
            if number <= self._ahead():
                return self._take(number)
            parts = [self._take(-1)]
            left = number - len(parts[0])
            try:
                while left:
                    asked = max(left, self._room)
                    data = await self.raw._read_some(asked)
                    count = len(data)
                    if count > left:
                        self._keep(data)
                        data = self._take(left)
                    parts.append(data)
                    left -= len(data)
                    if self.raw._is_end(count, asked):
                        break
            except BaseException:
                self._keep(b"".join(parts))
                raise
            return b"".join(parts)

    async def _read_all(self) -> bytes:
        parts = [self._take(-1)]
        try:
            await self.raw._read_all(parts)
        except BaseException:
            self._keep(b"".join(parts))
            raise
        return parts[1] if len(parts) == 2 and not parts[0] else b"".join(parts)

    async def readall(self) -> bytes:
        return await self._read()

    async def read1(self, size: int = -1, /) -> bytes:
        """What was read ahead, at most `size` bytes; when that is nothing, what one read gives."""
        number = size_of(size)
        async with Turn(self, "read1", reads=True):
            if number < 0:
                number = self._room
            if number and not self._ahead():
                return await self.raw._read_some(number)
            return self._take(number)

    async def peek(self, size: int = 0, /) -> bytes:
        """What was read ahead, after one read if that is nothing; the place in the file stays. How much that is says nobody."""
        async with Turn(self, "peek", reads=True):
            if not self._ahead():
                self._keep(await self.raw._read_some(self._room))
            return self._look()

    async def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer, as far as the file goes; the number of bytes."""
        return await self._read_into(writable_view(buffer), once=False)

    async def readinto1(self, buffer: Any, /) -> int:
        """As readinto(), with at most one read."""
        return await self._read_into(writable_view(buffer), once=True)

    async def _read_into(self, view: memoryview, *, once: bool) -> int:
        async with Turn(self, "read", reads=True):
            data = self._take(min(len(view), self._ahead()))
            at = len(data)
            view[:at] = data
            try:
                while at < len(view) and not (once and at):
                    left = len(view) - at
                    if left >= self._room:
                        count = await self.raw._read_into(view[at:])
                    else:
                        self._keep(await self.raw._read_some(self._room))
                        data = self._take(left)
                        count = len(data)
                        view[at : at + count] = data
                    at += count
                    if not count:
                        break
            except BaseException:
                self._keep(bytes(view[:at]))
                raise
            return at

    async def _readline(self, size: int | None = -1) -> bytes:
        limit = size_of(size)
        async with Turn(self, "read", reads=True):
            parts: list[bytes] = []
            left = limit
            try:
                while (line := self._take_line(left)) is None:
                    parts.append(self._take(-1))
                    if limit >= 0:
                        left -= len(parts[-1])
                    data = await self.raw._read_some(self._room)
                    if not data:
                        return b"".join(parts)
                    self._keep(data)
            except BaseException:
                self._keep(b"".join(parts))
                raise
            return b"".join([*parts, line]) if parts else line

    # Writing.

    def _rewind(self) -> None:
        """Bring the raw file to where this one is: what was read ahead is forgotten."""
        if ahead := self._ahead():
            self.raw._seek(-ahead, os.SEEK_CUR)
            self._drop()

    async def _settle(self, reads: bool) -> None:
        await self.raw._settle()
        if reads:
            await self._empty()

    async def _empty(self) -> None:
        """Write what is pending."""
        while self._pending():
            await self.raw._write_some(self._view_pending(), self._written)

    async def _write(self, data: Any) -> int:
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        view = memoryview(data).cast("B")
        async with Turn(self, "write", writes=True):
            self._rewind()
            if self._put(view):
                return len(view)
            await self._empty()
            at = 0
            while len(view) - at > self._room:
                at += await self.raw._write_some(view[at:])
            self._put(view[at:])
            return len(view)

    async def flush(self) -> None:
        """Hand what is pending to the kernel. It is safe from a loss of power after os.fsync() alone: `loop.fsync(f.fileno())`."""
        async with Turn(self):
            await self._empty()
            if self._writes and self._reads:
                self._rewind()
            self.raw._sync()

    # Moving.

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to `offset` from the start, from here (SEEK_CUR) or from the end (SEEK_END); the place from the start."""
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, os.SEEK_DATA, os.SEEK_HOLE):
            raise ValueError(f"whence value {whence} unsupported")
        async with Turn(self):
            if not self.raw.seekable():
                raise unsupported("File or stream is not seekable.")
            await self._empty()
            ahead = self._ahead()
            if whence == os.SEEK_SET and ahead and 0 <= (step := offset - (self.raw._tell() - ahead)) <= ahead:
                self._step(step)
                return offset
            if whence == os.SEEK_CUR:
                if 0 <= offset < ahead:
                    self._step(offset)
                    return self.raw._tell() - self._ahead()
                offset -= ahead
            found = await self.raw._seek_far(offset, whence)
            self._drop()
            return found

    def _tell(self) -> int:
        return self.raw._tell() - self._ahead() + self._pending()

    async def tell(self) -> int:
        async with Turn(self):
            return self._tell()

    async def truncate(self, size: int | None = None, /) -> int:
        """Make the file `size` bytes long, by default as long as up to here; the place stays where it is."""
        async with Turn(self, "truncate", writes=True):
            await self._empty()
            self._rewind()
            if size is None:
                size = self._tell()
            await self.raw._truncate(size)
            return size

    # The end.

    async def detach(self) -> RawFile:
        """Flush, and give the raw file away; this one is of no use any more."""
        await self.flush()
        self._rewind()
        self._closed = self._busy = True
        return self.raw

    async def close(self) -> None:
        """Write what is pending and close the file; idempotent. When writing fails, the file is closed and the error raised.

        A task that is cancelled in here goes on at once; the file is written and closed all the same.
        """
        if self._closed:
            return
        self.raw._interrupt()
        if self._pending() or self._closing is not None:
            if self._closing is None:
                self._closing = self.raw._loop.create_task(self._close_for_sure())
            await asyncio.shield(self._closing)
        elif self._busy or self.raw._landing is not None:
            await self._close()
        else:
            self._closed = self._busy = True
            self._drop()
            await self.raw._close()

    async def _close(self) -> None:
        await self._wait_turn()
        try:
            if self._closed:
                return
            try:
                await self.raw._settle()
                await self._empty()
            except asyncio.CancelledError:
                raise
            except BaseException:
                self._closed = True
                await self.raw._close()
                raise
            self._closed = True
            self._drop()
            await self.raw._close()
        finally:
            self._end_turn()

    async def _close_for_sure(self) -> None:
        """In a task of its own. When the loop ends, all tasks are cancelled: then it writes what it has at once."""
        try:
            await self._close()
        except asyncio.CancelledError:
            await self.raw._settle()
            self._closed = self._busy = True
            try:
                self.raw._write_now(self._view_pending())
                self._written(self._pending())
            finally:
                await self.raw._close()
            raise


DEFAULT_ROOM = max(io.DEFAULT_BUFFER_SIZE, 128 * 1024)
