"""Tasks of ours behave as asyncio.Task, in every way that programs and libraries can see."""

import asyncio
import contextvars
import functools
import gc
import io
import logging
import sys
import types
import weakref

import pytest

import plait
from plait.core.tasks import Task

VERSION = sys.version_info


async def value(x):
    await asyncio.sleep(0)
    return x


def test_a_task_is_an_asyncio_task_and_future(run, loop):
    async def main():
        task = asyncio.create_task(value(1))
        assert isinstance(task, asyncio.Task)
        assert isinstance(task, asyncio.Future)
        assert asyncio.isfuture(task)
        assert task.get_loop() is loop
        assert type(task).__module__ == "plait.core.tasks"
        return await task

    assert 1 == run(main())


def test_current_task_is_known_in_tasks_and_in_nothing_else(run, loop):
    seen = []

    async def main():
        me = asyncio.current_task()
        assert me is not None
        loop.call_soon(lambda: seen.append(asyncio.current_task(loop)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert me is asyncio.current_task()

    run(main())
    assert [None] == seen
    assert asyncio.current_task(loop) is None


def test_standard_tasks_and_ours_run_in_one_loop(run, loop):
    async def name():
        await asyncio.sleep(0)
        return asyncio.current_task().get_name()

    async def main():
        theirs = [asyncio.Task(name(), loop=loop, name=f"theirs-{i}") for i in range(3)]
        ours = [loop.create_task(name(), name=f"ours-{i}") for i in range(3)]
        return await asyncio.gather(*theirs, *ours)

    assert ["theirs-0", "theirs-1", "theirs-2", "ours-0", "ours-1", "ours-2"] == run(main())


def test_all_tasks_tells_what_is_not_done(run, loop):
    async def main():
        blocker = asyncio.Event()
        tasks = [asyncio.create_task(blocker.wait()) for _ in range(5)]
        finished = asyncio.create_task(value(0))
        await finished
        assert {*tasks, asyncio.current_task()} == asyncio.all_tasks()
        blocker.set()
        await asyncio.gather(*tasks)
        assert {asyncio.current_task()} == asyncio.all_tasks()

    run(main())
    assert set() == asyncio.all_tasks(loop)


def test_a_task_that_nobody_holds_is_collected_and_said(loop, caplog):
    async def waits_for_ever():
        await loop.create_future()

    task = loop.create_task(waits_for_ever())
    gone = weakref.ref(task)
    loop.call_soon(loop.stop)
    loop.run_forever()
    with caplog.at_level(logging.ERROR, "asyncio"):
        del task
        gc.collect()
    assert gone() is None
    assert "Task was destroyed but it is pending!" in caplog.text
    assert set() == asyncio.all_tasks(loop)


def test_names_are_given_late_and_can_be_set(run):
    async def main():
        first, second = asyncio.create_task(value(1)), asyncio.create_task(value(2), name="second")
        assert first.get_name().startswith("Task-")
        assert "second" == second.get_name()
        second.set_name(3)
        assert "3" == second.get_name()
        await asyncio.gather(first, second)

    run(main())


def test_repr_tells_name_state_coroutine_and_what_it_waits_for(run, loop):
    async def main():
        future = loop.create_future()

        async def waits():
            await future

        task = asyncio.create_task(waits(), name="w")
        await asyncio.sleep(0)
        text = repr(task)
        assert text.startswith("<Task pending name='w' coro=<")
        assert "wait_for=<Future pending cb=[Task._wakeup()]>" in text
        task.cancel()
        assert "cancelling" in repr(task)
        await asyncio.wait([task])
        assert repr(task).startswith("<Task cancelled name='w'")

    run(main())


def test_cancel_gives_its_message_once_and_counts(run):
    async def main():
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        assert task.cancel("why")
        assert 1 == task.cancelling()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        assert ("why",) == raised.value.args
        assert not task.cancel()

    run(main())


def test_uncancel_to_zero_takes_the_request_back_where_python_does(run):
    async def main():
        async def body():
            me = asyncio.current_task()
            me.cancel()
            assert 1 == me.cancelling()
            assert 0 == me.uncancel()
            await asyncio.sleep(0)
            return "went on"

        return await asyncio.gather(asyncio.create_task(body()), return_exceptions=True)

    (result,) = run(main())
    if VERSION >= (3, 13):
        assert "went on" == result
    else:
        assert isinstance(result, asyncio.CancelledError)


def test_a_task_cancelled_before_its_first_slice_never_starts(run):
    started = []

    async def body():
        started.append(True)

    async def main():
        task = asyncio.create_task(body())
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(main())
    assert [] == started


def test_a_swallowed_cancel_lets_the_task_go_on(run):
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            return "stayed"

    async def main():
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert "stayed" == run(main())


def test_cancelling_an_awaited_task_reaches_the_innermost(run, loop):
    async def main():
        future = loop.create_future()

        async def inner():
            await future

        async def outer():
            await asyncio.create_task(inner())

        task = asyncio.create_task(outer())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert future.cancelled()
        assert task.cancelled()

    run(main())


def test_cancelling_tasks_that_await_each_other_is_a_recursion_error(run, loop):
    """As with asyncio's tasks; a call of C into itself would end the process."""

    async def main():
        tasks = {}

        async def wait_for(name):
            await tasks[name]

        tasks["a"] = asyncio.create_task(wait_for("b"))
        tasks["b"] = asyncio.create_task(wait_for("a"))
        await asyncio.sleep(0)
        with pytest.raises(RecursionError):
            tasks["a"].cancel()
        assert "wait_for=..." in repr(tasks["a"])
        assert not any(task.done() for task in tasks.values())

    told = []
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    run(main())
    gc.collect()  # nothing else ends them
    assert ["Task was destroyed but it is pending!"] * 2 == told


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda loop: iter([3]), "Task got bad yield: 3"),
        (lambda loop: iter([loop.create_future()]), "yield was used instead of yield from in task"),
        (lambda loop: iter([(x for x in ())]), "yield was used instead of yield from for generator in task"),
    ],
)
def test_what_is_no_await_is_thrown_back(run, loop, wrong, text):
    class Awaitable:
        def __await__(self):
            return wrong(loop)

    async def body():
        await Awaitable()

    with pytest.raises(RuntimeError, match=text):
        run(body())


