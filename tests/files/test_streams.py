"""Pipes, FIFOs, terminals and devices opened with plait.open wait by readiness, and never hold up the loop."""

import asyncio
import os
import pty
import tty
from pathlib import Path

import pytest

import plait


def test_lines_of_a_pipe_as_they_come(run) -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        async with plait.open(reader, newline="") as lines, plait.open(writer, "w") as out:
            waiting = asyncio.ensure_future(lines.readline())
            await asyncio.sleep(0)
            await out.write("one\ntwo")
            await out.flush()
            assert "one\n" == await waiting
            await out.write("\r\nthree")
            await out.close()
            assert ["two\r\n", "three"] == [line async for line in lines]
            assert not lines.seekable()

    run(main())


def test_a_full_pipe_is_waited_for(run) -> None:
    """More than it holds, written and read by two tasks of one loop."""

    async def main() -> None:
        reader, writer = os.pipe()
        data = os.urandom(1_000_000)
        async with plait.open(reader, "rb") as source:

            async def write() -> None:
                async with plait.open(writer, "wb") as out:
                    assert len(data) == await out.write(data)

            writing = asyncio.ensure_future(write())
            assert data == await source.read()
            await writing

    run(main())


@pytest.mark.parametrize("buffering", [0, -1])
def test_reads_of_a_pipe_cancelled_lose_nothing(run, buffering: int) -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        async with plait.open(reader, "rb", buffering) as file:
            for turns in range(6):
                os.write(writer, b"abc")
                reading = asyncio.ensure_future(file.read(3 if buffering == 0 else 6))
                for _ in range(turns):
                    await asyncio.sleep(0)
                reading.cancel()
                found = b""
                try:
                    found = await reading
                except asyncio.CancelledError:
                    pass
                os.write(writer, b"def")
                while len(found) < 6:
                    found += await file.read(6 - len(found))
                assert b"abcdef" == found
            os.close(writer)
            assert b"" == await file.read(1)

    run(main())


@pytest.mark.parametrize("first", ["reader", "writer"])
def test_the_ends_of_a_fifo_find_each_other(run, tmp_path: Path, first: str) -> None:
    async def main() -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)

        async def read() -> str:
            async with plait.open(path) as file:
                return await file.read()

        async def write() -> None:
            async with plait.open(path, "w") as file:
                await file.write("through the fifo")

        tasks = {"reader": read, "writer": write}
        running = [asyncio.ensure_future(tasks.pop(first)())]
        for _ in range(5):
            await asyncio.sleep(0)
        running.append(asyncio.ensure_future(tasks.popitem()[1]()))
        assert "through the fifo" in await asyncio.gather(*running)

    run(main())


@pytest.mark.parametrize(
    "read", ["read()", "readline()", "readinto(bytearray(4))", "readinto1(bytearray(4))", "read1()", "peek(1)"]
)
def test_the_first_read_of_a_fifo_waits_for_a_writer(run, tmp_path: Path, read: str) -> None:
    """Also after one that was cancelled; when the writer has gone it is at its end, as any pipe."""

    async def main() -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        async with plait.open(path, "rb") as file:
            first = asyncio.ensure_future(eval(f"file.{read}"))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not first.done()
            first.cancel()
            await asyncio.wait([first])
            assert b"" == await file.read(0)
            second = asyncio.ensure_future(eval(f"file.{read}"))
            async with plait.open(path, "wb") as writer:
                for _ in range(5):
                    await asyncio.sleep(0)
                assert not second.done()
                await writer.write(b"text")
            assert (await second) in (b"text", 4)
            await file.read()
            assert b"" == await file.read()

    run(main())


def test_a_fifo_whose_writer_wrote_nothing_is_at_its_end(run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        async with plait.open(path) as file:
            async with plait.open(path, "w"):
                pass
            assert [] == [line async for line in file]

    run(main())


def test_an_open_of_a_fifo_can_be_cancelled(run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await plait.open(path, "w")

    run(main())


def test_a_terminal(run) -> None:
    """Line by line, as it is typed, and line buffered when it is written."""

    async def main() -> None:
        outside, inside = pty.openpty()
        tty.setraw(inside)
        async with plait.open(os.ttyname(inside), "r", encoding="utf-8") as file:
            assert file.isatty()
            typing = asyncio.ensure_future(file.readline())
            await asyncio.sleep(0)
            os.write(outside, b"typed")
            await asyncio.sleep(0)
            assert not typing.done()
            os.write(outside, " é\n".encode())
            assert "typed é\n" == await typing
        async with plait.open(os.ttyname(inside), "w") as screen:
            assert screen.line_buffering
            await screen.write("shown\n")
            assert b"shown\n" == os.read(outside, 100)
        os.close(outside)
        os.close(inside)

    run(main())


def test_devices_that_cannot_be_waited_for(run) -> None:
    async def main() -> None:
        async with plait.open("/dev/null", "r+b", 0) as null:
            assert 4 == await null.write(b"data")
            assert b"" == await null.read()
        async with plait.open("/dev/zero", "rb") as zero:
            assert bytes(10_000) == await zero.read(10_000)
        async with plait.open("/dev/urandom", "rb", 0) as random:
            assert 16 == len(await random.read(16))

    run(main())


def test_a_descriptor_of_somebody_else_is_left_as_it_was(run, tmp_path: Path) -> None:
    """Open, blocking as before, and where the file was read to."""

    async def main() -> None:
        reader, writer = os.pipe()
        os.write(writer, b"data")
        async with plait.open(reader, "rb", closefd=False) as file:
            assert not os.get_blocking(reader)
            assert b"da" == await file.read(2)
        assert os.get_blocking(reader)
        os.close(reader)
        os.close(writer)
        path = tmp_path / "file"
        path.write_bytes(b"0123456789")
        fd = os.open(path, os.O_RDWR)
        async with plait.open(fd, "rb", 0, closefd=False) as raw:
            assert b"0123" == await raw.read(4)
        assert 4 == os.lseek(fd, 0, os.SEEK_CUR)
        os.close(fd)

    run(main())
