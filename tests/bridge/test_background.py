"""A loop in a background thread of an ordinary program: work handed over, results, cancellation, the end, and misuse."""

import asyncio
import concurrent.futures
import contextvars
import functools
import logging
import signal
import threading
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

import plait

from snippets import run_program, sends

pytestmark = pytest.mark.usefixtures("engine")

SECONDS = 30


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


async def forever(*began: threading.Event) -> None:
    for event in began:
        event.set()
    await asyncio.Event().wait()


class Cleanup:
    """A task that tells when it began, and when its cleanup after a cancellation has ended."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.clean = False

    async def work(self) -> None:
        try:
            await forever(self.began)
        finally:
            await asyncio.sleep(0.01)
            self.clean = True


# Work.


def test_call_waits_for_the_result() -> None:
    with plait.background() as portal:
        assert 42 == portal.call(double, 21)


def test_call_with_keywords_and_plain_functions() -> None:
    """A plain function runs in the loop's thread."""

    async def named(*, number: int) -> int:
        return number

    with plait.background() as portal:
        assert 5 == portal.call(named, number=5)
        assert portal.thread is portal.call(threading.current_thread)
        assert portal.loop is portal.call(asyncio.get_running_loop)


def test_call_of_whatever_gives_an_awaitable() -> None:
    """partial objects, bound methods, callables with an async __call__, functions that return a future."""

    class Callable:
        async def __call__(self, number: int) -> int:
            return number

    def future() -> Awaitable[int]:
        result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(result.set_result, 3)
        return result

    with plait.background() as portal:
        assert 2 == portal.call(functools.partial(double, 1))
        assert 7 == portal.call(Callable(), 7)
        assert 3 == portal.call(future)


def test_an_exception_comes_with_its_traceback() -> None:
    async def outer() -> None:
        await inner()

    async def inner() -> None:
        raise LookupError("not here")

    with plait.background() as portal, pytest.raises(LookupError, match="not here") as caught:
        portal.call(outer)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert ["outer", "inner"] == names[-2:]
    assert "call" in names


def test_start_gives_a_future() -> None:
    with plait.background() as portal:
        futures = [portal.start(double, number) for number in range(10)]
        assert sum(future.result(SECONDS) for future in futures) == 90
        assert {*futures} == concurrent.futures.wait(futures, SECONDS).done


def test_the_task_is_named() -> None:
    async def name() -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    with plait.background() as portal:
        assert "given" == portal.start(name, name="given").result(SECONDS)
        assert portal.start(name).result(SECONDS).endswith("name")
        assert portal.start(functools.partial(name)).result(SECONDS).endswith("name")


def test_the_callers_context_variables_are_seen_and_its_own_kept() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def look() -> str:
        seen = variable.get()
        variable.set("changed in the task")
        return seen

    with plait.background() as portal:
        variable.set("the caller's")
        assert "the caller's" == portal.call(look)
        assert "the caller's" == portal.call(variable.get)
        assert "the caller's" == variable.get()


def test_a_future_mirrors_an_exception() -> None:
    async def fail() -> None:
        raise OSError("broken")

    with plait.background() as portal:
        future = portal.start(fail)
        error = future.exception(SECONDS)
    assert "OSError('broken')" == repr(error)


def test_a_future_works_with_asyncios_wrap_future() -> None:
    """From a running loop a portal's future can be awaited, and its cancellation goes through."""
    cleanup = Cleanup()

    async def beside() -> int:
        result = await asyncio.wrap_future(portal.start(double, 4))
        waiting = asyncio.wrap_future(portal.start(cleanup.work))
        await asyncio.to_thread(cleanup.began.wait, SECONDS)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return result

    with plait.background() as portal:
        assert 8 == asyncio.run(beside())
    assert cleanup.clean


def test_eight_threads() -> None:
    """The portal is for any thread, and many at once."""
    with plait.background() as portal, concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: portal.call(double, number), range(400)))
    assert [number * 2 for number in range(400)] == results


