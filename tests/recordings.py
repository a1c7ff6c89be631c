"""Recordings of programs that never ran: a small simulation of one thread, so that views have known things to show.

A script is a generator that yields what its task does next: `(run_ns, action)`; the simulation records the slice and carries
the action out at its end. Everything is drawn from a seed.
"""

import heapq
import random
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from plait.see.model import (
    Actor,
    ActorKind,
    Gap,
    Mark,
    Outcome,
    Pending,
    Recording,
    Slices,
    Target,
    WaitKind,
    WakerKind,
)

__all__ = ["MS", "US", "Again", "Done", "Lock", "Simulation", "Wait", "many_slices", "web_server"]

US = 1_000
MS = 1_000_000

WAKERS = {
    WaitKind.TIMER: WakerKind.TIMER,
    WaitKind.THREAD: WakerKind.THREAD,
    WaitKind.SIGNAL: WakerKind.SIGNAL,
}


@dataclass
class Wait:
    """Something outside answers after so long."""

    kind: WaitKind
    text: str
    ns: int
    line: int = 0


@dataclass
class Again:
    """sleep(0)"""

    line: int = 0


@dataclass
class Lock:
    """Waits for the lock unless it is free; holds it until a `Release`."""

    name: str
    line: int = 0


@dataclass
class Release:
    """Gives the lock back, and goes on in the same slice with the next step."""

    name: str


@dataclass
class Join:
    """Waits for tasks that it has spawned."""

    tasks: list[int]
    line: int = 0


@dataclass
class Done:
    """The end of the task."""

    outcome: Outcome = Outcome.RETURNED
    error: str = ""


Script = Iterator[tuple[int, Any]]


@dataclass
class Waiting:
    """What an actor waits for, and since when."""

    kind: WaitKind
    target: int
    since_ns: int
    line: int


