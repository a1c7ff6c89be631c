"""When a wait ends: timeouts, wakes, signals; and what it costs."""

import signal
import threading
import time
from collections.abc import Iterator
from select import EPOLLIN, EPOLLOUT

import pytest

JOIN_SECONDS = 10


@pytest.mark.parametrize("timeout_ns", [1, 999, 1_000_001, 1_999_999, 20_000_000])
def test_a_timeout_is_never_early(closed, timeout_ns, in_child):
    """In a new process: the end of a ring that this thread closed a moment ago may interrupt epoll_wait, without a signal."""

    def child() -> None:
        closed.open()
        closed.wait(0)
        for _ in range(5):
            start_ns = time.monotonic_ns()
            assert 0 == closed.wait(timeout_ns)
            assert timeout_ns <= time.monotonic_ns() - start_ns
        closed.close()

    in_child(child)


@pytest.mark.parametrize("timeout_ns", [-1, -(2**63), 2**63 - 1, 10**18])
def test_very_long_is_no_error(waiter, pair, timeout_ns):
    told = []
    waiter.watch(pair[0], told.append)
    pair[1].send(b"a")
    assert 1 == waiter.engine.wait(timeout_ns)
    waiter.engine.wake()
    assert 0 == waiter.engine.wait(timeout_ns)


def test_a_wait_of_nothing_does_not_sleep(waiter):
    assert [0] * 10 == [waiter.engine.wait(0) for _ in range(10)]


# Wakes.


def test_a_wake_before_the_wait_is_kept(waiter):
    waiter.settle()
    waiter.engine.wake()
    assert 0 == waiter.engine.wait(-1)


def test_a_wake_of_a_closed_engine_is_nothing(closed):
    closed.wake()
    closed.open()
    closed.close()
    closed.wake()


def test_no_wake_is_lost(waiter):
    """A wake may come before, while and after the thread falls asleep; each is answered by the end of a wait."""
    rounds = 3000
    asked = threading.Semaphore(0)

    def wake_often() -> None:
        for _ in range(rounds):
            asked.acquire()
            waiter.engine.wake()

    thread = threading.Thread(target=wake_often)
    thread.start()
    for _ in range(rounds):
        asked.release()
        waiter.engine.wait(-1)
    thread.join(JOIN_SECONDS)
    assert not thread.is_alive()


def test_many_threads_wake_at_once(waiter):
    threads = [threading.Thread(target=lambda: [waiter.engine.wake() for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    waiter.engine.wait(-1)
    while any(thread.is_alive() for thread in threads):
        waiter.engine.wait(1_000_000)
    for thread in threads:
        thread.join(JOIN_SECONDS)
    waiter.settle()
    assert 0 == waiter.engine.wait(1)


def test_other_threads_run_while_it_sleeps(waiter, pair):
    told = []
    waiter.watch(pair[0], told.append)
    thread = threading.Thread(target=pair[1].send, args=(b"a",))
    thread.start()
    assert 1 == waiter.engine.wait(-1)
    thread.join(JOIN_SECONDS)
    assert [EPOLLIN] == told


# Signals.


@pytest.fixture
def alarms() -> Iterator[list[int]]:
    """Alarms again and again, so that one falls into the sleep whatever this machine does meanwhile."""
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    yield seen
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_signal_is_handled_before_the_wait_returns(waiter, alarms):
    waiter.settle()
    alarms.clear()
    while not alarms:
        assert 0 == waiter.engine.wait(-1)


def test_a_signal_is_handled_when_something_was_submitted(waiter, pair, alarms):
    """io_uring_enter then answers how much it submitted, not EINTR."""
    told = []
    source = waiter.source(pair[0], told.append)
    for _ in range(5):
        alarms.clear()
        waiter.engine.arm(source, EPOLLIN, False)
        while not alarms:
            assert 0 == waiter.engine.wait(-1)
    pair[1].send(b"a")
    waiter.until(lambda: told)


def test_an_exception_of_a_signal_handler_ends_the_wait_and_loses_nothing(waiter, pair, alarms):
    told = []
    waiter.watch(pair[0], told.append)

    def interrupt(number, frame):
        pair[1].send(b"a")
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    with pytest.raises(KeyboardInterrupt):
        while True:
            waiter.engine.wait(-1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    told.clear()
    pair[1].send(b"b")
    waiter.until(lambda: told)


def test_a_signal_handler_may_wake(waiter, alarms):
    woken = []
    signal.signal(signal.SIGALRM, lambda number, frame: woken.append(waiter.engine.wake()))
    while not woken:
        waiter.engine.wait(-1)
    assert 0 == waiter.engine.wait(-1)


# Costs.


def test_a_wait_that_can_bring_nothing_makes_no_system_call_on_the_ring(waiter, pair, engine):
    waiter.watch(pair[0], print)
    waiter.settle()
    before = waiter.engine.enters
    for _ in range(1000):
        assert not (engine == "uring" and waiter.engine.pending())
        waiter.engine.wait(0)
    assert (0 if engine == "uring" else 1000) == waiter.engine.enters - before


def test_a_busy_loop_does_not_ask_the_kernel_in_each_turn(waiter):
    waiter.settle()
    before = waiter.engine.enters
    turns = 100_000
    for _ in range(turns):
        if waiter.engine.pending():
            waiter.engine.wait(0)
    assert waiter.engine.enters - before < turns / 2


def test_pending_tells_of_what_has_happened(waiter, pair):
    """In memory at once on the ring; by the next look, at most 20 us later, on epoll."""
    told = []
    waiter.watch(pair[0], told.append)
    for _ in range(200):
        if waiter.engine.pending():
            waiter.engine.wait(0)
    for number in range(100):
        pair[1].send(b"a")
        while len(told) == number:
            if waiter.engine.pending():
                waiter.engine.wait(0)
    waiter.settle()
    assert 100 == len(told)


def test_a_few_turns_always_look(waiter, pair, engine):
    """Programs count on that two or three turns bring what is there already; only long busy runs look less often."""
    told = []
    waiter.watch(pair[0], told.append, EPOLLOUT)
    assert waiter.engine.pending()
    waiter.engine.wait(0)
    assert 1 == len(told)
    for number in range(2, 20):
        waiter.engine.wait(0)
        source = waiter.watch(pair[1], told.append, EPOLLOUT)
        assert waiter.engine.pending()
        waiter.engine.wait(0)
        assert number == len(told)
        waiter.engine.disarm(source)


def test_a_closed_engine_does_not_wait(closed):
    with pytest.raises(RuntimeError, match="not open"):
        closed.wait(0)
