"""Futures, tasks and handles use the memory of earlier ones; what only the loop holds is hidden from the garbage collector."""

import asyncio
import gc
import weakref

import pytest

import plait


class Owner:
    """Holds a handle whose callback holds it: a cycle that only the garbage collector can end."""

    def __init__(self, schedule):
        self.handle = schedule(self.call)

    def call(self):
        pass


def left_of(schedule, forget):
    """How many of 20 owners live on after `forget` and a collection."""
    owners = [weakref.ref(Owner(schedule)) for _ in range(20)]
    forget()
    gc.collect()
    return sum(owner() is not None for owner in owners)


async def turns():
    for _ in range(3):
        await asyncio.sleep(0)


def cancelled(schedule):
    def schedule_and_cancel(callback):
        handle = schedule(callback)
        handle.cancel()
        return handle

    return schedule_and_cancel


@pytest.mark.parametrize("kind", ["soon", "timer", "cancelled", "cancelled timer", "threadsafe"])
def test_a_handle_that_has_run_or_was_cancelled_does_not_keep_its_owner_alive(loop, kind):
    schedule = {
        "soon": loop.call_soon,
        "timer": lambda callback: loop.call_later(0, callback),
        "cancelled": cancelled(loop.call_soon),
        "cancelled timer": cancelled(lambda callback: loop.call_later(1000, callback)),
        "threadsafe": loop.call_soon_threadsafe,
    }[kind]
    assert 0 == left_of(schedule, lambda: loop.run_until_complete(turns()))


@pytest.mark.parametrize("kind", ["soon", "timer"])
def test_a_handle_that_a_closed_loop_dropped_does_not_keep_its_owner_alive(engine, kind):
    loop = plait.new_event_loop(engine=engine)
    schedule = {"soon": loop.call_soon, "timer": lambda callback: loop.call_later(1000, callback)}[kind]
    assert 0 == left_of(schedule, loop.close)


def test_a_handle_lives_while_it_waits_though_the_collector_cannot_see_it(loop):
    called = []
    for number in range(100):
        loop.call_later(0.001, called.append, number)
        loop.call_soon(called.append, -number)
    gc.collect()
    loop.run_until_complete(asyncio.sleep(0.002))
    gc.collect()
    assert [-n for n in range(100)] + list(range(100)) == called


def test_a_handle_that_failed_is_known_to_the_collector(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    loop.call_soon(lambda: 1 / 0)
    loop.run_until_complete(turns())
    assert [True] == [gc.is_tracked(context["handle"]) for context in contexts]


def test_every_failure_is_reported_however_often_the_memory_was_used(loop):
    """An object that was finalized is not used again, for it would never be finalized a second time."""
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))

    async def fail():
        raise ValueError

    async def main():
        for _ in range(1000):
            loop.create_future().set_exception(ValueError())
            task = loop.create_task(fail())
            await asyncio.wait([task])
            del task

    loop.run_until_complete(main())
    assert 1000 == reports.count("Future exception was never retrieved")
    assert 1000 == reports.count("Task exception was never retrieved")


def test_a_future_that_its_report_brings_back_to_life_stays_usable(loop):
    kept = []
    loop.set_exception_handler(lambda loop, context: kept.append(context["future"]))
    for _ in range(300):
        loop.create_future().set_exception(ValueError())
    others = [loop.create_future() for _ in range(300)]
    assert 300 == len({id(future) for future in kept} - {id(future) for future in others})
    assert all(isinstance(future.exception(), ValueError) for future in kept)


def test_used_memory_comes_back_empty(loop):
    def used():
        future = loop.create_future()
        future.add_done_callback(print)
        future.cancel("message")
        future.remove_done_callback(print)

    for _ in range(300):
        used()
    future = loop.create_future()
    assert not future.done()
    assert (None, None) == (future._callbacks, future._cancel_message)


def test_subclasses_have_memory_of_their_own(loop):
    class Wide(type(loop.create_future())):
        def __init__(self):
            super().__init__(loop=loop)
            self.more = "attributes"

    for _ in range(300):
        loop.create_future()
        assert "attributes" == Wide().more
