"""The loop's calls for files: those of os under the same names, each a future.

They raise the OSError that os would, with the paths; a path is str, bytes or os.PathLike. `docs/files.md` has the table of who carries out
which. The future is cancelled at once when its task is; what the kernel had begun comes to its end later, and then the memory lent to it is
given back. A read that was cancelled has no effect; an open, too, as what it opened is closed; a write, a rename and their like may
have been done or not.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from plait.system.operations import Files

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from plait.core.turn import Core

T = TypeVar("T")
Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class FileFactories:
    """File operations of plait's Loop. They are asked for in the loop's thread."""

    _files: Files

    def _files_init(self) -> None:
        self._files = Files(cast("Core", self))

    def openat(self, path: Path, flags: int, mode: int = 0o666, *, dir_fd: int | None = None) -> asyncio.Future[int]:
        """os.open(): the descriptor, which is not inherited by other programs. Close it with close_fd().

        A FIFO does not wait for its other end: for reading it is open at once, for writing without a reader OSError (ENXIO) says so.
        """
        return self._files.openat(path, flags, mode, dir_fd)

    def close_fd(self, fd: int) -> asyncio.Future[None]:
        """os.close(). It is done even if nobody waits for it; after an error, too, the descriptor is gone."""
        return self._files.close_fd(fd)

    def pread(self, fd: int, size: int, offset: int) -> asyncio.Future[bytes]:
        """os.pread(); `offset` -1 is the file's own position. Fewer bytes than `size` mean the end of a regular file, or a fault of the
        disk behind them, which the next read raises."""
        return self._files.pread(fd, size, offset)

    def preadv(self, fd: int, buffers: Iterable[Buffer], offset: int) -> asyncio.Future[int]:
        """os.preadv() into writable buffers: the number of bytes. The buffers cannot be resized until the kernel has done with them,
        which after a cancel may be later than the end of the future. O_DIRECT wants them aligned (mmap gives such)."""
        return self._files.preadv(fd, buffers, offset)

    def pwrite(self, fd: int, data: Buffer, offset: int) -> asyncio.Future[int]:
        """os.pwrite(): the number of bytes written, which may be fewer than given (a full disk, a limit).

        `data` must not be changed until the end. A cancelled write may have written all, a part or nothing.
        """
        return self._files.pwrite(fd, data, offset)

    def pwritev(self, fd: int, buffers: Iterable[Buffer], offset: int) -> asyncio.Future[int]:
        """os.pwritev(): as pwrite(), from several buffers."""
        return self._files.pwritev(fd, buffers, offset)

    def fsync(self, fd: int) -> asyncio.Future[None]:
        return self._files.fsync(fd, False)

    def fdatasync(self, fd: int) -> asyncio.Future[None]:
        return self._files.fsync(fd, True)

    def fallocate(self, fd: int, mode: int, offset: int, length: int) -> asyncio.Future[None]:
        """fallocate(2): reserve, punch or zero a range; `mode` 0 is os.posix_fallocate()."""
        return self._files.fallocate(fd, mode, offset, length)

    def ftruncate(self, fd: int, length: int) -> asyncio.Future[None]:
        return self._files.ftruncate(fd, length)

    def statx(
        self, path: Path | int, *, dir_fd: int | None = None, follow_symlinks: bool = True
    ) -> asyncio.Future[os.stat_result]:
        """os.stat(), and os.lstat() with follow_symlinks=False."""
        return self._files.statx(path, dir_fd, follow_symlinks)

    def fstat(self, fd: int) -> asyncio.Future[os.stat_result]:
        return self._files.fstat(fd)

    def rename(
        self, src: Path, dst: Path, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> asyncio.Future[None]:
        """os.rename(), which on Linux is os.replace(): an existing file at `dst` is replaced."""
        return self._files.rename(src, dst, src_dir_fd, dst_dir_fd)

    def unlink(self, path: Path, *, dir_fd: int | None = None) -> asyncio.Future[None]:
        return self._files.unlink(path, dir_fd)

    def rmdir(self, path: Path, *, dir_fd: int | None = None) -> asyncio.Future[None]:
        return self._files.rmdir(path, dir_fd)

    def mkdir(self, path: Path, mode: int = 0o777, *, dir_fd: int | None = None) -> asyncio.Future[None]:
        return self._files.mkdir(path, mode, dir_fd)

    def symlink(self, src: Path, dst: Path, *, dir_fd: int | None = None) -> asyncio.Future[None]:
        """os.symlink(): `dst` becomes a link that says `src`."""
        return self._files.symlink(src, dst, dir_fd)

    def link(self, src: Path, dst: Path, *, follow_symlinks: bool = False) -> asyncio.Future[None]:
        """A hard link `dst` to the file `src`. As os.link() does on Linux by default, a symbolic link is linked itself; with
        follow_symlinks=True, what it leads to."""
        return self._files.link(src, dst, follow_symlinks)

    def getxattr(self, path: Path | int, name: str | bytes) -> asyncio.Future[bytes]:
        return self._files.getxattr(path, name)

    def setxattr(self, path: Path | int, name: str | bytes, value: Buffer, flags: int = 0) -> asyncio.Future[None]:
        return self._files.setxattr(path, name, value, flags)

    def splice(
        self, fd_in: int, fd_out: int, count: int, offset_in: int = -1, offset_out: int = -1
    ) -> asyncio.Future[int]:
        """os.splice(), one of the two a pipe: the number of bytes moved. An offset of -1 is the file's own position, or a pipe."""
        return self._files.splice(fd_in, fd_out, count, offset_in, offset_out)

    def file_call(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Call `function(*args)` in the few threads for files: for what the ring lacks, as listing a folder.

        Cancelled before a thread has begun it, it is not called.
        """
        return self._files.file_call(function, args)
