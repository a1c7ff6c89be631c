"""The weave as one page: it holds its styles, its scripts and the whole recording, and needs no network.

The recording is a block of columns behind a JSON header, deflated and written as base64. Each column is stored in planes, all the lowest
bytes first: neighbours are alike there, so that it deflates to about half and is read by one addition per byte. page/data.js reads it.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import sys
import zlib
from array import array
from collections.abc import Sequence
from importlib.resources import files
from itertools import repeat
from operator import add, sub
from typing import Any

from plait.see import colours
from plait.see.findings import find
from plait.see.model import ActorKind, Outcome, Recording, WaitKind, WakerKind
from plait.see.summary import BLOCKED_NS, BOUNDS_NS, Summary, group_name, summarize

__all__ = ["encode", "page"]

SCRIPTS = ("data.js", "order.js", "lanes.js", "density.js", "ink.js", "paint.js", "panel.js", "input.js", "main.js")


def page(recording: Recording, blocked_ns: int = BLOCKED_NS) -> str:
    """The whole page. A million slices make about 15 MB of it, in some seconds."""
    parts = files("plait.see") / "page"
    scripts = "\n".join(f"<script>\n{(parts / name).read_text('utf-8')}</script>" for name in SCRIPTS)
    text = (parts / "index.html").read_text("utf-8")
    program = str(recording.meta.get("program", "recording"))
    # A name of a file may be no text.
    title = html.escape(program.encode(errors="replace").decode()) + " on plait"
    for place, content in (
        ("<!-- title -->", title),
        ("/* style */", (parts / "style.css").read_text("utf-8")),
        ("<!-- scripts -->", scripts),
        ("<!-- recording -->", base64.b64encode(encode(recording, blocked_ns)).decode()),
    ):
        text = text.replace(place, content, 1)
    return text


def encode(recording: Recording, blocked_ns: int = BLOCKED_NS) -> bytes:
    """The recording as the page reads it. Times are nanoseconds since its start."""
    strings = Strings()
    columns = {**slice_columns(recording), **actor_columns(recording, strings)}
    described = []
    blocks = []
    for name, column in columns.items():
        planes, width = in_planes(column)
        described.append([name, len(column), width])
        blocks.append(planes)
    summary = summarize(recording, blocked_ns)
    start = recording.start_ns
    header = {
        "meta": recording.meta,
        "thread": recording.thread,
        "wall_start": recording.wall_start,
        "duration": recording.end_ns - start,
        "blocked": blocked_ns,
        "columns": described,
        "strings": strings.texts,
        "targets": [[target.kind, target.text] for target in recording.targets],
        "pending": [[p.actor, p.since_ns - start, p.kind, p.target] for p in recording.pending],
        "marks": [
            [m.time_ns - start, m.text, m.level, m.actor, m.duration_ns, m.place] for m in recording.marks
        ],
        "gaps": [[g.start_ns - start, g.end_ns - start, g.lost, g.reason] for g in recording.gaps],
        "names": {
            "actors": [kind.name.lower() for kind in ActorKind],
            "outcomes": [outcome.name.lower() for outcome in Outcome],
            "wakers": [kind.name.lower() for kind in WakerKind],
        },
        "kinds": [[style.label, *style.colour, style.dash] for style in map(colours.KINDS.__getitem__, WaitKind)],
        "palette": {
            "tasks": colours.TASKS,
            "blocked": colours.BLOCKED,
            "loop": colours.LOOP,
            "ready": colours.READY,
            "idle": colours.IDLE,
        },
        "summary": for_page(summary),
        "findings": [dataclasses.asdict(finding) for finding in find(recording, summary)],
    }  # fmt: skip
    text = json.dumps(header, separators=(",", ":")).encode()
    return zlib.compress(b"".join([len(text).to_bytes(4, "little"), text, *blocks]), 6)


class Strings:
    """Each text once, in order of its first use."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.places: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        place = self.places.get(text)
        if place is None:
            place = self.places[text] = len(self.texts)
            self.texts.append(text)
        return place


def slice_columns(recording: Recording) -> dict[str, Sequence[int]]:
    """Numbers from 0 up that are small: starts as distances, and what can be -1 one higher."""
    slices = recording.slices
    starts = slices.start_ns
    return {
        "start": array("q", map(sub, starts, [recording.start_ns, *starts[:-1]])) if starts else starts,
        "duration": slices.duration_ns,
        "actor": slices.actor,
        "outcome": slices.outcome,
        "delay": array("q", map(add, slices.delay_ns, repeat(1))),
        "waker_kind": slices.waker_kind,
        "waker": array("i", map(add, slices.waker, repeat(1))),
        "wait_kind": slices.wait_kind,
        "wait_target": array("i", map(add, slices.wait_target, repeat(1))),
        "line": slices.line,
    }


def actor_columns(recording: Recording, strings: Strings) -> dict[str, Sequence[int]]:
    actors, start = recording.actors, recording.start_ns
    return {
        "actor_kind": [actor.kind for actor in actors],
        "actor_name": [strings(actor.name) for actor in actors],
        "actor_function": [strings(actor.function) for actor in actors],
        "actor_group": [strings(group_name(actor)) for actor in actors],
        "actor_file": [strings(actor.file) for actor in actors],
        "actor_line": [actor.line for actor in actors],
        "actor_error": [strings(actor.error) for actor in actors],
        # 0: it was there before the recording began; else one more than the time.
        "actor_created": [max(0, actor.created_ns - start + 1) if actor.created_ns else 0 for actor in actors],
        "actor_ended": [max(0, actor.ended_ns - start + 1) if actor.ended_ns else 0 for actor in actors],
        "actor_outcome": [0 if actor.outcome is None else actor.outcome + 1 for actor in actors],
        "actor_parent": [actor.parent + 1 for actor in actors],
        "actor_colour": [
            len(colours.TASKS) if actor.kind == ActorKind.LOOP else colours.name_index(actor.name) for actor in actors
        ],
    }


def in_planes(column: Sequence[int]) -> tuple[bytes, int]:
    """The column's lowest bytes, then the next, and so on, and how many bytes a number takes."""
    largest = max(column, default=0)
    if min(column, default=0) < 0:
        raise ValueError(f"a column has {min(column)}; the page reads numbers from 0 up")
    width = max(1, (largest.bit_length() + 7) // 8)
    code, size = next((code, size) for code, size in (("B", 1), ("H", 2), ("I", 4), ("q", 8)) if width <= size)
    if not isinstance(column, array) or column.typecode != code:
        column = array(code, column)
    elif sys.byteorder == "big":
        column = column[:]
    if sys.byteorder == "big":
        column.byteswap()
    raw = column.tobytes()
    return b"".join(raw[plane::size] for plane in range(width)), width


def for_page(summary: Summary) -> dict[str, Any]:
    found = dataclasses.asdict(dataclasses.replace(summary, waited=array("q")))
    del found["waited"]
    found["bounds"] = BOUNDS_NS
    for top, shown in zip(summary.top, found["top"], strict=True):
        shown["waited_ns"] = list(top.waited_ns.items())
    return found
