"""The child of a fork neither hangs nor disturbs its parent, and can run a loop of its own."""

import signal
import sys

import pytest

from snippets import run_program, sends

pytestmark = pytest.mark.usefixtures("engine")


def test_no_loop_runs_in_the_child() -> None:
    program = """
async def main():
    child = os.fork()
    if child == 0:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    print(os.waitpid(child, 0)[1])
plait.run(main())
"""
    ended = run_program(program)
    assert ("0\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_in_a_child_that_c_code_made_the_running_loop_is_told_as_by_asyncio() -> None:
    """Python hears nothing of it. Up to 3.11 no loop runs there; from 3.12 on the parent's seems to."""
    program = """
import ctypes
async def main():
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        os._exit(1 if asyncio._get_running_loop() else 0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
asyncio.run(main())
plait.run(main())
"""
    ended = run_program(program)
    told = int(sys.version_info >= (3, 12))
    assert (f"{told}\n{told}\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_a_child_forked_in_a_running_loop_runs_its_own() -> None:
    """With timers, a child process and a signal handler; and the parent's loop goes on undisturbed."""
    program = """
async def work(word):
    loop = asyncio.get_running_loop()
    got = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR2, got.set)
    os.kill(os.getpid(), signal.SIGUSR2)
    await got.wait()
    process = await asyncio.create_subprocess_exec("echo", word, stdout=-1)
    out, _ = await process.communicate()
    await asyncio.sleep(0.01)
    return out.decode().strip()
async def main():
    ticks = 0
    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1
    ticking = asyncio.ensure_future(tick())
    await work("before")
    child = os.fork()
    if child == 0:
        try:
            assert plait.run(work("child")) == "child"
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    pidfd = os.pidfd_open(child)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(pidfd, ended.set)
    await ended.wait()
    asyncio.get_running_loop().remove_reader(pidfd)
    os.close(pidfd)
    seen = ticks
    print(os.waitpid(child, 0)[1], await work("after"), ticks > seen > 0)
    ticking.cancel()
plait.run(main())
"""
    ended = run_program(program)
    assert ("0 after True\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_a_signal_to_the_child_does_not_reach_the_parent() -> None:
    """Its wakeup descriptor and handlers are not the parent's: SIGTERM ends it, and the parent hears nothing."""
    program = """
import time
async def main():
    got = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, got.append, 1)
    child = os.fork()
    if child == 0:
        while True: time.sleep(1)
    os.kill(child, signal.SIGTERM)
    status = os.waitpid(child, 0)[1]
    await asyncio.sleep(0.01)
    print(os.waitstatus_to_exitcode(status), got)
plait.run(main())
"""
    ended = run_program(program)
    assert (f"{-signal.SIGTERM} []\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_ctrl_c_in_the_child_is_pythons_own() -> None:
    """The Runner's handler would cancel the parent's main task, which is no more than memory here."""
    program = """
async def main():
    child = os.fork()
    if child == 0:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            while True: pass
        except KeyboardInterrupt:
            os._exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
plait.run(main())
"""
    ended = run_program(program)
    assert ("3\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_multiprocessing_by_fork_inside_a_running_loop() -> None:
    program = """
import multiprocessing, warnings
def child(number, queue):
    async def work():
        await asyncio.sleep(0.001)
        return number * 2
    queue.put(plait.run(work()))
async def main():
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    processes = [context.Process(target=child, args=(number, queue)) for number in range(3)]
    for process in processes:
        process.start()
    await asyncio.to_thread(lambda: [process.join() for process in processes])
    print(sorted(queue.get() for _ in processes))
# 3.12 warns of every fork beside threads, which a pool for to_thread brings.
warnings.simplefilter("ignore", DeprecationWarning)
plait.run(main())
"""
    ended = run_program(program)
    assert ("[0, 2, 4]\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_terminate_ends_a_multiprocessing_child_of_a_server_with_handlers() -> None:
    """multiprocessing's terminate() is SIGTERM, which a server handles; its child must not swallow it."""
    program = """
import multiprocessing, time
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print, "parent")
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    process.start()
    process.terminate()
    process.join()
    print(process.exitcode)
plait.run(main())
"""
    ended = run_program(program)
    assert (f"{-signal.SIGTERM}\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_preexec_fn_leaves_the_parent_alone() -> None:
    """A function between fork and exec runs the fork's hooks in the child."""
    program = """
async def main():
    got = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, got.set)
    process = await asyncio.create_subprocess_exec("true", preexec_fn=lambda: os.nice(1))
    print(await process.wait())
    os.kill(os.getpid(), signal.SIGUSR1)
    await got.wait()
plait.run(main())
"""
    ended = run_program(program)
    assert ("0\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_a_child_that_ends_normally_warns_of_nothing() -> None:
    """It carries a copy of the parent's loop, which it neither closes nor complains of."""
    program = """
import gc
async def main():
    process = await asyncio.create_subprocess_exec("sleep", "600")
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    # The parent's child lives.
    print(process.returncode)
    process.kill()
    print(await process.wait())
plait.run(main())
"""
    ended = run_program(program)
    assert (f"None\n{-signal.SIGKILL}\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_a_loop_made_before_the_fork_runs_in_the_child() -> None:
    """As servers that fork their workers early do."""
    program = """
loop = plait.new_event_loop()
loop.run_until_complete(asyncio.sleep(0))
child = os.fork()
async def work():
    await asyncio.sleep(0.001)
    process = await asyncio.create_subprocess_exec("true")
    return await process.wait()
status = loop.run_until_complete(work())
loop.close()
if child == 0:
    os._exit(status)
print(status, os.waitpid(child, 0)[1])
"""
    ended = run_program(program)
    assert ("0 0\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_the_parent_handles_signals_after_the_fork() -> None:
    program = """
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    ready()
    await stop.wait()
    print("graceful")
plait.run(main())
"""
    ended = run_program(program, sends(signal.SIGTERM))
    assert ("graceful\n", "", 0) == (ended.output, ended.errors, ended.status)
