"""A recording names tasks that wait for each other in a circle, and nothing that merely looks like one."""

import asyncio
import gc
import re
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import plait
from plait.see import terminal, watchdog
from plait.see.findings import Finding, find
from plait.see.model import DEADLOCK, Mark, Recording
from plait.see.recording import read
from plait.see.summary import summarize

from recordings import MS, Lock, Simulation

Scene = Callable[[], Awaitable[list["asyncio.Task[Any]"]]]
Record = Callable[[Scene], Recording]


async def end(tasks: "list[asyncio.Task[Any]]") -> None:
    """Also those that await each other, which cannot be cancelled: they are left to the collector."""
    for task in reversed(tasks):
        try:
            task.cancel()
        except RecursionError:
            break
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
def record(loop: Any, tmp_path: Path) -> Record:
    """`record(scene)` runs it, records what it leaves running for a turn more, and ends that."""
    path = tmp_path / "out.plait"

    async def program(scene: Scene) -> None:
        with plait.record(path, size=1 << 20):
            tasks = await scene()
            for _ in range(5):
                await asyncio.sleep(0)
        await end(tasks)

    def run(scene: Scene) -> Recording:
        told: list[str] = []
        loop.set_exception_handler(lambda _, context: told.append(context["message"]))
        loop.run_until_complete(program(scene))
        gc.collect()
        assert set(told) <= {"Task was destroyed but it is pending!"}
        return read(path)

    return run


def deadlocks(recording: Recording) -> list[Finding]:
    return [finding for finding in find(recording, summarize(recording)) if finding.kind == "deadlock"]


