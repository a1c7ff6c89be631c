"""Full disks, limits, files that shrink, tasks that are cancelled anywhere: what was reported is true, and nothing is left open."""

import asyncio
import errno
import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from files import alone
from files.ticking import ticker

import plait
from plait.loop import Loop

T = TypeVar("T")
# How many turns of the loop pass before a task is cancelled: each of the first, and in the end as many as it needs.
TURNS = [*range(14), 20, 30, 50, 100, 1_000_000]
TESTS = Path(__file__).parent.parent
CHUNKS = [bytes([65 + i % 26]) * 700 for i in range(40)]


@pytest.fixture
def run(run: Callable[[Coroutine[Any, Any, T]], T]) -> Callable[[Coroutine[Any, Any, T]], T]:
    async def beside_a_ticker(coroutine: Coroutine[Any, Any, T]) -> T:
        async with ticker():
            return await coroutine

    return lambda coroutine: run(beside_a_ticker(coroutine))


async def cancelled_after(turns: int, work) -> None:
    """Run `work` as a task and cancel it after so many turns of the loop, unless it is over before."""
    task = asyncio.ensure_future(work)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass


@pytest.mark.parametrize("buffering", [0, 1000, -1])
def test_writes_cancelled_at_every_await(run, tmp_path: Path, buffering: int) -> None:
    """What was reported written is in the file after close(), in order; the rest is a part of what was to come."""

    async def main() -> None:
        path = tmp_path / "file"
        whole = b"".join(CHUNKS)
        for turns in TURNS:
            file = await plait.open(path, "wb", buffering)
            reported = 0

            async def write_all(file=file) -> None:
                nonlocal reported
                for chunk in CHUNKS:
                    reported += await file.write(chunk)
                await file.flush()

            await cancelled_after(turns, write_all())
            await file.close()
            content = path.read_bytes()
            assert content[:reported] == whole[:reported]
            assert content == whole[: len(content)]

    run(main())


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_flush_cancelled_at_every_await_writes_nothing_twice(run, tmp_path: Path, mode: str) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        for turns in TURNS:
            path.write_bytes(b"")
            file = await plait.open(path, mode)
            await file.write(b"first ")
            await cancelled_after(turns, file.flush())
            await file.write(b"second")
            await cancelled_after(turns, file.flush())
            await file.close()
            assert b"first second" == path.read_bytes()

    run(main())


