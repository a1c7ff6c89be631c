"""What looks wrong with the tasks as they stand now, with few false alarms: each is something that hardly anybody wants.

never wakes       it waits for a future that nobody but itself holds: no one can complete it
fan-out           one task waits for a thousand others that nothing holds back
cancel ignored    it was asked to cancel, and waits for something else by now
executor full     calls queue up before a thread pool of which every thread is busy
"""

import gc
import sys
from collections import Counter
from typing import Any

from plait import standard
from plait.see.model import WaitKind
from plait.see.waits import Wait, coroutine_chain

__all__ = ["find"]

FAN_OUT = 1000
BOUNDED_PART = 0.5  # of the awaited tasks wait for a lock or semaphore: somebody thought of it
GROUP_SHOWN = 3

Suspicion = dict[str, Any]  # kind, text, place, task


def find(tasks: list[Any], waits: dict[int, Wait], told: dict[int, dict[str, Any]], executor: Any) -> list[Suspicion]:
    """All of them, for the tasks of one loop, as snapshot.describe() has them."""
    found = []
    for task in tasks:
        entry = told[id(task)]
        if waits[id(task)].kind == WaitKind.FUTURE and not entry["on"] and never_wakes(task):
            found.append(
                suspicion("never wakes", entry, "waits for a future that nobody else holds: it can never go on")
            )
        if entry["cancelling"] and entry["state"] == "waits":
            text = "was asked to cancel and still waits: it caught the CancelledError, or its cleanup takes long"
            found.append(suspicion("cancel ignored", entry, text))
        if len(entry["on"]) >= FAN_OUT and not bounded(entry["on"], told):
            text = f"waits for {len(entry['on']):,} tasks that all run at once: bound them with asyncio.Semaphore, or a queue of workers"
            found.append(suspicion("fan-out", entry, text))
    if executor and executor["queued"] and executor["threads"] >= executor["threads_max"]:
        text = (
            f"the default executor is full: its {executor['threads_max']} threads are busy and {executor['queued']} calls wait; "
            "give loop.set_default_executor() a larger one, or bound what is sent there"
        )
        found.append({"kind": "executor full", "text": text, "place": None, "task": ""})
    return merged(found)


def suspicion(kind: str, entry: dict[str, Any], text: str) -> Suspicion:
    return {"kind": kind, "text": text, "place": entry["place"], "task": f"{entry['name']} {entry['coroutine']}"}


def merged(found: list[Suspicion]) -> list[Suspicion]:
    """Those of one kind at one place are one."""
    groups: dict[Any, list[Suspicion]] = {}
    for each in found:
        groups.setdefault((each["kind"], tuple(each["place"] or ())), []).append(each)
    result = []
    for group in groups.values():
        first = dict(group[0])
        if len(group) > 1:
            names = ", ".join(each["task"] for each in group[:GROUP_SHOWN])
            first["task"] = f"{len(group)} tasks ({names}{', …' if len(group) > GROUP_SHOWN else ''}), each"
        result.append(first)
    return result


def bounded(on: list[int], told: dict[int, dict[str, Any]]) -> bool:
    kinds = Counter(told[each]["kind"] for each in on if each in told)
    return kinds[WaitKind.LOCK.name] >= BOUNDED_PART * len(on)


def never_wakes(task: Any) -> bool:
    """Whether all references to the future that it waits for are its own: from itself and from its coroutines' frames.

    A future of another library's may be held where Python cannot see it, but then by a reference that is counted.
    """
    future = standard.awaited_by_task(task)
    if future is None or future.done() or type(future).__name__ == "_GatheringFuture":
        return False
    own = 0
    for coroutine, _ in coroutine_chain(task):
        own += sum(each is future for each in gc.get_referents(coroutine))
    if own == 0:
        return False
    # `future` here, getrefcount()'s argument, and the task's.
    return sys.getrefcount(future) - own <= 3
