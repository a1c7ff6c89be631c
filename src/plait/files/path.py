"""plait.Path: pathlib.Path for coroutines. Whatever reaches the file system is awaited, and none of it blocks the loop."""

from __future__ import annotations

import errno
import functools
import grp
import io
import os
import pathlib
import pwd
import stat
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload
from urllib.parse import unquote_to_bytes

from plait.files import opening
from plait.files.access import plait_loop
from plait.files.contents import read_file, write_file
from plait.files.copying import copy_tree, delete_tree
from plait.files.folders import FOLDER, LINK, REGULAR, UNKNOWN, Folder, kind_of
from plait.files.globbing import Pattern, select

if TYPE_CHECKING:
    from _typeshed import OpenBinaryMode, OpenTextMode, ReadableBuffer

    from plait.files.access import StrPath
    from plait.files.binary import BinaryFile
    from plait.files.opening import Opening
    from plait.files.raw import RawFile
    from plait.files.text import TextFile

__all__ = ["Path", "PathInfo"]

# What pathlib takes for "is not there". From Python 3.14 on every error is that.
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP})
EVERY_ERROR_IS_ABSENCE = sys.version_info >= (3, 14)
# Of PathInfo: a name that nothing has.
NOTHING = -1
# Whether os.link() follows a symbolic link on Linux (gh-81793).
LINK_FOLLOWS = sys.version_info >= (3, 14)