def test_a_task_cannot_await_itself(run):
    async def main():
        box = []

        async def body():
            await box[0]

        box.append(asyncio.create_task(body()))
        await box[0]

    with pytest.raises(RuntimeError, match="Task cannot await on itself"):
        run(main())


def test_a_future_of_another_loop_is_refused(run, engine):
    import plait

    other = plait.new_event_loop(engine)
    try:
        future = other.create_future()

        async def body():
            await future

        with pytest.raises(RuntimeError, match="attached to a different loop"):
            run(body())
    finally:
        other.close()


def test_what_is_no_coroutine_is_refused(loop):
    with pytest.raises(TypeError, match="a coroutine was expected, got 3"):
        loop.create_task(3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        coroutine = value(1)
        try:
            loop.create_task(coroutine, colour="red")
        finally:
            coroutine.close()


def test_generator_based_coroutines_run(run):
    @types.coroutine
    def old():
        yield from asyncio.sleep(0).__await__()
        return "old"

    async def body():
        return await old()

    assert "old" == run(body())


def test_each_task_has_a_copy_of_the_context_unless_it_is_given_one(run):
    colour = contextvars.ContextVar("colour", default="none")

    async def paint(what):
        colour.set(what)
        await asyncio.sleep(0)
        return colour.get()

    async def main():
        colour.set("grey")
        given = contextvars.copy_context()
        results = await asyncio.gather(
            asyncio.create_task(paint("green")), asyncio.create_task(paint("pink"), context=given)
        )
        return results, colour.get(), given[colour]

    assert (["green", "pink"], "grey", "pink") == run(main())


def test_an_exception_is_raised_where_it_is_awaited_without_frames_of_ours(run):
    async def fails():
        raise KeyError("x")

    async def main():
        task = asyncio.create_task(fails())
        try:
            await task
        except KeyError as error:
            traceback = error.__traceback__
            names = []
            while traceback:
                names.append(traceback.tb_frame.f_code.co_name)
                traceback = traceback.tb_next
            return names

    assert ["main", "fails"] == run(main())


def test_system_exit_leaves_the_loop_and_the_loop_can_go_on(loop):
    async def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        loop.run_until_complete(leave())
    assert 1 == loop.run_until_complete(value(1))


def test_stack_and_print_stack_tell_where_it_waits(run, loop):
    async def main():
        async def waits():
            await loop.create_future()

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        (frame,) = task.get_stack()
        assert "waits" == frame.f_code.co_name
        text = io.StringIO()
        task.print_stack(file=text)
        assert "await loop.create_future()" in text.getvalue()
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_a_result_cannot_be_set_from_outside(run):
    async def main():
        task = asyncio.create_task(value(1))
        with pytest.raises(RuntimeError, match="does not support set_result"):
            task.set_result(2)
        with pytest.raises(RuntimeError, match="does not support set_exception"):
            task.set_exception(ValueError())
        return await task

    assert 1 == run(main())


def test_a_task_factory_and_debug_mode_make_standard_tasks(loop):
    async def kind():
        return type(asyncio.current_task()).__module__

    assert "plait.core.tasks" == loop.run_until_complete(kind())
    loop.set_debug(True)
    assert "_asyncio" == loop.run_until_complete(kind())
    loop.set_debug(False)
    loop.set_task_factory(lambda loop, coro, **options: asyncio.Task(coro, loop=loop, **options))
    assert "_asyncio" == loop.run_until_complete(kind())


@pytest.mark.skipif(VERSION < (3, 12), reason="eager tasks came with Python 3.12")
def test_the_eager_factory_and_eager_start_run_the_first_slice_at_once(loop):
    order = []

    async def child():
        order.append(("child", asyncio.current_task().get_name()))
        await asyncio.sleep(0)
        return 1

    async def at_once():
        return 2

    async def main():
        me = asyncio.current_task()
        task = loop.create_task(child(), name="c", eager_start=True)
        order.append(("main", asyncio.current_task() is me))
        done = loop.create_task(at_once(), eager_start=True)
        assert done.done()
        assert task in asyncio.all_tasks()
        return await task, await done

    assert (1, 2) == loop.run_until_complete(main())
    assert [("child", "c"), ("main", True)] == order
    loop.set_task_factory(asyncio.eager_task_factory)
    order.clear()

    async def under_factory():
        task = loop.create_task(child(), name="c")
        order.append("main")
        return await task

    assert 1 == loop.run_until_complete(under_factory())
    # Up to 3.13 asyncio names a factory's task after it was made, which is after its eager slice.
    assert ["child", "main"] == [order[0][0], order[1]]


def test_timeouts_task_groups_shields_and_queues_work(run):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(60), 0.001)
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(60))

                async def fail():
                    raise ValueError

                group.create_task(fail())
        task = asyncio.create_task(value(5))
        assert 5 == await asyncio.shield(task)
        queue = asyncio.Queue(1)
        getter = asyncio.create_task(queue.get())
        await queue.put(1)
        assert 1 == await getter
        done = [await each for each in asyncio.as_completed([value(i) for i in range(3)])]
        assert [0, 1, 2] == sorted(done)

    run(main())


