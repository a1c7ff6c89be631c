"""What the formats share: what stands on the track of a task."""

from collections.abc import Iterator
from typing import NamedTuple

from plait.see.model import Recording, WaitKind
from plait.see.summary import beginning

__all__ = ["Step", "group_title", "steps", "title", "wait_title"]


class Step(NamedTuple):
    """A slice, and the wait that it ended, if there was one; times are those of the recording."""

    slice: int
    actor: int
    wait_start_ns: int  # -1: no wait
    wait_end_ns: int
    start_ns: int
    end_ns: int


def steps(recording: Recording) -> Iterator[Step]:
    slices = recording.slices
    ends = [beginning(recording, actor) for actor in recording.actors]
    for index, (actor, start, duration, kind, delay) in enumerate(
        zip(slices.actor, slices.start_ns, slices.duration_ns, slices.wait_kind, slices.delay_ns, strict=True)
    ):
        since = ends[actor]
        ready = max(since, start - max(delay, 0))
        if not kind or ready <= since:
            since = -1
        yield Step(index, actor, since, ready, start, start + duration)
        ends[actor] = start + duration


def title(recording: Recording, actor: int) -> str:
    """ "Task-7 (fetch)"; the function alone for what has no name of its own."""
    described = recording.actors[actor]
    if not described.function or described.function == described.name:
        return described.name
    return f"{described.name} ({described.function})"


def group_title(recording: Recording, actor: int) -> str:
    described = recording.actors[actor]
    return described.function or described.name


def wait_title(recording: Recording, kind: int, target: int) -> str:
    """ "database: postgresql 127.0.0.1:5432" """
    name = WaitKind(kind).name.lower()
    return f"{name}: {recording.targets[target].text}" if target >= 0 else name
