"""aiofiles and anyio on plait's files: programs that use them wait for the ring instead of for threads, without a changed line.

Both libraries hand every call to a thread at one place each. There plait looks at what is to be called, and does it itself if it
knows how and a loop of plait runs; all else goes on to the thread. The libraries' own classes stay what users hold in their hands.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
import importlib
import inspect
import itertools
import os
import os.path
import pathlib
import stat
import weakref
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType, TracebackType
from typing import Any, Self

from plait.files.common import FileMethods
from plait.files.opening import open
from plait.files.path import Path
from plait.files.raw import RawFile
from plait.files.text import TextFile
from plait.loop import Loop
from plait.standard import get_running_loop_or_none

__all__ = ["Patch", "patch_aiofiles", "patch_anyio"]

ENTRIES_AT_ONCE = 256
ListIterator: type = type(iter([]))

Call = Callable[[], Awaitable[Any]]


class Patch:
    """A library that was patched. undo() gives it back as it was; files that are open then go on by themselves."""

    def __init__(self, *changes: tuple[Any, str, Any]) -> None:
        self._before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
        for owner, name, value in changes:
            setattr(owner, name, value)

    @property
    def active(self) -> bool:
        """Whether it is in force."""
        return bool(self._before)

    def undo(self) -> None:
        """Take the patch back; idempotent."""
        while self._before:
            setattr(*self._before.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()


# What plait does itself

# pathlib's methods that plait.Path has under the same name.
PATH_METHODS = frozenset(
    name for name in dir(Path) if not name.startswith("_") and inspect.iscoroutinefunction(getattr(Path, name))
)


async def is_there(path: Any) -> bool:
    return await kind_of(path) != 0


async def is_file(path: Any) -> bool:
    return stat.S_ISREG(await kind_of(path))


async def is_dir(path: Any) -> bool:
    return stat.S_ISDIR(await kind_of(path))


async def is_link(path: Any) -> bool:
    return stat.S_ISLNK(await kind_of(path, follow_symlinks=False))


async def kind_of(path: Any, follow_symlinks: bool = True) -> int:
    """st_mode, 0 when os.path would say that nothing is there."""
    try:
        return (await running().statx(path, follow_symlinks=follow_symlinks)).st_mode
    except (OSError, ValueError):
        return 0


async def size_of(path: Any) -> int:
    return (await running().statx(path)).st_size


async def make_folders(name: Any, mode: int = 0o777, exist_ok: bool = False) -> None:
    await Path(os.fsdecode(name)).mkdir(mode, parents=True, exist_ok=exist_ok)


def running() -> Loop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    return loop


def of_loop(name: str) -> Callable[..., Awaitable[Any]]:
    return lambda *args, **options: getattr(running(), name)(*args, **options)


# By the function that a library would call in a thread: what does the same, with the same arguments.
FUNCTIONS: dict[Any, Callable[..., Awaitable[Any]]] = {
    builtins.open: open,
    os.stat: of_loop("statx"),
    os.rename: of_loop("rename"),
    os.replace: of_loop("rename"),
    os.unlink: of_loop("unlink"),
    os.remove: of_loop("unlink"),
    os.rmdir: of_loop("rmdir"),
    os.mkdir: of_loop("mkdir"),
    os.makedirs: make_folders,
    os.path.exists: is_there,
    os.path.isfile: is_file,
    os.path.isdir: is_dir,
    os.path.islink: is_link,
    os.path.getsize: size_of,
}


def known(function: Any, args: tuple[Any, ...]) -> Call | None:
    """What does the same as function(*args) without a thread, or None."""
    options: dict[str, Any] = {}
    if isinstance(function, functools.partial):
        options = function.keywords
        args = (*function.args, *args)
        function = function.func
    owner = getattr(function, "__self__", None)
    if isinstance(owner, FileMethods | Wrapped):
        return functools.partial(function, *args, **options)
    if isinstance(owner, pathlib.Path) and function.__name__ in PATH_METHODS | {"open"}:
        return functools.partial(getattr(Path(owner), function.__name__), *args, **options)
    try:
        ours = FUNCTIONS.get(function)
    except TypeError:  # not hashable
        return None
    return functools.partial(ours, *args, **options) if ours is not None else None


async def done(call: Call) -> Any:
    """The result of a call, which may be there already."""
    result = call()
    return await result if inspect.isawaitable(result) else result


def is_ours() -> bool:
    return isinstance(get_running_loop_or_none(), Loop)


# anyio


class Threads:
    """Stands for anyio.to_thread in anyio's module of files."""

    def __init__(self, anyio: ModuleType, real: Any) -> None:
        self.anyio = anyio
        self.real = real
        self.ahead: weakref.WeakKeyDictionary[Any, Iterator[Any]] = weakref.WeakKeyDictionary()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def run_sync(self, function: Any, *args: Any, abandon_on_cancel: bool = False, limiter: Any = None) -> Any:
        if is_ours():
            if function is builtins.next:
                return await self.run_next(*args, abandon_on_cancel=abandon_on_cancel, limiter=limiter)
            if (call := known(function, args)) is not None:
                await self.anyio.lowlevel.checkpoint_if_cancelled()
                # As with a thread: what is to be done is done, unless it may be left behind.
                with self.anyio.CancelScope(shield=not abandon_on_cancel):
                    if limiter is None:
                        return await done(call)
                    async with limiter:
                        return await done(call)
        return await self.real.run_sync(function, *args, abandon_on_cancel=abandon_on_cancel, limiter=limiter)

    async def run_next(self, iterator: Any, default: Any, **options: Any) -> Any:
        """The next of a folder's entries or of a glob: many of them by one thread."""
        reading = iterator
        # From Python 3.13 on pathlib maps names to paths, once or twice. There is no weak reference to a map, but one to
        # what it reads from, unless that is a list of all names.
        while type(reading) is map:
            reading = reading.__reduce__()[1][-1]
        if type(reading) is ListIterator:
            await self.anyio.lowlevel.checkpoint()
            return next(iterator, default)
        entries = self.ahead.get(reading)
        if entries is not None and (entry := next(entries, self)) is not self:
            return entry
        batch = await self.real.run_sync(take, iterator, **options)
        entries = self.ahead[reading] = iter(batch)
        return next(entries, default)


