"""The turn: order, timers, threads, descriptors, and what happens at the ends."""

import asyncio
import contextvars
import logging
import math
import os
import random
import socket
import sys
import threading
import time

import pytest

import plait


def test_callbacks_run_in_order_and_new_ones_wait_for_the_next_turn(loop):
    order = []

    def again(n):
        order.append(n)
        if n < 3:
            loop.call_soon(again, n + 10)

    for n in range(3):
        loop.call_soon(again, n)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert [0, 1, 2] == order
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert [0, 1, 2, 10, 11, 12] == order


def test_the_ring_grows_and_keeps_its_order(loop):
    order = []
    for n in range(5000):
        loop.call_soon(order.append, n)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert list(range(5000)) == order


def test_cancelled_handles_do_not_run(loop):
    order = []
    handle = loop.call_soon(order.append, 1)
    assert isinstance(handle, asyncio.Handle)
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    assert "<Handle cancelled>" == repr(handle)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert [] == order


def test_callbacks_have_the_context_of_their_asking(loop):
    name = contextvars.ContextVar("name", default="none")
    seen = []
    context = contextvars.copy_context()
    context.run(name.set, "given")
    loop.call_soon(lambda: seen.append(name.get()), context=context)
    token = name.set("copied")
    loop.call_soon(lambda: seen.append(name.get()))
    name.reset(token)
    loop.call_later(0, lambda: seen.append(name.get()))
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert ["given", "copied", "none"] == seen


@pytest.mark.parametrize("seed", range(30))
def test_timers_fire_in_the_order_of_their_times_and_cancelled_ones_never(loop, seed):
    source = random.Random(seed)
    start = loop.time()
    left, fired = [], []
    for i in range(source.randrange(1, 300)):
        if left and source.random() < 0.3:
            left.pop(source.choice([0, -1, source.randrange(len(left))]))[1].cancel()
            continue
        when = start + (i * 1e-7 if seed % 2 else source.random() * 1e-4)
        left.append(((when, i), loop.call_at(when, fired.append, (when, i))))
    loop.call_at(start + 3e-4, loop.stop)
    loop.run_forever()
    # Times that differ by less than a nanosecond are equal, and then the order of asking holds.
    assert sorted((key for key, _ in left), key=lambda key: (math.ceil(key[0] * 1e9), key[1])) == fired


def test_timers_are_never_early(loop):
    late = []

    def check(when):
        late.append(loop.time() - when)

    for i in range(200):
        when = loop.time() + i * 1.37e-5
        handle = loop.call_at(when, check, when)
        assert when == handle.when()
        assert isinstance(handle, asyncio.TimerHandle)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert 200 == len(late)
    assert min(late) >= 0


def test_the_clock_is_the_monotonic_one(loop):
    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()


def test_times_that_make_no_sense_are_refused_or_never_come(loop):
    with pytest.raises(TypeError):
        loop.call_later(None, print)
    with pytest.raises(TypeError):
        loop.call_at(None, print)
    with pytest.raises(ValueError, match="NaN"):
        loop.call_later(math.nan, print)
    never = loop.call_later(math.inf, print, "never")
    ran = []
    loop.call_later(-5, ran.append, 1)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert [1] == ran
    never.cancel()


def test_other_threads_wake_a_loop_that_sleeps(loop):
    threads = []
    seen = []

    async def main():
        done = asyncio.Event()

        def from_thread(n):
            loop.call_soon_threadsafe(seen.append, n)
            if n == 7:
                loop.call_soon_threadsafe(done.set)

        for n in range(8):
            threads.append(threading.Thread(target=from_thread, args=(n,)))
        for thread in threads:
            thread.start()
            thread.join()
        await done.wait()

    loop.run_until_complete(main())
    assert list(range(8)) == sorted(seen)


def test_the_wrong_thread_is_told_what_to_call(run, loop):
    async def main():
        def wrong():
            for call in (
                lambda: loop.call_soon(print),
                lambda: loop.call_later(1, print),
            ):
                with pytest.raises(RuntimeError, match=r"call_soon_threadsafe\(callback, \*args\)"):
                    call()

        await asyncio.to_thread(wrong)

    run(main())


def test_descriptors_are_watched_for_other_threads_too(run, loop):
    """As asyncio allows: ipykernel adds readers to the loop of a thread that sleeps."""

    async def main():
        ours, theirs = socket.socketpair()
        heard = asyncio.Queue()
        with ours, theirs:

            def elsewhere():
                loop.add_reader(ours, lambda: heard.put_nowait(ours.recv(10)))
                loop.add_writer(theirs, loop.remove_writer, theirs)
                theirs.send(b"first")

            await asyncio.to_thread(elsewhere)
            assert b"first" == await heard.get()
            theirs.send(b"second")
            assert b"second" == await heard.get()
            assert await asyncio.to_thread(loop.remove_reader, ours)
            assert not await asyncio.to_thread(loop.remove_reader, ours)

            def there_and_gone():
                loop.add_reader(ours, heard.put_nowait, "never")
                loop.remove_reader(ours)

            theirs.send(b"third")
            await asyncio.to_thread(there_and_gone)
            await asyncio.sleep(0)
            assert heard.empty()
            loop.remove_writer(theirs)

    run(main())


def test_a_loop_can_run_in_one_thread_after_another(engine):
    loop = plait.new_event_loop(engine)
    results = []

    async def talk():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        results.append(await reader.readexactly(5))
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    async def serve(reader, writer):
        writer.write(await reader.readexactly(5))
        writer.close()
        await writer.wait_closed()

    for _ in range(3):
        thread = threading.Thread(target=loop.run_until_complete, args=(talk(),))
        thread.start()
        thread.join()
    loop.run_until_complete(talk())
    loop.close()
    assert [b"hello"] * 4 == results