def test_a_close_cancelled_at_every_await_closes_and_writes_all(run, loop: Loop, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        for turns in TURNS:
            file = await plait.open(path, "wb")
            fd = file.fileno()
            await file.write(b"data")
            await cancelled_after(turns, file.close())
            await file.close()
            assert file.closed
            while loop._files.in_flight:
                await asyncio.sleep(0)
            assert b"data" == path.read_bytes()
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(fd)

    run(main())


@pytest.mark.parametrize("buffering", [0, 16, -1])
@pytest.mark.parametrize("size", [5, 3000, -1])
def test_reads_cancelled_at_every_await_lose_nothing(run, tmp_path: Path, buffering: int, size: int) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        whole = bytes(range(256)) * 40
        path.write_bytes(whole)
        for turns in TURNS:
            async with plait.open(path, "rb", buffering) as file:
                found = b""

                async def read_some(file=file) -> None:
                    nonlocal found
                    while len(found) < 8000 and (data := await file.read(size)):
                        found += data

                await cancelled_after(turns, read_some())
                found += await file.read()
                assert whole == found

    run(main())


def test_text_cancelled_at_every_await_loses_nothing(run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        lines = [f"{i} é\n" for i in range(3000)]
        path.write_text("".join(lines))
        for turns in TURNS:
            async with plait.open(path, buffering=500) as file:
                found: list[str] = []

                async def read_lines(file=file, found=found) -> None:
                    async for line in file:
                        found.append(line)

                await cancelled_after(turns, read_lines())
                found += await file.readlines()
                assert lines == found

    run(main())


def test_an_open_cancelled_at_every_await_leaves_no_descriptor(run, loop: Loop, tmp_path: Path) -> None:
    """The leak is looked for by the fixture that surrounds every test; here that the file may be opened again and again."""

    async def main() -> None:
        path = tmp_path / "file"
        path.write_bytes(b"data")
        before = set(os.listdir("/proc/self/fd"))

        async def use() -> None:
            async with plait.open(path) as file:
                await file.read()

        for turns in TURNS:
            for _ in range(5):
                await cancelled_after(turns, use())
        while loop._files.in_flight:
            await asyncio.sleep(0.001)
        assert len(before) + 1 >= len(os.listdir("/proc/self/fd"))  # one more: the workers' eventfd

    run(main())


def test_a_file_truncated_underneath_ends(run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        path.write_bytes(b"0123456789" * 100_000)
        async with plait.open(path, "rb", 4096) as file:
            assert b"0123456789" == await file.read(10)
            os.truncate(path, 100)
            rest = await file.read()
            assert 4086 == len(rest)  # what was read ahead
            assert b"" == await file.read(1)
            os.truncate(path, 5000)
            assert bytes(5000 - 4096) == await file.read()

    run(main())


def test_a_device_that_is_full(run) -> None:
    """ENOSPC comes out of the write that empties the buffer, of flush() and of close(), after which the file is closed."""

    async def main() -> None:
        file = await plait.open("/dev/full", "wb", 100)
        assert 60 == await file.write(b"x" * 60)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            await file.write(b"x" * 60)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            await file.flush()
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            await file.close()
        assert file.closed
        await file.close()
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            async with plait.open("/dev/full", "w") as text:
                await text.write("x")

    run(main())


def program(engine: str, code: str, *before: str) -> str:
    """Run a coroutine in a process of its own, beside a ticker; what it prints."""
    source = f"import asyncio, errno, os, pathlib, plait, resource, signal, sys\nsys.path.append({str(TESTS)!r})\n"
    source += "from files.ticking import ticker\nasync def main():\n async with ticker():\n"
    source += textwrap.indent(textwrap.dedent(code), "    ")
    source += f"\nplait.run(main(), engine={engine!r})\n"
    ended = subprocess.run(
        [*before, sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=50, check=False
    )
    assert ("", 0) == (ended.stderr, ended.returncode)
    return ended.stdout


WRITE_UNTIL_REFUSED = """
    whole = b"".join(i.to_bytes(4, "big") for i in range(50_000))
    file = await plait.open(path, "wb", 4096)
    flushed = 0
    try:
        for at in range(0, len(whole), 500):
            await file.write(whole[at:at + 500])
            if at % 5000 == 0:
                await file.flush()
                flushed = at + 500
    except OSError as error:
        print(errno.errorcode[error.errno])
    fd = file.fileno()
    try:
        await file.close()
    except OSError as error:
        print("close", errno.errorcode[error.errno])
    try:
        os.fstat(fd)
    except OSError:
        print("closed")
    content = pathlib.Path(path).read_bytes()
    print(flushed > 0, content == whole[:len(content)], len(content) >= flushed)
"""


def test_a_limit_of_the_size_of_files(engine: str, tmp_path: Path) -> None:
    """The part before the limit is written, and nothing that was reported is missing."""
    code = f"""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, 64_000))
    path = {str(tmp_path / "file")!r}
    """
    output = program(engine, textwrap.dedent(code) + textwrap.dedent(WRITE_UNTIL_REFUSED))
    assert "EFBIG\nclose EFBIG\nclosed\nTrue True True\n" == output
    assert 64_000 == (tmp_path / "file").stat().st_size


def test_a_full_file_system(engine: str, tmp_path: Path) -> None:
    """A small one of memory, mounted for one process that is root in its own namespace, or is root."""
    mounted = 'mount -t tmpfs -o size=64k none "$0" && "$@"; status=$?; umount "$0" && exit $status'
    mount = ["sh", "-c", mounted, str(tmp_path)]
    code = f"path = {str(tmp_path / 'file')!r}\n" + textwrap.dedent(WRITE_UNTIL_REFUSED)
    assert "ENOSPC\nclose ENOSPC\nclosed\nTrue True True\n" == program(engine, code, *alone.command(), *mount)


def test_no_descriptor_left(engine: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("data")
    code = f"""
    path = {str(tmp_path / "file")!r}
    await (await plait.open(path)).close()
    soft = len(os.listdir("/proc/self/fd")) + 5
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
    files = []
    try:
        while True:
            files.append(await plait.open(path))
    except OSError as error:
        print(errno.errorcode[error.errno], error.filename == path, len(files) > 2)
    await files.pop().close()
    async with plait.open(path) as file:
        print(await file.read())
    for file in files:
        await file.close()
    """
    assert "EMFILE True True\ndata\n" == program(engine, code)


def test_a_file_that_is_forgotten_is_written_and_closed(run, tmp_path: Path) -> None:
    """With the built-in's warning."""

    async def main() -> None:
        path = tmp_path / "file"
        file = await plait.open(path, "w")
        fd = file.fileno()
        await file.write("data")
        with pytest.warns(ResourceWarning, match="unclosed file"):
            del file
        assert "data" == path.read_text()
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)

    run(main())


def test_a_loop_that_ends_finishes_a_close(engine: str, tmp_path: Path) -> None:
    """asyncio.run() cancels what is left, also the closing of a file whose own task was cancelled before."""
    code = f"""
    file = await plait.open({str(tmp_path / "file")!r}, "wb")
    await file.write(b"data")
    closing = asyncio.ensure_future(file.close())
    await asyncio.sleep(0)
    """
    program(engine, code)
    assert b"data" == (tmp_path / "file").read_bytes()


def test_others_run_beside_a_long_read(run, tmp_path: Path) -> None:
    """However fast the page cache answers, every half a megabyte the others have a turn."""

    async def main() -> None:
        path = tmp_path / "file"
        path.write_bytes(b"some line of text\n" * 500_000)
        turns = 0

        async def spin() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        spinning = asyncio.ensure_future(spin())
        async with plait.open(path) as file:
            assert 500_000 == len([line async for line in file])
        spinning.cancel()
        assert turns >= path.stat().st_size // 600_000

    run(main())


@pytest.mark.parametrize("size", [4096, 65536])
def test_a_turn_copies_no_more_than_its_share(run, loop: Loop, tmp_path: Path, size: int) -> None:
    """Of reads that could all be done at once, those beyond wait for the next turn or are copied elsewhere; each gets what it asked for."""

    async def main() -> None:
        path = tmp_path / "file"
        path.write_bytes(os.urandom(64 * size))
        whole = path.read_bytes()
        fd = os.open(path, os.O_RDONLY)
        at_once = loop._files.at_once
        shares = []
        reads = [loop.pread(fd, size, at * size) for at in range(64) for _ in range(3)]
        while not all(read.done() for read in reads):
            shares.append(loop._files.at_once - at_once)
            at_once = loop._files.at_once
            await asyncio.sleep(0)
        assert [whole[at * size : at * size + size] for at in range(64) for _ in range(3)] == [
            r.result() for r in reads
        ]
        assert max(shares) <= min(32, 512 * 1024 // size)
        os.close(fd)

    run(main())


def test_reads_that_wait_for_their_turn_can_be_cancelled(run, loop: Loop, tmp_path: Path) -> None:
    """They are dropped unread, and those behind them go on."""

    async def main() -> None:
        path = tmp_path / "file"
        path.write_bytes(b"data")
        fd = os.open(path, os.O_RDONLY)
        reads = [loop.pread(fd, 4, 0) for _ in range(200)]
        for read in reads[50:150]:
            read.cancel()
        assert [b"data"] * 100 == await asyncio.gather(*reads[:50], *reads[150:])
        assert 0 == len(loop._files.later)
        os.close(fd)

    run(main())


def test_a_loop_closes_with_reads_that_wait_for_their_turn(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    fd = os.open(path, os.O_RDONLY)

    async def main() -> None:
        for _ in range(200):
            loop.pread(fd, 4, 0)
        assert loop._files.later

    loop.run_until_complete(main())
    loop.close()
    assert not loop._files.later
    os.close(fd)


def test_a_reader_of_a_closed_file_is_told(run) -> None:
    """close() does not wait for data that may never come."""

    async def main() -> None:
        reader, writer = os.pipe()
        file = await plait.open(reader, "rb")
        reading = asyncio.ensure_future(file.read(10))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await file.close()
        with pytest.raises(ValueError, match="closed file"):
            await reading
        os.close(writer)

    run(main())


def test_unsupported_is_both_kinds_of_error(run, tmp_path: Path) -> None:
    async def main() -> None:
        async with plait.open(tmp_path / "file", "wb") as file:
            with pytest.raises(io.UnsupportedOperation):
                await file.read()

    run(main())
