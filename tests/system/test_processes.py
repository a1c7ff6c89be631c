"""Child processes: every form of stdio, how the end is learned, and that nothing is left of them."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import plait

Run = Callable[[Coroutine[Any, Any, Any]], Any]

# Longer than any test may take: a child that must be ended by us.
FOREVER = ["sleep", "600"]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_and_status(run: Run) -> None:
    """The everyday case: what it wrote, and how it ended."""

    async def main() -> tuple[bytes, bytes, int | None]:
        child = await asyncio.create_subprocess_shell("echo out; echo err >&2; exit 7", stdout=PIPE, stderr=PIPE)
        out, err = await child.communicate()
        return out, err, child.returncode

    assert (b"out\n", b"err\n", 7) == run(main())


def test_a_megabyte_through_cat(run: Run) -> None:
    """Both directions at once, far over a pipe's capacity."""
    data = os.urandom(1 << 20)

    async def main() -> bytes:
        child = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        out, _ = await child.communicate(data)
        return out

    assert data == run(main())


def test_stdin_is_a_pipe_that_can_be_opened_again(run: Run) -> None:
    """A socket as stdin would refuse to be opened as /dev/stdin (ENXIO)."""

    async def main() -> tuple[bytes, int | None]:
        child = await asyncio.create_subprocess_exec("cat", "/dev/stdin", stdin=PIPE, stdout=PIPE)
        out, _ = await child.communicate(b"again")
        return out, child.returncode

    assert (b"again", 0) == run(main())


def test_stderr_into_stdout(run: Run) -> None:
    async def main() -> bytes:
        child = await asyncio.create_subprocess_shell("echo a; echo b >&2", stdout=PIPE, stderr=STDOUT)
        return (await child.communicate())[0]

    assert b"a\nb\n" == run(main())