def test_readers_and_writers_are_called_while_ready_and_not_after(run, loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        seen = []

        async def main():
            loop.add_reader(ours, seen.append, "read")
            loop.add_writer(ours.fileno(), seen.append, "write")
            await asyncio.sleep(0.001)
            assert {"write"} == set(seen)
            assert loop.remove_writer(ours)
            assert not loop.remove_writer(ours)
            seen.clear()
            theirs.send(b"x")
            for _ in range(3):
                await asyncio.sleep(0.001)
            assert len(seen) >= 2
            assert {"read"} == set(seen)
            assert loop.remove_reader(ours)
            seen.clear()
            await asyncio.sleep(0.001)
            assert [] == seen

        run(main())


def test_a_second_reader_replaces_the_first(run, loop):
    read, write = os.pipe()
    seen = []

    async def main():
        loop.add_reader(read, seen.append, "first")
        done = asyncio.Event()
        loop.add_reader(read, lambda: (seen.append("second"), done.set()))
        os.write(write, b"x")
        await done.wait()
        loop.remove_reader(read)

    try:
        run(main())
    finally:
        os.close(read)
        os.close(write)
    assert {"second"} == set(seen)


def test_what_cannot_be_waited_for_is_refused(run, loop, tmp_path):
    path = tmp_path / "regular"
    path.write_text("x")

    async def main():
        with path.open() as file:
            with pytest.raises(PermissionError):
                loop.add_reader(file, print)
            assert not loop.remove_reader(file)
        with pytest.raises(ValueError, match="Invalid file object"):
            loop.add_reader("nothing", print)
        with pytest.raises(ValueError, match="Invalid file descriptor"):
            loop.add_reader(-1, print)
        read, write = os.pipe()
        os.close(write)
        os.close(read)
        with pytest.raises(OSError, match=r"\[Errno 9\] descriptor \d+ is not open"):
            loop.add_reader(read, print)

    run(main())


def test_an_exception_in_a_callback_goes_to_the_handler_and_the_loop_goes_on(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    def fail():
        raise ValueError("x")

    loop.call_soon(fail)
    loop.call_soon(loop.stop)
    loop.run_forever()
    (context,) = contexts
    assert isinstance(context["exception"], ValueError)
    assert "Exception in callback test_an_exception_in_a_callback" in context["message"]
    assert isinstance(context["handle"], asyncio.Handle)


def test_debug_mode_tells_slow_callbacks_and_where_handles_were_made(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    with caplog.at_level(logging.WARNING, "asyncio"):
        handle = loop.call_soon(math.sqrt, 4)
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert "Executing <Handle" in caplog.text
    assert handle._source_traceback[-1].name == "test_debug_mode_tells_slow_callbacks_and_where_handles_were_made"
    with pytest.raises(TypeError, match="coroutine"):
        loop.call_soon(asyncio.sleep)


def test_a_closed_loop_refuses_work_and_close_is_idempotent(engine):
    loop = plait.new_event_loop(engine)
    loop.call_soon(print, "never")
    loop.call_later(1, print, "never")
    loop.close()
    loop.close()
    assert loop.is_closed()
    for call in (lambda: loop.call_soon(print), lambda: loop.call_later(1, print), loop.run_forever):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()


def test_a_callback_that_runs_is_waited_for_where_it_is_cancelled_in_another_thread(loop):
    """From Python 3.14 on: after cancel() nothing of it happens any more. Before, cancel() comes back at once, as with asyncio."""
    waits = sys.version_info >= (3, 14)
    entered, cancelling, cancelled = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def callback():
        entered.set()
        cancelling.wait(30)
        if waits:
            for _ in range(1000):  # every chance for a cancel() that does not wait
                time.sleep(0)
        else:
            cancelled.wait(30)
        seen.append("ran")

    def other_thread():
        entered.wait(30)
        cancelling.set()
        handle.cancel()
        seen.append("cancelled")
        cancelled.set()

    handle = loop.call_soon_threadsafe(callback)
    assert isinstance(handle, asyncio.Handle)
    thread = threading.Thread(target=other_thread)
    thread.start()
    loop.call_soon(loop.stop)
    loop.run_forever()
    thread.join()
    assert (["ran", "cancelled"] if waits else ["cancelled", "ran"]) == seen
    assert handle.cancelled()


def test_a_handle_cancelled_in_another_thread_before_its_turn_does_not_run(loop):
    handle = loop.call_soon_threadsafe(pytest.fail, "it was cancelled")
    thread = threading.Thread(target=handle.cancel)
    thread.start()
    thread.join()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert handle.cancelled()
    assert "<Handle cancelled>" == repr(handle)


def test_a_running_loop_can_be_neither_run_nor_closed(run, loop):
    async def main():
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()

    run(main())


def test_a_turn_that_needs_no_system_call_makes_none(engine):
    loop = plait.new_event_loop(engine)

    async def main():
        await asyncio.sleep(0)
        before, began_ns = loop._get_engine().enters, time.monotonic_ns()
        for _ in range(1000):
            await asyncio.sleep(0)
        return loop._get_engine().enters - before, time.monotonic_ns() - began_ns

    try:
        calls, took_ns = loop.run_until_complete(main())
    finally:
        loop.close()
    if engine == "uring":
        assert 0 == calls
    else:
        # epoll has nothing to look at in memory; a busy loop asks it 64 times, and from then on every 20 microseconds at most.
        assert calls <= 65 + took_ns // 20_000


def test_many_tasks_and_timers_at_once(run):
    async def main():
        async def nap(i):
            await asyncio.sleep(i % 10 * 1e-4)
            return i

        return await asyncio.gather(*(nap(i) for i in range(5000)))

    assert list(range(5000)) == run(main())
