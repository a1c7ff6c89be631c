"""plait.open(): the built-in open() for a loop."""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import os
import stat
import warnings
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from plait.files.access import kept, plait_loop
from plait.files.binary import DEFAULT_ROOM, BinaryFile
from plait.files.raw import RawFile
from plait.files.text import TextFile, text_model
from plait.system.operations import look_at

if TYPE_CHECKING:
    from _typeshed import OpenBinaryMode, OpenTextMode

    from plait.loop import Loop

AnyFile = TypeVar("AnyFile", RawFile, BinaryFile, TextFile)
Path = str | bytes | os.PathLike[str] | os.PathLike[bytes] | int
Opener = Callable[[Any, int], int]

# A FIFO that nobody reads cannot be opened for writing, and cannot be waited for: the next attempts come after so many seconds.
FIFO_FIRST_SECONDS = 0.001
FIFO_LAST_SECONDS = 0.064


class Opening(Generic[AnyFile]):
    """What open() gives: `await` it for the file, or use it with `async with`, which closes the file at its end."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._file: AnyFile | None = None

    def __await__(self) -> Generator[Any, Any, AnyFile]:
        result: Generator[Any, Any, AnyFile] = self._start().__await__()
        return result

    async def __aenter__(self) -> AnyFile:
        self._file = file = cast(AnyFile, await self._start())
        return file

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._file is not None
        await self._file.close()


@overload
def open(
    file: Path,
    mode: OpenTextMode = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> Opening[TextFile]: ...
@overload
# mypy warns that an int which happens to be 0 would be told as buffered by the next one. So it is: types do not know the value of an
# int, and to answer with both classes whenever a size is given would be of no use to anybody.
def open(  # type: ignore[overload-overlap]
    file: Path,
    mode: OpenBinaryMode,
    buffering: Literal[0],
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> Opening[RawFile]: ...
@overload
def open(
    file: Path,
    mode: OpenBinaryMode,
    buffering: int = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> Opening[BinaryFile]: ...
def open(
    file: Path,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
) -> Opening[Any]:
    """Open a file on the running loop: the arguments and the meaning of the built-in open(), the methods awaited.

        async with plait.open("log.txt") as file:
            async for line in file:
                ...

    Wrong arguments raise ValueError or TypeError here, and what the file system refuses raises OSError where it is awaited. Files are
    read and written without threads on io_uring, by a few threads on epoll; pipes, ttys and devices that can be waited for, when they
    are ready. `opener` is called in a thread. Nothing blocks the loop. A file belongs to the loop that opened it.
    """
    if not isinstance(file, int):
        file = os.fspath(file)
    elif file < 0:
        raise ValueError("negative file descriptor")
    if not isinstance(mode, str):
        raise TypeError(f"open() argument 'mode' must be str, not {type(mode).__name__}")
    flags = check_mode(mode)
    binary = "b" in mode
    if not isinstance(buffering, int):
        raise TypeError(f"{type(buffering).__name__!r} object cannot be interpreted as an integer")
    if binary:
        for name, value in (("an encoding", encoding), ("an errors", errors), ("a newline", newline)):
            if value is not None:
                raise ValueError(f"binary mode doesn't take {name} argument")
        if buffering == 1:
            warnings.warn(
                "line buffering (buffering=1) isn't supported in binary mode, the default buffer size will be used",
                RuntimeWarning,
                stacklevel=2,
            )
            buffering = -1
    else:
        if buffering == 0:
            raise ValueError("can't have unbuffered text I/O")
        encoding = io.text_encoding(encoding)
        text_model(encoding, errors, newline)  # refuses what it does not know
    if not closefd and not isinstance(file, int):
        raise ValueError("Cannot use closefd=False with file name")

    async def start() -> Any:
        loop = plait_loop()
        raw = await open_raw(loop, file, mode, flags, closefd, opener)
        try:
            if raw._appends:
                await raw._seek_end()
            opened = dress(raw, binary, buffering, encoding, errors, newline)
            if isinstance(opened, TextFile):
                opened.mode = mode  # in the words of whoever opened it, as the built-in open() keeps them
            return opened
        except BaseException:
            await raw.close()
            raise

    return Opening(start)


@functools.cache
def check_mode(mode: str) -> int:
    """The flags of open(2). ValueError in the words of the built-in open()."""
    if not set(mode) <= set("rwaxbt+") or len(set(mode)) < len(mode):
        raise ValueError(f"invalid mode: {mode!r}")
    if "t" in mode and "b" in mode:
        raise ValueError("can't have text and binary mode at once")
    base = [letter for letter in mode if letter in "rwax"]
    if len(base) != 1:
        raise ValueError("must have exactly one of create/read/write/append mode")
    flags = {
        "r": 0,
        "w": os.O_CREAT | os.O_TRUNC,
        "a": os.O_CREAT | os.O_APPEND,
        "x": os.O_CREAT | os.O_EXCL,
    }[base[0]]
    access = os.O_RDWR if "+" in mode else os.O_RDONLY if base[0] == "r" else os.O_WRONLY
    return flags | access | os.O_CLOEXEC


async def open_raw(loop: Loop, file: Any, mode: str, flags: int, closefd: bool, opener: Opener | None) -> RawFile:
    given = isinstance(file, int)
    at_once = False
    if given:
        fd = file
    elif opener is not None:
        fd = await call_opener(loop, opener, file, flags)
    else:
        fd = loop._files.open_cached(file, flags) if flags & ~os.O_CLOEXEC == os.O_RDONLY else -1
        at_once = fd >= 0
        if not at_once:
            fd = await open_path(loop, file, flags)
    try:
        status, size = look_at(fd)
        if stat.S_ISDIR(status):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), file)
        raw = RawFile(loop, fd, file, mode, status, closefd=closefd, fresh_bytes=-1 if given else size)
        raw._nothing_to_tell = at_once and stat.S_ISREG(status)
        return raw
    except BaseException:
        if not given:
            await loop.close_fd(fd)
        raise


async def open_path(loop: Loop, path: str | bytes, flags: int) -> int:
    """The descriptor, which a task that is cancelled just then does not lose."""
    try:
        return await kept(loop, loop.openat(path, flags))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return await open_fifo(loop, path, flags, error)


async def open_fifo(loop: Loop, path: str | bytes, flags: int, refused: OSError) -> int:
    """Wait until somebody reads it."""
    if flags & os.O_ACCMODE != os.O_WRONLY or not stat.S_ISFIFO((await loop.statx(path)).st_mode):
        raise refused
    pause = FIFO_FIRST_SECONDS
    while True:
        await asyncio.sleep(pause)
        pause = min(2 * pause, FIFO_LAST_SECONDS)
        try:
            return await kept(loop, loop.openat(path, flags))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise


async def call_opener(loop: Loop, opener: Opener, file: Any, flags: int) -> int:
    fd = await kept(loop, loop.file_call(opener, file, flags))
    if not isinstance(fd, int):
        raise TypeError("expected integer from opener")
    if fd < 0:
        raise ValueError(f"opener returned {fd}")
    os.set_inheritable(fd, False)
    return fd


def dress(
    raw: RawFile, binary: bool, buffering: int, encoding: str | None, errors: str | None, newline: str | None
) -> RawFile | BinaryFile | TextFile:
    """Put the buffers around it that were asked for."""
    if buffering == 0:
        return raw
    line_buffering = buffering == 1 or (buffering < 0 and not binary and raw.isatty())
    if raw._reads and raw._writes and not raw.seekable():
        raise io.UnsupportedOperation("File or stream is not seekable.")
    buffered = BinaryFile(raw, buffering if buffering > 1 else DEFAULT_ROOM)
    return buffered if binary else TextFile(buffered, encoding, errors, newline, line_buffering)