def take(iterator: Iterator[Any]) -> list[Any]:
    return list(itertools.islice(iterator, ENTRIES_AT_ONCE))


def patch_anyio() -> Patch:
    """anyio.open_file() and anyio.Path go through plait's files wherever a loop of plait runs; also where they were imported before.

    What anyio promises stays: its classes, its cancel scopes (a call that has begun is waited for, as for a thread), its limiters
    where they are given. `wrapped` of an open file is plait's file. Under trio and other loops nothing changes. undo() of what it
    returns, or the end of `with`, takes it back.
    """
    anyio = importlib.import_module("anyio")
    importlib.import_module("anyio.lowlevel")
    module = place("anyio", "anyio._core._fileio", "to_thread")
    if isinstance(module.to_thread, Threads):
        return Patch()
    return Patch((module, "to_thread", Threads(anyio, module.to_thread)))


# aiofiles


class Wrapped:
    """A file of plait where aiofiles expects one of io: whose methods it calls in a thread, __exit__ among them."""

    def __init__(self, file: Any) -> None:
        self._plait_file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plait_file, name)

    def __repr__(self) -> str:
        return repr(self._plait_file)

    async def __exit__(self, *error: Any) -> None:
        await self._plait_file.close()


class Executor:
    """Stands for the running loop where aiofiles asks it for a thread."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> Awaitable[Any]:
        # Somebody's own executor is asked for what it is: limits, priorities, threads with a context.
        if executor is None and (call := known(function, args)) is not None:
            return done(call)
        result: Awaitable[Any] = self.loop.run_in_executor(executor, function, *args)
        return result


def loop_for_aiofiles() -> Any:
    loop = asyncio.get_running_loop()
    return Executor(loop) if isinstance(loop, Loop) else loop


class AsyncioForAiofiles:
    """Stands for asyncio in aiofiles.threadpool, which asks it for the running loop."""

    get_running_loop = staticmethod(loop_for_aiofiles)

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


def patch_aiofiles() -> Patch:
    """aiofiles.open(), aiofiles.os and aiofiles.ospath go through plait's files wherever a loop of plait runs; also where they were
    imported before.

    Calls with an `executor` of their own, and aiofiles.tempfile, keep their threads. undo() of what it returns, or the end of `with`,
    takes it back.
    """
    base = place("aiofiles", "aiofiles.base", "get_running_loop")
    pool = place("aiofiles", "aiofiles.threadpool", "asyncio")
    if base.get_running_loop is loop_for_aiofiles:
        return Patch()

    def wrap(file: Any, *, loop: Any = None, executor: Any = None) -> Any:
        if not isinstance(file, FileMethods):
            return before(file, loop=loop, executor=executor)
        return class_of(pool, file)(Wrapped(file), loop=loop, executor=executor)

    before = pool.wrap
    return Patch(
        (base, "get_running_loop", loop_for_aiofiles), (pool, "asyncio", AsyncioForAiofiles()), (pool, "wrap", wrap)
    )


def class_of(pool: ModuleType, file: Any) -> Any:
    """What aiofiles would wrap io's file of the same kind in."""
    if isinstance(file, TextFile):
        return pool.AsyncTextIOWrapper
    if isinstance(file, RawFile):
        return pool.AsyncFileIO
    return pool.AsyncBufferedReader if file.readable() else pool.AsyncBufferedIOBase


def place(library: str, name: str, attribute: str) -> ModuleType:
    """The module of a library where it calls threads."""
    module = importlib.import_module(name)
    if not hasattr(module, attribute):
        version = importlib.import_module("importlib.metadata").version(library)
        raise RuntimeError(
            f"{library} {version} has no {name}.{attribute} any more, by which plait takes its place: use plait.open and "
            f"plait.Path, or a release of {library} that plait was tested with"
        )
    return module
