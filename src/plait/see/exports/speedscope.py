"""speedscope's file format: the thread as it ran, and a second profile of what was waited for.

speedscope merges equal stacks: its left-heavy view of the first shows which function took how much of the thread, by task; of
the second, what all the waiting was for.
"""

import json
from collections.abc import Iterator

from plait.see.exports.tracks import group_title
from plait.see.model import Recording, WaitKind
from plait.see.summary import waited

__all__ = ["parts"]

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


class Frames:
    """Each frame once."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, str, int], int] = {}

    def __call__(self, name: str, file: str = "", line: int = 0) -> int:
        return self.places.setdefault((name, file, line), len(self.places))

    def described(self) -> list[dict[str, object]]:
        return [{"name": name, **({"file": file, "line": line} if file else {})} for name, file, line in self.places]


def parts(recording: Recording, flows: bool) -> Iterator[bytes]:
    """The file in pieces. It has no place for arrows: `flows` changes nothing."""
    frames = Frames()
    thread = thread_events(recording, frames)
    samples, weights = wait_samples(recording, frames)
    name = str(recording.meta.get("program", "plait"))
    head = {
        "$schema": SCHEMA,
        "exporter": "plait",
        "name": name,
        "activeProfileIndex": 0,
        "shared": {"frames": frames.described()},
    }
    yield json.dumps(head).encode()[:-1] + b', "profiles": ['
    end = recording.end_ns - recording.start_ns
    yield json.dumps(
        {
            "type": "evented",
            "name": f"{recording.thread}: who ran",
            "unit": "nanoseconds",
            "startValue": 0,
            "endValue": end,
            "events": thread,
        }
    ).encode()
    if samples:
        waits = {
            "type": "sampled",
            "name": "what was waited for",
            "unit": "nanoseconds",
            "startValue": 0,
            "endValue": sum(weights),
            "samples": samples,
            "weights": weights,
        }
        yield b", " + json.dumps(waits).encode()
    yield b"]}\n"


def thread_events(recording: Recording, frames: Frames) -> list[dict[str, object]]:
    events: list[dict[str, object]] = []
    columns = recording.slices
    for start, duration, index in zip(columns.start_ns, columns.duration_ns, columns.actor, strict=True):
        actor = recording.actors[index]
        outer = frames(group_title(recording, index), actor.file, actor.line)
        stack = [outer] if not actor.function or actor.name == actor.function else [outer, frames(actor.name)]
        begin = start - recording.start_ns
        events += [{"type": "O", "frame": frame, "at": begin} for frame in stack]
        events += [{"type": "C", "frame": frame, "at": begin + duration} for frame in reversed(stack)]
    return events


def wait_samples(recording: Recording, frames: Frames) -> tuple[list[list[int]], list[int]]:
    total: dict[tuple[int, int, str], int] = {}
    columns = recording.slices
    for kind, target, actor, wait in zip(
        columns.wait_kind, columns.wait_target, columns.actor, waited(recording), strict=True
    ):
        if wait > 0:
            key = kind, target, group_title(recording, actor)
            total[key] = total.get(key, 0) + wait
    samples = []
    for kind, target, group in total:
        stack = [frames(WaitKind(kind).name.lower())]
        if target >= 0:
            stack.append(frames(recording.targets[target].text))
        samples.append([*stack, frames(group)])
    return samples, list(total.values())