def test_an_exception_that_nobody_retrieved_is_said(loop, caplog):
    async def fails():
        raise ValueError("lost")

    async def main():
        task = asyncio.create_task(fails())
        await asyncio.wait([task])
        del task
        gc.collect()

    with caplog.at_level(logging.ERROR, "asyncio"):
        loop.run_until_complete(main())
    assert "Task exception was never retrieved" in caplog.text
    assert "lost" in caplog.text


def test_no_task_begins_on_a_closed_loop(engine):
    """Neither by the loop nor by the class: nobody would ever run it."""
    loop = plait.new_event_loop(engine=engine)
    loop.close()
    for make in (loop.create_task, functools.partial(Task, loop=loop)):
        coroutine = value(1)
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            make(coroutine)
        coroutine.close()


def test_a_complaint_that_waits_for_the_next_slice_is_no_cancellation(loop):
    """What the next slice raises stands where a cancelled task has its error."""

    async def wrong():
        try:
            await yields(1)
        except RuntimeError:
            return task._make_cancelled_error()

    @types.coroutine
    def yields(value):
        yield value

    async def main():
        assert not task.done()  # it had its first slice before
        told = task._make_cancelled_error()
        assert (asyncio.CancelledError, ()) == (type(told), told.args)
        assert asyncio.CancelledError is type(await task)

    task = loop.create_task(wrong())
    loop.run_until_complete(main())


def test_debug_mode_tells_where_a_future_was_made_and_who_awaits_it(loop):
    loop.set_debug(True)
    future = loop.create_future()
    assert "test_debug_mode_tells_where_a_future_was_made_and_who_awaits_it" == future._source_traceback[-1].name
    loop.set_debug(False)
    assert loop.create_future()._source_traceback is None
    if VERSION >= (3, 14):

        async def main():
            gathering = asyncio.gather(future)
            await asyncio.sleep(0)
            assert {asyncio.current_task()} == future._asyncio_awaited_by
            future.set_result(None)
            await gathering
            assert future._asyncio_awaited_by is None
            assert future._source_traceback is not None

        loop.run_until_complete(main())
    else:
        future.cancel()


def test_a_number_gives_way_to_a_name(loop):
    task = loop.create_task(value(1))
    assert task.get_name().startswith("Task-")
    task.set_name("known")
    assert "known" == task.get_name()
    assert "given" == loop.create_task(value(1), name="given").get_name()
    loop.run_until_complete(task)
