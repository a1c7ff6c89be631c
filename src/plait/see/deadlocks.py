"""Deadlocks, for the watchdog and for recordings: the events of a recording do not tell which task is awaited, so that a look at the
tasks themselves has to say it, and what it finds becomes a mark.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from plait.see import side, snapshot
from plait.see.model import DEADLOCK
from plait.see.tree import Task, circles, show, what

__all__ = ["Deadlock", "deadlocks", "note"]

logger = logging.getLogger("plait")

TEXT_MAX = 420  # characters of a mark, which has 600 bytes for them and for its place
TASKS_MAX = 2000  # that are looked at when a recording ends: a look at each takes 20 microseconds of the loop


@dataclass(frozen=True)
class Deadlock:
    """A circle that nothing can end but a cancel from outside. `place` is where the first of its tasks waits."""

    text: str  # of the mark, and of the finding that comes of it
    place: Sequence[Any] | None  # file, line, function

    def write_down(self, recorder: Any, at_ns: int = 0) -> None:
        file, line, function = self.place or ("", 0, "")
        recorder.mark(self.text, "warning", place=f"{file}:{line} in {function}" if file else "", at_ns=at_ns)


def note(recorder: Any, loop: Any, at_ns: int = 0) -> None:
    """Write down in a recording which tasks of its loop are in deadlock now, or then, when it ended. Any thread may."""
    try:
        found = certain(loop)
    except Exception:  # of a look at objects that are the program's: no reason to end it
        logger.warning("plait could not look for deadlocks", exc_info=True)
        return
    for each in found:
        each.write_down(recorder, at_ns or recorder.now_ns)


def certain(loop: Any) -> list[Deadlock]:
    """Those of a loop that may be running in another thread."""
    found = deadlocks(snapshot.tasks_of(loop, TASKS_MAX))
    if found and side.pulse(loop)[-1] not in (0, threading.get_ident()):
        # The loop went on while it was looked at: what is a circle stays one.
        again = deadlocks(snapshot.tasks_of(loop, TASKS_MAX))
        found = [each for each in found if each in again]
    return found


def deadlocks(tasks: Iterable[Task]) -> list[Deadlock]:
    """The circles of which it is certain that they stay; of tasks in the order of snapshot.py."""
    stuck = stuck_tasks(tasks)
    order = {each: number for number, each in enumerate(stuck)}
    found = []
    for circle in circles(stuck.values()):
        # Whoever looks begins with the same task, so that the same circle has the same text.
        first = circle.index(min(circle, key=order.__getitem__))
        members = [stuck[each] for each in circle[first:] + circle[:first]]
        found.append(Deadlock(text_of(members), members[0]["place"]))
    return found


def stuck_tasks(tasks: Iterable[Task]) -> dict[int, Task]:
    """By id those that can never go on by themselves: all that they wait for are stuck, and no timeout is around it.

    All, also where one is enough to keep it waiting: another that fails would end a gather() or a TaskGroup.
    """
    free = ("timeout_s", "any_of", "guessed")
    stuck = {task["id"]: task for task in tasks if task["on"] and not any(each in task for each in free)}
    awaited_by: dict[int, list[int]] = defaultdict(list)
    for task in stuck.values():
        for other in task["on"]:
            awaited_by[other].append(task["id"])
    going_on = [each for each in awaited_by if each not in stuck]
    while going_on:
        for waiter in awaited_by.get(going_on.pop(), ()):
            if stuck.pop(waiter, None) is not None:
                going_on.append(waiter)
    return stuck


def text_of(circle: Sequence[Task]) -> str:
    """Who waits for what, and where, as far as a mark has room for it."""
    text = DEADLOCK + ("a task waits for itself" if len(circle) == 1 else f"{len(circle)} tasks wait for each other")
    for number, task in enumerate(circle):
        where = f" ({show(task['place'])})" if task["place"] else ""
        said = f"{task['name']} waits for {what(task)}{where}"
        if len(text) + len(said) > TEXT_MAX:
            return f"{text}; and {len(circle) - number} more" if number else f"{text}: {said[:TEXT_MAX]}"
        text += f"{'; ' if number else ': '}{said}"
    return text
