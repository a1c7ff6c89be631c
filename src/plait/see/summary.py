"""A recording in numbers: how busy the thread was, who ran, who waited for what, and for how long. Pure functions."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from plait.see.model import STARVED, Actor, ActorKind, Recording, WaitKind

__all__ = ["BLOCKED_NS", "Histogram", "KindWaits", "Summary", "Top", "beginning", "group_name", "summarize", "waited"]

# A slice of this length keeps everybody else from going on for long enough to be felt.
BLOCKED_NS = 50_000_000

# Upper bounds of a histogram's columns: 1, 2, 5 in each decade from 1 us to 10 s; the last column is open.
BOUNDS_NS = (*(digit * 10**power for power in range(3, 10) for digit in (1, 2, 5)), 10**10)

TOP_MAX = 50


@dataclass(frozen=True)
class Histogram:
    """Columns of BOUNDS_NS, one more for what is above, and exact percentiles."""

    count: int
    total_ns: int
    counts: tuple[int, ...]
    p50_ns: int = 0
    p95_ns: int = 0
    p99_ns: int = 0
    max_ns: int = 0

    @classmethod
    def of(cls, values: Sequence[int]) -> Histogram:
        ordered = sorted(values)
        if not ordered:
            return cls(0, 0, (0,) * (len(BOUNDS_NS) + 1))
        places = [0, *(bisect_left(ordered, bound) for bound in BOUNDS_NS), len(ordered)]

        def percentile(share: float) -> int:
            return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

        return cls(
            len(ordered),
            sum(ordered),
            tuple(high - low for low, high in pairwise(places)),
            percentile(0.50),
            percentile(0.95),
            percentile(0.99),
            ordered[-1],
        )


@dataclass(frozen=True)
class KindWaits:
    """All waits of one kind."""

    kind: WaitKind
    durations: Histogram
    targets: tuple[tuple[str, int, int], ...]  # text, number of waits, nanoseconds; the longest in sum first


@dataclass
class Top:
    """All actors of one function."""

    name: str
    kind: ActorKind
    actors: int = 0
    slices: int = 0
    busy_ns: int = 0
    longest_ns: int = 0
    longest_slice: int = -1
    delay_ns: int = 0
    waited_ns: dict[WaitKind, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """What all views say in numbers. busy + idle + unknown is the wall time; unknown is what gaps hide."""

    wall_ns: int
    busy_ns: int
    idle_ns: int
    unknown_ns: int
    tasks: int
    slices: Histogram
    delays: Histogram
    waits: tuple[KindWaits, ...]  # of tasks; the longest in sum first
    top: tuple[Top, ...]  # the busiest first
    blocked: tuple[int, ...]  # indexes of the slices of at least `blocked_ns`, the longest first
    blocked_ns: int
    waited: array[int]  # see waited()


def group_name(actor: Actor) -> str:
    """What actors that do the same have in common."""
    return actor.function or actor.name


def beginning(recording: Recording, actor: Actor) -> int:
    """Since when it may have waited before its first slice; -1 where that is not known, as of a connection that was accepted some
    time. A task that nobody saw begin was there before the recording.
    """
    return max(recording.start_ns, actor.created_ns) if actor.created_ns or actor.kind == ActorKind.TASK else -1


def waited(recording: Recording) -> array[int]:
    """For each slice, how long its actor waited before it until it was ready; -1 for one that was ready at once.

    A wait that had begun before the recording counts from the recording's start.
    """
    slices = recording.slices
    ends = [beginning(recording, actor) for actor in recording.actors]
    result = array("q", [-1]) * len(slices)
    for index, (actor, start, duration, kind, delay) in enumerate(
        zip(slices.actor, slices.start_ns, slices.duration_ns, slices.wait_kind, slices.delay_ns, strict=True)
    ):
        if kind:
            since = ends[actor]
            if since >= 0:
                result[index] = max(0, start - max(delay, 0) - since)
        ends[actor] = start + duration
    return result


def summarize(recording: Recording, blocked_ns: int = BLOCKED_NS) -> Summary:
    """Everything at once; about two seconds for a million slices."""
    slices = recording.slices
    waits = waited(recording)
    wall = max(0, recording.end_ns - recording.start_ns)
    busy = sum(slices.duration_ns)
    unknown = min(wall, unknown_time(recording))
    starved = starved_slices(recording)
    blocked = [
        index for index, duration in enumerate(slices.duration_ns) if duration - starved.get(index, 0) >= blocked_ns
    ]
    return Summary(
        wall_ns=wall,
        busy_ns=busy,
        idle_ns=max(0, wall - busy - unknown),
        unknown_ns=unknown,
        tasks=sum(actor.kind == ActorKind.TASK for actor in recording.actors),
        slices=Histogram.of(slices.duration_ns),
        delays=Histogram.of([delay for delay in slices.delay_ns if delay >= 0]),
        waits=waits_by_kind(recording, waits),
        top=top_groups(recording, waits),
        blocked=tuple(sorted(blocked, key=lambda index: -slices.duration_ns[index])),
        blocked_ns=blocked_ns,
        waited=waits,
    )


def starved_slices(recording: Recording) -> dict[int, int]:
    """For how long slices had no processor, as far as a watchdog saw it, by the slice's index."""
    starts = recording.slices.start_ns
    marks = [mark for mark in recording.marks if mark.text == STARVED]
    return {max(0, bisect_right(starts, mark.time_ns) - 1): mark.duration_ns for mark in marks}