@dataclass
class Simulation:
    """One thread. `start` tasks, then `run`, which returns the recording."""

    seed: int = 1
    now: int = 1_000_000_000
    actors: list[Actor] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    slices: Slices = field(default_factory=Slices)
    marks: list[Mark] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.begin = self.now
        self.scripts: dict[int, Script] = {}
        self.ready: deque[tuple[int, int, WakerKind, int]] = deque()  # actor, since, waker's kind, waker
        self.later: list[tuple[int, int, int, WakerKind]] = []  # time, order, actor, waker's kind
        self.waiting: dict[int, Waiting] = {}
        self.numbers = 0
        self.held: dict[str, deque[int]] = {}
        self.joining: dict[int, list[int]] = {}  # a task's waiters
        self.left: dict[int, int] = {}  # how many tasks a waiter still waits for
        self.known: dict[tuple[WaitKind, str], int] = {}
        self.current = -1

    def spawn(
        self, function: str, script: Script, name: str = "", line: int = 1, kind: ActorKind = ActorKind.TASK
    ) -> int:
        """A new task, made by the slice that runs, if one does; returns its actor."""
        self.numbers += kind == ActorKind.TASK
        index = len(self.actors)
        self.actors.append(
            Actor(
                kind=kind,
                name=name or f"Task-{self.numbers}",
                function=function,
                file="/srv/shop/app.py",
                line=line,
                created_ns=self.now,
                parent=self.slices.actor[self.current] if self.current >= 0 else -1,
            )
        )
        self.scripts[index] = script
        self.wake(index, WakerKind.SLICE if self.current >= 0 else WakerKind.NONE)
        return index

    def wake(self, actor: int, kind: WakerKind) -> None:
        self.ready.append((actor, self.now, kind, self.current if kind == WakerKind.SLICE else -1))

    def target(self, kind: WaitKind, text: str) -> int:
        if (kind, text) not in self.known:
            self.known[kind, text] = len(self.targets)
            self.targets.append(Target(kind, text))
        return self.known[kind, text]

    def run(self, until_ns: int, program: str = "app.py") -> Recording:
        end = self.begin + until_ns
        while self.now < end:
            while self.later and self.later[0][0] <= self.now:
                time, _, actor, waker = heapq.heappop(self.later)
                self.ready.append((actor, time, waker, -1))
            if self.ready:
                self.slice(*self.ready.popleft())
            elif self.later:
                self.now = max(self.now + 2 * US, self.later[0][0] + 4 * US)
            else:
                break
        self.now = max(self.now, end) if self.later else self.now
        pending = [
            Pending(actor, waiting.since_ns, waiting.kind, waiting.target) for actor, waiting in self.waiting.items()
        ]
        meta = {
            "program": program,
            "python": "3.11.7",
            "plait": "0.1.0",
            "engine": "uring",
            "pid": 4711,
            "host": "shop",
        }
        return Recording(meta, self.begin, self.now, 1.7e9, self.actors, self.targets, self.slices, pending, self.marks)

    def slice(self, actor: int, since: int, waker_kind: WakerKind, waker: int) -> None:
        """Run the actor's script up to its next wait."""
        waiting = self.waiting.pop(actor, None)
        start, self.current = self.now, len(self.slices)
        columns = self.slices
        columns.start_ns.append(start)
        columns.duration_ns.append(0)
        columns.actor.append(actor)
        columns.outcome.append(Outcome.WAITS)
        columns.delay_ns.append(start - since)
        columns.waker_kind.append(waker_kind)
        columns.waker.append(waker)
        columns.wait_kind.append(waiting.kind if waiting else WaitKind.NONE)
        columns.wait_target.append(waiting.target if waiting else -1)
        columns.line.append(waiting.line if waiting else self.actors[actor].line)
        while not self.step(actor):
            pass
        columns.duration_ns[self.current] = self.now - start
        self.current = -1
        self.now += 300  # the loop's own work

    def step(self, actor: int) -> bool:
        """True at the end of the slice."""
        run_ns, action = next(self.scripts[actor])
        self.now += max(400, run_ns)
        if isinstance(action, Wait):
            self.waits(actor, action.kind, action.text, action.line)
            waker = WAKERS.get(action.kind, WakerKind.KERNEL)
            heapq.heappush(self.later, (self.now + action.ns, self.current, actor, waker))
        elif isinstance(action, Again):
            self.slices.outcome[self.current] = Outcome.AGAIN
            self.waiting[actor] = Waiting(WaitKind.NONE, -1, self.now, action.line)
            self.wake(actor, WakerKind.SLICE)
        elif isinstance(action, Lock):
            queue = self.held.setdefault(action.name, deque())
            queue.append(actor)
            if len(queue) == 1:
                return False
            self.waits(actor, WaitKind.LOCK, action.name, action.line)
        elif isinstance(action, Release):
            queue = self.held[action.name]
            queue.popleft()
            if queue:
                self.wake(queue[0], WakerKind.SLICE)
            return False
        elif isinstance(action, Join):
            alive = [task for task in action.tasks if not self.actors[task].ended_ns]
            if not alive:
                return False
            self.left[actor] = len(alive)
            for task in alive:
                self.joining.setdefault(task, []).append(actor)
            self.waits(actor, WaitKind.TASK, f"gather of {len(action.tasks)}", action.line)
        else:
            self.ends(actor, action)
        return True

    def waits(self, actor: int, kind: WaitKind, text: str, line: int) -> None:
        self.waiting[actor] = Waiting(kind, self.target(kind, text), self.now, line)

    def ends(self, actor: int, done: Done) -> None:
        ended = self.actors[actor]
        ended.ended_ns, ended.outcome, ended.error = self.now, done.outcome, done.error
        self.slices.outcome[self.current] = done.outcome
        for waiter in self.joining.pop(actor, ()):
            self.left[waiter] -= 1
            if not self.left[waiter]:
                self.wake(waiter, WakerKind.SLICE)