def test_two_portals_and_one_inside_the_other() -> None:
    """A task of one may use another: they are different loops."""
    with plait.background(name="outer") as outer, plait.background(name="inner") as inner:
        assert {"outer", "inner"} == {outer.thread.name, inner.thread.name}

        async def through() -> int:
            return await asyncio.to_thread(inner.call, double, 5)

        assert 10 == outer.call(through)
        # Blocking one loop to wait for another is unkind to its tasks, and works.
        assert 12 == outer.call(lambda: inner.call(double, 6))


def test_a_worker_thread_of_the_loop_may_call_back() -> None:
    async def work() -> int:
        return await asyncio.to_thread(lambda: portal.call(double, 8))

    with plait.background() as portal:
        assert 16 == portal.call(work)


def test_beside_a_running_loop() -> None:
    """Called from a coroutine of another loop, as in a notebook's cell, it waits like any blocking call."""

    async def cell() -> int:
        with plait.background() as portal:
            return portal.call(double, 9)

    assert 18 == asyncio.run(cell())
    assert 18 == plait.run(cell())


# Cancellation.


def test_cancelling_the_future_cancels_the_task() -> None:
    cleanup = Cleanup()
    with plait.background() as portal:
        future = portal.start(cleanup.work)
        assert cleanup.began.wait(SECONDS)
        assert future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result()
    assert cleanup.clean


def test_cancelled_before_it_began_never_runs() -> None:
    ran = []
    go = threading.Event()

    async def work() -> None:
        ran.append(1)

    with plait.background() as portal:
        busy = portal.start(go.wait)
        future = portal.start(work)
        assert future.cancel()
        go.set()
        assert busy.result(SECONDS)
    assert [] == ran


def test_cancelled_futures_are_done_for_concurrent_futures() -> None:
    """wait() and as_completed() return, whether the task ran or not."""
    go = threading.Event()
    cleanup = Cleanup()
    with plait.background() as portal:
        running = portal.start(cleanup.work)
        assert cleanup.began.wait(SECONDS)
        busy = portal.start(go.wait)
        waiting = portal.start(double, 1)
        for future in (running, waiting):
            assert future.cancel()
        go.set()
        assert {running, busy, waiting} == concurrent.futures.wait([running, busy, waiting], SECONDS).done


def test_cancelling_again_lets_the_cleanup_go_on() -> None:
    """Only the first cancel() reaches the task."""
    cleanup = Cleanup()
    with plait.background() as portal:
        future = portal.start(cleanup.work)
        assert cleanup.began.wait(SECONDS)
        for _ in range(3):
            assert future.cancel()
            portal.call(asyncio.sleep, 0)
    assert cleanup.clean


def test_work_that_swallows_its_cancellation_is_cancelled_again_by_a_failing_body() -> None:
    swallowed = threading.Event()

    async def stubborn(began: threading.Event) -> None:
        try:
            await forever(began)
        except asyncio.CancelledError:
            swallowed.set()
        await forever()

    began = threading.Event()
    with pytest.raises(ZeroDivisionError), plait.background() as portal:
        future = portal.start(stubborn, began)
        assert began.wait(SECONDS)
        future.cancel()
        assert swallowed.wait(SECONDS)
        raise ZeroDivisionError


def test_a_task_that_is_cancelled_inside_cancels_its_future() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with plait.background() as portal:
        with pytest.raises(concurrent.futures.CancelledError):
            portal.call(work)
        future = portal.start(work)
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(SECONDS)
        assert future.cancelled()


def test_cancelling_after_the_end_is_refused() -> None:
    with plait.background() as portal:
        future = portal.start(double, 1)
        assert 2 == future.result(SECONDS)
        assert not future.cancel()