def named(coroutine: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
    return asyncio.get_running_loop().create_task(coroutine, name=name)


async def take(first: Any, second: Any, met: asyncio.Barrier) -> None:
    async with first:
        await met.wait()
        async with second:
            pass


async def two_locks(*, timeout: float | None = None) -> "list[asyncio.Task[Any]]":
    a, b, met = asyncio.Lock(), asyncio.Lock(), asyncio.Barrier(2)

    async def bounded(first: asyncio.Lock, second: asyncio.Lock) -> None:
        async with asyncio.timeout(timeout):
            await take(first, second, met)

    return [named(bounded(a, b), "left"), named(bounded(b, a), "right")]


async def each_other() -> "list[asyncio.Task[Any]]":
    tasks: dict[str, asyncio.Task[Any]] = {}

    async def wait_for(name: str) -> None:
        await tasks[name]

    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        tasks[name] = named(wait_for(other), name)
    return list(tasks.values())


async def one_lock_twice() -> "list[asyncio.Task[Any]]":
    lock = asyncio.Lock()

    async def again() -> None:
        async with lock, lock:
            pass

    return [named(again(), "twice")]


async def gathered() -> "list[asyncio.Task[Any]]":
    """A task, a lock and a gather() in one circle."""
    lock = asyncio.Lock()

    async def inner() -> None:
        async with lock:
            pass

    async def outer() -> None:
        async with lock:
            await asyncio.gather(*children)

    children: list[asyncio.Task[Any]] = []
    outermost = named(outer(), "outer")
    children.append(named(inner(), "inner"))
    return [outermost, *children]


LINE = re.search(r"async with second", Path(__file__).read_text())
assert LINE is not None
SECOND = Path(__file__).read_text()[: LINE.start()].count("\n") + 1


def test_two_locks_in_two_orders_are_told_with_names_and_lines(record: Record) -> None:
    """In the finding, and from there in the terminal; it leads to the lane of the first. The page has its test in the browser."""
    recording = record(two_locks)
    [finding] = deadlocks(recording)
    assert ("warning", f"{DEADLOCK}2 tasks wait for each other") == (finding.level, finding.text)
    assert f"{__file__}:{SECOND} in take" == finding.place
    where = rf"\(\S*tests/see/test_deadlocks\.py:{SECOND} in take\)"
    assert re.match(
        rf"left waits for Lock held by right {where}; right waits for Lock held by left {where}\. ", finding.advice
    )
    assert "left" == recording.actors[finding.actor].name
    assert 0 < finding.time_ns <= recording.end_ns - recording.start_ns
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        terminal.show(recording, console)
    assert "! deadlock: 2 tasks wait for each other" in console.export_text()


@pytest.mark.parametrize(
    ("scene", "text", "names"),
    [
        (each_other, "3 tasks wait for each other", ["a", "b", "c"]),
        (one_lock_twice, "a task waits for itself", ["twice"]),
        (gathered, "2 tasks wait for each other", ["inner", "outer"]),
    ],
)
def test_a_circle_is_told_once_with_all_in_it(record: Record, scene: Scene, text: str, names: list[str]) -> None:
    [finding] = deadlocks(record(scene))
    assert f"{DEADLOCK}{text}" == finding.text
    assert names == re.findall(r"(?:^|; )(\w+) waits for ", finding.advice)


async def queue_for_a_lock() -> "list[asyncio.Task[Any]]":
    lock = asyncio.Lock()

    async def work() -> None:
        async with lock:
            await asyncio.sleep(1000)

    return [named(work(), name) for name in "abc"]


async def locks_in_one_order() -> "list[asyncio.Task[Any]]":
    a, b = asyncio.Lock(), asyncio.Lock()

    async def work() -> None:
        async with a, b:
            await asyncio.sleep(1000)

    return [named(work(), name) for name in "abc"]


async def a_timeout_around() -> "list[asyncio.Task[Any]]":
    return await two_locks(timeout=1000)


async def a_wait_with_a_timeout() -> "list[asyncio.Task[Any]]":
    tasks: dict[str, asyncio.Task[Any]] = {}

    async def patient() -> None:
        await asyncio.wait([tasks["other"]], timeout=1000)

    async def waiting() -> None:
        await asyncio.wait_for(asyncio.shield(tasks["patient"]), 1000)

    tasks["patient"], tasks["other"] = named(patient(), "patient"), named(waiting(), "other")
    return list(tasks.values())


async def waiters_of_a_condition() -> "list[asyncio.Task[Any]]":
    condition = asyncio.Condition()

    async def consume() -> None:
        async with condition:
            await condition.wait()

    return [named(consume(), name) for name in "ab"]


async def a_semaphore_that_another_gives_back() -> "list[asyncio.Task[Any]]":
    gate = asyncio.Semaphore(2)
    tasks: dict[str, asyncio.Task[Any]] = {}

    async def work() -> None:
        async with gate:
            await asyncio.sleep(1000)

    async def waits_for_c() -> None:
        async with gate:
            await asyncio.sleep(0)
            await tasks["c"]

    tasks["a"], tasks["b"], tasks["c"] = named(waits_for_c(), "a"), named(work(), "b"), named(work(), "c")
    return list(tasks.values())


async def the_first_of_several() -> "list[asyncio.Task[Any]]":
    tasks: dict[str, asyncio.Task[Any]] = {}

    async def first() -> None:
        await asyncio.wait(list(tasks.values()), return_when=asyncio.FIRST_COMPLETED)

    async def back() -> None:
        await main

    main = named(first(), "main")
    tasks["back"], tasks["works"] = named(back(), "back"), named(asyncio.sleep(1000), "works")
    return [main, *tasks.values()]


async def a_gather_that_a_failure_would_end() -> "list[asyncio.Task[Any]]":
    tasks: list[asyncio.Task[Any]] = []

    async def gathering() -> None:
        await asyncio.gather(*tasks)

    async def back() -> None:
        await main

    main = named(gathering(), "main")
    tasks += [named(back(), "back"), named(asyncio.sleep(1000), "works")]
    return [main, *tasks]


async def a_future_that_somebody_else_may_complete() -> "list[asyncio.Task[Any]]":
    future = asyncio.get_running_loop().create_future()

    async def waits() -> None:
        await future

    async def back() -> None:
        await main

    main = named(waits(), "main")
    task = named(back(), "back")
    task.add_done_callback(lambda _: future.cancel())
    return [main, task]


@pytest.mark.parametrize(
    "scene",
    [
        queue_for_a_lock,
        locks_in_one_order,
        a_timeout_around,
        a_wait_with_a_timeout,
        waiters_of_a_condition,
        a_semaphore_that_another_gives_back,
        the_first_of_several,
        a_gather_that_a_failure_would_end,
        a_future_that_somebody_else_may_complete,
    ],
)
def test_what_can_go_on_is_no_deadlock(record: Record, scene: Scene) -> None:
    assert [] == deadlocks(record(scene))


def test_what_waits_when_a_run_ends_is_told_though_asyncio_cancels_it_then(engine: Any, tmp_path: Path) -> None:
    async def main() -> None:
        kept.extend(await two_locks())
        for _ in range(5):
            await asyncio.sleep(0)

    kept: list[asyncio.Task[Any]] = []
    path = tmp_path / "out.plait"
    with plait.record(path, size=1 << 20):
        plait.run(main(), engine=engine)
    assert all(task.cancelled() for task in kept)
    assert [f"{DEADLOCK}2 tasks wait for each other"] == [finding.text for finding in deadlocks(read(path))]


def test_the_watchdog_has_told_of_those_that_were_ended_before(loop: Any, tmp_path: Path) -> None:
    """A program in deadlock is ended from outside, and then there is none any more. Who was seen twice is told once."""
    path = tmp_path / "out.plait"
    told: list[plait.Block | plait.Suspicion] = []

    async def program() -> None:
        with plait.record(path, size=1 << 20), plait.watchdog(10_000, told.append):
            tasks = await two_locks()
            for _ in range(5):
                await asyncio.sleep(0)
            for _ in range(3):
                assert watchdog.current is not None
                watchdog.current.scanned = 0.0
                watchdog.scan()
            await end(tasks)

    loop.run_until_complete(program())
    recording = read(path)
    [finding] = deadlocks(recording)
    assert finding.advice.startswith("left waits for Lock held by right ")
    assert "left" == recording.actors[finding.actor].name
    assert ["deadlock"] == [found.kind for found in told if isinstance(found, plait.Suspicion)]


def test_a_file_of_the_flight_recorder_has_them(loop: Any, tmp_path: Path) -> None:
    async def program() -> str:
        with plait.flight_recorder(tmp_path) as flight:
            tasks = await two_locks()
            for _ in range(5):
                await asyncio.sleep(0)
            path = await asyncio.to_thread(flight.dump)
            await end(tasks)
        return path

    assert [f"{DEADLOCK}2 tasks wait for each other"] == [
        each.text for each in deadlocks(read(loop.run_until_complete(program())))
    ]


def test_very_many_tasks_in_one_circle_are_told_as_far_as_there_is_room(record: Record) -> None:
    async def ring() -> "list[asyncio.Task[Any]]":
        tasks: list[asyncio.Task[Any]] = []

        async def link(number: int) -> None:
            await tasks[(number + 1) % 200]

        tasks += [named(link(number), f"link {number}") for number in range(200)]
        return tasks

    [finding] = deadlocks(record(ring))
    assert f"{DEADLOCK}200 tasks wait for each other" == finding.text
    assert finding.advice.startswith("link 0 waits for ")
    assert re.search(r"; and 19\d more\. ", finding.advice)
    assert __file__ in finding.place


def test_the_same_circle_is_told_once_however_often_it_was_marked() -> None:
    def works() -> Any:
        yield MS, Lock("Lock")
        yield MS, Lock("Lock")

    simulation = Simulation()
    simulation.spawn("works", works(), "left")
    recording = simulation.run(10 * MS)
    text = f"{DEADLOCK}a task waits for itself: left waits for Lock held by left (app.py:7 in f)"
    recording.marks = [Mark(recording.start_ns + ms * MS, text, "warning", place="/srv/app.py:7 in f") for ms in (3, 5)]
    [finding] = find(recording, summarize(recording))
    assert ("deadlock", 3 * MS, "/srv/app.py:7 in f") == (finding.kind, finding.time_ns, finding.place)
    assert "left" == recording.actors[finding.actor].name