class Path(PurePosixPath):
    """pathlib.Path with the same names, arguments, results and errors, whose methods that reach the file system are coroutines.

    It is a pathlib.PurePath: `/`, comparisons, hashes, pickling and the pure methods are inherited, and it equals the pathlib.Path of
    the same name. What newer Pythons added (walk, copy, move, from_uri, `newline` and `follow_symlinks` arguments) is there on all.

    Its methods work in a running loop of plait. A call that was cancelled may still be done by the kernel: a file may be gone after
    a cancelled unlink().
    """

    __slots__ = ("_kind",)
    _kind: int  # DT_* of readdir(3), on paths that came from listing a folder

    def with_segments(self, *pathsegments: StrPath) -> Self:
        """A path of the same class; subclasses that carry more override it."""
        return type(self)(*pathsegments)

    def as_uri(self) -> str:
        """The path as a file: URI; ValueError for a relative one."""
        return pathlib.Path(self).as_uri()

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """The path that a file: URI stands for; ValueError when it stands for none here."""
        if not uri.startswith("file:"):
            raise ValueError(f"URI does not start with 'file:': {uri!r}")
        name = uri.removeprefix("file:")
        if name.startswith("///"):
            name = name[2:]
        elif name.startswith("//localhost/"):
            name = name[len("//localhost") :]
        path = cls(os.fsdecode(unquote_to_bytes(name)))
        if not path.is_absolute():
            raise ValueError(f"URI is not absolute: {uri!r}")
        return path

    # What is there

    async def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """os.stat() of this path."""
        return await plait_loop().statx(str(self), follow_symlinks=follow_symlinks)

    async def lstat(self) -> os.stat_result:
        """stat() of the symbolic link itself."""
        return await plait_loop().statx(str(self), follow_symlinks=False)

    @property
    def info(self) -> PathInfo:
        """What kind of file it is, asked at most once, and not at all where iterdir() has seen it."""
        return PathInfo(self, getattr(self, "_kind", UNKNOWN))

    async def _mode(self, follow_symlinks: bool = True) -> int:
        """st_mode, or 0 where pathlib says that nothing is there."""
        try:
            return (await self.stat(follow_symlinks=follow_symlinks)).st_mode
        except ValueError:
            return 0
        except OSError as error:
            if EVERY_ERROR_IS_ABSENCE or error.errno in ABSENT:
                return 0
            raise

    async def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether something of this name exists."""
        return bool(await self._mode(follow_symlinks))

    async def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(await self._mode(follow_symlinks))

    async def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(await self._mode(follow_symlinks))

    async def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(await self._mode(False))

    async def is_socket(self) -> bool:
        """Whether it is a Unix socket."""
        return stat.S_ISSOCK(await self._mode())

    async def is_fifo(self) -> bool:
        """Whether it is a named pipe."""
        return stat.S_ISFIFO(await self._mode())

    async def is_block_device(self) -> bool:
        """Whether it is a block device."""
        return stat.S_ISBLK(await self._mode())

    async def is_char_device(self) -> bool:
        """Whether it is a character device."""
        return stat.S_ISCHR(await self._mode())

    async def is_mount(self) -> bool:
        """Whether something is mounted here."""
        return await plait_loop().file_call(pathlib.Path(self).is_mount)

    async def is_junction(self) -> bool:
        """False: only Windows has junctions."""
        return False

    async def samefile(self, other_path: StrPath) -> bool:
        """Whether both names stand for the same file."""
        return os.path.samestat(await self.stat(), await plait_loop().statx(other_path))

    async def owner(self, *, follow_symlinks: bool = True) -> str:
        """The login name of the file's owner; KeyError when the number has none."""
        number = (await self.stat(follow_symlinks=follow_symlinks)).st_uid
        return (await plait_loop().file_call(pwd.getpwuid, number)).pw_name

    async def group(self, *, follow_symlinks: bool = True) -> str:
        """The name of the file's group; KeyError when the number has none."""
        number = (await self.stat(follow_symlinks=follow_symlinks)).st_gid
        return (await plait_loop().file_call(grp.getgrgid, number)).gr_name

    # Where it is

    @classmethod
    async def cwd(cls) -> Self:
        """The current folder."""
        return cls(os.getcwd())

    @classmethod
    async def home(cls) -> Self:
        """The user's home folder."""
        return cls(await plait_loop().file_call(pathlib.Path.home))

    async def absolute(self) -> Self:
        """This path from the root; symbolic links and `..` stay as they are."""
        return self if self.is_absolute() else self.with_segments(os.getcwd(), self)

    async def resolve(self, strict: bool = False) -> Self:
        """This path from the root without symbolic links and `..`."""
        return self.with_segments(await plait_loop().file_call(pathlib.Path(self).resolve, strict))

    async def expanduser(self) -> Self:
        """With `~` and `~user` at its start replaced by that home folder; RuntimeError when it is not known."""
        if not str(self).startswith("~"):
            return self
        return self.with_segments(await plait_loop().file_call(pathlib.Path(self).expanduser))

    async def readlink(self) -> Self:
        """What the symbolic link points to."""
        return self.with_segments(await plait_loop().file_call(os.readlink, str(self)))

    # Whole files

    async def read_bytes(self) -> bytes:
        """All that is in the file."""
        return await read_file(str(self))

    async def read_text(
        self, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> str:
        """All that is in the file, as text; the arguments are those of open()."""
        encoding = io.text_encoding(encoding)
        data = await read_file(str(self))
        with io.TextIOWrapper(io.BytesIO(data), encoding, errors, newline) as text:
            return text.read()

    async def write_bytes(self, data: ReadableBuffer) -> int:
        """Make the file of just this, and return its length. When it is cancelled or fails, a part may be written."""
        return await write_file(str(self), memoryview(data))

    async def write_text(
        self, data: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> int:
        """Make the file of just this text, and return its length; the file is touched only when the text could be encoded."""
        if not isinstance(data, str):
            raise TypeError(f"data must be str, not {type(data).__name__}")
        encoded = io.BytesIO()
        with io.TextIOWrapper(encoded, io.text_encoding(encoding), errors, newline) as text:
            text.write(data)
            text.flush()
            content = encoded.getvalue()
        await write_file(str(self), memoryview(content))
        return len(data)

    # What a folder holds

    async def iterdir(self) -> AsyncGenerator[Self, None]:
        """`async for` gives what the folder holds, in no order; read in batches of about a thousand."""
        loop = plait_loop()
        folder = Folder(str(self))
        while not folder.ended:
            for name, kind in await loop.file_call(folder.read):
                path = self / name
                path._kind = kind
                yield path

    def glob(
        self, pattern: StrPath, *, case_sensitive: bool | None = None, recurse_symlinks: bool = False
    ) -> AsyncGenerator[Self, None]:
        """`async for` gives what in this folder matches the pattern, in no order and each once."""
        parts = Pattern(os.fspath(pattern), case_sensitive, recurse_symlinks)
        return self._select(parts)

    def rglob(
        self, pattern: StrPath, *, case_sensitive: bool | None = None, recurse_symlinks: bool = False
    ) -> AsyncGenerator[Self, None]:
        """glob() with `**/` before the pattern."""
        parts = Pattern(os.fspath(pattern), case_sensitive, recurse_symlinks, anywhere=True)
        return self._select(parts)

    async def _select(self, pattern: Pattern) -> AsyncGenerator[Self, None]:
        root = str(self)
        start = "" if root == "." else root if root.endswith("/") else f"{root}/"
        async with aclosing(select(plait_loop(), start, pattern)) as batches:
            async for batch in batches:
                for name in batch:
                    yield self.with_segments(name)

    async def walk(
        self,
        top_down: bool = True,
        on_error: Callable[[OSError], object] | None = None,
        follow_symlinks: bool = False,
    ) -> AsyncGenerator[tuple[Self, list[str], list[str]], None]:
        """`async for` gives (folder, names of folders in it, names of the rest) of this folder and all below.

        Top down, the list of folders may be changed to choose where to go on. `on_error` is called with the OSError of a folder that
        cannot be read, which is left out.
        """
        loop = plait_loop()
        ahead: list[Self | tuple[Self, list[str], list[str]]] = [self]
        while ahead:
            path = ahead.pop()
            if isinstance(path, tuple):
                yield path
                continue
            folders: list[str] = []
            others: list[str] = []
            listing = Folder(str(path))
            try:
                while not listing.ended:
                    for name, kind in await loop.file_call(listing.read):
                        if kind == UNKNOWN or (kind == LINK and follow_symlinks):
                            is_folder = await (path / name).info.is_dir(follow_symlinks=follow_symlinks)
                        else:
                            is_folder = kind == FOLDER
                        (folders if is_folder else others).append(name)
            except OSError as error:
                if on_error is not None:
                    on_error(error)
                continue
            if top_down:
                yield path, folders, others
            else:
                ahead.append((path, folders, others))
            ahead += [path / name for name in reversed(folders)]

    # Changes

    @overload
    def open(
        self,
        mode: OpenTextMode = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Opening[TextFile]: ...
    @overload
    def open(  # type: ignore[overload-overlap]
        self,
        mode: OpenBinaryMode,
        buffering: Literal[0],
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> Opening[RawFile]: ...
    @overload
    def open(
        self,
        mode: OpenBinaryMode,
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> Opening[BinaryFile]: ...
    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Opening[Any]:
        """plait.open() of this path, to be awaited or used by `async with`."""
        return opening.open(str(self), cast(Any, mode), buffering, encoding, errors, newline)

    async def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        """Make the file if it is not there, else set its times to now; FileExistsError when it is, without `exist_ok`."""
        await plait_loop().file_call(pathlib.Path(self).touch, mode, exist_ok)

    async def mkdir(
        self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False, *, parent_mode: int | None = None
    ) -> None:
        """Make this folder, with `parents` those above it as well (with `parent_mode`, or as usual)."""
        try:
            await plait_loop().mkdir(str(self), mode)
        except FileNotFoundError:
            if not parents or self.parent == self:
                raise
            above = 0o777 if parent_mode is None else parent_mode
            await self.parent.mkdir(above, parents=True, exist_ok=True, parent_mode=parent_mode)
            await self.mkdir(mode, exist_ok=exist_ok)
        except OSError:
            # Not only FileExistsError: a read-only file system may say that first.
            if not exist_ok or not await self.is_dir():
                raise

    async def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """Change the permissions, as os.chmod()."""
        await plait_loop().file_call(functools.partial(os.chmod, str(self), mode, follow_symlinks=follow_symlinks))

    async def lchmod(self, mode: int) -> None:
        """Change the permissions of a symbolic link itself, which Linux's file systems refuse."""
        await self.chmod(mode, follow_symlinks=False)

    async def unlink(self, missing_ok: bool = False) -> None:
        """Remove this file or symbolic link."""
        try:
            await plait_loop().unlink(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    async def rmdir(self) -> None:
        """Remove this folder, which must be empty."""
        await plait_loop().rmdir(str(self))

    async def rename(self, target: StrPath) -> Self:
        """Give it another name, replacing what has it already; returns the new path."""
        await plait_loop().rename(str(self), target)
        return self.with_segments(target)

    async def replace(self, target: StrPath) -> Self:
        """The same as rename() on Linux."""
        return await self.rename(target)

    async def symlink_to(self, target: StrPath, target_is_directory: bool = False) -> None:
        """Make this path a symbolic link to `target`."""
        await plait_loop().symlink(target, str(self))

    async def hardlink_to(self, target: StrPath) -> None:
        """Make this path another name of the file `target`."""
        await plait_loop().link(target, str(self), follow_symlinks=LINK_FOLLOWS)

    async def copy(self, target: StrPath, *, follow_symlinks: bool = True, preserve_metadata: bool = False) -> Self:
        """Copy this file, or this folder with all in it, and return the new path.

        `preserve_metadata` keeps permissions, times and extended attributes as well. An error leaves what was copied until then.
        """
        copied = self.with_segments(target)
        await copy_tree(self, copied, follow_symlinks=follow_symlinks, preserve_metadata=preserve_metadata)
        return copied

    async def copy_into(
        self, target_dir: StrPath, *, follow_symlinks: bool = True, preserve_metadata: bool = False
    ) -> Self:
        """copy() to the same name in another folder."""
        target = self._in(target_dir)
        return await self.copy(target, follow_symlinks=follow_symlinks, preserve_metadata=preserve_metadata)

    async def move(self, target: StrPath) -> Self:
        """Rename it, or copy and remove it where the target is on another file system; returns the new path."""
        moved = self.with_segments(target)
        if await self._is_same(moved):
            raise OSError(errno.EINVAL, "Source and target are the same file", str(self), None, str(moved))
        try:
            await self.rename(moved)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            await self.copy(moved, follow_symlinks=False, preserve_metadata=True)
            await delete_tree(self)
        return moved

    async def move_into(self, target_dir: StrPath) -> Self:
        """move() to the same name in another folder."""
        return await self.move(self._in(target_dir))

    def _in(self, folder: StrPath) -> Self:
        if not self.name:
            raise ValueError(f"{self!r} has an empty name")
        return self.with_segments(folder, self.name)

    async def _is_same(self, other: Path) -> bool:
        try:
            return await self.samefile(other)
        except (OSError, ValueError):
            return False


class PathInfo:
    """What kind of file a path stands for: pathlib's PathInfo with coroutines. It is asked once and then remembered."""

    def __init__(self, path: Path, kind: int) -> None:
        self._path = path
        self._kind = kind  # DT_*: UNKNOWN until it is asked for
        self._target_kind = UNKNOWN if kind == LINK else kind

    def __repr__(self) -> str:
        return f"<info of {self._path!r}>"

    async def _look(self, follow_symlinks: bool) -> int:
        kind = self._target_kind if follow_symlinks else self._kind
        if kind == UNKNOWN:
            try:
                kind = kind_of((await self._path.stat(follow_symlinks=follow_symlinks)).st_mode)
            except (OSError, ValueError):
                kind = NOTHING
            if follow_symlinks:
                self._target_kind = kind
            else:
                self._kind = kind
        return kind

    async def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether something of this name exists."""
        return await self._look(follow_symlinks) != NOTHING

    async def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder."""
        return await self._look(follow_symlinks) == FOLDER

    async def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a regular file."""
        return await self._look(follow_symlinks) == REGULAR

    async def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return await self._look(False) == LINK
