"""plait.watch: what happens to the files of a folder, told by the kernel (inotify) as it happens."""

from __future__ import annotations

import asyncio
import errno
import os.path
import stat
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Self

from plait.files import inotify
from plait.files.access import plait_loop
from plait.files.folders import FOLDER, UNKNOWN, Folder, kind_of
from plait.files.inotify import Inotify
from plait.files.path import Path

if TYPE_CHECKING:
    from plait.files.access import StrPath
    from plait.loop import Loop

__all__ = ["Change", "ChangeKind", "Watch", "watch"]

# The two halves of a move come one after the other, but others may come between. What has no second half after so long was
# moved to somewhere that nobody watches.
MOVE_SECONDS = 0.02
FOLDERS_AT_ONCE = 64
NAMES_AT_ONCE = 256

Raw = tuple[int, int, int, str]  # watch, mask, cookie, name


class ChangeKind(Enum):
    """What happened."""

    CREATED = inotify.CREATE
    """It was made, or moved here from where nobody watches."""
    MODIFIED = inotify.MODIFY
    """Its content changed; many of these may come while somebody writes."""
    WRITTEN = inotify.CLOSE_WRITE
    """Somebody who had it open for writing has closed it: it is complete, as a rule."""
    ATTRIBUTES = inotify.ATTRIB
    """Permissions, owner, times, extended attributes or the number of its names changed."""
    MOVED = inotify.MOVED_TO
    """It has another name: `old_path` became `path`, and what had that name before is gone."""
    DELETED = inotify.DELETE
    """It was removed, or moved to where nobody watches."""
    OVERFLOW = inotify.Q_OVERFLOW
    """The kernel dropped events, as they were read too slowly: look at everything below `path` again."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a file or a folder."""

    kind: ChangeKind
    path: Path
    old_path: Path | None = None
    """For MOVED: the name that it had."""
    is_dir: bool = False


PLAIN_KINDS = (ChangeKind.CREATED, ChangeKind.MODIFIED, ChangeKind.WRITTEN, ChangeKind.ATTRIBUTES, ChangeKind.DELETED)
# Always asked for: what the watch itself needs to know.
NEEDED = (
    inotify.CREATE | inotify.DELETE | inotify.MOVED_FROM | inotify.MOVED_TO | inotify.DELETE_SELF | inotify.MOVE_SELF
)


