"""Pipes, FIFOs and terminals as transports."""

import asyncio
import os
import socket
import subprocess
import sys
import tty
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def reader_of(file: Any) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), file
    )
    return reader, transport


async def writer_of(file: Any) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), file
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


def pipe_files() -> tuple[Any, Any]:
    read_end, write_end = os.pipe()
    return os.fdopen(read_end, "rb", 0), os.fdopen(write_end, "wb", 0)


def terminal() -> tuple[Any, Any]:
    """A pseudo-terminal in raw mode: our end, and the program's."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    return os.fdopen(ours, "r+b", 0), os.fdopen(theirs, "r+b", 0)


class Closed(asyncio.BaseProtocol):
    """Tells when and why the transport ended."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


def test_a_megabyte_and_the_end(run: Run) -> None:
    """More than the pipe holds, so writing must wait and go on; close() flushes and then ends the reader."""
    data = os.urandom(1 << 20)

    async def main() -> bytes:
        read_file, write_file = pipe_files()
        reader, transport = await reader_of(read_file)
        writer = await writer_of(write_file)
        writer.write(data)
        writer.close()
        received = await reader.read()
        transport.close()
        return received

    assert data == run(main())


def test_drain_waits_for_the_reader(run: Run) -> None:
    """Backpressure: what nobody reads does not pile up without end."""

    async def main() -> int:
        read_file, write_file = pipe_files()
        writer = await writer_of(write_file)
        writer.write(bytes(1 << 20))
        drained = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0)
        assert not drained.done()
        reader, transport = await reader_of(read_file)
        received = len(await reader.readexactly(1 << 20))
        await drained
        writer.close()
        await reader.read()
        transport.close()
        return received

    assert 1 << 20 == run(main())