def test_ctrl_c_in_a_waiting_call_cancels_the_task_and_waits_for_its_end() -> None:
    program = """
async def work():
    try:
        ready()
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0.01)
        print("clean", flush=True)
with plait.background() as portal:
    try:
        portal.call(work)
    except KeyboardInterrupt:
        print("interrupted")
    async def more(): return "goes on"
    print(portal.call(more))
"""
    ended = run_program(program, sends(signal.SIGINT))
    assert ("clean\ninterrupted\ngoes on\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_ctrl_c_while_the_block_waits_for_its_end_cancels_what_runs() -> None:
    program = """
async def work():
    try:
        ready()
        await asyncio.sleep(600)
    finally:
        print("clean", flush=True)
try:
    with plait.background() as portal:
        portal.start(work)
except KeyboardInterrupt:
    print("interrupted")
print(threading.active_count())
"""
    ended = run_program(program, sends(signal.SIGINT))
    assert ("clean\ninterrupted\n1\n", "", 0) == (ended.output, ended.errors, ended.status)


# The end.


def test_the_end_waits_for_what_was_started() -> None:
    done = []

    async def work() -> None:
        await asyncio.sleep(0.01)
        done.append(1)

    with plait.background() as portal:
        portal.start(work)
    assert [1] == done
    assert not portal.thread.is_alive()
    assert portal.loop.is_closed()


def test_work_started_by_running_work_is_waited_for_too() -> None:
    done = []

    async def first() -> None:
        await asyncio.sleep(0.01)
        await asyncio.to_thread(portal.start, second)

    async def second() -> None:
        await asyncio.sleep(0.01)
        done.append(1)

    with plait.background() as portal:
        portal.start(first)
    assert [1] == done


def test_a_body_that_raises_cancels_what_was_started() -> None:
    cleanup = Cleanup()
    with pytest.raises(ZeroDivisionError), plait.background() as portal:
        future = portal.start(cleanup.work)
        assert cleanup.began.wait(SECONDS)
        raise ZeroDivisionError
    assert cleanup.clean
    assert future.cancelled()
    assert not portal.thread.is_alive()


def test_tasks_left_behind_generators_and_executor_are_ended_as_by_asyncio_run() -> None:
    ended = []

    async def stray() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            ended.append("task")
            raise

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    kept: list[Any] = []

    async def work() -> None:
        kept.append(asyncio.ensure_future(stray()))
        kept.append(numbers())
        await anext(kept[1])
        await asyncio.to_thread(lambda: None)

    with plait.background() as portal:
        portal.call(work)
    assert ["task", "generator"] == ended


def test_the_exception_nobody_asked_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A started task may fail unseen: the log says which, once its future is forgotten."""

    async def fail() -> None:
        raise LookupError("unseen")

    with caplog.at_level(logging.ERROR, "plait"):
        with plait.background() as portal:
            portal.start(fail, name="the culprit")
        import gc

        gc.collect()
    assert ["the culprit" in record.message and record.exc_info is not None for record in caplog.records] == [True]


def test_system_exit_in_work_goes_to_whoever_waits_for_it() -> None:
    """As any exception of a task; the loop goes on."""

    async def leave() -> None:
        raise SystemExit(3)

    def leave_at_once() -> None:
        raise SystemExit(4)

    with plait.background() as portal:
        with pytest.raises(SystemExit, match="3"):
            portal.call(leave)
        with pytest.raises(SystemExit, match="4"):
            portal.call(leave_at_once)
        assert 2 == portal.call(double, 1)


def test_system_exit_of_anything_else_is_raised_at_the_blocks_end() -> None:
    """A callback's or a stray task's has nobody else to tell."""

    def leave() -> None:
        raise SystemExit(5)

    async def work() -> None:
        asyncio.get_running_loop().call_soon(leave)
        await asyncio.sleep(0)

    with pytest.raises(SystemExit, match="5"), plait.background() as portal:
        portal.call(work)
        assert 2 == portal.call(double, 1)


def test_loop_stop_by_a_task_does_not_end_the_portal() -> None:
    """The block decides over the loop's life."""

    async def stop() -> None:
        asyncio.get_running_loop().stop()

    with plait.background() as portal:
        portal.call(stop)
        assert 2 == portal.call(double, 1)


def test_a_portal_left_open_in_a_console_ends_with_the_interpreter() -> None:
    """Entered by hand and never left: the work is cancelled and may clean up; no warning, no hang."""
    program = """
portal = plait.background().__enter__()
began = threading.Event()
async def work():
    try:
        began.set()
        await asyncio.sleep(600)
    finally:
        print("clean", flush=True)
future = portal.start(work)
began.wait()
"""
    ended = run_program(program)
    assert ("clean\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_a_main_thread_that_dies_does_not_hang_on_the_portal() -> None:
    ended = run_program(
        "portal = plait.background().__enter__()\nportal.call(asyncio.sleep, 0)\nraise ValueError('died')"
    )
    assert 1 == ended.status
    assert ended.errors.endswith("ValueError: died\n")


# Misuse.


def test_call_in_its_own_loop_is_refused() -> None:
    async def work() -> None:
        with pytest.raises(RuntimeError, match="await the function instead"):
            portal.call(double, 1)

    with plait.background() as portal:
        portal.call(work)


def test_after_the_end_it_says_so() -> None:
    with plait.background() as portal:
        pass
    for use in (portal.call, portal.start):
        with pytest.raises(RuntimeError, match="this portal is closed"):
            use(double, 1)


def test_a_coroutine_instead_of_a_function_is_refused_without_further_warnings() -> None:
    with plait.background() as portal:
        for name, use in (("call", portal.call), ("start", portal.start)):
            with pytest.raises(TypeError, match=rf"write portal.{name}\(fetch, url\) instead"):
                use(double(1))  # type: ignore[call-overload]
            with pytest.raises(TypeError, match="takes a function and its arguments, not 5"):
                use(5)  # type: ignore[call-overload]


def test_async_with_is_refused() -> None:
    async def work() -> None:
        async with plait.background():
            pass

    with pytest.raises(TypeError, match="use `with`, not `async with`"):
        plait.run(work())


def test_a_background_is_for_one_block() -> None:
    background = plait.background()
    with pytest.raises(RuntimeError, match="was never entered"):
        background.__exit__(None, None, None)
    with background:
        pass
    with pytest.raises(RuntimeError, match="make another for each block"):
        background.__enter__()


def test_leaving_the_block_in_its_own_loop_is_refused() -> None:
    background = plait.background()
    portal = background.__enter__()
    with pytest.raises(RuntimeError, match="leave it in the thread that entered it"):
        portal.call(background.__exit__, None, None, None)
    background.__exit__(None, None, None)


def test_an_engine_that_cannot_run_is_told_by_the_with_statement() -> None:
    with (
        pytest.raises((ValueError, RuntimeError), match="steam"),
        plait.background(engine="steam"),  # type: ignore[arg-type]
    ):
        pass


def test_in_a_forked_child_it_says_what_to_do() -> None:
    program = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork beside threads
with plait.background() as portal:
    child = os.fork()
    if child == 0:
        try:
            portal.call(asyncio.sleep, 0)
        except RuntimeError as error:
            assert "open another with plait.background()" in str(error), error
        with plait.background() as own:
            own.call(asyncio.sleep, 0)
    else:
        print(os.waitpid(child, 0)[1], portal.call(asyncio.sleep, 0, "alive"))
if child == 0:
    os._exit(0)
"""
    ended = run_program(program)
    assert ("0 alive\n", "", 0) == (ended.output, ended.errors, ended.status)


# The rest.


def test_debug_and_engine_reach_the_loop(engine: str) -> None:
    with plait.background(debug=True, engine=engine) as portal:  # type: ignore[arg-type]
        assert portal.loop.get_debug()
        assert 2 == portal.call(double, 1)
        assert engine == portal.loop.engine.name


def test_repr_tells_thread_state_and_load() -> None:
    cleanup = Cleanup()
    with plait.background(name="mine") as portal:
        future = portal.start(cleanup.work)
        assert cleanup.began.wait(SECONDS)
        assert "<plait portal open thread='mine' jobs=1>" == repr(portal)
        future.cancel()
    assert "<plait portal closed thread='mine' jobs=0>" == repr(portal)


def test_no_future_keeps_what_its_work_held() -> None:
    """An exception's frames are let go with the future; nothing waits for the cycle collector."""
    import gc
    import weakref

    class Held:
        pass

    async def fail(held: Held) -> None:
        raise LookupError

    gc.disable()
    try:
        with plait.background() as portal:
            held = Held()
            reference = weakref.ref(held)
            try:
                portal.call(fail, held)
            except LookupError:
                pass
            del held
            portal.call(double, 1)
            assert reference() is None
    finally:
        gc.enable()


def test_warnings_of_a_portal_that_is_never_entered() -> None:
    """None: making one starts nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plait.background()
