"""What plait puts into the place of parts of asyncio does on both loops, ours and asyncio's own, as the original does."""

import asyncio
import contextlib
import gc
import inspect
import pickle
import sys
import weakref

import pytest

import plait
from plait.core.standins import Timeout
from plait.loop import Loop


class OtherLoop(Loop):
    """A subclass, which may have timers of its own."""


async def outcome(awaitable):
    """What came of it, with all that asyncio says about it."""
    try:
        return "returned", await awaitable
    except BaseException as error:
        chain = []
        each = error
        while each is not None and len(chain) < 8:
            chain.append((type(each).__name__, str(each), type(each.__cause__).__name__, each.__suppress_context__))
            each = each.__context__
        return "raised", chain


def same_on_both(loop, scenario):
    """Run it on asyncio's own loop and classes, and on ours."""

    async def main():
        task = asyncio.current_task()
        told = await outcome(scenario())
        return told, task.cancelling()

    standard = asyncio.SelectorEventLoop()
    try:
        expected = standard.run_until_complete(main())
    finally:
        standard.close()
    assert expected == loop.run_until_complete(main())
    return expected


async def in_time():
    async with asyncio.timeout(10) as timeout:
        await asyncio.sleep(0)
    return timeout.expired(), repr(timeout)


async def late():
    async with asyncio.timeout(0.001):
        await asyncio.sleep(60)


async def late_at_once():
    async with asyncio.timeout(0):
        await asyncio.sleep(60)


async def late_in_the_past():
    async with asyncio.timeout(-1):
        await asyncio.sleep(60)


async def never():
    async with asyncio.timeout(None) as timeout:
        await asyncio.sleep(0)
    return repr(timeout), timeout.when()


async def an_int():
    async with asyncio.timeout_at(2**40) as timeout:
        pass
    return timeout.when()


async def no_number():
    async with asyncio.timeout_at("soon"):
        pass


async def raises_inside():
    async with asyncio.timeout(10):
        raise LookupError("no")


async def raises_while_late():
    async with asyncio.timeout(0.001):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise LookupError("while cancelled") from None


async def a_group_raises_while_late():
    async with asyncio.timeout(0.001):
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            try:
                await asyncio.sleep(60)
            finally:
                raise LookupError("while cancelled")


async def swallows_the_cancel():
    async with asyncio.timeout(0.001) as timeout:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
    return timeout.expired(), repr(timeout)


async def cancelled_from_outside():
    async with asyncio.timeout(10):
        asyncio.current_task().cancel("outside")
        await asyncio.sleep(60)


async def cancelled_from_both():
    async with asyncio.timeout(0.001) as timeout:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        asyncio.current_task().cancel("outside")
        await asyncio.sleep(60)
    return timeout.expired()


async def nested_inner_late():
    async with asyncio.timeout(10) as outer:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
    return outer.expired()


async def nested_outer_late():
    async with asyncio.timeout(0.001) as outer:
        try:
            async with asyncio.timeout(10) as inner:
                await asyncio.sleep(60)
        finally:
            assert (False, True) == (inner.expired(), outer.expired())


async def moved():
    async with asyncio.timeout(None) as timeout:
        seen = [timeout.when()]
        timeout.reschedule(asyncio.get_running_loop().time() + 60)
        seen.append(timeout._timeout_handler.cancelled())
        timeout.reschedule(None)
        seen.append(timeout._timeout_handler)
        timeout.reschedule(0)
        seen.append(timeout.when())
        timeout.reschedule(-1.0)
        seen.append(type(timeout._timeout_handler) is None)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append(repr(timeout))
            raise AssertionError(seen) from None


async def moved_too_early():
    timeout = asyncio.timeout(1)
    timeout.reschedule(None)


async def moved_too_late():
    async with asyncio.timeout(1) as timeout:
        pass
    timeout.reschedule(None)


async def entered_twice():
    async with asyncio.timeout(1) as timeout:
        async with timeout:
            pass


async def by_a_stack():
    async with contextlib.AsyncExitStack() as stack:
        timeout = await stack.enter_async_context(asyncio.timeout(0.001))
        await asyncio.sleep(60)
    return timeout


async def states():
    timeout = asyncio.timeout(1)
    seen = [repr(timeout), timeout._state.value, timeout.expired()]
    async with timeout as same:
        seen += [same is timeout, timeout._state.value, timeout._task is asyncio.current_task(), timeout._cancelling]
    return [*seen, repr(timeout), timeout._state.value, timeout._timeout_handler]


