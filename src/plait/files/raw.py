"""The open file itself, without a buffer: what `plait.open(..., "rb", buffering=0)` gives, and what the buffers stand on.

Files with a size are read and written at positions that this object counts, so that a cancelled read has no effect and a cancelled
write can be continued; the kernel's own position follows at flush(), fileno() and close(). Pipes, ttys and such devices as can be waited
for are set to non-blocking and used when they are ready; other devices are read and written by the ring or a worker.
"""

from __future__ import annotations

import asyncio
import os
import stat
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from plait.files.common import CLOSED, FileMethods, size_of
from plait.files.memory import RawMemory, Turn
from plait.system.operations import look_at

if TYPE_CHECKING:
    from plait.loop import Loop

Kind = Literal["sized", "device", "stream"]

# What one read of a stream takes at most.
STREAM_BYTES = 64 * 1024
LINE_BYTES = 8192
READING = "File not open for reading"
WRITING = "File not open for writing"


class RawFile(RawMemory, FileMethods[bytes]):
    """An unbuffered binary file. Each read and write is one call of the kernel, which may do less than it was asked for."""

    _fd = -1
    _nothing_to_tell = False  # a file that was opened on the spot to be read is closed on the spot

    def __init__(
        self, loop: Loop, fd: int, name: Any, mode: str, status: int, *, closefd: bool, fresh_bytes: int = -1
    ) -> None:
        self.name = name
        self.closefd = closefd
        self._loop = loop
        self._calls = loop._files
        self._reads = "r" in mode or "+" in mode
        self._writes = mode[0] in "wax" or "+" in mode
        self._appends = mode[0] == "a"
        self._created = mode[0] == "x"
        self._waiters: list[asyncio.Future[None]] = []
        self._blocking = True
        self._position = 0
        self._stale = False
        self._fresh_bytes = fresh_bytes  # the size, as long as it was looked at just now
        self._fd = fd
        self._regular = stat.S_ISREG(status)
        self._kind = self._kind_of(status)
        # A FIFO that was opened for reading without waiting is at its end until somebody writes, which is no end.
        self._awaits_writer = stat.S_ISFIFO(status) and fresh_bytes >= 0 and not self._writes
        if self._kind == "stream":
            self._blocking = os.get_blocking(fd)
            os.set_blocking(fd, False)
        elif fresh_bytes < 0:
            self._find_position()

    def _kind_of(self, status: int) -> Kind:
        if self._regular or stat.S_ISBLK(status):
            return "sized"
        if stat.S_ISFIFO(status) or stat.S_ISSOCK(status):
            return "stream"
        try:
            self._loop._add_reader(self._fd, int)
            self._loop._remove_reader(self._fd)
        except PermissionError:
            return "device"
        return "stream"

    def _find_position(self) -> None:
        try:
            self._position = os.lseek(self._fd, 0, os.SEEK_CUR)
        except OSError:
            if self._kind == "sized":
                raise
        self._stale = False

    def __repr__(self) -> str:
        return f"<plait.files.RawFile {'closed' if self.closed else f'name={self.name!r} mode={self.mode!r}'}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self._fd >= 0 and self.closefd:
            _warn(f"unclosed file {self!r}", ResourceWarning, source=self)
            fd, self._fd = self._fd, -1
            os.close(fd)

    # What needs no waiting.

    @property
    def mode(self) -> str:
        base = "x" if self._created else "a" if self._appends else "r" if self._reads else "w"
        return base + "b" + ("+" if self._reads and self._writes else "")

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def fileno(self) -> int:
        """The descriptor; the kernel's position in it is where this file stands."""
        self._check_open()
        self._sync()
        return self._fd

    def isatty(self) -> bool:
        self._check_open()
        # What serves a regular file, over the network perhaps, is not bothered with an ioctl.
        return not self._regular and os.isatty(self._fd)

    def readable(self) -> bool:
        self._check_open()
        return self._reads

    def writable(self) -> bool:
        self._check_open()
        return self._writes

    def seekable(self) -> bool:
        self._check_open()
        try:
            os.lseek(self._fd, 0, os.SEEK_CUR)
        except OSError:
            return False
        return True

    def _sync(self) -> None:
        if self._stale:
            os.lseek(self._fd, self._position, os.SEEK_SET)
            self._stale = False

    def _tell(self) -> int:
        if self._kind == "sized":
            return self._position
        return os.lseek(self._fd, 0, os.SEEK_CUR)

    def _seek(self, offset: int, whence: int) -> int:
        """Seek from the start or from here, which the kernel does by itself."""
        self._sync()
        self._position = os.lseek(self._fd, offset, whence)
        return self._position

    async def _seek_far(self, offset: int, whence: int) -> int:
        """Seek in any way: where the end, data and holes are may have to be asked of a disk or a file server."""
        if whence in (os.SEEK_SET, os.SEEK_CUR) or self._kind == "stream":
            return self._seek(offset, whence)
        if whence == os.SEEK_END and self._regular:
            return self._seek(max(-1, (await self._loop.fstat(self._fd)).st_size + offset), os.SEEK_SET)
        found: list[int] = []
        self._sync()
        self._stale = True  # if this task is cancelled, the kernel may be there, and this file is not
        await self._land(self._loop.file_call(lambda fd: found.append(os.lseek(fd, offset, whence)), self._fd))
        self._position = found[0]
        self._stale = False
        return self._position

    async def _seek_end(self) -> None:
        """Appending begins there; from then on the kernel counts."""
        try:
            await self._seek_far(0, os.SEEK_END)
        except OSError:
            if self._kind == "sized":
                raise

    def _moved(self, count: int) -> None:
        self._position += count
        self._stale = True

    # What the buffers ask for. One at a time: whoever calls has the file to itself.

    async def _read_some(self, size: int) -> bytes:
        """One read; b"" at the end."""
        if self._kind == "sized":
            data = await self._calls.pread(self._fd, size, self._position)
            self._moved(len(data))
            return data
        if self._kind == "device":
            return await self._calls.pread(self._fd, size, -1)
        while True:
            try:
                data = os.read(self._fd, min(size, STREAM_BYTES))
            except BlockingIOError:
                data = b""
            else:
                if data or not size or not self._awaits_writer:
                    return data
            # Until there was a writer, a FIFO is not readable either (fifo(7), pipe_poll).
            await self._ready(self._loop._add_reader, self._loop._remove_reader)
            self._awaits_writer = False

    async def _read_into(self, buffer: memoryview) -> int:
        if self._kind == "sized":
            count = await self._loop.preadv(self._fd, [buffer], self._position)
            self._moved(count)
            return count
        data = await self._read_some(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _is_end(self, count: int, size: int) -> bool:
        """Whether a read that gave `count` of `size` has reached the end for sure: see Loop.pread()."""
        return count == 0 or (count < size and self._regular and look_at(self._fd)[1] <= self._position)

    async def _read_all(self, parts: list[bytes]) -> None:
        """Everything to the end, into `parts`, where it also stands after an error or a cancel."""
        end = -1
        while True:
            size = STREAM_BYTES
            if self._kind == "sized":
                # One more than there is: then the answer tells that it is the end.
                end = self._fresh_bytes if self._fresh_bytes >= 0 else look_at(self._fd)[1]
                self._fresh_bytes = -1
                size = max(end - self._position, 0) + 1
            data = await self._read_some(size)
            parts.append(data)
            if (self._regular and self._position == end) or self._is_end(len(data), size):
                return

    async def _write_some(self, data: memoryview | bytes, written: Callable[[int], None] | None = None) -> int:
        """One write, of a part perhaps. `written(count)` is told what it did, also when the task was cancelled meanwhile."""
        if self._kind == "stream":
            count = await self._write_stream(data)
            if written is not None:
                written(count)
            return count
        offset = self._position if self._kind == "sized" and not self._appends else -1
        wrote: int = await self._land(self._loop.pwrite(self._fd, data, offset), written)
        return wrote

    async def _write_stream(self, data: memoryview | bytes) -> int:
        while True:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:
                await self._ready(self._loop._add_writer, self._loop._remove_writer)

    async def _ready(self, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
        """Wait until the stream can be used; ValueError when it is closed meanwhile."""
        fd = self._fd
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        add(fd, wake, waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)
            remove(fd)

    def _interrupt(self) -> None:
        """The file is going to be closed: who waits for its readiness waits no more."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(ValueError(CLOSED))

    async def _land(self, future: asyncio.Future[Any], written: Callable[[int], None] | None = None) -> Any:
        """Wait for something that changes the file. A task that is cancelled goes on at once; the change comes to its end all the same, is
        noted, and nothing else is done with the file before."""
        self._landing = future
        future.add_done_callback(partial(self._landed, written))
        return await asyncio.shield(future)

    def _landed(self, written: Callable[[int], None] | None, future: asyncio.Future[Any]) -> None:
        self._landing = None
        if future.cancelled() or future.exception() is not None or (count := future.result()) is None:
            return
        if self._appends:
            self._find_position()
        elif self._kind == "sized":
            self._moved(count)
        if written is not None:
            written(count)

    async def _settle(self, reads: bool = False) -> None:
        while self._landing is not None:
            await asyncio.wait([self._landing])

    def _write_now(self, data: memoryview | bytes) -> None:
        """Write at once, blocking the loop: for what would be lost otherwise."""
        view = memoryview(data)
        while len(view):
            if self._kind == "sized" and not self._appends:
                count = os.pwrite(self._fd, view, self._position)
                self._moved(count)
            else:
                count = os.write(self._fd, view)
            view = view[count:]

    async def _truncate(self, size: int) -> None:
        await self._land(self._loop.ftruncate(self._fd, size))

    async def _close(self) -> None:
        if self._fd < 0:
            return
        landing = self._landing
        if landing is not None:
            # Its descriptor must stay what it is until the kernel has done with it.
            closed = self._loop.create_future()
            landing.add_done_callback(lambda _: self._close_now(closed))
            return await asyncio.shield(closed)
        if not self.closefd:
            if self._kind == "stream":
                os.set_blocking(self._fd, self._blocking)
            self._sync()
            self._fd = -1
            return
        fd, self._fd = self._fd, -1
        if not (self._nothing_to_tell and self._calls.close_read(fd)):
            await self._calls.close_fd(fd)

    def _close_now(self, closed: asyncio.Future[None]) -> None:
        fd, self._fd = self._fd, -1
        if self.closefd and fd >= 0:
            os.close(fd)
        if not closed.done():
            closed.set_result(None)

    # The interface of io.

    async def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes by one call, all by as many as are needed for -1; b"" at the end."""
        number = size_of(size)
        if number < 0:
            return await self.readall()
        async with Turn(self, READING, reads=True):
            return await self._read_some(number)

    async def readall(self) -> bytes:
        async with Turn(self, READING, reads=True):
            parts: list[bytes] = []
            await self._read_all(parts)
            return parts[0] if len(parts) == 1 else b"".join(parts)

    async def readinto(self, buffer: Any, /) -> int:
        """One read into a writable buffer, which cannot be resized until the kernel has done with it; the number of bytes."""
        view = writable_view(buffer)
        async with Turn(self, READING, reads=True):
            return await self._read_into(view)

    async def _readline(self, size: int) -> bytes:
        parts: list[bytes] = []
        total = 0
        while size < 0 or total < size:
            if self._kind == "sized":
                here = self._position
                data = await self._read_some(LINE_BYTES if size < 0 else min(LINE_BYTES, size - total))
                data = data[: data.find(b"\n") + 1] or data
                self._position = here + len(data)
            else:
                data = await self._read_some(1)
            parts.append(data)
            total += len(data)
            if not data or data.endswith(b"\n"):
                break
        return b"".join(parts)

    async def readline(self, size: int | None = -1, /) -> bytes:
        async with Turn(self, READING, reads=True):
            return await self._readline(size_of(size))

    async def write(self, data: Any, /) -> int:
        """One write; the number of bytes, which may be fewer than given."""
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        view = memoryview(data).cast("B")
        async with Turn(self, WRITING, writes=True):
            return await self._write_some(view)

    async def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        async with Turn(self):
            return await self._seek_far(offset, whence)

    async def tell(self) -> int:
        async with Turn(self):
            return self._tell()

    async def truncate(self, size: int | None = None, /) -> int:
        async with Turn(self, WRITING, writes=True):
            size = self._tell() if size is None else size
            await self._truncate(size)
            return size

    async def flush(self) -> None:
        async with Turn(self):
            self._sync()

    async def close(self) -> None:
        """Close it; idempotent. An error of the kernel is raised, and the file is closed all the same."""
        if self.closed:
            return
        self._interrupt()
        await self._wait_turn()
        try:
            await self._close()
        finally:
            self._end_turn()


def wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def writable_view(buffer: Any) -> memoryview:
    view = memoryview(buffer)
    if view.readonly:
        raise TypeError(f"readinto() argument must be read-write bytes-like object, not {type(buffer).__name__}")
    return view.cast("B")
