"""What becomes of operations when the loop closes, moves to another thread, or the process forks."""

import asyncio
import errno
import os
import re
import threading
import warnings
from pathlib import Path

import pytest

import plait
from plait.loop import Loop

from snippets import run_program


def test_a_loop_closes_with_operations_in_flight(loop: Loop, tmp_path: Path) -> None:
    """Reads that have nothing to read yet, opens, writes: nothing hangs, nothing stays open, buffers are given back."""
    reader, writer = os.pipe()
    buffer = bytearray(10)
    path = tmp_path / "file"

    async def main() -> None:
        loop.preadv(reader, [buffer], -1)
        loop.openat(path, os.O_CREAT | os.O_WRONLY)
        loop.file_call(len, "x")
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    before = threading.active_count()
    os.write(writer, b"x")  # a worker cannot be called back from a read
    loop.close()
    assert threading.active_count() <= before
    buffer.clear()
    os.close(reader)
    os.close(writer)


def test_workers_that_looked_for_more_to_write_sleep_when_nothing_comes(loop: Loop, tmp_path: Path) -> None:
    pieces = [bytes([n]) * 300_000 for n in range(30)]

    async def main() -> None:
        fd = await loop.openat(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
        for n, piece in enumerate(pieces):
            assert len(piece) == await loop.pwrite(fd, piece, n * len(piece))
        await loop.close_fd(fd)

    loop.run_until_complete(main())
    assert b"".join(pieces) == (tmp_path / "file").read_bytes()
    threads = loop._files.pool.threads
    assert threads
    for thread in threads:
        state = Path(f"/proc/self/task/{thread.native_id}/stat")
        while state.read_text().rpartition(")")[2].split()[0] != "S":
            pass  # until pytest's own limit


def test_a_worker_that_is_busy_when_the_loop_closes_ends_by_itself(tmp_path: Path) -> None:
    loop = plait.new_event_loop(engine="epoll")
    reader, writer = os.pipe()
    buffer = bytearray(10)

    async def main() -> None:
        loop.preadv(reader, [buffer], -1)
        while loop._files.pool.threads and not loop._files.in_flight:
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    threads = list(loop._files.pool.threads)
    loop.close()
    os.write(writer, b"at last")
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert b"at last" == buffer[:7]
    buffer.clear()
    os.close(reader)
    os.close(writer)


def test_a_close_waits_for_what_a_worker_still_does(run, loop: Loop) -> None:
    """A cancelled read that cannot be called back must not meet another file under the same number."""

    async def main() -> None:
        reader, writer = os.pipe()
        reading = loop.preadv(reader, [bytearray(10)], -1)
        for _ in range(20):
            await asyncio.sleep(0.001)
        reading.cancel()
        closing = loop.close_fd(reader)
        os.write(writer, b"data")
        await closing
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(reader)
        os.close(writer)

    run(main())


def test_a_loop_that_moves_to_another_thread_gives_up_what_the_old_ring_has() -> None:
    """Its end cannot be heard any more: the future fails, in words, and the buffers stay lent."""
    loop = plait.new_event_loop(engine="uring")
    reader, writer = os.pipe()
    pending: list[asyncio.Future[int]] = []

    async def begin() -> None:
        pending.append(loop.preadv(reader, [bytearray(10)], -1))
        await asyncio.sleep(0)

    async def end() -> int:
        with pytest.raises(OSError, match="moved to another thread") as caught:
            await pending[0]
        return caught.value.errno

    results = []

    def elsewhere() -> None:
        results.append(loop.run_until_complete(end()))
        loop.close()

    first = threading.Thread(target=loop.run_until_complete, args=(begin(),))
    first.start()
    first.join()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        second = threading.Thread(target=elsewhere)
        second.start()
        second.join()
    assert [errno.ECANCELED] == results
    os.close(reader)
    os.close(writer)


def test_both_sides_of_a_fork_read_files(engine: str, tmp_path: Path) -> None:
    """The child on a loop of its own, the parent on, with an operation in flight and workers at work at the fork."""
    (tmp_path / "file").write_text("data")
    program = f"""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork beside threads
path = {str(tmp_path / "file")!r}
async def read():
    loop = asyncio.get_running_loop()
    async with plait.open(path) as file:
        return await file.read(), await loop.file_call(len, "four")
async def main():
    reader, writer = os.pipe()
    loop = asyncio.get_running_loop()
    waiting = loop.preadv(reader, [bytearray(4)], -1)
    await read()
    child = os.fork()
    if child == 0:
        try:
            ok = plait.run(read()) == ("data", 4)
        except BaseException:
            import traceback
            traceback.print_exc()
            ok = False
        os._exit(0 if ok else 1)
    print(os.waitpid(child, 0)[1], await read())
    os.write(writer, b"data")
    print(await waiting)
plait.run(main())
"""
    ended = run_program(program)
    assert ("0 ('data', 4)\n4\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_a_loop_that_was_never_closed_does_not_hold_up_the_end(engine: str, tmp_path: Path) -> None:
    program = """
loop = plait.new_event_loop()
print(loop.run_until_complete(loop.file_call(len, "four")))
import warnings
warnings.simplefilter("ignore")
"""
    ended = run_program(program)
    assert ("4\n", 0) == (ended.output, ended.status)


def test_how_files_are_served_is_told(loop: Loop) -> None:
    told = {"uring": r"on the ring, but .*large writes by worker threads", "epoll": "by worker threads"}
    assert re.fullmatch(told[loop.engine.name], loop.engine.files)