class Watch:
    """An asynchronous iterator of Changes; see watch()."""

    def __init__(
        self,
        path: StrPath,
        *,
        recursive: bool = False,
        kinds: Iterable[ChangeKind] = ChangeKind,
        ignore: Callable[[Path], bool] | None = None,
    ) -> None:
        self.path = Path(path)
        self.recursive = recursive
        self.kinds = frozenset(kinds)
        self.ignore = ignore
        self._kernel: Inotify | None = None
        self._ended = False
        self._busy = False
        self._only = ""  # the name that is watched, when the path is not a folder
        self._root = -1
        self._folders: dict[int, str] = {}  # by watch
        self._raw: deque[Raw] = deque()
        self._ready: deque[Change] = deque()
        # Names that were found by listing a new folder and whose CREATE may still come.
        self._listed: dict[int, set[str]] = {}

    def __repr__(self) -> str:
        return f"<plait.watch {str(self.path)!r}, {len(self._folders)} folders>"

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    def close(self) -> None:
        """Watch no more; idempotent. A task that waits for the next change is to be cancelled before."""
        self._ended = True
        self._kernel = None
        self._raw.clear()
        self._ready.clear()

    async def aclose(self) -> None:
        """close(), for contextlib.aclosing."""
        self.close()

    async def __anext__(self) -> Change:
        if self._busy:
            raise RuntimeError(
                "another task waits for the next change of this watch: give each task a watch of its own"
            )
        self._busy = True
        try:
            if self._kernel is None and not self._ended:
                await self._start()
            while not self._ready:
                if self._ended or self._kernel is None:
                    raise StopAsyncIteration
                if not self._raw:
                    await self._wait(self._kernel, None)
                    self._raw.extend(self._kernel.read())
                    self._listed = self._listed if self._raw else {}
                else:
                    await self._take(self._kernel)
            return self._ready.popleft()
        finally:
            self._busy = False

    async def _start(self) -> None:
        if self._kernel is not None or self._ended:
            raise RuntimeError("this watch was started already: call plait.watch() again for another")
        loop = plait_loop()
        try:
            mode = (await loop.statx(str(self.path))).st_mode
        except FileNotFoundError:
            if self.recursive:
                raise
            mode = 0
        folder = self.path
        if not stat.S_ISDIR(mode):
            # Editors and programs replace a file by another of its name, so that its name is what is watched.
            folder, self._only = self.path.parent, self.path.name
        kernel = Inotify()
        self._root = await loop.file_call(kernel.add, str(folder), self._mask() | inotify.ONLYDIR)
        self._folders = {self._root: str(folder)}
        if self.recursive and not self._only:
            await self._enter(kernel, [str(folder)], tells=False)
        self._kernel = kernel

    def _mask(self) -> int:
        mask = NEEDED
        for kind in (ChangeKind.MODIFIED, ChangeKind.WRITTEN, ChangeKind.ATTRIBUTES):
            if kind in self.kinds:
                mask |= kind.value
        return mask

    async def _wait(self, kernel: Inotify, seconds: float | None) -> bool:
        """Until there is something to read; false when there is nothing for so long."""
        loop = plait_loop()
        readable = loop.create_future()
        loop.add_reader(kernel.fd, set_result, readable)
        try:
            async with asyncio.timeout(seconds):
                await readable
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(kernel.fd)
        return True

    # Folders

    async def _enter(self, kernel: Inotify, folders: list[str], *, tells: bool) -> list[tuple[str, int]]:
        """Watch these folders and all below; what was found in them, as (path, DT_* of readdir(3)). `tells`: it is told as CREATED."""
        loop = plait_loop()
        found: list[tuple[str, int]] = []
        mask = self._mask() | inotify.ONLYDIR | inotify.DONT_FOLLOW
        while folders:
            now = folders[-FOLDERS_AT_ONCE:]
            del folders[-FOLDERS_AT_ONCE:]
            for path, watch, entries in await loop.file_call(add_and_list, kernel, now, mask, self._root_name()):
                if watch >= 0:
                    self._folders[watch] = path
                    if tells:
                        self._listed[watch] = {name for name, _ in entries}
                for number, (name, kind) in enumerate(entries):
                    inside = below(path, name)
                    if kind == UNKNOWN:
                        kind = await self._kind(loop, inside)
                    found.append((inside, kind))
                    if kind == FOLDER and not (self.ignore is not None and self.ignore(Path(inside))):
                        folders.append(inside)
                    if number % NAMES_AT_ONCE == NAMES_AT_ONCE - 1:
                        await asyncio.sleep(0)
        return found

    def _root_name(self) -> str:
        return self._folders[self._root]

    async def _kind(self, loop: Loop, name: str) -> int:
        try:
            return kind_of((await loop.statx(name, follow_symlinks=False)).st_mode)
        except OSError:
            return UNKNOWN

    def _leave(self, kernel: Inotify, folder: str) -> None:
        """A folder moved out of sight is watched no more, nor what is in it."""
        inside = folder + "/"
        for watch, path in list(self._folders.items()):
            if path == folder or path.startswith(inside):
                kernel.remove(watch)
                del self._folders[watch]
                self._listed.pop(watch, None)

    def _rename(self, old: str, new: str) -> None:
        inside = old + "/"
        for watch, path in self._folders.items():
            if path == old or path.startswith(inside):
                self._folders[watch] = new + path[len(old) :]

    # Events

    async def _take(self, kernel: Inotify) -> None:
        """Make Changes of the first event. It is dropped only then, so that one who is cancelled meanwhile misses nothing."""
        watch, mask, cookie, name = self._raw[0]
        if mask & inotify.Q_OVERFLOW:
            if self.recursive and not self._only:
                await self._enter(kernel, [self._root_name()], tells=False)
            self._raw.popleft()
            self._tell(ChangeKind.OVERFLOW, self._root_name(), False)
            return
        folder = self._folders.get(watch)
        if folder is None or not name:
            self._raw.popleft()
            self._take_own(watch, mask, folder)
            return
        path = below(folder, name)
        is_dir = bool(mask & inotify.ISDIR)
        if mask & inotify.MOVED_FROM:
            await self._take_move(kernel, watch, cookie, path, is_dir)
            return
        if mask & (inotify.CREATE | inotify.MOVED_TO):
            known = self._listed.get(watch)
            is_new = known is None or name not in known
            inside: list[tuple[str, int]] = []
            if is_new and is_dir and self.recursive and not (self.ignore is not None and self.ignore(Path(path))):
                inside = await self._enter(kernel, [path], tells=True)
            self._raw.popleft()
            if is_new:
                self._tell(ChangeKind.CREATED, path, is_dir)
                for found, kind in inside:
                    self._tell(ChangeKind.CREATED, found, kind == FOLDER)
            return
        self._raw.popleft()
        if mask & inotify.DELETE:
            self._forget(watch, name)
        for plain in PLAIN_KINDS:
            if mask & plain.value:
                self._tell(plain, path, is_dir)

    def _take_own(self, watch: int, mask: int, folder: str | None) -> None:
        """Something about a watched folder itself. Its parent tells of it as well, but nobody tells of the root."""
        if mask & inotify.IGNORED:
            self._folders.pop(watch, None)
            self._listed.pop(watch, None)
        if watch != self._root or folder is None:
            return
        if mask & (inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.UNMOUNT | inotify.IGNORED):
            self._tell(ChangeKind.DELETED, self._root_path(folder), not self._only)
            self._ended = True
            self._kernel = None
        elif mask & inotify.ATTRIB and not self._only:
            self._tell(ChangeKind.ATTRIBUTES, folder, True)

    def _root_path(self, folder: str) -> str:
        return str(self.path) if self._only else folder

    async def _take_move(self, kernel: Inotify, watch: int, cookie: int, path: str, is_dir: bool) -> None:
        """The first half of a move; the other half may still be under way."""
        while (other := self._second_half(cookie)) is None:
            if not await self._wait(kernel, MOVE_SECONDS):
                break
            self._raw.extend(kernel.read())
        self._raw.popleft()
        self._forget(watch, os.path.basename(path))
        if other is None:
            if is_dir:
                self._leave(kernel, path)
            self._tell(ChangeKind.DELETED, path, is_dir)
            return
        self._raw.remove(other)
        new = below(self._folders[other[0]], other[3])
        if is_dir:
            self._leave(kernel, new)
            self._rename(path, new)
        self._tell(ChangeKind.MOVED, new, is_dir, path)

    def _second_half(self, cookie: int) -> Raw | None:
        for raw in self._raw:
            if raw[2] == cookie and raw[1] & inotify.MOVED_TO and raw[0] in self._folders:
                return raw
        return None

    def _forget(self, watch: int, name: str) -> None:
        if known := self._listed.get(watch):
            known.discard(name)

    def _tell(self, kind: ChangeKind, path: str, is_dir: bool, old_path: str | None = None) -> None:
        if self._only and kind is not ChangeKind.OVERFLOW and str(self.path) not in (path, old_path):
            return
        if kind not in self.kinds:
            return
        change = Change(kind, Path(path), Path(old_path) if old_path is not None else None, is_dir)
        if self.ignore is not None and self.ignore(change.path):
            return
        self._ready.append(change)