def test_devnull(run: Run) -> None:
    async def main() -> tuple[Any, int | None]:
        child = await asyncio.create_subprocess_exec("cat", stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
        return child.stdout, await child.wait()

    assert (None, 0) == run(main())


def test_files_as_stdio(run: Run, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"from a file")

    async def main() -> int:
        with source.open("rb") as stdin, target.open("wb") as stdout:
            child = await asyncio.create_subprocess_exec("cat", stdin=stdin, stdout=stdout)
            return await child.wait()

    assert 0 == run(main())
    assert b"from a file" == target.read_bytes()


def test_inherited_stdio(engine: str) -> None:
    """Without a word about stdio, the child has ours."""
    program = """
import asyncio, plait
async def main():
    child = await asyncio.create_subprocess_exec("cat")
    return await child.wait()
raise SystemExit(plait.run(main()))
"""
    done = subprocess.run(python(program), input=b"through", stdout=PIPE, stderr=PIPE, timeout=30)
    assert (b"through", b"", 0) == (done.stdout, done.stderr, done.returncode)


def test_a_pipeline_of_processes(run: Run) -> None:
    """Children joined by a pipe that is none of the loop's business."""

    async def main() -> bytes:
        read_end, write_end = os.pipe()
        first = await asyncio.create_subprocess_exec("seq", "1", "50000", stdout=write_end)
        os.close(write_end)
        second = await asyncio.create_subprocess_exec("wc", "-l", stdin=read_end, stdout=PIPE)
        os.close(read_end)
        out, _ = await second.communicate()
        assert 0 == await first.wait()
        return out.strip()

    assert b"50000" == run(main())


def test_environment_folder_and_descriptors_reach_the_child(run: Run, tmp_path: Path) -> None:
    async def main() -> list[bytes]:
        read_end, write_end = os.pipe()
        os.write(write_end, b"extra")
        os.close(write_end)
        child = await asyncio.create_subprocess_shell(
            f"pwd; echo $WORD; cat /dev/fd/{read_end}",
            stdout=PIPE,
            cwd=tmp_path,
            env={"WORD": "word", "PATH": os.environ["PATH"]},
            pass_fds=[read_end],
        )
        os.close(read_end)
        return (await child.communicate())[0].splitlines()

    assert [str(tmp_path).encode(), b"word", b"extra"] == run(main())


def test_protocol_is_told_in_order(run: Run) -> None:
    """connection_made first, a pipe's data before its end, connection_lost last; the process may end before its pipe."""
    events: list[Any] = []

    class Protocol(asyncio.SubprocessProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            events.append("made")

        def pipe_data_received(self, fd: int, data: bytes) -> None:
            events.append((fd, data))

        def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
            events.append((fd, exc))

        def process_exited(self) -> None:
            events.append("exited")

        def connection_lost(self, exc: Exception | None) -> None:
            events.append(("lost", exc))
            lost.set()

    lost = asyncio.Event()

    async def main() -> int | None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.subprocess_exec(Protocol, "echo", "hi", stdin=None, stderr=None)
        await lost.wait()
        status = transport.get_returncode()
        transport.close()
        return status

    assert 0 == run(main())
    events.remove("exited")
    assert ["made", (1, b"hi\n"), (1, None), ("lost", None)] == events


@pytest.mark.parametrize(
    ("end", "expected"),
    [("kill", -signal.SIGKILL), ("terminate", -signal.SIGTERM), ("usr1", -signal.SIGUSR1)],
)
def test_signals_end_it(run: Run, end: str, expected: int) -> None:
    async def main() -> int:
        child = await asyncio.create_subprocess_exec(*FOREVER)
        if end == "usr1":
            child.send_signal(signal.SIGUSR1)
        else:
            getattr(child, end)()
        return await child.wait()

    assert expected == run(main())


def test_signals_after_the_end_say_so(run: Run) -> None:
    """As asyncio: the process is gone, and no stranger who got its number is hit."""

    async def main() -> None:
        child = await asyncio.create_subprocess_exec("true")
        await child.wait()
        await asyncio.sleep(0)
        with pytest.raises(ProcessLookupError):
            child.kill()

    run(main())


def test_a_process_group_ends_together(run: Run) -> None:
    """start_new_session makes the child a group's leader, so that a shell's children can be ended with it."""

    async def main() -> tuple[int, bytes]:
        child = await asyncio.create_subprocess_shell(
            "sleep 600 & echo ready; wait", stdout=PIPE, start_new_session=True
        )
        assert child.stdout is not None
        await child.stdout.readline()
        os.killpg(child.pid, signal.SIGKILL)
        # The end of the output: the shell's own child is gone too.
        return await child.wait(), await child.stdout.read()

    assert (-signal.SIGKILL, b"") == run(main())


def test_wait_does_not_wait_for_a_grandchild_with_the_pipe(run: Run) -> None:
    """wait() is about the process; who holds its output is another question (python/cpython gh-119710)."""

    async def main() -> None:
        child = await asyncio.create_subprocess_shell("sleep 600 & echo $!", stdout=PIPE)
        assert child.stdout is not None
        grandchild = int(await child.stdout.readline())
        assert 0 == await child.wait()
        os.kill(grandchild, signal.SIGKILL)
        assert b"" == await child.stdout.read()

    run(main())


def test_writing_to_a_child_that_ended(run: Run) -> None:
    """The end of the reader is seen without writing, and drain() tells it."""

    async def main() -> None:
        child = await asyncio.create_subprocess_exec("true", stdin=PIPE)
        assert child.stdin is not None
        await child.wait()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                child.stdin.write(b"x" * 65536)
                await child.stdin.drain()

    run(main())


def test_a_missing_program_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/nonexistent/program", stdin=PIPE, stdout=PIPE, stderr=PIPE)

    run(main())


def test_somebody_else_read_the_status(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """As asyncio: 255 and a warning, for the status is lost."""

    async def main() -> int:
        child = await asyncio.create_subprocess_exec(*FOREVER)
        child.kill()
        os.waitpid(child.pid, 0)
        return await child.wait()

    assert 255 == run(main())
    assert ["will report returncode 255" in record.message for record in caplog.records] == [True]


def test_popen_itself_read_the_status(run: Run) -> None:
    """Then it is not lost: Popen has it."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        exited = asyncio.Event()

        class Protocol(asyncio.SubprocessProtocol):
            def process_exited(self) -> None:
                exited.set()

        transport, _ = await loop.subprocess_exec(Protocol, "sh", "-c", "exit 3", stdin=None, stdout=None, stderr=None)
        transport.get_extra_info("subprocess").wait()
        await exited.wait()
        status = transport.get_returncode()
        assert status is not None
        transport.close()
        return status

    assert 3 == run(main())


def test_ignored_sigchld(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """The kernel reaps the child at once, perhaps before we look: 255, and no hang."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    async def main() -> int:
        child = await asyncio.create_subprocess_exec("true")
        return await child.wait()

    try:
        assert 255 == run(main())
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EMFILE])
def test_without_pidfd_a_thread_waits(run: Run, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """An old kernel, a seccomp filter, or no descriptor left: the status comes all the same."""

    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", refuse)

    async def main() -> tuple[bytes, int | None, int]:
        child = await asyncio.create_subprocess_shell("echo hi; exit 5", stdout=PIPE)
        out, _ = await child.communicate()
        killed = await asyncio.create_subprocess_exec(*FOREVER)
        killed.kill()
        return out, child.returncode, await killed.wait()

    assert (b"hi\n", 5, -signal.SIGKILL) == run(main())


def test_cancelled_at_every_point_of_its_start(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    """The child is killed and reaped, and its pipes closed, wherever the cancellation meets."""

    async def turns(count: int) -> bool:
        task = loop.create_task(asyncio.create_subprocess_exec(*FOREVER, stdin=PIPE, stdout=PIPE, stderr=PIPE))
        for _ in range(count):
            await asyncio.sleep(0)
        task.cancel()
        try:
            child = await task
        except asyncio.CancelledError:
            return False
        # It was started before the cancellation came.
        child.kill()
        await child.communicate()
        return True

    points = 0
    while not run(turns(points)):
        points += 1
    assert points > 1


@pytest.mark.parametrize("turns", range(6))
def test_cancelled_in_every_turn_of_its_start(engine: str, turns: int) -> None:
    """As by a cancel scope of anyio; the loop ends right after that, and the child is reaped all the same."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(asyncio.create_subprocess_exec(*FOREVER, stdin=PIPE, stdout=PIPE))

        def cancel() -> None:
            if not task.done():
                task.cancel()
                loop.call_soon(cancel)

        for _ in range(turns):
            await asyncio.sleep(0)
        cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            child = task.result()
            child.kill()
            await child.communicate()

    plait.run(main(), engine=engine)


def test_wait_can_be_cancelled_and_asked_again(run: Run) -> None:
    async def main() -> int:
        child = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        assert child.stdin is not None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child.wait(), 0.01)
        child.stdin.close()
        return await child.wait()

    assert 0 == run(main())


def test_a_child_may_end_while_the_loop_is_stopped(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    """Its pidfd stays readable: the next run learns of it."""
    child = run(asyncio.create_subprocess_exec(*FOREVER))
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert -signal.SIGKILL == run(child.wait())


def test_a_loop_closed_over_a_running_child(engine: str) -> None:
    """The descriptors go, the child stays, and its Popen can still be asked for."""
    program = """
import asyncio, gc, os, plait, signal, warnings
warnings.simplefilter("ignore", ResourceWarning)
loop = plait.new_event_loop()
before = sorted(os.listdir("/proc/self/fd"))
transport, _ = loop.run_until_complete(
    loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "600", stdin=None, stdout=None, stderr=None)
)
popen = transport.get_extra_info("subprocess")
loop.close()
assert not [d for d in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + d)
            and "pidfd" in os.readlink("/proc/self/fd/" + d)]
assert popen.poll() is None
popen.kill()
assert popen.wait() == -signal.SIGKILL
"""
    done = subprocess.run(python(program), stdout=PIPE, stderr=PIPE, timeout=30)
    assert (b"", 0) == (done.stderr, done.returncode)


def test_a_program_that_leaves_its_child_ends_without_a_word(engine: str) -> None:
    """The transport is collected after its loop was closed: a warning where warnings are shown, no "Event loop is closed"."""
    program = """
import asyncio, gc, plait, warnings
warnings.simplefilter("ignore", ResourceWarning)
async def main():
    return await asyncio.create_subprocess_exec("sleep", "600", stdin=-1, stdout=-1, stderr=-1)
process = plait.run(main())
del process
gc.collect()
"""
    done = subprocess.run(python(program), stdout=PIPE, stderr=PIPE, timeout=30)
    assert (b"", 0) == (done.stderr, done.returncode)


@pytest.mark.parametrize("debug", [False, True])
def test_in_debug_mode_too(engine: str, debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> tuple[bytes, int | None]:
        child = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        out, _ = await child.communicate(b"debug")
        return out, child.returncode

    assert (b"debug", 0) == plait.run(main(), debug=debug)


def test_no_thread_and_no_sigchld_handler(run: Run) -> None:
    """Waiting by pidfd needs neither, so it cannot collide with those of others."""

    async def main() -> tuple[int, Any]:
        child = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        threads, handler = threading.active_count(), signal.getsignal(signal.SIGCHLD)
        await child.communicate(b"")
        return threads, handler

    assert (threading.active_count(), signal.getsignal(signal.SIGCHLD)) == run(main())


def test_fifty_at_once(run: Run) -> None:
    async def main() -> list[tuple[bytes, int | None]]:
        async def one(number: int) -> tuple[bytes, int | None]:
            child = await asyncio.create_subprocess_shell(f"echo {number}; exit {number}", stdout=PIPE)
            return (await child.communicate())[0], child.returncode

        return await asyncio.gather(*map(one, range(50)))

    assert [(b"%d\n" % number, number) for number in range(50)] == run(main())


def test_many_one_after_another_leak_no_descriptor(run: Run) -> None:
    async def main() -> tuple[int, int]:
        counts = []
        for number in range(200):
            child = await asyncio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE, stderr=PIPE)
            await child.communicate()
            if number in (10, 199):
                counts.append(len(os.listdir("/proc/self/fd")))
        return counts[0], counts[1]

    early, late = run(main())
    assert early == late


def test_in_a_thread_that_is_not_the_main_one(engine: str) -> None:
    """Without child watchers a loop in any thread can have children."""
    results: list[Any] = []

    async def main() -> int:
        child = await asyncio.create_subprocess_shell("exit 4")
        return await child.wait()

    thread = threading.Thread(target=lambda: results.append(plait.run(main())))
    thread.start()
    thread.join()
    assert [4] == results