async def waits_for_a_coroutine():
    return await asyncio.wait_for(asyncio.sleep(0, "done"), 10)


async def waits_too_long():
    await asyncio.wait_for(asyncio.sleep(60), 0.001)


async def waits_no_time():
    await asyncio.wait_for(asyncio.sleep(60), 0)


async def cancelled_while_it_waits():
    asyncio.current_task().cancel("now")
    await asyncio.wait_for(asyncio.sleep(60), 10)


async def waits_with_a_timeout():
    task = asyncio.create_task(asyncio.sleep(60))
    done, pending = await asyncio.wait([task], timeout=0.001)
    task.cancel()
    return len(done), len(pending)


async def sleeps():
    return [await asyncio.sleep(0, 1), await asyncio.sleep(-1, 2), await asyncio.sleep(0.001, 3)]


async def a_cancelled_sleep():
    task = asyncio.create_task(asyncio.sleep(0, 1))
    await asyncio.sleep(0)
    task.cancel("stop")
    return await outcome(task)


SCENARIOS = [
    in_time,
    late,
    late_at_once,
    late_in_the_past,
    never,
    an_int,
    no_number,
    raises_inside,
    raises_while_late,
    a_group_raises_while_late,
    swallows_the_cancel,
    cancelled_from_outside,
    cancelled_from_both,
    nested_inner_late,
    nested_outer_late,
    moved,
    moved_too_early,
    moved_too_late,
    entered_twice,
    by_a_stack,
    states,
    waits_for_a_coroutine,
    waits_too_long,
    waits_no_time,
    cancelled_while_it_waits,
    waits_with_a_timeout,
    sleeps,
    a_cancelled_sleep,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_it_goes_as_on_asyncios_own_loop(loop, scenario):
    same_on_both(loop, scenario)


def test_a_timeout_is_compiled_on_our_loop_alone(run, engine):
    async def made():
        timeout = asyncio.timeout(1)
        assert isinstance(timeout, asyncio.Timeout)
        return type(timeout)

    assert Timeout is run(made())
    for loop in (asyncio.SelectorEventLoop(), OtherLoop(engine)):
        assert asyncio.Timeout is loop.run_until_complete(made())
        loop.close()


def test_a_timeout_made_without_a_running_loop_is_asyncios_own(run):
    made = asyncio.timeout_at(None)
    assert type(made) is asyncio.Timeout

    async def main():
        async with made as timeout:
            assert made is timeout

    run(main())


def test_a_subclass_of_timeout_is_left_alone(run):
    class Named(asyncio.Timeout):
        def __init__(self, name, *, when):
            super().__init__(when)
            self.name = name

    async def main():
        async with Named("mine", when=None) as timeout:
            return type(timeout), timeout.name

    assert (Named, "mine") == run(main())


def test_a_timeout_outside_of_a_task_says_so(loop):
    said = []

    def enter():
        coroutine = asyncio.timeout(1).__aenter__()
        try:
            coroutine.send(None)
        except RuntimeError as error:
            said.append(str(error))

    loop.call_soon(enter)
    loop.run_until_complete(asyncio.sleep(0))
    assert ["Timeout should be used inside a task"] == said


def test_a_timeout_serves_a_standard_task_in_our_loop(loop):
    async def main():
        assert type(asyncio.current_task()) is asyncio.Task
        async with asyncio.timeout(0.001):
            await asyncio.sleep(60)

    loop.set_task_factory(lambda loop, coro, **kwargs: asyncio.Task(coro, loop=loop, **kwargs))
    with pytest.raises(TimeoutError):
        loop.run_until_complete(main())


def test_a_timeout_goes_over_into_another_loop(loop, engine):
    async def make():
        return asyncio.timeout_at(0.0)

    async def use(timeout):
        async with timeout:
            await asyncio.sleep(60)

    timeout = loop.run_until_complete(make())
    other = plait.new_event_loop(engine)
    with pytest.raises(TimeoutError):
        other.run_until_complete(use(timeout))
    other.close()


def test_a_timeout_is_gone_when_it_was_left(run):
    async def main():
        async with asyncio.timeout(60) as timeout:
            await asyncio.sleep(0)
        gone = weakref.ref(timeout)
        gc.collect()
        gc.disable()
        try:
            del timeout
            return gone()
        finally:
            gc.enable()

    assert run(main()) is None


def test_a_timers_handle_that_was_kept_is_cancelled_and_known_to_the_collector(run):
    async def main():
        async with asyncio.timeout(60) as timeout:
            handle = timeout._timeout_handler
            assert timeout.when() == handle.when()
        return handle.cancelled(), gc.is_tracked(handle)

    assert (True, True) == run(main())


def test_timeouts_leave_no_timer_behind(loop):
    async def main():
        for _ in range(1000):
            async with asyncio.timeout(60):
                pass
        return len(loop._held()["timers"])

    assert 0 == loop.run_until_complete(main())


def test_what_a_timeout_lacks_is_said_as_of_any_object(run):
    async def main():
        with pytest.raises(AttributeError, match="'Timeout' object has no attribute 'nothing'"):
            asyncio.timeout(1).nothing  # noqa: B018

    run(main())


def test_a_pause_is_seen_by_those_who_drive_a_coroutine_by_hand():
    sleep = asyncio.sleep(0, "end")
    assert sleep.send(None) is None
    assert inspect.getcoroutinestate(sleep) == inspect.CORO_SUSPENDED
    assert [] == list(iter(sleep.cr_await))
    with pytest.raises(StopIteration) as stop:
        sleep.send(None)
    assert "end" == stop.value.value
    for end in ("throw", "close"):
        sleep = asyncio.sleep(0)
        sleep.send(None)
        if end == "close":
            sleep.close()
        else:
            with pytest.raises(LookupError):
                sleep.throw(LookupError("thrown"))
        assert inspect.getcoroutinestate(sleep) == inspect.CORO_CLOSED


def test_a_pause_can_be_awaited_and_iterated():
    pause = sys.modules["asyncio.tasks"].__dict__["__sleep0"]
    assert [None] == list(pause())

    async def twice():
        await pause()
        await pause()

    coroutine = twice()
    assert [None, None] == [coroutine.send(None), coroutine.send(None)]
    with pytest.raises(StopIteration):
        coroutine.send(None)


class Duck:
    """Says that it is a future."""

    _asyncio_future_blocking = False


class Quiet(Duck):
    """Says that it is none."""

    _asyncio_future_blocking = None


def test_isfuture_tells_futures_from_all_else(loop):
    coroutine = asyncio.sleep(0)
    task = loop.create_task(asyncio.sleep(0))
    standard = asyncio.SelectorEventLoop()
    yes = [loop.create_future(), task, asyncio.Future(loop=standard), Duck()]
    no = [coroutine, Quiet(), Duck, None, 1, object()]
    assert [True] * len(yes) == [asyncio.isfuture(each) for each in yes]
    assert [False] * len(no) == [asyncio.isfuture(each) for each in no]
    coroutine.close()
    standard.close()
    loop.run_until_complete(task)


async def who_runs(inner):
    """What each way of asking tells inside a loop, in another thread, and where `inner` is said to run instead."""
    asked = [asyncio.get_running_loop, asyncio.get_event_loop, asyncio._get_running_loop]
    running = asyncio.get_running_loop()

    def names():
        told = []
        for ask in asked:
            try:
                loop = ask()
            except RuntimeError as error:
                told.append(str(error))
            else:
                told.append({id(running): "running", id(inner): "inner", id(None): None}.get(id(loop), "another"))
        return told

    told = [names(), await asyncio.to_thread(names)]
    asyncio._set_running_loop(inner)
    told.append(names())
    asyncio._set_running_loop(running)
    told.append(names())
    return told


def test_the_running_loop_is_told_as_asyncio_tells_it(loop):
    inner = asyncio.SelectorEventLoop()
    outcome = same_on_both(loop, lambda: who_runs(inner))
    inner.close()
    assert ["running"] * 3 == outcome[0][1][0] == outcome[0][1][3]
    assert ["inner"] * 3 == outcome[0][1][2]
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_a_loop_that_has_run_is_not_kept(engine):
    loop = plait.new_event_loop(engine=engine)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    known = weakref.ref(loop)
    del loop
    gc.collect()
    assert known() is None


def test_stand_ins_are_known_by_name_and_signature():
    for name in ("get_running_loop", "_get_running_loop", "get_event_loop", "_set_running_loop"):
        function = getattr(asyncio, name)
        assert function is getattr(asyncio.events, name)
        assert name == function.__name__
        assert ("(loop, /)" if name == "_set_running_loop" else "()") == str(inspect.signature(function))
        assert pickle.loads(pickle.dumps(function)) is not None
