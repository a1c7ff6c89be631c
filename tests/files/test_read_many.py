"""read_many() gives every file's content in order, whatever else is among the paths, with a bound on how many at a time."""

import asyncio
import os
import pathlib
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

import plait
from plait import Path

Run = Callable[[Any], Any]


def many(folder: pathlib.Path, count: int = 300) -> list[pathlib.Path]:
    """Files of very different sizes."""
    paths = []
    for number in range(count):
        path = folder / f"file {number}"
        path.write_bytes(os.urandom(number * 7 % 5000) if number % 50 else os.urandom(300_000 + number))
        paths.append(path)
    return paths


@pytest.mark.parametrize("limit", [1, 3, 64, 1000])
def test_all_contents_in_order(run: Run, tmp_path: pathlib.Path, limit: int) -> None:
    async def main() -> None:
        paths = many(tmp_path)
        found = [item async for item in plait.read_many(paths, limit=limit)]
        assert [(path, path.read_bytes()) for path in paths] == found
        names = [str(path) for path in paths[:5]]
        assert [(name, pathlib.Path(name).read_bytes()) for name in names] == [
            item async for item in plait.read_many(names, limit=limit)
        ]
        assert [] == [item async for item in plait.read_many([], limit=limit)]

    run(main())


def test_paths_are_asked_for_as_they_are_read(run: Run, tmp_path: pathlib.Path) -> None:
    """So that a generator of a million paths costs no more than `limit` of them."""

    async def main() -> None:
        paths = many(tmp_path, 100)
        asked = 0

        def source() -> Iterator[pathlib.Path]:
            nonlocal asked
            for path in paths:
                asked += 1
                yield path

        given = 0
        async for _ in plait.read_many(source(), limit=20):
            given += 1
            assert asked <= given + 20
        assert (100, 100) == (asked, given)

    run(main())


def test_an_error_stands_in_its_place(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        a, b = many(tmp_path, 2)
        paths = [
            a,
            tmp_path / "missing",
            tmp_path,
            "nul\0",
            b,
            pathlib.Path("/dev/null"),
            pathlib.Path("/proc/self/stat"),
        ]
        found = [content async for _, content in plait.read_many(paths, return_exceptions=True)]
        assert [bytes, FileNotFoundError, IsADirectoryError, ValueError, bytes, bytes, bytes] == list(map(type, found))
        assert (str(paths[1]), str(tmp_path)) == (found[1].filename, found[2].filename)
        given = []
        with pytest.raises(FileNotFoundError) as caught:
            async for path, _ in plait.read_many(paths):
                given.append(path)
        assert ([a], str(paths[1])) == (given, caught.value.filename)

    run(main())


def test_named_pipes_are_read_when_somebody_writes(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        pipe, file = tmp_path / "pipe", tmp_path / "file"
        os.mkfifo(pipe)
        file.write_bytes(b"file")
        async with asyncio.TaskGroup() as group:
            group.create_task(Path(pipe).write_bytes(b"pipe"))
            found = [content async for _, content in plait.read_many([file, pipe, file])]
        assert [b"file", b"pipe", b"file"] == found

    run(main())


def test_whoever_stops_early_leaves_nothing(run: Run, tmp_path: pathlib.Path) -> None:
    """Nothing stays open, whether it is closed in words, dropped, or cancelled at any await (the fixtures look)."""

    async def main() -> None:
        paths = many(tmp_path, 120)
        os.mkfifo(tmp_path / "pipe")
        paths.insert(60, tmp_path / "pipe")
        async with aclosing(plait.read_many(paths)) as reading:
            async for _ in reading:
                break
        async for _ in plait.read_many(paths):
            break

        async def read() -> None:
            async for _ in plait.read_many(paths, limit=32):
                pass

        for turns in range(60):
            task = asyncio.create_task(read())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_a_limit_of_nothing_is_refused(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="limit must be 1 or more, not 0"):
            await anext(plait.read_many(["x"], limit=0))

    run(main())


def test_others_have_their_turns(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        paths = many(tmp_path) * 5
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        ticker = asyncio.create_task(tick())
        count = 0
        async for _ in plait.read_many(paths):
            count += 1
        ticker.cancel()
        assert len(paths) == count
        assert turns > len(paths) // 64

    run(main())
