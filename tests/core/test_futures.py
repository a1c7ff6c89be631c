"""Futures of ours behave as asyncio.Future."""

import asyncio
import contextvars
import gc
import logging
import sys

import pytest


def test_a_future_is_an_asyncio_future(loop):
    future = loop.create_future()
    assert isinstance(future, asyncio.Future)
    assert asyncio.isfuture(future)
    assert "<Future pending>" == repr(future)
    assert ("PENDING", None, None, False) == (future._state, future._result, future._exception, future.done())


def test_results_and_exceptions_are_given_to_every_waiter(run, loop):
    async def main():
        good, bad = loop.create_future(), loop.create_future()

        async def take(future):
            return await future

        waiters = [asyncio.create_task(take(future)) for future in (good, good, good, bad, bad)]
        await asyncio.sleep(0)
        good.set_result(1)
        bad.set_exception(KeyError("k"))
        return await asyncio.gather(*waiters, return_exceptions=True)

    *good, first, second = run(main())
    assert [1, 1, 1] == good
    assert "KeyError('k')" == repr(first) == repr(second)


def test_results_that_look_like_stop_iteration_arrive_whole(run, loop):
    async def main():
        results = []
        for result in ((1, 2), StopIteration(3), None, ValueError(4)):
            future = loop.create_future()
            future.set_result(result)
            results.append(await future is result)
            waiting = loop.create_future()
            loop.call_soon(waiting.set_result, result)
            results.append(await waiting is result)
        return results

    assert [True] * 8 == run(main())


def test_errors_of_use_are_those_of_asyncio(loop):
    future = loop.create_future()
    with pytest.raises(asyncio.InvalidStateError):
        future.result()
    with pytest.raises(asyncio.InvalidStateError):
        future.exception()
    with pytest.raises(TypeError):
        future.set_exception(3)
    future.set_result(1)
    with pytest.raises(asyncio.InvalidStateError):
        future.set_result(2)
    with pytest.raises(asyncio.InvalidStateError):
        future.set_exception(ValueError)
    assert not future.cancel()
    assert 1 == future.result()
    assert future.exception() is None
    with pytest.raises(ValueError, match="can only be set to False"):
        future._log_traceback = True


def test_stop_iteration_as_an_exception_is_refused_as_this_python_does(loop):
    future = loop.create_future()
    if sys.version_info >= (3, 13):
        future.set_exception(StopIteration(1))
        with pytest.raises(RuntimeError, match="StopIteration interacts badly"):
            future.result()
    else:
        with pytest.raises(TypeError, match="StopIteration interacts badly"):
            future.set_exception(StopIteration(1))


def test_callbacks_run_in_order_in_their_contexts(run, loop):
    name = contextvars.ContextVar("name", default="nobody")
    order = []

    async def main():
        future = loop.create_future()
        for who in ("a", "b", "c"):
            context = contextvars.copy_context()
            context.run(name.set, who)
            future.add_done_callback(lambda f: order.append((name.get(), f.result())), context=context)
        future.set_result(1)
        assert [] == order
        await asyncio.sleep(0)
        future.add_done_callback(lambda f: order.append((name.get(), "late")))
        await asyncio.sleep(0)

    run(main())
    assert [("a", 1), ("b", 1), ("c", 1), ("nobody", "late")] == order


def test_removed_callbacks_are_counted_and_do_not_run(run, loop):
    ran = []

    async def main():
        future = loop.create_future()
        for _ in range(3):
            future.add_done_callback(ran.append)
        future.add_done_callback(print)
        assert 3 == future.remove_done_callback(ran.append)
        assert 1 == future.remove_done_callback(print)
        assert 0 == future.remove_done_callback(print)
        future.set_result(None)
        await asyncio.sleep(0)

    run(main())
    assert [] == ran


def test_cancel_keeps_its_message(run, loop):
    async def main():
        future = loop.create_future()
        assert future.cancel("why")
        assert future.cancelled()
        with pytest.raises(asyncio.CancelledError) as raised:
            await future
        assert ("why",) == raised.value.args
        with pytest.raises(asyncio.CancelledError):
            future.result()
        with pytest.raises(asyncio.CancelledError):
            future.exception()

    run(main())


def test_an_exception_never_retrieved_is_said_at_the_end(loop, caplog):
    future = loop.create_future()
    future.set_exception(ValueError("lost"))
    with caplog.at_level(logging.ERROR, "asyncio"):
        del future
        gc.collect()
    assert "Future exception was never retrieved" in caplog.text


def test_a_future_woken_by_another_thread_must_say_so(run, loop):
    async def main():
        future = loop.create_future()
        future.add_done_callback(lambda f: None)

        def wrong():
            with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
                loop.call_soon(print)
            loop.call_soon_threadsafe(future.set_result, "right")

        await asyncio.gather(asyncio.to_thread(wrong), future)
        return future.result()

    assert "right" == run(main())
