"""A look at all loops of this process from any thread: what their tasks wait for, who waits for whom, and what blocks a loop.

What comes out is made of numbers, strings, lists and dictionaries only, as it travels to another process. Nothing of the program
runs for it: no repr() of its objects, no properties, no locals of its functions.
"""

import asyncio
import functools
import gc
import os
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plait import standard
from plait.see import side, suspicions
from plait.see.model import WaitKind
from plait.see.waits import Wait, coroutine_chain, held_locks, timeout_ends, wait_of

__all__ = ["BLOCKED_LOOK_SECONDS", "frames_of_thread", "loops_of_process", "take", "tasks_of", "thread_stack"]

BLOCKED_LOOK_SECONDS = 0.03  # a loop that does not move for so long is said to be blocked
STACK_MAX = 50  # frames told of one task
LOCK_TASKS_MAX = 20_000  # tasks that are searched for who holds a lock

Frame = list[Any]  # [file, line, function]


def take(stacks: bool = True) -> dict[str, Any]:
    """All of it. `stacks` false leaves out the tasks' frames but the innermost one of the program's own."""
    loops = loops_of_process()
    pulses = [side.pulse(loop) for loop in loops]
    if any(pulse[6] and not pulse[3] for pulse in pulses):
        time.sleep(BLOCKED_LOOK_SECONDS)
    with uncollected():
        told = [
            of_loop(loop, number, before, stacks)
            for number, (loop, before) in enumerate(zip(loops, pulses, strict=True))
        ]
    return {**of_process(), "loops": told}


def tasks_of(loop: Any, tasks_max: int) -> list[dict[str, Any]]:
    """What the tasks of one loop wait for, without their frames; nothing when they are more than `tasks_max`."""
    _, _, _, asleep, _, _, thread = side.pulse(loop)
    tasks = list(asyncio.all_tasks(loop))
    try:
        if len(tasks) > tasks_max:
            return []
        with uncollected():
            current = asyncio.current_task(loop) if thread and not asleep else None
            _, told = linked(tasks, current, loop, stacks=False)
        return in_order(told)
    finally:
        give_back(loop, tasks)


@contextmanager
def uncollected() -> Iterator[None]:
    """A collection here would run the program's finalizers in a thread that is none of its own."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting and not gc.isenabled():
            gc.enable()


def loops_of_process() -> list[Any]:
    """Every loop of ours that is not closed, and is not a dead copy of a forked parent's; those that run first."""
    loops = [
        loop for loop in list(standard.loops_with_tasks) if not loop.is_closed() and not loop._get_engine().forgotten
    ]
    return sorted(loops, key=lambda loop: (not loop.is_running(), id(loop)))


def of_process() -> dict[str, Any]:
    plait = sys.modules.get("plait")
    return {
        "pid": os.getpid(),
        "program": list(sys.argv),
        "python": ".".join(map(str, sys.version_info[:3])),
        "plait": getattr(plait, "__version__", ""),
        "time": time.time(),
        "threads": sum(thread.is_alive() for thread in threading.enumerate()),
    }


def of_loop(loop: Any, number: int, before: tuple[Any, ...], stacks: bool) -> dict[str, Any]:
    pulse = side.pulse(loop)
    turns, _, _, asleep, ready, timers, thread = pulse
    stack = thread_stack(thread) if thread and not asleep else []
    # Asleep is the engine; a loop that neither moved nor slept while we looked away is in one slice all the time.
    blocked = bool(thread) and not asleep and pulse[:3] == before[:3] and before[6] != 0 and not before[3]
    tasks = list(asyncio.all_tasks(loop))
    try:
        current = asyncio.current_task(loop) if thread and not asleep else None
        executor = executor_state(loop)
        described, found = describe(tasks, current, loop, stacks, executor)
        name = next((each.name for each in threading.enumerate() if each.ident == thread), "")
        return {
            "id": number,
            "thread": name,
            "thread_id": thread,
            "engine": engine_of(loop),
            "debug": loop.get_debug(),
            "recorded": loop.recorder is not None,
            "state": "stopped" if not thread else "waits" if asleep else "blocked" if blocked else "runs",
            "blocked_s": BLOCKED_LOOK_SECONDS if blocked else 0,
            "stack": stack,
            "current": id(current) if current is not None else 0,
            "turns": turns,
            "ready": ready,
            "timers": timers,
            "tasks": described,
            "executor": executor,
            "suspicions": found,
        }
    finally:
        give_back(loop, tasks)


