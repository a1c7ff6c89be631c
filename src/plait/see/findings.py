"""What a recording gives reason to look at: what its marks say, and what can be computed from it. Rather silent than wrong."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from plait.see.model import BLOCKS, DEADLOCK, ActorKind, Outcome, Recording, WaitKind
from plait.see.summary import Summary, group_name

__all__ = ["Finding", "find", "show_ns"]

MS = 1_000_000

# A task that only asks again and again whether something has happened: so many short slices in a row, for so long.
SPIN_SLICES = 1000
SPIN_SLICE_NS = 50_000
SPIN_NS = 50 * MS
SPIN_OTHERS = 50  # one of so many may take longer: another process had the processor

# So many children of one task, alive at once and not held back by a lock, are more than any service wants to see.
FAN_OUT = 1000

# What could be together must be this much in a task's life to be worth a word.
TOGETHER_WAIT_NS = 1 * MS
TOGETHER_SAVED_NS = 20 * MS
TOGETHER_SHARE = 0.2
TOGETHER_KINDS = frozenset({WaitKind.DATABASE, WaitKind.WEB, WaitKind.NETWORK, WaitKind.FILE, WaitKind.PROCESS})
QUERIES_IN_A_ROW = 8  # fewer may well be a transaction, of which only the line that calls it is known
LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python3.")

# The thread is the bottleneck when it is nearly always busy and the ready wait this long.
DELAY_P95_NS = 20 * MS
DELAY_BUSY = 0.8

TO_THREAD = "hand the work to asyncio.to_thread(), or use the asynchronous library."

EXECUTOR_WORKERS = 40  # asyncio's most is 32 and anyio's 40, where the recording does not say
EXECUTOR_SHARE = 0.2
EXECUTOR_NS = 1000 * MS


@dataclass(frozen=True)
class Finding:
    """One thing to look at; `slice` and `actor` say where it is seen best, and are -1 where there is no such place."""

    level: str  # "warning", "hint" or "info"
    kind: str
    text: str
    advice: str = ""
    place: str = ""
    time_ns: int = 0  # since the recording's start
    duration_ns: int = 0
    slice: int = -1
    actor: int = -1
    count: int = 1


def find(recording: Recording, summary: Summary) -> list[Finding]:
    """Warnings first, then hints, then what is only told; each kind ordered by how much it matters."""
    waits = summary.waited
    found = [
        *deadlocked(recording),
        *blocked(recording, summary),
        *from_marks(recording, summary),
        *spinning(recording),
        *delayed(recording, summary),
        *saturated(recording, waits),
        *fan_out(recording, waits),
        *together(recording, waits),
        *lost(recording),
    ]
    levels = ("warning", "hint", "info")
    return sorted(found, key=lambda finding: levels.index(finding.level))


def show_ns(ns: float) -> str:
    """A duration for people: 850 ns, 12.3 us, 4.56 ms, 1.20 s."""
    for unit, size in (("ns", 1), ("us", 1_000), ("ms", MS), ("s", 1_000_000_000)):
        value = ns / size
        if round(value, 2) < 1000 or unit == "s":
            digits = 0 if unit == "ns" or value >= 100 else 1 if value >= 10 else 2
            return f"{value:,.{digits}f} {unit}"
    raise AssertionError


def deadlocked(recording: Recording) -> Iterator[Finding]:
    """What the watchdog, or the end of the recording, said of tasks that wait for each other; each circle once."""
    told = set()
    for mark in recording.marks:
        if not mark.text.startswith(DEADLOCK) or mark.text in told:
            continue
        told.add(mark.text)
        head, _, rest = mark.text.removeprefix(DEADLOCK).partition(": ")
        name = rest.partition(" waits for ")[0]
        lanes = [
            index
            for index, actor in enumerate(recording.actors)
            if actor.name == name and actor.created_ns <= mark.time_ns <= (actor.ended_ns or mark.time_ns)
        ]
        yield Finding(
            "warning",
            "deadlock",
            f"{DEADLOCK}{head}",
            f"{rest}. Nothing but a cancel ends that: take locks in one order, and let no task wait for one that waits for it.",
            mark.place,
            mark.time_ns - recording.start_ns,
            actor=lanes[0] if len(lanes) == 1 else -1,
        )


def blocked(recording: Recording, summary: Summary) -> Iterator[Finding]:
    """Slices over the threshold, together by function; line and advice are a mark's that was made inside, else the line is the actor's."""
    slices = recording.slices
    groups: dict[str, list[int]] = defaultdict(list)
    for index in summary.blocked:
        groups[group_name(recording.actors[slices.actor[index]])].append(index)
    for name, indexes in groups.items():
        longest = indexes[0]
        actor = recording.actors[slices.actor[longest]]
        start, duration = slices.start_ns[longest], slices.duration_ns[longest]
        inside = [m for m in recording.marks if m.duration_ns and m.place and start <= m.time_ns <= start + duration]
        place = inside[0].place if inside else where(actor.file, slices.line[longest] or actor.line, actor.function)
        advice = (inside[0].text.partition(BLOCKS)[2] if inside else "") or TO_THREAD
        times = f"{len(indexes):,} times, longest {show_ns(duration)}" if len(indexes) > 1 else show_ns(duration)
        yield Finding(
            "warning",
            "blocked",
            f"{name} blocks the thread: {times}",
            f"Everybody else stands still meanwhile; {advice}",
            place,
            start - recording.start_ns,
            duration,
            longest,
            slices.actor[longest],
            len(indexes),
        )


def where(file: str, line: int, function: str) -> str:
    if not file:
        return ""
    return f"{file}:{line}" + (f" in {function}" if function else "")


def from_marks(recording: Recording, summary: Summary) -> Iterator[Finding]:
    """Marks as they are; a watchdog's mark inside a blocked slice has given that finding its line and is not repeated."""
    slices = recording.slices
    covered = [(slices.start_ns[i], slices.start_ns[i] + slices.duration_ns[i]) for i in summary.blocked]
    for mark in recording.marks:
        if mark.level == "cancel" or mark.text.startswith(DEADLOCK):  # told with its task, told by deadlocked()
            continue
        if mark.duration_ns and mark.place and any(start <= mark.time_ns <= end for start, end in covered):
            continue
        yield Finding(
            "warning" if mark.level == "warning" else "info",
            "mark",
            mark.text,
            place=mark.place,
            time_ns=mark.time_ns - recording.start_ns,
            duration_ns=mark.duration_ns,
            actor=mark.actor,
        )


