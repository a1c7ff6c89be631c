"""Copies of files and trees. The kernel copies the bytes; a worker asks it for one piece after the other."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from plait.files.access import name_of, plait_loop

if TYPE_CHECKING:
    from plait.files.access import StrPath
    from plait.files.path import Path

__all__ = ["copy_file"]

Target = TypeVar("Target", bound="StrPath")

# What a worker copies before others have their turn, and a cancelled copy ends: some milliseconds.
PIECE_BYTES = 16 * 1024 * 1024
BUFFER_BYTES = 1024 * 1024
# What copy_file_range(2) says of files that it cannot copy: across file systems on old kernels, of some file systems, of devices.
CANNOT_COPY = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ETXTBSY, errno.EBADF, errno.EPERM}
)
REPLACE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


class Copy:
    """One copy of one file, worked on by one worker at a time. Its descriptors are closed when it is done, or nobody holds it any more."""

    def __init__(self, source: str, target: str, follow_symlinks: bool) -> None:
        self.source = source
        self.target = target
        self.follow_symlinks = follow_symlinks
        self.reading = -1
        self.writing = -1
        self.copied = 0
        self.by_kernel = hasattr(os, "copy_file_range")

    def step(self) -> bool:
        """Copy a piece; whether there is more."""
        if self.reading < 0 and not self.open():
            return False
        try:
            more = self.copy_piece()
        except OSError as error:
            error.filename, error.filename2 = self.source, self.target
            raise
        if not more:
            self.close()
        return more

    def open(self) -> bool:
        """False if it was a symbolic link, which is made by now."""
        source, target = status_of(self.source), status_of(self.target)
        if source is not None and target is not None and os.path.samestat(source, target):
            raise shutil.SameFileError(f"{self.source!r} and {self.target!r} are the same file")
        for name, status in ((self.source, source), (self.target, target)):
            # Opening it would wait for its other end.
            if status is not None and stat.S_ISFIFO(status.st_mode):
                raise shutil.SpecialFileError(f"`{name}` is a named pipe")
        if not self.follow_symlinks and os.path.islink(self.source):
            os.symlink(os.readlink(self.source), self.target)
            return False
        self.reading = os.open(self.source, os.O_RDONLY | os.O_CLOEXEC)
        if stat.S_ISDIR(os.fstat(self.reading).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.source)
        self.writing = os.open(self.target, REPLACE, 0o666)
        return True

    def copy_piece(self) -> bool:
        if self.by_kernel:
            try:
                count = os.copy_file_range(self.reading, self.writing, PIECE_BYTES)
            except OSError as error:
                if error.errno not in CANNOT_COPY:
                    raise
                self.by_kernel = False
            else:
                self.copied += count
                if count or self.copied:
                    return count > 0
                # Files of /proc have no size, but something to read.
                self.by_kernel = False
        for _ in range(PIECE_BYTES // BUFFER_BYTES):
            data = os.read(self.reading, BUFFER_BYTES)
            if not data:
                return False
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self.writing, rest) :]
        return True

    def close(self) -> None:
        """Some file systems only tell here that the disk is full."""
        reading, self.reading = self.reading, -1
        writing, self.writing = self.writing, -1
        try:
            if reading >= 0:
                os.close(reading)
        finally:
            if writing >= 0:
                os.close(writing)

    def __del__(self) -> None:
        try:
            self.close()
        except OSError:
            pass  # it is not told as done


def status_of(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)
    except OSError:
        return None


async def copy_file(
    src: StrPath, dst: Target, *, follow_symlinks: bool = True, preserve_metadata: bool = False
) -> Target:
    """Copy a file's content to another file, replacing what is there, and return `dst`: shutil.copyfile.

    `preserve_metadata` keeps permissions, times and extended attributes as well, as shutil.copystat; without `follow_symlinks` a
    symbolic link is copied as a link. The errors are shutil's. Where the file system can (btrfs, XFS), the copy shares the
    blocks of the original. A copy that fails or is cancelled leaves what was written until then, and stops within a piece of 16 MiB.
    """
    loop = plait_loop()
    source, target = name_of(src), name_of(dst)
    copy = Copy(source, target, follow_symlinks)
    while await loop.file_call(copy.step):
        pass
    if preserve_metadata:
        await loop.file_call(partial(shutil.copystat, source, target, follow_symlinks=follow_symlinks))
    return dst


async def copy_tree(source: Path, target: Path, *, follow_symlinks: bool, preserve_metadata: bool) -> None:
    """Copy a file, or a folder with all in it, as pathlib does from Python 3.14 on: a folder must not be there yet."""
    for reason, wrong in (
        ("Source and target are the same path", source == target),
        ("Source path is a parent of target path", source in target.parents),
    ):
        if wrong:
            raise OSError(errno.EINVAL, reason, str(source), None, str(target))
    keep = partial(shutil.copystat, follow_symlinks=follow_symlinks)
    finished: list[tuple[str, str]] = []
    ahead = [(source, target)]
    while ahead:
        one, other = ahead.pop()
        mode = (await one.stat(follow_symlinks=follow_symlinks)).st_mode
        if stat.S_ISDIR(mode):
            inside = [child async for child in one.iterdir()]
            await other.mkdir()
            ahead += [(child, other / child.name) for child in inside]
            finished.append((str(one), str(other)))
            continue
        try:
            await copy_file(one, other, follow_symlinks=follow_symlinks, preserve_metadata=preserve_metadata)
        except shutil.SameFileError:
            raise OSError(errno.EINVAL, "Source and target are the same file", str(one), None, str(other)) from None
    if preserve_metadata:
        # Last, the innermost first: what is put into a folder changes its times, and a folder may be read-only.
        for names in reversed(finished):
            await plait_loop().file_call(keep, *names)


async def delete_tree(path: Path) -> None:
    """Remove a file, or a folder with all in it; a symbolic link itself."""
    if await path.is_dir(follow_symlinks=False):
        await plait_loop().file_call(shutil.rmtree, str(path))
    else:
        await path.unlink()