def web_server(seconds: float = 2.0, seed: int = 1, rate: float = 150.0, report_every: int = 71) -> Recording:
    """A shop's web server: requests that wait for a database, a payment service, files and a lock, and now and then block."""
    simulation = Simulation(seed)
    draw = simulation.random

    def about(ns: float) -> int:
        return int(ns * draw.lognormvariate(-0.08, 0.4))

    def product(number: int) -> Script:
        yield about(80 * US), Wait(WaitKind.DATABASE, "postgresql 127.0.0.1:5432", about(4 * MS), 41)
        yield about(50 * US), Wait(WaitKind.DATABASE, "postgresql 127.0.0.1:5432", about(7 * MS), 44)
        if number % 3 == 0:
            yield about(30 * US), Wait(WaitKind.FILE, "read product.html", about(MS / 2), 47)
        if number % 97 == 13:
            yield about(40 * US), Done(Outcome.RAISED, "KeyError: 'price'")
        yield about(180 * US), Done()

    def checkout(number: int) -> Script:
        yield about(90 * US), Wait(WaitKind.DATABASE, "postgresql 127.0.0.1:5432", about(5 * MS), 61)
        yield about(20 * US), Lock("Lock(stock)", 63)
        yield about(60 * US), Wait(WaitKind.DATABASE, "postgresql 127.0.0.1:5432", about(6 * MS), 64)
        yield about(20 * US), Release("Lock(stock)")
        if number % 5 == 0:
            yield about(30 * US), Wait(WaitKind.DNS, "getaddrinfo pay.example", about(3 * MS), 66)
        yield about(60 * US), Wait(WaitKind.WEB, "https pay.example:443", about(38 * MS), 67)
        yield about(60 * US), Wait(WaitKind.DATABASE, "postgresql 127.0.0.1:5432", about(4 * MS), 70)
        yield about(150 * US), Done()

    def report(number: int) -> Script:
        yield about(70 * US), Wait(WaitKind.THREAD, "run_in_executor load_orders", about(25 * MS), 83)
        yield about(95 * MS), Wait(WaitKind.FILE, "write report.pdf", about(9 * MS), 88)
        yield about(90 * US), Done()

    def accept() -> Script:
        number = 0
        while True:
            yield about(9 * US), Wait(WaitKind.NETWORK, "listen 0.0.0.0:8000", int(draw.expovariate(rate) * 1e9), 0)
            number += 1
            if number % report_every == report_every // 2:
                simulation.spawn("report", report(number), line=80)
            elif number % 3 == 1:
                simulation.spawn("checkout", checkout(number), line=58)
            else:
                simulation.spawn("product", product(number), line=38)

    def metrics() -> Script:
        while True:
            yield about(120 * US), Wait(WaitKind.TIMER, "sleep 0.25", 250 * MS, 104)

    def refresh(number: int) -> Script:
        yield about(50 * US), Wait(WaitKind.NETWORK, f"redis 127.0.0.1:6379 #{number}", about(2 * MS), 117)
        yield about(40 * US), Wait(WaitKind.WEB, f"https cdn{number}.example:443", about(45 * MS), 118)
        yield about(30 * US), Done()

    def cache() -> Script:
        while True:
            tasks = [simulation.spawn("refresh", refresh(i), f"refresh-{i}", 115) for i in range(6)]
            yield about(200 * US), Join(tasks, 125)
            yield about(50 * US), Wait(WaitKind.TIMER, "sleep 0.6", 600 * MS, 127)

    def main() -> Script:
        simulation.spawn("metrics", metrics(), "metrics", 102)
        simulation.spawn("cache", cache(), "cache", 121)
        simulation.spawn("Listener", accept(), "Listener", 0, ActorKind.PROTOCOL)
        yield 2 * MS, Wait(WaitKind.SIGNAL, "SIGTERM", 10**15, 140)
        yield 400, Done()

    simulation.spawn("main", main(), "main", 133)
    recording = simulation.run(int(seconds * 1e9))
    recording.gaps = [Gap(recording.end_ns - 30 * MS, recording.end_ns - 12 * MS, 1234, "the ring was full")]
    return without(recording, recording.gaps[0])


def without(recording: Recording, gap: Gap) -> Recording:
    """The recording without the slices of the gap."""
    old = recording.slices
    kept = [i for i, start in enumerate(old.start_ns) if not gap.start_ns - old.duration_ns[i] < start < gap.end_ns]
    places = {before: after for after, before in enumerate(kept)}
    new = Slices()
    for name in vars(old):
        column = getattr(old, name)
        setattr(new, name, array(column.typecode, [column[i] for i in kept]))
    new.waker = array("i", [places.get(waker, -1) for waker in new.waker])
    return replace(recording, slices=new)


def many_slices(count: int, seed: int = 1) -> Recording:
    """A web server's recording with so many slices: a shorter one, again and again."""
    piece = web_server(6.0, seed, rate=700.0, report_every=2000)
    length = len(piece.slices)
    span = piece.end_ns - piece.start_ns
    times = -(-count // length)
    tasks = len(piece.actors)
    actors = [
        replace(
            actor,
            created_ns=actor.created_ns + i * span,
            ended_ns=(actor.ended_ns or piece.end_ns) + i * span,
            parent=actor.parent + i * tasks if actor.parent >= 0 else -1,
        )
        for i in range(times)
        for actor in piece.actors
    ]
    for i, actor in enumerate(actors):
        if actor.name.startswith("Task-"):
            actor.name = f"Task-{i}"
    shifts: dict[str, Callable[[int, int], int]] = {
        "start_ns": lambda value, i: value + i * span,
        "actor": lambda value, i: value + i * tasks,
        "waker": lambda value, i: value + i * length if value >= 0 else -1,
    }
    slices = Slices()
    for name, column in vars(piece.slices).items():
        shift = shifts.get(name)
        whole = array(column.typecode)
        for i in range(times):
            whole.extend(array(column.typecode, [shift(value, i) for value in column]) if shift else column)
        setattr(slices, name, whole[:count])
    end = slices.start_ns[-1] + slices.duration_ns[-1]
    return replace(piece, actors=actors, slices=slices, pending=(), gaps=(), end_ns=end)