def test_pause_and_resume_reading(run: Run) -> None:
    async def main() -> list[bytes]:
        got: list[bytes] = []
        arrived = asyncio.Event()

        class Protocol(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                got.append(data)
                arrived.set()

        read_file, write_file = pipe_files()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(Protocol, read_file)
        with write_file:
            transport.pause_reading()
            os.write(write_file.fileno(), b"while paused")
            for _ in range(5):
                await asyncio.sleep(0)
            assert [] == got
            assert not transport.is_reading()
            transport.resume_reading()
            await arrived.wait()
        transport.close()
        return got

    assert [b"while paused"] == run(main())


def test_the_writer_learns_that_the_reader_is_gone(run: Run) -> None:
    """Without writing a byte."""

    async def main() -> Exception | None:
        read_file, write_file = pipe_files()
        _, protocol = await asyncio.get_running_loop().connect_write_pipe(Closed, write_file)
        read_file.close()
        return await protocol.lost

    assert run(main()) is None


def test_with_bytes_unsent_it_is_a_broken_pipe(run: Run) -> None:
    async def main() -> Exception | None:
        read_file, write_file = pipe_files()

        class Protocol(Closed):
            def pause_writing(self) -> None: ...

        transport, protocol = await asyncio.get_running_loop().connect_write_pipe(Protocol, write_file)
        transport.write(bytes(1 << 20))
        read_file.close()
        return await protocol.lost

    assert isinstance(run(main()), BrokenPipeError)


def test_a_fifo(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> bytes:
        # Reading without blocking first: opening for writing waits for a reader.
        read_file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
        write_file = path.open("wb", 0)
        reader, transport = await reader_of(read_file)
        writer = await writer_of(write_file)
        writer.write(b"through a name")
        writer.close()
        received = await reader.read()
        transport.close()
        return received

    assert b"through a name" == run(main())


def test_a_fifo_open_both_ways_is_not_taken_for_closed(run: Run, tmp_path: Path) -> None:
    """The bytes that wait in it make the writer's descriptor readable, which is no end."""
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> bytes:
        write_file = path.open("r+b", 0)
        writer = await writer_of(write_file)
        writer.write(b"one ")
        for _ in range(5):
            await asyncio.sleep(0)
        writer.write(b"two")
        assert not writer.transport.is_closing()
        read_file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
        reader, transport = await reader_of(read_file)
        writer.close()
        received = await reader.read()
        transport.close()
        return received

    assert b"one two" == run(main())


def test_a_socket_as_pipe(run: Run) -> None:
    """A socket pair can serve where a pipe is asked for."""

    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        reader, transport = await reader_of(ours)
        writer = await writer_of(theirs)
        writer.write(b"socket")
        writer.close()
        received = await reader.read()
        transport.close()
        return received

    assert b"socket" == run(main())


def test_a_regular_file_is_refused(run: Run, tmp_path: Path) -> None:
    """Such a file is always ready, so waiting for it has no meaning; asyncio says it with these words."""
    path = tmp_path / "file"
    path.write_bytes(b"x")

    async def main() -> None:
        with path.open("r+b", 0) as file:
            with pytest.raises(ValueError, match="Pipe transport is for pipes/sockets only"):
                await asyncio.get_running_loop().connect_read_pipe(asyncio.Protocol, file)
            with pytest.raises(ValueError, match="Pipe transport is only for pipes, sockets and character devices"):
                await asyncio.get_running_loop().connect_write_pipe(asyncio.BaseProtocol, file)

    run(main())


def test_a_terminal_both_ways_on_one_descriptor(run: Run) -> None:
    """Reading and writing share the number; ending the writing side leaves the reading side at work."""

    async def main() -> tuple[bytes, bytes]:
        ours, theirs = terminal()
        reader, transport = await reader_of(ours)
        writer = await writer_of(os.fdopen(ours.fileno(), "wb", 0, closefd=False))
        writer.write(b"question\n")
        question = os.read(theirs.fileno(), 100)
        writer.close()
        await writer.wait_closed()
        os.write(theirs.fileno(), b"answer\n")
        answer = await reader.readline()
        transport.close()
        theirs.close()
        return question, answer

    assert (b"question\n", b"answer\n") == run(main())


def test_the_end_of_a_terminals_program(run: Run) -> None:
    """Linux says EIO when the last holder of the other side closes: an end, and no error that is reported."""

    async def main() -> tuple[bytes, Exception | None]:
        ours, theirs = os.openpty()
        child = await asyncio.create_subprocess_exec(
            "sh", "-c", "test -t 1 && echo terminal", stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        got = bytearray()

        class Protocol(Closed, asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                got.extend(data)

        _, protocol = await asyncio.get_running_loop().connect_read_pipe(Protocol, os.fdopen(ours, "rb", 0))
        end = await protocol.lost
        assert 0 == await child.wait()
        return bytes(got), end

    output, end = run(main())
    assert b"terminal\r\n" == output
    assert isinstance(end, OSError)


def test_standard_input_and_output_of_a_program(engine: str) -> None:
    """The classic: a filter that reads its stdin and writes its stdout through the loop."""
    program = """
import asyncio, plait, sys
async def main():
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    out, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), sys.stdout
    )
    writer = asyncio.StreamWriter(out, protocol, None, loop)
    async for line in reader:
        writer.write(line.upper())
        await writer.drain()
    transport.close()
    writer.close()
    await writer.wait_closed()
plait.run(main())
"""
    lines = b"".join(b"line %d\n" % number for number in range(20_000))
    done = subprocess.run([sys.executable, "-c", program], input=lines, capture_output=True, timeout=30)
    assert (lines.upper(), b"", 0) == (done.stdout, done.stderr, done.returncode)


def test_cancelled_while_connecting_closes_it(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    """The transport owns the file from the first moment on, as in asyncio."""

    async def main() -> bool:
        read_file, write_file = pipe_files()
        task = loop.create_task(loop.connect_read_pipe(asyncio.Protocol, read_file))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        write_file.close()
        return bool(read_file.closed)

    assert run(main())
