"""The figures that `plait top` shows, cheap enough to be taken every second from a program under load."""

import asyncio
import os
import time
import weakref
from collections import Counter
from typing import Any

from plait import standard
from plait.see import side, snapshot
from plait.see.model import WaitKind
from plait.see.waits import wait_of

__all__ = ["take"]

# Looking at a task takes about 10 microseconds of interpreter lock: of more tasks than this a part is looked at and multiplied.
SAMPLED_TASKS = 2000
GROUPS_MAX = 40


class Probe:
    """How long a callback waits for its turn: measured by one, at most one at a time."""

    def __init__(self) -> None:
        self.asked = 0.0
        self.lag: float | None = None

    def ask(self, loop: Any) -> float:
        """The last lag in seconds, or how long the probe that is under way waits already."""
        now = time.monotonic()
        waiting = now - self.asked if self.asked else 0.0
        if not self.asked:
            self.asked = now
            try:
                loop.call_soon_threadsafe(self.arrive)
            except RuntimeError:
                self.asked = 0.0
        return max(waiting, self.lag or 0.0)

    def arrive(self) -> None:
        self.lag = time.monotonic() - self.asked
        self.asked = 0.0


probes: "weakref.WeakKeyDictionary[Any, Probe]" = weakref.WeakKeyDictionary()


def take() -> dict[str, Any]:
    loops = snapshot.loops_of_process()
    return {
        **snapshot.of_process(),
        "monotonic": time.monotonic(),
        "cpu_s": sum(os.times()[:2]),
        "loops": [of_loop(loop, number) for number, loop in enumerate(loops)],
    }


def of_loop(loop: Any, number: int) -> dict[str, Any]:
    turns, head, told, asleep, ready, timers, thread = side.pulse(loop)
    tasks = list(asyncio.all_tasks(loop))
    count = len(tasks)
    step = max(1, -(-count // SAMPLED_TASKS))
    kinds: Counter[str] = Counter()
    groups: Counter[tuple[str, str, int, str, str]] = Counter()
    try:
        for task in tasks[::step]:
            kind, where = look(task, loop)
            kinds[kind] += step
            groups[(*where, kind)] += step
        return {
            "id": number,
            "engine": snapshot.engine_of(loop),
            "running": bool(thread),
            "asleep": bool(asleep),
            "pulse": [turns, head, told],
            "cpu_ns": thread_cpu_ns(thread),
            "lag_s": probes.setdefault(loop, Probe()).ask(loop) if thread else 0.0,
            "stack": snapshot.thread_stack(thread)[-8:] if thread and not asleep else [],
            "ready": ready,
            "timers": timers,
            "tasks": count,
            "sampled": step > 1,
            "kinds": dict(kinds),
            "groups": [[*group, number] for group, number in groups.most_common(GROUPS_MAX)],
            "executor": snapshot.executor_state(loop),
        }
    finally:
        snapshot.give_back(loop, tasks)


def look(task: Any, loop: Any) -> tuple[str, tuple[str, str, int, str]]:
    """The kind of its wait, and (coroutine, file, line, text)."""
    frames = snapshot.frames_of(task)
    wait = wait_of(task, loop, frames)
    kind = WaitKind.TASK if wait.kind == WaitKind.FUTURE and standard.is_gathering(task) else wait.kind
    place = snapshot.own_place(frames)
    coroutine = task.get_coro()
    file, line, _ = place or ["", 0, ""]
    name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
    return kind.name, (name, file, line, wait.text if kind != WaitKind.TIMER else "sleep")


def thread_cpu_ns(thread: int) -> int:
    """The time that the loop's thread has computed."""
    if not thread:
        return 0
    try:
        return time.clock_gettime_ns(time.pthread_getcpuclockid(thread))
    except OSError:
        return 0
