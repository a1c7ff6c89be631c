"""Signals: none is lost, Ctrl-C works at once in every state, and errors are asyncio's."""

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from snippets import run_program, sends

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    """A test that fails must not leave its handlers to the next."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_the_handler_runs_in_the_loop(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    """With its arguments, in the loop's thread, as an ordinary callback."""

    async def main() -> tuple[Any, ...]:
        got: asyncio.Future[tuple[Any, ...]] = loop.create_future()

        def handler(*args: Any) -> None:
            got.set_result((*args, asyncio.get_running_loop() is loop))

        loop.add_signal_handler(signal.SIGUSR1, handler, 1, "two")
        os.kill(os.getpid(), signal.SIGUSR1)
        return await got

    assert (1, "two", True) == run(main())


def test_a_signal_while_the_loop_is_stopped_waits_for_its_next_run(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    got: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, got.append, 1)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert [] == got
    run(asyncio.sleep(0))
    assert [1] == got


def test_every_signal_of_a_burst_of_kinds(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    """Different signals do not hide each other, and come in the order of their numbers as Python calls them."""

    async def main() -> list[int]:
        got: list[int] = []
        both = asyncio.Event()

        def handler(number: int) -> None:
            got.append(number)
            if len(got) == 2:
                both.set()

        for number in (signal.SIGUSR1, signal.SIGUSR2):
            loop.add_signal_handler(number, handler, int(number))
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
        await both.wait()
        return sorted(got)

    assert [signal.SIGUSR1, signal.SIGUSR2] == run(main())


def test_a_second_handler_replaces_the_first(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    got: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, got.append, 1)
    loop.add_signal_handler(signal.SIGUSR1, got.append, 2)
    os.kill(os.getpid(), signal.SIGUSR1)
    run(asyncio.sleep(0))
    assert [2] == got


def test_removing_gives_the_default_back(loop: asyncio.AbstractEventLoop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    assert loop.remove_signal_handler(signal.SIGUSR1)
    assert loop.remove_signal_handler(signal.SIGINT)
    assert not loop.remove_signal_handler(signal.SIGINT)
    assert signal.SIG_DFL == signal.getsignal(signal.SIGUSR1)
    assert signal.default_int_handler == signal.getsignal(signal.SIGINT)


def test_closing_the_loop_removes_its_handlers(engine: str) -> None:
    import plait

    loop = plait.new_event_loop()
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.close()
    assert signal.SIG_DFL == signal.getsignal(signal.SIGUSR1)


def test_a_handler_that_raises_is_reported(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    contexts: list[Any] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context["exception"]))

    def handler() -> None:
        raise ValueError("from the handler")

    loop.add_signal_handler(signal.SIGUSR1, handler)
    os.kill(os.getpid(), signal.SIGUSR1)
    run(asyncio.sleep(0))
    assert ["ValueError('from the handler')"] == [repr(error) for error in contexts]


def test_the_handler_sees_the_context_of_whoever_added_it(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    import contextvars

    variable = contextvars.ContextVar("variable", default="unset")
    got: list[str] = []
    contextvars.copy_context().run(
        lambda: (variable.set("set"), loop.add_signal_handler(signal.SIGUSR1, lambda: got.append(variable.get())))
    )
    os.kill(os.getpid(), signal.SIGUSR1)
    run(asyncio.sleep(0))
    assert ["set"] == got


async def coroutine_function() -> None: ...


@pytest.mark.parametrize(
    ("number", "callback", "error", "text"),
    [
        (signal.SIGUSR1, coroutine_function, TypeError, r"coroutines cannot be used with add_signal_handler\(\)"),
        (signal.SIGKILL, print, RuntimeError, "sig 9 cannot be caught"),
        (signal.SIGSTOP, print, RuntimeError, "sig 19 cannot be caught"),
        (1000, print, ValueError, "invalid signal number 1000"),
        (0, print, ValueError, "invalid signal number 0"),
        ("SIGINT", print, TypeError, "sig must be an int, not 'SIGINT'"),
    ],
)
def test_what_cannot_be_handled_is_refused_in_asyncios_words(
    loop: asyncio.AbstractEventLoop, number: Any, callback: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        loop.add_signal_handler(number, callback)


def test_only_the_main_thread_can_add_a_handler(engine: str) -> None:
    import plait

    errors: list[BaseException] = []

    async def main() -> None:
        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=lambda: plait.run(main()))
    thread.start()
    thread.join()
    assert ["main thread" in str(error) for error in errors if type(error) is RuntimeError] == [True]


def test_a_closed_loop_takes_no_handler(engine: str) -> None:
    import plait

    loop = plait.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.add_signal_handler(signal.SIGUSR1, print)


def test_the_wakeup_descriptor_of_others_comes_back(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    """Who had set one before the run has it after, and meanwhile gets the numbers of the signals all the same."""
    read_end, write_end = os.pipe2(os.O_NONBLOCK)

    async def main() -> None:
        arrived = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, lambda: None)
        loop.add_reader(read_end, arrived.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await arrived.wait()
        loop.remove_reader(read_end)

    before = signal.set_wakeup_fd(write_end)
    try:
        run(main())
        assert bytes([signal.SIGUSR1]) == os.read(read_end, 10)
    finally:
        found = signal.set_wakeup_fd(before)
        os.close(read_end)
        os.close(write_end)
    assert write_end == found


def test_a_wakeup_descriptor_set_during_the_run_stays(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    read_end, write_end = os.pipe2(os.O_NONBLOCK)

    async def main() -> None:
        signal.set_wakeup_fd(write_end)

    try:
        run(main())
    finally:
        found = signal.set_wakeup_fd(-1)
        os.close(read_end)
        os.close(write_end)
    assert write_end == found


def test_a_signal_taken_by_another_thread_wakes_the_loop(loop: asyncio.AbstractEventLoop, run: Run) -> None:
    """The kernel gives a process's signal to any thread; the loop sleeps in the main one."""

    async def main() -> None:
        got = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, got.set)
        go = threading.Event()

        def other() -> None:
            go.wait()
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

        thread = threading.Thread(target=other)
        thread.start()
        go.set()
        await got.wait()
        thread.join()

    for _ in range(50):
        run(main())


def test_ten_thousand_signals_one_after_another(engine: str) -> None:
    """Each is answered before the next is sent: one that got lost between the last look and the sleep would hang here."""
    program = """
async def main():
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        for _ in range(10_000):
            os.kill(os.getppid(), signal.SIGUSR1)
            os.read(read_end, 1)
        os._exit(0)
    count = 0
    done = asyncio.Event()
    def handler():
        nonlocal count
        count += 1
        os.write(write_end, b"x")
        if count == 10_000:
            done.set()
    loop.add_signal_handler(signal.SIGUSR1, handler)
    await done.wait()
    os.waitpid(child, 0)
    print(count)
# Handled from the first moment on: the child may be faster than add_signal_handler.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
async def unblocked():
    task = asyncio.ensure_future(main())
    await asyncio.sleep(0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    await task
plait.run(unblocked())
"""
    ended = run_program(program)
    assert ("10000\n", "", 0) == (ended.output, ended.errors, ended.status)


CTRL_C = {
    "sleeping for ever": "ready(); await asyncio.Event().wait()",
    "sleeping until a timer": "ready(); await asyncio.sleep(600)",
    "turning without rest": "ready()\n    while True: await asyncio.sleep(0)",
    "in plain Python": "ready()\n    while True: pass",
    "waiting for a child": (
        "child = await asyncio.create_subprocess_exec('sleep', '600', start_new_session=True)\n"
        "    try:\n        ready(); await child.wait()\n"
        "    finally:\n        child.kill(); await child.wait()"
    ),
    "waiting for a thread": (
        "end = threading.Event()\n    try:\n        ready(); await asyncio.to_thread(end.wait)\n    finally:\n        end.set()"
    ),
}


@pytest.mark.parametrize("state", [state for state in CTRL_C if state != "in plain Python"])
def test_ctrl_c_under_run(engine: str, state: str) -> None:
    """asyncio.Runner's way: the main task is cancelled, may clean up, and the program ends with KeyboardInterrupt."""
    program = f"""
async def main():
  try:
    {CTRL_C[state]}
  except asyncio.CancelledError:
    print("cancelled")
    raise
try:
    plait.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    ended = run_program(program, sends(signal.SIGINT))
    assert ("cancelled\ninterrupted\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_ctrl_c_twice_under_run_ends_code_that_never_awaits(engine: str) -> None:
    """Such code cannot be cancelled: the first Ctrl-C only notes it, the second raises there and then."""
    program = """
async def main():
    ready()
    while not asyncio.current_task().cancelling(): pass
    print("noted", flush=True)
    while True: pass
try:
    plait.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""

    def then(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        process.send_signal(signal.SIGINT)
        assert "noted\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)

    ended = run_program(program, then)
    assert ("interrupted\n", "", 0) == (ended.output, ended.errors, ended.status)


@pytest.mark.parametrize(
    "state", [state for state in CTRL_C if state not in ("waiting for a child", "waiting for a thread")]
)
def test_ctrl_c_under_run_until_complete(engine: str, state: str) -> None:
    """Without a Runner KeyboardInterrupt comes out of the run, and the loop can be used on."""
    program = f"""
loop = plait.new_event_loop()
async def main():
    {CTRL_C[state]}
task = loop.create_task(main())
try:
    loop.run_until_complete(task)
except KeyboardInterrupt:
    print("interrupted")
task.cancel()
async def rest():
    await asyncio.wait([task])
    print("goes on")
loop.run_until_complete(rest())
if not task.cancelled():
    task.exception()
loop.close()
"""
    ended = run_program(program, sends(signal.SIGINT))
    assert ("interrupted\ngoes on\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_ctrl_c_before_the_run(engine: str) -> None:
    """While the loop is stopped Ctrl-C is Python's own."""
    program = """
loop = plait.new_event_loop()
try:
    ready()
    while True: pass
except KeyboardInterrupt:
    print("interrupted")
loop.run_until_complete(asyncio.sleep(0))
loop.close()
"""
    ended = run_program(program, sends(signal.SIGINT))
    assert ("interrupted\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_unhandled_ctrl_c_ends_the_program_as_pythons_own(engine: str) -> None:
    """Killed by SIGINT as every interrupted Python program, so that a shell's loop stops too."""
    ended = run_program(
        "async def main():\n    ready(); await asyncio.sleep(600)\nplait.run(main())", sends(signal.SIGINT)
    )
    assert -signal.SIGINT == ended.status
    assert ended.errors.endswith("KeyboardInterrupt\n")


def test_sigterm_with_a_handler_that_ends_the_program(engine: str) -> None:
    """What servers do: a graceful end on SIGTERM."""
    program = """
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    ready()
    await stop.wait()
    print("graceful")
plait.run(main())
"""
    ended = run_program(program, sends(signal.SIGTERM))
    assert ("graceful\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_a_stopped_and_continued_program(engine: str) -> None:
    """SIGSTOP and SIGCONT (a terminal's Ctrl-Z and fg) interrupt the wait; the loop goes on waiting."""
    program = """
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    ready()
    await stop.wait()
    print("went on")
plait.run(main())
"""
    ended = run_program(program, sends(signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM))
    assert ("went on\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_a_handler_does_not_keep_a_forgotten_loop(engine: str) -> None:
    """The warning of a loop that was never closed still comes."""
    program = """
import gc, warnings
loop = plait.new_event_loop()
loop.add_signal_handler(signal.SIGUSR1, print)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    del loop
    gc.collect()
print([str(warning.message).startswith("unclosed event loop") for warning in caught])
"""
    ended = run_program(program)
    assert ("[True]\n", 0) == (ended.output, ended.status)


def test_siginterrupt_is_off(engine: str) -> None:
    """SA_RESTART is set for handled signals, as asyncio does it, for the sake of other code's system calls."""
    program = """
import ctypes
class SigAction(ctypes.Structure):
    _fields_ = [
        ("handler", ctypes.c_void_p), ("mask", ctypes.c_ulong * 16), ("flags", ctypes.c_int), ("restorer", ctypes.c_void_p)
    ]
loop = plait.new_event_loop()
loop.add_signal_handler(signal.SIGUSR1, print)
action = SigAction()
ctypes.CDLL(None).sigaction(signal.SIGUSR1, None, ctypes.byref(action))
print(bool(action.flags & 0x10000000))
loop.close()
"""
    ended = run_program(program)
    assert ("True\n", "", 0) == (ended.output, ended.errors, ended.status)
