"""The numbers of a recording whose schedule is known to the nanosecond."""

from collections.abc import Iterator
from typing import Any

import pytest

from plait.see.model import Actor, ActorKind, Gap, Outcome, Pending, Recording, Target, WaitKind, WakerKind
from plait.see.summary import BOUNDS_NS, Histogram, summarize, waited

import recordings
from recordings import MS, US, Again, Done, Join, Lock, Release, Simulation, Wait


def two_tasks() -> Recording:
    """ "asks" waits for a database, twice; "works" yields once and then blocks for 60 ms, so that the second answer has to wait."""

    def asks() -> Iterator[tuple[int, Any]]:
        yield 100 * US, Wait(WaitKind.DATABASE, "postgresql", 5 * MS, 10)
        yield 200 * US, Wait(WaitKind.DATABASE, "postgresql", 20 * MS, 11)
        yield 300 * US, Done()

    def works() -> Iterator[tuple[int, Any]]:
        yield 1 * MS, Again(20)
        yield 1 * MS, Wait(WaitKind.TIMER, "sleep", 10 * MS, 21)
        yield 60 * MS, Done()

    simulation = Simulation()
    simulation.spawn("asks", asks(), "first")
    simulation.spawn("works", works(), "second")
    return simulation.run(100 * MS)


def test_busy_and_idle_make_the_wall_time() -> None:
    summary = summarize(two_tasks())
    assert 62 * MS + 600 * US == summary.busy_ns
    assert summary.wall_ns == summary.busy_ns + summary.idle_ns
    assert 0 == summary.unknown_ns
    assert (2, 6) == (summary.tasks, summary.slices.count)
    assert 60 * MS == summary.slices.max_ns


def test_waits_end_where_the_answer_is_there_and_not_where_it_is_taken() -> None:
    recording = two_tasks()
    waits = dict(
        zip(zip(recording.slices.actor, recording.slices.start_ns, strict=True), waited(recording), strict=True)
    )
    by_actor: dict[int, list[int]] = {}
    for (actor, _), wait in waits.items():
        by_actor.setdefault(actor, []).append(wait)
    assert [-1, 5 * MS, 20 * MS] == by_actor[0]
    assert [-1, -1, 10 * MS] == by_actor[1]
    # The second answer stood ready until the thread was free again.
    last = max(i for i, actor in enumerate(recording.slices.actor) if actor == 0)
    assert recording.slices.delay_ns[last] > 40 * MS


def test_a_wait_that_began_before_the_recording_counts_from_its_start() -> None:
    """Of a task; when a connection began to listen is not known."""
    for kind, expected in ((ActorKind.TASK, 40), (ActorKind.PROTOCOL, -1)):
        recording = Recording({}, 1000, 2000, 0.0, [Actor(kind, "a")], [], recordings.Slices())
        columns = recording.slices
        columns.start_ns.append(1050)
        columns.delay_ns.append(10)
        columns.wait_kind.append(WaitKind.NETWORK)
        for name in ("duration_ns", "actor", "outcome", "waker_kind", "waker", "wait_target", "line"):
            getattr(columns, name).append(0)
        assert [expected] == list(waited(recording))


def test_waits_are_told_by_kind_and_target_the_longest_first() -> None:
    summary = summarize(two_tasks())
    assert [WaitKind.DATABASE, WaitKind.TIMER] == [waits.kind for waits in summary.waits]
    assert (2, 25 * MS) == (summary.waits[0].durations.count, summary.waits[0].durations.total_ns)
    assert (("postgresql", 2, 25 * MS),) == summary.waits[0].targets


def test_what_is_still_waited_for_counts_until_the_end() -> None:
    recording = Recording(
        {}, 0, 100, 0.0, [Actor(ActorKind.TASK, "a")], [Target(WaitKind.WEB, "x")], recordings.Slices(),
        [Pending(0, 30, WaitKind.WEB, 0)],
    )  # fmt: skip
    summary = summarize(recording)
    assert (1, 70) == (summary.waits[0].durations.count, summary.waits[0].durations.total_ns)