def spinning(recording: Recording) -> Iterator[Finding]:
    """Tasks that wake themselves over and over, and do nothing in between."""
    slices = recording.slices
    runs: dict[int, tuple[int, int, int]] = {}  # actor: first slice, how many, how many of them take longer
    worst: dict[str, tuple[int, int, int, int]] = {}
    for index, (actor, outcome, duration) in enumerate(
        zip(slices.actor, slices.outcome, slices.duration_ns, strict=True)
    ):
        if outcome != Outcome.AGAIN:
            runs.pop(actor, None)
            continue
        first, count, longer = runs.get(actor, (index, 0, 0))
        count, longer = count + 1, longer + (duration > SPIN_SLICE_NS)
        if longer * SPIN_OTHERS > count + SPIN_OTHERS:
            runs.pop(actor)
            continue
        runs[actor] = first, count, longer
        if count >= SPIN_SLICES:
            span = slices.start_ns[index] + duration - slices.start_ns[first]
            name = group_name(recording.actors[actor])
            if span >= SPIN_NS and span > worst.get(name, (0,))[0]:
                worst[name] = span, count, first, actor
    for name, (span, count, first, actor) in worst.items():
        described = recording.actors[actor]
        yield Finding(
            "warning",
            "spin",
            f"{name} spins: it woke itself {count:,} times in {show_ns(span)}",
            "Wait for an asyncio.Event or a future instead of asking again after each sleep(0).",
            where(described.file, slices.line[first] or described.line, described.function),
            slices.start_ns[first] - recording.start_ns,
            span,
            first,
            actor,
            count,
        )


def delayed(recording: Recording, summary: Summary) -> Iterator[Finding]:
    """The thread is what everybody waits for."""
    known = summary.wall_ns - summary.unknown_ns
    if known > 0 and summary.busy_ns / known >= DELAY_BUSY and summary.delays.p95_ns >= DELAY_P95_NS:
        top = summary.top[0]
        yield Finding(
            "warning",
            "saturated",
            f"the thread is busy for {summary.busy_ns / known:.0%} of the time, and one of twenty slices waits "
            f"{show_ns(summary.delays.p95_ns)} or more for it",
            f"{top.name} takes most of it ({top.busy_ns / summary.busy_ns:.0%}).",
            slice=top.longest_slice,
        )


