"""Chrome's Trace Event Format, as JSON: a track for the thread, and one for each task with its slices and waits.

Times are microseconds since the start of the recording, with the nanoseconds behind the point.
"""

import json
from collections.abc import Iterator
from typing import Any

from plait.see.exports.tracks import group_title, steps, title, wait_title
from plait.see.model import ActorKind, Outcome, Recording, WakerKind

__all__ = ["parts"]

THREAD = 1
TASKS = 2  # a task's track is this plus its place among the actors


def parts(recording: Recording, flows: bool) -> Iterator[bytes]:
    """The file in pieces; `flows` adds an arrow from each waker to whom it woke."""
    head = {"displayTimeUnit": "ns", "otherData": {str(name): str(value) for name, value in recording.meta.items()}}
    yield json.dumps(head).encode()[:-1] + b', "traceEvents": [\n'
    pid = int(recording.meta.get("pid") or 1)
    first = True
    lines: list[str] = []
    for event in events(recording, flows):
        lines.append(json.dumps({"pid": pid, **event}, separators=(",", ":")))
        if len(lines) == 2000:
            yield (("" if first else ",\n") + ",\n".join(lines)).encode()
            first, lines = False, []
    yield (("" if first or not lines else ",\n") + ",\n".join(lines)).encode()
    yield b"\n]}\n"


def events(recording: Recording, flows: bool) -> Iterator[dict[str, Any]]:
    yield from tracks(recording)
    begin = recording.start_ns
    columns = recording.slices
    titles = [title(recording, actor) for actor in range(len(recording.actors))]
    groups = [group_title(recording, actor) for actor in range(len(recording.actors))]
    for index, actor, wait_start, wait_end, start, end in steps(recording):
        track = TASKS + actor
        kind, target = columns.wait_kind[index], columns.wait_target[index]
        if wait_start >= 0:
            yield {
                "ph": "X",
                "cat": "wait",
                "name": wait_title(recording, kind, target),
                "tid": track,
                "ts": (wait_start - begin) / 1000,
                "dur": (wait_end - wait_start) / 1000,
            }
        told = told_of(recording, index)
        times = {"ts": (start - begin) / 1000, "dur": (end - start) / 1000}
        yield {"ph": "X", "cat": "slice", "name": titles[actor], "tid": THREAD, **times, "args": told}
        yield {"ph": "X", "cat": "task", "name": groups[actor], "tid": track, **times}
        waker = columns.waker[index]
        if flows and waker >= 0:
            woken_at = min(columns.start_ns[waker] + columns.duration_ns[waker], wait_end)
            same = {"cat": "wake", "name": "wakes", "id": index}
            yield {"ph": "s", **same, "tid": TASKS + columns.actor[waker], "ts": (woken_at - begin) / 1000}
            yield {"ph": "f", "bp": "e", **same, "tid": track, "ts": (start - begin) / 1000}
    for mark in recording.marks:
        where = THREAD if mark.actor < 0 else TASKS + mark.actor
        time = (mark.time_ns - begin) / 1000
        yield {"ph": "i", "s": "t", "cat": mark.level, "name": mark.text, "tid": where, "ts": time}
    for gap in recording.gaps:
        yield {
            "ph": "X",
            "cat": "gap",
            "name": f"not recorded: {gap.reason}",
            "tid": THREAD,
            "ts": (gap.start_ns - begin) / 1000,
            "dur": (gap.end_ns - gap.start_ns) / 1000,
        }


def tracks(recording: Recording) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "name": "process_name", "tid": 0, "args": {"name": str(recording.meta.get("program", "plait"))}}
    yield {"ph": "M", "name": "thread_name", "tid": THREAD, "args": {"name": recording.thread}}
    yield {"ph": "M", "name": "thread_sort_index", "tid": THREAD, "args": {"sort_index": 0}}
    for index, actor in enumerate(recording.actors):
        yield {"ph": "M", "name": "thread_name", "tid": TASKS + index, "args": {"name": title(recording, index)}}
        order = TASKS + index + (0 if actor.kind == ActorKind.TASK else len(recording.actors))
        yield {"ph": "M", "name": "thread_sort_index", "tid": TASKS + index, "args": {"sort_index": order}}


def told_of(recording: Recording, index: int) -> dict[str, Any]:
    columns = recording.slices
    actor = recording.actors[columns.actor[index]]
    told: dict[str, Any] = {"outcome": Outcome(columns.outcome[index]).name.lower()}
    if columns.delay_ns[index] >= 0:
        told["ready delay us"] = columns.delay_ns[index] / 1000
    if actor.file:
        told["code"] = f"{actor.file}:{columns.line[index] or actor.line}"
    waker = columns.waker[index]
    told["woken by"] = (
        title(recording, columns.actor[waker]) if waker >= 0 else WakerKind(columns.waker_kind[index]).name.lower()
    )
    return told
