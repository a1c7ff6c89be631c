"""Tasks and callbacks share a context until one of them changes it; nobody can tell."""

import asyncio
import contextvars
import gc
import weakref

import pytest

number: contextvars.ContextVar[int] = contextvars.ContextVar("number")


def test_what_a_callback_sets_is_seen_by_no_other(run, loop):
    seen = []

    def change(value):
        seen.append(number.get(None))
        number.set(value)
        seen.append(number.get())

    async def main():
        for value in range(4):
            loop.call_soon(change, value)
        await asyncio.sleep(0)
        seen.append(number.get(None))

    run(main())
    assert [None, 0, None, 1, None, 2, None, 3, None] == seen


def test_what_a_task_sets_stays_its_own_over_its_slices(run):
    async def count(start):
        number.set(start)
        for _ in range(5):
            await asyncio.sleep(0)
            number.set(number.get() + 1)
        return number.get()

    async def late(start):
        before = [number.get(None)]
        await asyncio.sleep(0)
        before.append(number.get(None))
        number.set(start)
        await asyncio.sleep(0)
        return before, number.get()

    async def main():
        counts = await asyncio.gather(*[count(start) for start in range(0, 100, 10)])
        lates = await asyncio.gather(*[late(start) for start in range(10)])
        return counts, lates, number.get(None)

    counts, lates, own = run(main())
    assert [start + 5 for start in range(0, 100, 10)] == counts
    assert [([None, None], start) for start in range(10)] == lates
    assert own is None


def test_a_variable_that_was_set_and_reset_is_not_kept(run):
    async def set_and_reset(value):
        token = number.set(value)
        await asyncio.sleep(0)
        number.reset(token)
        await asyncio.sleep(0)
        return number.get(None)

    async def main():
        return await asyncio.gather(*[set_and_reset(value) for value in range(10)])

    assert [None] * 10 == run(main())


def test_a_tasks_context_that_is_asked_for_is_the_one_it_runs_in(run):
    async def child():
        own = asyncio.current_task()._context
        number.set(1)
        await asyncio.sleep(0)
        assert 1 == own[number]
        assert own is asyncio.current_task()._context
        return own

    async def main():
        tasks = [asyncio.create_task(child()) for _ in range(3)]
        before = [task._context for task in tasks]
        after = await asyncio.gather(*tasks)
        assert all(one is other for one, other in zip(before, after, strict=True))
        assert 3 == len({id(each) for each in after})

    run(main())


def test_a_handles_context_that_is_asked_for_is_the_one_it_runs_in(run, loop):
    async def main():
        handles = [loop.call_soon(number.set, value) for value in range(3)]
        contexts = [handle._context for handle in handles]
        await asyncio.sleep(0)
        return [context[number] for context in contexts]

    assert [0, 1, 2] == run(main())


def test_a_turn_inside_a_callback_lends_no_context_twice(loop):
    seen = []

    def change(value):
        seen.append(number.get(None))
        number.set(value)

    def turn(value):
        loop._run_once()
        seen.append((value, number.get(None)))

    for value in range(6):
        loop.call_soon(change, value)
        loop.call_soon(turn, value)
    loop.call_soon(seen.append, "last")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert [entry for entry in seen if entry != "last"] == [None, None, None, None, None, None] + [
        (value, None) for value in reversed(range(6))
    ]


def test_a_done_callback_has_the_context_in_which_it_was_added(run, loop):
    seen = []

    async def main():
        futures = []
        for value in range(3):
            number.set(value)
            for _ in range(3):
                future = loop.create_future()
                future.add_done_callback(lambda future: seen.append(number.get()))
                futures.append(future)
        for future in futures:
            future.set_result(None)
        await asyncio.sleep(0)

    run(main())
    assert [0, 0, 0, 1, 1, 1, 2, 2, 2] == seen


def test_a_token_made_in_one_slice_is_good_in_the_next(run):
    async def main():
        async def child():
            token = number.set(1)
            await asyncio.sleep(0)
            number.reset(token)
            return number.get(None)

        return await asyncio.gather(*[child() for _ in range(5)])

    assert [None] * 5 == run(main())


@pytest.mark.parametrize("ends", ["returns", "fails", "waits"])
def test_a_context_keeps_nothing_alive_longer_than_its_tasks(run, ends):
    class Session:
        pass

    held: contextvars.ContextVar[Session] = contextvars.ContextVar("held")

    async def child():
        await asyncio.sleep(0.001 if ends == "waits" else 0)
        if ends == "fails":
            raise LookupError

    async def request():
        session = Session()
        held.set(session)
        await asyncio.gather(*[child() for _ in range(5)], return_exceptions=True)
        return weakref.ref(session)

    async def main():
        session = await asyncio.create_task(request())
        await asyncio.sleep(0.001)
        gc.collect()
        return session()

    assert run(main()) is None