def saturated(recording: Recording, waits: array[int]) -> Iterator[Finding]:
    """More calls are in an executor than it has threads: the others stand in its queue."""
    workers = int(recording.meta.get("executor_workers") or EXECUTOR_WORKERS)
    slices = recording.slices
    changes: list[tuple[int, int]] = []
    for start, delay, kind, wait in zip(slices.start_ns, slices.delay_ns, slices.wait_kind, waits, strict=True):
        if kind == WaitKind.THREAD and wait > 0:
            ready = start - max(delay, 0)
            changes += [(ready - wait, 1), (ready, -1)]
    for pending in recording.pending:
        if pending.kind == WaitKind.THREAD:
            changes.append((pending.since_ns, 1))
    changes.sort()
    inside = peak = over_ns = since = 0
    for time, change in changes:
        if inside > workers:
            over_ns += time - since
        inside, since = inside + change, time
        peak = max(peak, inside)
    if inside > workers:
        over_ns += recording.end_ns - since
    if over_ns >= min(EXECUTOR_NS, EXECUTOR_SHARE * max(1, recording.end_ns - recording.start_ns)):
        yield Finding(
            "warning",
            "executor",
            f"the executor is saturated: up to {peak:,} calls at once for {workers} threads at most, over that for {show_ns(over_ns)}",
            "Calls stand in its queue. Limit how many are made at once, or set a larger executor.",
        )


def fan_out(recording: Recording, waits: array[int]) -> Iterator[Finding]:
    """One task has made very many that live at once, and no lock or queue holds them back."""
    changes: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for actor in recording.actors:
        if actor.kind == ActorKind.TASK and actor.parent >= 0 and actor.created_ns:
            changes[actor.parent] += [(actor.created_ns, 1), (actor.ended_ns or recording.end_ns, -1)]
    large = {}
    for parent, times in changes.items():
        if len(times) < 2 * FAN_OUT:
            continue
        alive = peak = 0
        for _, change in sorted(times):
            alive += change
            peak = max(peak, alive)
        if peak >= FAN_OUT:
            large[parent] = peak
    if not large:
        return
    held: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    slices = recording.slices
    for actor_index, kind, wait in zip(slices.actor, slices.wait_kind, waits, strict=True):
        if wait > 0:
            held[recording.actors[actor_index].parent][kind == WaitKind.LOCK] += wait
    for parent, peak in large.items():
        free, locked = held[parent]
        if locked > free:
            continue
        actor = recording.actors[parent]
        yield Finding(
            "hint",
            "fan-out",
            f"{actor.name} had {peak:,} tasks at once",
            "Nothing limits how many; a Semaphore, or some workers that take from a Queue, would.",
            where(actor.file, actor.line, actor.function),
            actor=parent,
            count=peak,
        )