def engine_of(loop: Any) -> str:
    report = loop.engine
    return "" if report is None else str(report.name)


def give_back(loop: Any, tasks: list[Any]) -> None:
    """Those that ended meanwhile are held by nobody else, and what they hold is let go in the loop's own thread."""
    if any(task.done() for task in tasks):
        try:
            loop.call_soon_threadsafe(tasks.clear)
        except RuntimeError:
            pass  # closed by now
    else:
        tasks.clear()


def executor_state(loop: Any) -> dict[str, Any] | None:
    """Of the default executor; None while nothing has used it, and for one that is no pool of threads."""
    executor = standard.executor_of(loop)
    queue = getattr(executor, "_work_queue", None)
    if executor is None or queue is None:
        return None
    return {
        "threads": len(getattr(executor, "_threads", ())),
        "threads_max": getattr(executor, "_max_workers", 0),
        "queued": queue.qsize(),
    }


def describe(
    tasks: list[Any], current: Any, loop: Any, stacks: bool, executor: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One entry for each, in the order in which they were made as far as their names tell; and what looks wrong with them."""
    waits, told = linked(tasks, current, loop, stacks)
    found = suspicions.find(tasks, waits, told, executor)
    return in_order(told), found


def in_order(told: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(told.values(), key=lambda entry: natural(entry["name"]))


def linked(
    tasks: list[Any], current: Any, loop: Any, stacks: bool
) -> tuple[dict[int, Wait], dict[int, dict[str, Any]]]:
    """What each waits for, and its entry, which names those that it waits for; both by id."""
    waits, told = {}, {}
    for task in tasks:
        frames = [] if task is current else frames_of(task)
        wait = Wait(WaitKind.NONE, "") if task is current else wait_of(task, loop, frames)
        waits[id(task)] = wait
        told[id(task)] = of_task(task, wait, task is current, frames, stacks)
    now = loop.time()
    link_gathered(tasks, waits, told)
    link_locks(tasks, waits, told)
    for task in tasks:
        wait, entry = waits[id(task)], told[id(task)]
        entry["on"] |= dict.fromkeys(id(each) for each in wait.tasks if id(each) in told)
        entry["on"] = list(entry["on"])
        if wait.due is not None:
            entry["due_s"] = round(wait.due - now, 3)
        if wait.any_of:
            entry["any_of"] = True
        if not entry["text"] or (entry["on"] and wait.kind == WaitKind.FUTURE):
            entry["kind"] = WaitKind.TASK.name if entry["on"] else entry["kind"]
        if entry["on"]:  # a circle with a timeout around it ends by itself
            ends = [when for when in (timeout_ends(task), wait.ends) if when is not None]
            if ends:
                entry["timeout_s"] = round(min(ends) - now, 3)
    return waits, told


def natural(name: str) -> tuple[str, int, str]:
    """Task-9 before Task-10."""
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or 0), name


def frames_of(task: Any) -> list[types.FrameType]:
    return [frame for _, frame in coroutine_chain(task)]


def of_task(task: Any, wait: Wait, runs: bool, frames: list[types.FrameType], stacks: bool) -> dict[str, Any]:
    coroutine = task.get_coro()
    return {
        "id": id(task),
        "name": task.get_name(),
        "coroutine": getattr(coroutine, "__qualname__", type(coroutine).__name__),
        "state": "runs" if runs else "ready" if wait.kind == WaitKind.NONE else "waits",
        "kind": wait.kind.name,
        "text": wait.text,
        "on": {},  # a set that keeps its order, as long as others are linked
        "cancelling": task.cancelling() if hasattr(task, "cancelling") else 0,
        "place": own_place(frames),
        "stack": [place(frame) for frame in frames[-STACK_MAX:]] if stacks else [],
    }


def place(frame: types.FrameType) -> Frame:
    return [frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_qualname]


def own_place(frames: list[types.FrameType]) -> Frame | None:
    """Of the program's own code the innermost one: not of the standard library, and not of a package that is installed."""
    for frame in reversed(frames):
        if not is_installed(frame.f_code.co_filename):
            return place(frame)
    return place(frames[-1]) if frames else None


STANDARD_FOLDER = os.path.dirname(os.__file__) + os.sep
PLAIT_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep


@functools.lru_cache(maxsize=10_000)
def is_installed(file: str) -> bool:
    return (
        file.startswith((STANDARD_FOLDER, PLAIT_FOLDER, "<frozen"))
        or "/site-packages/" in file
        or "/dist-packages/" in file
    )


def link_gathered(tasks: list[Any], waits: dict[int, Wait], told: dict[int, dict[str, Any]]) -> None:
    """A gather(), shield() or wait() is known to the done callbacks of what it waits for."""
    waiting_on: dict[int, list[Any]] = {}
    for task in tasks:
        awaited = [standard.awaited_by_task(task), *waits[id(task)].tasks]
        for future in awaited:
            if future is not None and not isinstance(future, asyncio.Task):
                waiting_on.setdefault(id(future), []).append(task)
    if not waiting_on:
        return
    waiters: dict[int, Any] = {}
    for task in tasks:
        for future in standard.completes(task):
            for waiter in waiting_on.get(id(future), ()):
                waiters[id(waiter)] = waiter
                if waiter is not task:
                    told[id(waiter)]["on"][id(task)] = None
    # Once for each that waits, not for each that it waits for: a gather() of thousands is asked about all of them.
    for waiter in waiters.values():
        if waits[id(waiter)].kind == WaitKind.FUTURE:
            entry = told[id(waiter)]
            entry["kind"] = WaitKind.TASK.name
            entry["text"] = "gather()" if standard.is_gathering(waiter) else "shield()"
            if not standard.gathers_tasks_only(waiter):
                entry["guessed"] = True  # somebody else may complete it, too


def link_locks(tasks: list[Any], waits: dict[int, Wait], told: dict[int, dict[str, Any]]) -> None:
    """Who holds the lock that others wait for, where it is held by `async with`."""
    wanted: dict[int, Any] = {}
    for wait in waits.values():
        if isinstance(wait.lock, asyncio.Lock | asyncio.Semaphore):
            wanted[id(wait.lock)] = wait.lock
    if not wanted:
        return
    holders: dict[int, list[Any]] = {}
    for task in tasks[:LOCK_TASKS_MAX]:
        for lock in held_locks(task, wanted):
            holders.setdefault(id(lock), []).append(task)
    for waiter, wait in waits.items():
        held_by = holders.get(id(wait.lock), []) if wait.lock is not None else []
        if held_by:
            told[waiter]["on"] |= dict.fromkeys(id(task) for task in held_by)
            told[waiter]["text"] += " held by " + ", ".join(task.get_name() for task in held_by[:3])
            # Whoever has one of a semaphore's places may give it back, also those that are not seen to hold one.
            wait.any_of = isinstance(wait.lock, asyncio.Semaphore)


def frames_of_thread(thread: int) -> list[types.FrameType]:
    """The frames of a thread that runs, the outermost first, without those that merely lead to the loop's turn."""
    frame = sys._current_frames().get(thread)
    frames: list[types.FrameType] = []
    while frame is not None:
        if is_loop_runner(frame):
            break
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def is_loop_runner(frame: types.FrameType) -> bool:
    name = frame.f_code.co_qualname
    return name in ("BaseEventLoop.run_until_complete", "BaseEventLoop.run_forever", "Runner.run", "run") and (
        frame.f_code.co_filename.startswith((standard.ASYNCIO_FOLDER, PLAIT_FOLDER))
    )


def thread_stack(thread: int) -> list[Frame]:
    return [place(frame) for frame in frames_of_thread(thread)]
