"""The demo's pictures: how plait weaves the tasks into one thread, and beside it what fork-join's threads and processes do.

They are of runs of their own, on some of the files, so that nothing is recorded while it is measured. plait's loop is recorded as any
program's would be. The workers of fork-join write down when each of their steps ended, and a recording is made of that.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from plait.demo.measure import Child
from plait.see import terminal
from plait.see.model import Actor, ActorKind, Outcome, Recording, Slices, Target, WaitKind
from plait.see.page import page
from plait.see.recording import read

__all__ = ["FILES", "Picture", "drawn", "fork_join", "save", "take"]

FILES = 400
LANES = {"plait": 12, "threads": 5, "processes": 5}
# Nothing in the demo's own work is as long as a slice that is called blocking; the first one imports and connects.
BLOCKED_NS = 100_000_000

# What a worker of fork-join does with a file, in the order of its stamps: the kind of wait that ends there.
STEPS = (WaitKind.NONE, WaitKind.WEB, WaitKind.FILE, WaitKind.NONE, WaitKind.DATABASE)


@dataclass(frozen=True)
class Picture:
    """How one way went."""

    way: str
    recording: Recording
    workers: int


def take(ways: tuple[str, ...], task: Callable[[str, dict[str, Any]], dict[str, Any]]) -> Iterator[Picture]:
    """Run each of the ways once more, recorded; `task` gives what its process is asked for, with what is added here."""
    with tempfile.TemporaryDirectory(prefix="plait-demo-") as folder:
        for way in ways:
            file = os.path.join(folder, f"{way}.plait")
            told = run(task(way, {"record": file}))
            if way == "plait":
                recording = read(file)
                recording.meta["program"] = "plait demo"
                yield Picture(way, recording, 1)
            else:
                recording = fork_join(way, told["stamps"])
                yield Picture(way, recording, len(recording.actors))


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Everything that the process told."""
    with Child("plait.demo.ways", task) as child:
        while "ready" not in (child.message() or {}):
            pass
        child.send("go")
        told: dict[str, Any] = {}
        while "wall_seconds" not in told:
            message = child.message() or {}
            told.update(message)
            if "look" in message:
                child.send("looked")
    return told


def fork_join(way: str, stamps: list[list[int]]) -> Recording:
    """A recording of workers. Each entry is a worker and the times at which it began a file, had its page, had read it, had examined
    it, and had stored its row. Unlike those of a loop, its slices overlap.
    """
    workers = {worker: place for place, worker in enumerate(dict.fromkeys(entry[0] for entry in stamps))}
    name = {"threads": "thread", "processes": "process"}.get(way, way)
    actors = [Actor(ActorKind.TASK, f"{name} {place + 1}", name) for place in workers.values()]
    targets = [
        Target(WaitKind.WEB, "the web service"),
        Target(WaitKind.FILE, "a file"),
        Target(WaitKind.DATABASE, "the database"),
    ]
    places = {target.kind: place for place, target in enumerate(targets)}
    # It examines between its third and fourth time; at the others it only goes on with its next step.
    rows = sorted(
        (times[step], times[3] - times[2] if step == 2 else 0, workers[worker], STEPS[step])
        for worker, *times in stamps
        for step in (0, 1, 2, 4)
    )
    slices = Slices()
    for start, duration, worker, kind in rows:
        slices.start_ns.append(start)
        slices.duration_ns.append(duration)
        slices.actor.append(worker)
        slices.outcome.append(Outcome.WAITS)
        slices.delay_ns.append(-1)
        slices.waker_kind.append(0)
        slices.waker.append(-1)
        slices.wait_kind.append(kind)
        slices.wait_target.append(places.get(kind, -1))
        slices.line.append(0)
    start, end = (rows[0][0], rows[-1][0]) if rows else (0, 1)
    return Recording({"program": f"plait demo, {name}s"}, start, end, 0.0, actors, targets, slices)


def drawn(pictures: list[Picture], width: int) -> Iterator[RenderableType]:
    """Lanes of each, and what their signs mean."""
    for picture in pictures:
        recording, busy = picture.recording, ""
        seconds = (recording.end_ns - recording.start_ns) / 1e9
        if picture.way == "plait":
            share = sum(recording.slices.duration_ns) / max(1, recording.end_ns - recording.start_ns)
            tasks = sum(actor.kind == ActorKind.TASK for actor in recording.actors)
            title = f"plait: one thread, {tasks:,} tasks woven into it"
            busy = f", {share:.0%} busy"
        else:
            title = f"fork-join: {picture.workers:,} {picture.way}, each waits for itself"
        yield Text.assemble((title, "bold"), f", {seconds:.2f} s{busy}")
        yield terminal.weave(
            recording,
            width,
            blocked_ns=BLOCKED_NS,
            lanes_max=LANES[picture.way],
            others_max=0,
            thread=picture.way == "plait",
        )
        yield Text()
    yield terminal.legend([picture.recording for picture in pictures], width)


def save(picture: Picture, path: Path) -> str:
    """Write the page; returns a sentence about it."""
    try:
        path.write_text(page(picture.recording, BLOCKED_NS))
    except OSError as error:
        return f"The page of it could not be written to {path}: {error.strerror}."
    return f"All of it, to zoom and click: {path.resolve().as_uri()}"
