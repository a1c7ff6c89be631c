"""JSON lines: one object a line, "type" says which. First the recording, then actors and targets, then slices in order of time, then what
was seen besides. Times are nanoseconds since the recording's start; actors, targets and slices refer to each other by "id".
"""

import json
from collections.abc import Iterator
from typing import Any

from plait.see.model import Outcome, Recording, WaitKind, WakerKind
from plait.see.summary import waited

__all__ = ["parts"]

LINES_AT_ONCE = 2000


def parts(recording: Recording, flows: bool) -> Iterator[bytes]:
    """The file in pieces. Each slice names its waker anyway: `flows` changes nothing."""
    lines: list[str] = []
    for line in objects(recording):
        lines.append(json.dumps(line, separators=(",", ":")))
        if len(lines) == LINES_AT_ONCE:
            yield ("\n".join(lines) + "\n").encode()
            lines.clear()
    if lines:
        yield ("\n".join(lines) + "\n").encode()


def objects(recording: Recording) -> Iterator[dict[str, Any]]:
    begin = recording.start_ns
    yield {
        "type": "recording",
        "version": 1,
        "meta": recording.meta,
        "thread": recording.thread,
        "wall_start": recording.wall_start,
        "duration_ns": recording.end_ns - begin,
    }
    for index, actor in enumerate(recording.actors):
        yield {
            "type": "actor",
            "id": index,
            "kind": actor.kind.name.lower(),
            "name": actor.name,
            "function": actor.function,
            "file": actor.file,
            "line": actor.line,
            "created_ns": actor.created_ns - begin if actor.created_ns else None,
            "ended_ns": actor.ended_ns - begin if actor.ended_ns else None,
            "outcome": None if actor.outcome is None else actor.outcome.name.lower(),
            "parent": actor.parent if actor.parent >= 0 else None,
            "error": actor.error or None,
        }
    for index, target in enumerate(recording.targets):
        yield {"type": "target", "id": index, "kind": target.kind.name.lower(), "text": target.text}
    yield from slices(recording)
    for pending in recording.pending:
        yield {
            "type": "pending",
            "actor": pending.actor,
            "since_ns": pending.since_ns - begin,
            "kind": pending.kind.name.lower(),
            "target": pending.target if pending.target >= 0 else None,
        }
    for mark in recording.marks:
        yield {
            "type": "mark",
            "time_ns": mark.time_ns - begin,
            "level": mark.level,
            "text": mark.text,
            "actor": mark.actor if mark.actor >= 0 else None,
            "duration_ns": mark.duration_ns,
            "place": mark.place or None,
        }
    for gap in recording.gaps:
        yield {
            "type": "gap",
            "start_ns": gap.start_ns - begin,
            "end_ns": gap.end_ns - begin,
            "lost": gap.lost,
            "reason": gap.reason,
        }


def slices(recording: Recording) -> Iterator[dict[str, Any]]:
    columns, begin = recording.slices, recording.start_ns
    for index, wait in enumerate(waited(recording)):
        target = columns.wait_target[index]
        yield {
            "type": "slice",
            "id": index,
            "actor": columns.actor[index],
            "start_ns": columns.start_ns[index] - begin,
            "duration_ns": columns.duration_ns[index],
            "outcome": Outcome(columns.outcome[index]).name.lower(),
            "delay_ns": columns.delay_ns[index] if columns.delay_ns[index] >= 0 else None,
            "waker": WakerKind(columns.waker_kind[index]).name.lower(),
            "waker_slice": columns.waker[index] if columns.waker[index] >= 0 else None,
            "wait": WaitKind(columns.wait_kind[index]).name.lower(),
            "waited_ns": wait if wait >= 0 else None,
            "target": target if target >= 0 else None,
            "line": columns.line[index] or None,
        }
