"""Which names below a folder match a pattern, as pathlib's glob: one pass over the folders, several of them listed at once by a worker.

A pattern is a machine that a path's names drive: each folder is visited once, with the set of all parts that may come next as the bits of
an int. So a name is found once, however many `**` could have led to it.
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from plait.files.folders import FOLDER, LINK, UNKNOWN, Folder, kind_of, read_folders

if TYPE_CHECKING:
    from plait.loop import Loop

# What pathlib changed. Until 3.12 `**` was a whole part or an error, and a last one found folders only; until 3.11 a name without wildcards
# that is a symbolic link to nothing was not found.
STARS_FIND_FILES = sys.version_info >= (3, 13)
DANGLING_LINKS_ARE_FOUND = sys.version_info >= (3, 12)

FOLDERS_AT_ONCE = 16
# After so many names the other tasks have a turn, as each takes about a microsecond.
NAMES_AT_ONCE = 256

STARS, PARENT = "**", ".."


class Pattern:
    """A parsed pattern; ValueError and NotImplementedError for what pathlib refuses."""

    def __init__(
        self, pattern: str, case_sensitive: bool | None, recurse_symlinks: bool = False, *, anywhere: bool = False
    ) -> None:
        path = PurePosixPath(pattern)
        if path.anchor:
            raise NotImplementedError(f"Non-relative patterns are unsupported: {pattern!r}")
        if not path.parts and not anywhere:
            raise ValueError(f"Unacceptable pattern: {pattern!r}")
        self.parts = (STARS, *path.parts) if anywhere else path.parts
        if not STARS_FIND_FILES and any(STARS in part != STARS for part in self.parts):
            raise ValueError(f"Invalid pattern: '**' can only be an entire path component: {pattern!r}")
        # pathlib makes of rglob("") the pattern "**/".
        self.folders_only = pattern.endswith("/") or not pattern
        self.recurse_symlinks = recurse_symlinks
        self.end = 1 << len(self.parts)
        self.flags = re.IGNORECASE if case_sensitive is False else re.NOFLAG
        self.states: dict[int, State] = {}

    def closure(self, mask: int) -> int:
        """Adds what comes next when a `**` stands for no folder at all."""
        for number, part in enumerate(self.parts):
            if part == STARS and mask >> number & 1:
                mask |= 2 << number
        return mask

    def state(self, mask: int) -> State:
        """What to look for in a folder; made once for each set of parts."""
        known = self.states.get(mask)
        if known is None:
            known = self.states[mask] = State()
            for number, part in enumerate(self.parts):
                if not mask >> number & 1:
                    continue
                after = 2 << number
                if part == STARS:
                    known.deeper |= 1 << number
                    known.last_stars |= after == self.end
                elif part == PARENT:
                    known.parent |= after
                elif self.flags or any(sign in part for sign in "*?["):
                    match = re.compile(fnmatch.translate(part), self.flags).match
                    known.wildcards.append((match, after))
                else:
                    known.names[part] = known.names.get(part, 0) | after
        return known


@dataclass(slots=True)
class State:
    """What a folder is searched for; each leads to the parts that are left for what is below."""

    names: dict[str, int] = field(default_factory=dict)
    wildcards: list[tuple[Callable[[str], object], int]] = field(default_factory=list)
    parent: int = 0
    deeper: int = 0  # the `**` that go on in each folder below
    last_stars: bool = False  # one of them is the last part

    @property
    def listed(self) -> bool:
        """Whether the folder must be listed; what is named can be looked up instead."""
        return bool(self.wildcards or self.deeper)


@dataclass(slots=True)
class Search:
    """One search: the folders still to be visited, and the names found since the last batch."""

    loop: Loop
    pattern: Pattern
    ahead: list[tuple[str, State, Folder | None]] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    async def kind(self, name: str, follow_symlinks: bool) -> int:
        """DT_* of readdir(3), or -1 when there is none."""
        try:
            return kind_of((await self.loop.statx(name, follow_symlinks=follow_symlinks)).st_mode)
        except (OSError, ValueError):
            return -1

    def descend(self, prefix: str, after: int) -> bool:
        """Visit this folder later; whether it is itself a match, by a `**` that stands for nothing."""
        pattern = self.pattern
        mask = pattern.closure(after)
        if below := mask & ~pattern.end:
            state = pattern.state(below)
            self.ahead.append((prefix, state, Folder(prefix or ".") if state.listed else None))
        return bool(mask & pattern.end)

    async def take(self, prefix: str, name: str, kind: int, after: int, deeper: int) -> None:
        """A name that matched, or a folder in which `**` go on."""
        pattern = self.pattern
        path = prefix + name
        if kind == UNKNOWN:
            kind = await self.kind(path, False)
        is_match = bool(after & pattern.end)
        below = after & ~pattern.end
        is_folder = kind == FOLDER
        if kind == LINK and (below or pattern.folders_only or (deeper and pattern.recurse_symlinks)):
            is_folder = await self.kind(path, True) == FOLDER
        if is_folder:
            if kind == FOLDER or pattern.recurse_symlinks:
                below |= deeper
            if below:
                is_match |= self.descend(f"{path}/", below)
        elif pattern.folders_only:
            return
        if is_match:
            self.found.append(path)

    async def look_up(self, prefix: str, state: State) -> None:
        """Find what is named without wildcards."""
        for name, after in state.names.items():
            kind = await self.kind(prefix + name, False)
            if kind >= 0 and await self.is_found(prefix + name, kind):
                await self.take(prefix, name, kind, after, 0)

    async def is_found(self, path: str, kind: int) -> bool:
        return DANGLING_LINKS_ARE_FOUND or kind != LINK or await self.kind(path, True) >= 0

    async def look_through(self, prefix: str, state: State, entries: list[tuple[str, int]]) -> None:
        """Find what matches in a part of a folder's listing."""
        names, wildcards, deeper = state.names, state.wildcards, state.deeper
        # A last `**` finds files as well, and links to folders that it does not enter.
        all_match = self.pattern.end if state.last_stars and STARS_FIND_FILES and not self.pattern.folders_only else 0
        for number, (name, kind) in enumerate(entries):
            after = all_match
            for match, leads_to in wildcards:
                if match(name):
                    after |= leads_to
            if name in names and await self.is_found(prefix + name, kind):
                after |= names[name]
            if after or (deeper and (kind in (FOLDER, UNKNOWN) or self.pattern.recurse_symlinks)):
                await self.take(prefix, name, kind, after, deeper)
            if number % NAMES_AT_ONCE == NAMES_AT_ONCE - 1:
                await asyncio.sleep(0)

    async def visit(self) -> None:
        """Search the folders that were found last."""
        work = self.ahead[-FOLDERS_AT_ONCE:]
        del self.ahead[-FOLDERS_AT_ONCE:]
        folders = [folder for _, _, folder in work if folder is not None]
        listings = iter(await self.loop.file_call(read_folders, folders) if folders else ())
        for prefix, state, folder in work:
            if folder is None:
                await self.look_up(prefix, state)
                entries: list[tuple[str, int]] | OSError = []
            else:
                entries = next(listings)
            if state.parent and (folder is None or folder.ended):
                await self.take(prefix, PARENT, FOLDER, state.parent, 0)
            if isinstance(entries, OSError):
                # A folder that may not be read, but searched.
                await self.look_up(prefix, state)
                continue
            if folder is not None and not folder.ended:
                self.ahead.append((prefix, state, folder))
            await self.look_through(prefix, state, entries)


async def select(loop: Loop, start: str, pattern: Pattern) -> AsyncGenerator[list[str], None]:
    """The names that match below the folder `start`, which is empty or ends with a slash, in batches."""
    search = Search(loop, pattern)
    if await search.kind(start or ".", True) != FOLDER:
        return
    if search.descend(start, 1):
        search.found.append(start or ".")
    while search.ahead:
        await search.visit()
        if search.found:
            yield search.found
            search.found = []
    if search.found:
        yield search.found