def unknown_time(recording: Recording) -> int:
    """Time inside gaps in which no slice is recorded."""
    starts = recording.slices.start_ns
    total = 0
    for gap in recording.gaps:
        total += gap.end_ns - gap.start_ns
        index = max(0, bisect_left(starts, gap.start_ns) - 1)
        while index < len(starts) and starts[index] < gap.end_ns:
            end = starts[index] + recording.slices.duration_ns[index]
            total -= max(0, min(end, gap.end_ns) - max(starts[index], gap.start_ns))
            index += 1
    return max(0, total)


def waits_by_kind(recording: Recording, waits: array[int]) -> tuple[KindWaits, ...]:
    slices = recording.slices
    durations: dict[int, list[int]] = {}
    targets: dict[tuple[int, int], list[int]] = {}
    # A protocol that listens for what a client may send some day is not work that is held up.
    is_task = bytearray(actor.kind == ActorKind.TASK for actor in recording.actors)
    for actor, kind, target, wait in zip(slices.actor, slices.wait_kind, slices.wait_target, waits, strict=True):
        if wait < 0 or not is_task[actor]:
            continue
        durations.setdefault(kind, []).append(wait)
        entry = targets.setdefault((kind, target), [0, 0])
        entry[0] += 1
        entry[1] += wait
    for pending in recording.pending:
        if not is_task[pending.actor]:
            continue
        durations.setdefault(pending.kind, []).append(recording.end_ns - pending.since_ns)
    named: dict[int, list[tuple[str, int, int]]] = {}
    for (kind, target), (count, total) in targets.items():
        if target >= 0:
            named.setdefault(kind, []).append((recording.targets[target].text, count, total))
    found = [
        KindWaits(
            WaitKind(kind), Histogram.of(values), tuple(sorted(named.get(kind, ()), key=lambda t: -t[2])[:TOP_MAX])
        )
        for kind, values in durations.items()
    ]
    return tuple(sorted(found, key=lambda waits: -waits.durations.total_ns))


def top_groups(recording: Recording, waits: array[int]) -> tuple[Top, ...]:
    groups: dict[tuple[str, ActorKind], Top] = {}
    of_actor: list[Top] = []
    for actor in recording.actors:
        key = (group_name(actor), actor.kind)
        top = groups.get(key)
        if top is None:
            top = groups[key] = Top(*key)
        top.actors += 1
        of_actor.append(top)
    slices = recording.slices
    for index, (actor_index, duration, delay, kind, wait) in enumerate(
        zip(slices.actor, slices.duration_ns, slices.delay_ns, slices.wait_kind, waits, strict=True)
    ):
        top = of_actor[actor_index]
        top.slices += 1
        top.busy_ns += duration
        if duration > top.longest_ns:
            top.longest_ns, top.longest_slice = duration, index
        if delay > 0:
            top.delay_ns += delay
        if wait >= 0:
            top.waited_ns[WaitKind(kind)] = top.waited_ns.get(WaitKind(kind), 0) + wait
    return tuple(sorted(groups.values(), key=lambda top: -top.busy_ns)[:TOP_MAX])