def watch(
    path: StrPath,
    *,
    recursive: bool = False,
    kinds: Iterable[ChangeKind] = ChangeKind,
    ignore: Callable[[Path], bool] | None = None,
) -> Watch:
    """Tell what happens to the files of a folder, with `recursive` also of all folders below, those that come later included.

        async with plait.watch("photos", recursive=True) as changes:
            async for change in changes:
                print(change.kind, change.path)

    It tells of all that happens after `async with` was entered; without it, after the first change was waited for. Only `kinds` are told.
    What `ignore` returns true for is not told, and such a folder not looked into. A path that is not a folder is watched by its name,
    through being replaced, removed and made again, and need not exist yet unless `recursive` says that it is a folder.

    It ends after it told that the folder itself was DELETED (removed, moved away or unmounted). Symbolic links to folders below are not
    followed. Changes wait in the kernel while nobody asks for them, up to fs.inotify.max_queued_events (16384); then OVERFLOW tells
    that some are lost. What is done by another machine on a network file system is not told, nor what is written by way of mmap().

    Raises FileNotFoundError when the folder is not there, and OSError with the limit to raise when the kernel has no room for it.
    """
    return Watch(path, recursive=recursive, kinds=kinds, ignore=ignore)


def below(folder: str, name: str) -> str:
    """The name of a file in a folder, as pathlib writes it."""
    if folder == ".":
        return name
    return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"


def set_result(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


def add_and_list(
    kernel: Inotify, folders: list[str], mask: int, root: str
) -> list[tuple[str, int, list[tuple[str, int]]]]:
    """Watch folders and list what is in them by then: (path, watch or -1, entries). For a worker."""
    results = []
    for path in folders:
        watch = -1
        entries: list[tuple[str, int]] = []
        try:
            if path != root:
                watch = kernel.add(path, mask)
            listing = Folder(path)
            while not listing.ended:
                entries += listing.read()
        except OSError as error:
            if error.errno not in GONE:
                raise
        results.append((path, watch, entries))
    return results


# A folder that was removed or replaced again before we came, or is not ours to read.
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES})
