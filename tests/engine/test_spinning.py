"""Looking for a while before sleeping: what comes is told, and nothing else changes."""

import asyncio
import threading
import time
from collections.abc import Iterator
from select import EPOLLIN

import pytest

import plait

SPIN_NS = 5_000_000


@pytest.fixture
def spinning(waiter) -> Iterator:
    waiter.engine.spin_ns = SPIN_NS
    return waiter


@pytest.mark.parametrize("timeout_ns", [1, 999_999, SPIN_NS, 4 * SPIN_NS])
def test_a_timeout_is_never_early(spinning, timeout_ns):
    for _ in range(3):
        began_ns = time.monotonic_ns()
        while time.monotonic_ns() - began_ns < timeout_ns:
            assert 0 == spinning.engine.wait(timeout_ns - (time.monotonic_ns() - began_ns))


@pytest.mark.parametrize("level", [False, True])
def test_what_comes_while_it_looks_is_told(spinning, pair, level):
    told = []
    spinning.watch(pair[0], lambda events: told.append(pair[0].recv(10)), EPOLLIN, level)
    for number in range(100):
        sender = threading.Thread(target=pair[1].send, args=(b"%d" % number,))
        sender.start()
        spinning.until(lambda number=number: len(told) > number)
        sender.join()
    assert [b"%d" % number for number in range(100)] == told


def test_a_wake_while_it_looks_is_enough(spinning):
    for _ in range(20):
        waking = threading.Thread(target=spinning.engine.wake)
        waking.start()
        assert 0 == spinning.engine.wait(-1)
        waking.join()


def test_after_a_long_sleep_it_does_not_look(spinning):
    """Which is seen by the processor's time that a wait takes."""
    spinning.engine.spin_ns = 200_000_000
    spinning.engine.wait(400_000_000)
    before_ns = time.thread_time_ns()
    spinning.engine.wait(400_000_000)
    assert time.thread_time_ns() - before_ns < 100_000_000


def test_other_threads_run_while_it_looks(engine):
    loop = plait.new_event_loop(engine, spin_us=10_000)
    try:
        for number in range(20):
            future = loop.create_future()
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(future.set_result, number))
            thread.start()
            assert number == loop.run_until_complete(future)
            thread.join()
    finally:
        loop.close()


def test_the_engine_that_takes_over_looks_as_long(engine):
    loop = plait.new_event_loop(engine, spin_us=20)
    other = type(loop._get_engine())()
    other.adopt(loop._get_engine())
    assert 20_000 == other.spin_ns
    loop.close()


# How it is asked for.


def test_off_unless_asked_for(engine, monkeypatch):
    monkeypatch.delenv("PLAIT_SPIN_US", raising=False)
    loop = plait.new_event_loop(engine)
    assert 0 == loop._get_engine().spin_ns
    loop.close()


def test_the_environment_asks_and_the_argument_goes_before_it(engine, monkeypatch):
    monkeypatch.setenv("PLAIT_SPIN_US", "12.5")
    for argument, expected in ((None, 12_500), (3, 3_000), (0, 0)):
        loop = plait.new_event_loop(engine, spin_us=argument)
        assert expected == loop._get_engine().spin_ns
        loop.close()


@pytest.mark.parametrize("wrong", [-1, 10_001, float("nan"), float("inf")])
def test_a_wrong_number_is_refused_by_name(engine, monkeypatch, wrong):
    with pytest.raises(ValueError, match=rf"spin_us={wrong!r} is no number of microseconds from 0 to 10000"):
        plait.new_event_loop(engine, spin_us=wrong)
    monkeypatch.setenv("PLAIT_SPIN_US", "often")
    with pytest.raises(ValueError, match="PLAIT_SPIN_US=often is no number"):
        plait.new_event_loop(engine)


def test_run_passes_it_on(engine):
    async def main():
        return asyncio.get_running_loop()._get_engine().spin_ns

    assert 7_000 == plait.run(main(), spin_us=7)
