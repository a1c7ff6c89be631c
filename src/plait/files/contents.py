"""Whole files at once: one, or very many with a bound on how many at a time."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

from plait.files.access import close_later, drop, kept, name_of, plait_loop
from plait.files.opening import open_path
from plait.files.whole import begin_read, read_batch, read_cached, turn_is_over

if TYPE_CHECKING:
    from plait.files.access import StrPath
    from plait.loop import Loop

__all__ = ["read_many"]

Name = TypeVar("Name", bound="StrPath")

# Enough that a disk has always work, and a few megabytes when files are small.
LIMIT = 64
DEVICE_BYTES = 64 * 1024

# What workers read at a time where there is no ring: so many files each, by so many at once.
BATCH_FILES = 16
WORKERS = 4

# A content; else its error, a descriptor of something else than a file, or None for what is to be read alone.
Found: TypeAlias = bytes | int | OSError | None


async def read_file(name: str) -> bytes:
    """All that is in the file."""
    loop = plait_loop()
    files = loop._files
    found = read_cached(files, name)
    if found is None:
        found = await kept(loop, begin_read(files, name))
    return found if isinstance(found, bytes) else await read_device(loop, found)


async def read_device(loop: Loop, fd: int) -> bytes:
    """What comes until the end from what is not a regular file, opened with O_NONBLOCK. Closes the descriptor."""
    parts = []
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            # Opening did not wait for a writer. Until there was one it is not readable either.
            await readable(loop, fd)
        while True:
            try:
                part = await loop.pread(fd, DEVICE_BYTES, -1)
            except BlockingIOError:
                await readable(loop, fd)
                continue
            if not part:
                break
            parts.append(part)
    except BaseException:
        close_later(loop, fd)
        raise
    # A writer who comes now must not take this for a reader.
    await loop.close_fd(fd)
    return b"".join(parts)


async def readable(loop: Loop, fd: int) -> None:
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def write_file(name: str, data: memoryview) -> int:
    """Make the file of just this."""
    loop = plait_loop()
    rest = data.cast("B") if data.nbytes else data
    fd = await open_path(loop, name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        while rest.nbytes:
            rest = rest[await loop.pwrite(fd, rest, -1) :]
    except BaseException:
        close_later(loop, fd)
        raise
    # Some file systems only tell here that the disk is full.
    await loop.close_fd(fd)
    return data.nbytes


@overload
def read_many(
    paths: Iterable[Name], *, limit: int = LIMIT, return_exceptions: Literal[False] = False
) -> AsyncGenerator[tuple[Name, bytes], None]: ...


@overload
def read_many(
    paths: Iterable[Name], *, limit: int = LIMIT, return_exceptions: Literal[True]
) -> AsyncGenerator[tuple[Name, bytes | OSError | ValueError], None]: ...


async def read_many(
    paths: Iterable[Name], *, limit: int = LIMIT, return_exceptions: bool = False
) -> AsyncGenerator[tuple[Name, bytes | OSError | ValueError], None]:
    """Read many whole files, `limit` of them at a time; `async for` gives (path, content) in the order of `paths`.

        async for path, content in plait.read_many(paths):
            ...

    `paths` is asked for no more than is being read, so that it may be a generator. A file that cannot be read raises its OSError
    in its place and ends it; with `return_exceptions` the error stands where the content would. Up to `limit` contents are in memory.
    """
    if limit < 1:
        raise ValueError(f"limit must be 1 or more, not {limit}")
    loop = plait_loop()
    how = one_by_one if loop.engine.name == "uring" else in_batches
    async with aclosing(how(loop, iter(paths), limit)) as reader:
        async for path, found in reader:
            content = found if isinstance(found, bytes) else await read_otherwise(loop, path, found)
            if isinstance(content, Exception) and not return_exceptions:
                raise content
            yield path, content


async def one_by_one(loop: Loop, names: Iterator[Name], limit: int) -> AsyncGenerator[tuple[Name, Found], None]:
    """On the ring what is not cached is an operation of its own."""
    files = loop._files
    under_way: deque[tuple[Name, bytes | asyncio.Future[bytes | int]]] = deque()
    try:
        while True:
            for path in islice(names, limit - len(under_way)):
                if turn_is_over(files):
                    await asyncio.sleep(0)
                under_way.append((path, begin(loop, path)))
            if not under_way:
                return
            path, reading = under_way.popleft()
            found: Found
            try:
                found = reading if isinstance(reading, bytes) else await kept(loop, reading)
            except OSError as error:
                found = error
            yield path, found
    finally:
        for _, reading in under_way:
            if not isinstance(reading, bytes):
                drop(loop, reading)


def begin(loop: Loop, path: StrPath) -> bytes | asyncio.Future[Any]:
    try:
        name = name_of(path)
        found = read_cached(loop._files, name)
        if isinstance(found, bytes):
            return found
        if found is None:
            return begin_read(loop._files, name)
    except ValueError:  # not encodable, or with a null byte: read_otherwise() will tell in its turn
        found = None
    later = loop.create_future()
    later.set_result(found)
    return later


async def in_batches(loop: Loop, names: Iterator[Name], limit: int) -> AsyncGenerator[tuple[Name, Found], None]:
    """Without a ring a worker reads several files at once that are not cached."""
    files = loop._files
    size = min(BATCH_FILES, max(1, limit // WORKERS))
    under_way: deque[tuple[deque[tuple[Name, Found]], asyncio.Future[list[bytes | OSError | None]] | None]] = deque()
    try:
        while True:
            while len(under_way) * size < limit and (batch := list(islice(names, size))):
                if turn_is_over(files):
                    await asyncio.sleep(0)
                found: deque[tuple[Name, Found]] = deque((path, cached(loop, path)) for path in batch)
                missing = [name_of(path) for path, one in found if one is None]
                under_way.append((found, loop.file_call(read_batch, missing) if missing else None))
            if not under_way:
                return
            found, reading = under_way[0]
            read = iter(await reading if reading is not None else ())
            while found:
                path, one = found.popleft()
                yield path, next(read) if one is None else one
            under_way.popleft()
    finally:
        for found, reading in under_way:
            if reading is not None:
                reading.cancel()
            for _, one in found:
                if isinstance(one, int):
                    close_later(loop, one)


def cached(loop: Loop, path: StrPath) -> bytes | int | None:
    try:
        return read_cached(loop._files, name_of(path))
    except ValueError:
        return None


async def read_otherwise(loop: Loop, path: StrPath, found: int | OSError | None) -> bytes | OSError | ValueError:
    """What was not read like the others: no regular file, or a large one on its own."""
    if isinstance(found, OSError):
        return found
    try:
        return await (read_file(name_of(path)) if found is None else read_device(loop, found))
    except (OSError, ValueError) as error:
        return error