def together(recording: Recording, waits: array[int]) -> Iterator[Finding]:
    """Tasks that wait for one thing after the other, where each answer comes from somewhere else: they could wait together."""
    slices = recording.slices
    rows: dict[int, list[tuple[int, int]]] = defaultdict(list)  # actor: (slice, target) of waits in a row
    saved: dict[str, list[tuple[int, int, list[int]]]] = defaultdict(list)

    def finish(actor: int) -> None:
        row = rows.pop(actor, [])
        gain, shown = gain_of(recording, row, waits)
        if gain >= TOGETHER_SAVED_NS and gain >= TOGETHER_SHARE * life(recording, actor):
            saved[group_name(recording.actors[actor])].append((gain, actor, shown))

    is_task = bytearray(actor.kind == ActorKind.TASK for actor in recording.actors)
    places = places_of(recording)
    counts = bytearray(kind in TOGETHER_KINDS for kind in WaitKind)
    for index, (actor, kind, target, wait, outcome) in enumerate(
        zip(slices.actor, slices.wait_kind, slices.wait_target, waits, slices.outcome, strict=True)
    ):
        if counts[kind] and target >= 0 and wait >= 0 and is_task[actor]:
            rows[actor].append((index, places[target]))
        elif actor in rows and kind != WaitKind.DNS and wait >= TOGETHER_WAIT_NS:
            finish(actor)
        if outcome >= Outcome.RETURNED and actor in rows:
            finish(actor)
    for actor in list(rows):
        finish(actor)
    for name, found in sorted(saved.items(), key=lambda item: -sum(gain for gain, _, _ in item[1])):
        gain, actor, shown = max(found)
        described = recording.actors[actor]
        targets = list(dict.fromkeys(recording.targets[slices.wait_target[i]].text for i in shown))
        times = f" ({len(found):,} times)" if len(found) > 1 else ""
        at_once = (
            "one query for all is better still, else asyncio.gather() over a pool of connections."
            if len(targets) == 1
            else "asyncio.gather() or a TaskGroup waits for them at once."
        )
        yield Finding(
            "hint",
            "together",
            f"{name} waits for {len(shown)} answers one after the other; together would save up to {show_ns(gain)}{times}",
            f"{', '.join(targets[:4])}{', ...' if len(targets) > 4 else ''}: unless one needs the other's answer, "
            + at_once,
            where(described.file, slices.line[shown[0]] or described.line, described.function),
            slices.start_ns[shown[0]] - recording.start_ns,
            gain,
            shown[0],
            actor,
            len(found),
        )


def places_of(recording: Recording) -> list[int]:
    """For each target the first one that is the same place. A database is one, also where only its name is known."""
    known: dict[str, int] = {}
    return [
        known.setdefault(target.text.partition(" ")[0] if target.kind == WaitKind.DATABASE else target.text, index)
        for index, target in enumerate(recording.targets)
    ]


def gain_of(recording: Recording, row: list[tuple[int, int]], waits: array[int]) -> tuple[int, list[int]]:
    """What a row of waits would save together, and the first slice after each of its parts.

    A place that is asked again later in the row is a conversation, such as a stream that is read: no part of it. Queries to a
    database from one line are the exception: there a wait is a whole answer. In a task of a library's, such as a web server's
    handler, all that the program does comes from one line.
    """
    parts: list[tuple[int, int, list[int]]] = []  # target, nanoseconds, slices
    for index, target in row:
        if parts and parts[-1][0] == target:
            parts[-1] = (target, parts[-1][1] + waits[index], [*parts[-1][2], index])
        else:
            parts.append((target, waits[index], [index]))
    times: dict[int, int] = defaultdict(int)
    for target, _, _ in parts:
        times[target] += 1
    single = [(ns, indexes[0]) for target, ns, indexes in parts if times[target] == 1 and ns >= TOGETHER_WAIT_NS]
    gain = 0
    shown: list[int] = []
    if len(single) >= 3:
        gain = sum(ns for ns, _ in single) - max(ns for ns, _ in single)
        shown = [index for _, index in single]
    slices = recording.slices
    own = bool(row) and not any(part in recording.actors[slices.actor[row[0][0]]].file for part in LIBRARIES)

    def query(entry: tuple[int, int]) -> tuple[int, int]:
        """What entries in a row have in common when they are one query after the other; its line is 0 for all else."""
        index, target = entry
        return (slices.line[index] if own and slices.wait_kind[index] == WaitKind.DATABASE else 0), target

    for (line, _), entries in groupby(row, query):
        indexes = [index for index, _ in entries]
        if line and len(indexes) >= QUERIES_IN_A_ROW:
            saved = sum(waits[index] for index in indexes) - max(waits[index] for index in indexes)
            if saved > gain:
                gain, shown = saved, indexes
    return gain, shown


def life(recording: Recording, actor: int) -> int:
    described = recording.actors[actor]
    return (described.ended_ns or recording.end_ns) - (described.created_ns or recording.start_ns)


def lost(recording: Recording) -> Iterator[Finding]:
    if problems := recording.meta.get("problems"):
        yield Finding("info", "damaged", f"not all of the file could be read: {problems}")
    for gap in recording.gaps:
        events = f"{gap.lost:,} events" if gap.lost else "events"
        yield Finding(
            "info",
            "gap",
            f"{events} are missing for {show_ns(gap.end_ns - gap.start_ns)}: {gap.reason}",
            time_ns=gap.start_ns - recording.start_ns,
            duration_ns=gap.end_ns - gap.start_ns,
        )