def test_functions_are_ordered_by_how_long_they_ran() -> None:
    summary = summarize(two_tasks())
    assert ["works", "asks"] == [top.name for top in summary.top]
    works, asks = summary.top
    assert (62 * MS, 60 * MS, 3, 1) == (works.busy_ns, works.longest_ns, works.slices, works.actors)
    assert {WaitKind.DATABASE: 25 * MS} == asks.waited_ns
    assert asks.delay_ns > 40 * MS


def test_blocked_slices_are_those_of_the_threshold_and_more() -> None:
    recording = two_tasks()
    [index] = summarize(recording).blocked
    assert 60 * MS == recording.slices.duration_ns[index]
    assert () == summarize(recording, blocked_ns=60 * MS + 1).blocked
    assert 3 == len(summarize(recording, blocked_ns=1 * MS).blocked)


def test_a_gap_is_neither_busy_nor_idle() -> None:
    recording = two_tasks()
    first = recording.slices.start_ns[0]
    # Over a part of the first slice, and 2 ms of nothing.
    recording.gaps = [Gap(first + 50 * US, first + 50 * US + 2 * MS, 7, "full")]
    inside = sum(
        max(0, min(start + duration, recording.gaps[0].end_ns) - max(start, recording.gaps[0].start_ns))
        for start, duration in zip(recording.slices.start_ns, recording.slices.duration_ns, strict=True)
    )
    summary = summarize(recording)
    assert 2 * MS - inside == summary.unknown_ns
    assert summary.wall_ns == summary.busy_ns + summary.idle_ns + summary.unknown_ns


def test_an_empty_recording_has_a_summary() -> None:
    summary = summarize(Recording({}, 5, 5, 0.0, [], [], recordings.Slices()))
    assert (0, 0, 0, 0) == (summary.wall_ns, summary.busy_ns, summary.idle_ns, summary.tasks)
    assert () == summary.waits == summary.top == summary.blocked


@pytest.mark.parametrize(
    ("values", "percentiles"),
    [([7], (7, 7, 7, 7)), (range(1, 101), (51, 96, 100, 100)), ([], (0, 0, 0, 0))],
)
def test_percentiles_are_values_that_occurred(values: Any, percentiles: tuple[int, ...]) -> None:
    histogram = Histogram.of(list(values))
    assert percentiles == (histogram.p50_ns, histogram.p95_ns, histogram.p99_ns, histogram.max_ns)
    assert len(values) == sum(histogram.counts) == histogram.count
    assert len(BOUNDS_NS) + 1 == len(histogram.counts)


def test_a_histogram_counts_each_value_below_its_bound() -> None:
    histogram = Histogram.of([0, 999, 1_000, 1_999, 10**10, 10**12])
    assert (2, 2) == histogram.counts[:2]
    assert (0, 2) == histogram.counts[-2:]


def test_the_simulation_wakes_who_waits_for_a_lock_and_for_tasks() -> None:
    """The tests' own tool: its wakers are the slices that gave the lock back and that ended."""
    simulation = Simulation()

    def holds(ns: int) -> Iterator[tuple[int, Any]]:
        yield 10 * US, Lock("Lock")
        yield 10 * US, Wait(WaitKind.WEB, "x", ns)
        yield 10 * US, Release("Lock")
        yield 10 * US, Done()

    def main() -> Iterator[tuple[int, Any]]:
        tasks = [simulation.spawn("holds", holds(MS)) for _ in range(2)]
        yield 10 * US, Join(tasks)
        yield 10 * US, Done()

    simulation.spawn("main", main(), "main")
    slices = simulation.run(100 * MS).slices
    woken = [
        (WaitKind(slices.wait_kind[i]), slices.actor[slices.waker[i]])
        for i in range(len(slices))
        if slices.waker_kind[i] == WakerKind.SLICE
    ]
    assert [(WaitKind.NONE, 0), (WaitKind.NONE, 0), (WaitKind.LOCK, 1), (WaitKind.TASK, 2)] == woken
    assert [Outcome.RETURNED] * 3 == [actor.outcome for actor in simulation.actors]
