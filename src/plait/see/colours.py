"""The colours of all pictures, so that a task has the same one in the terminal, on the page and in what is exported.

Each colour has two shades: one for a light background, one for a dark one. Nothing is told by hue alone: kinds of waits also differ by dash
and by sign, blocked slices are hatched and named. tests/see/test_colours.py looks at them with the eyes of the colour-blind.
"""

from __future__ import annotations

import os
import re
import zlib
from typing import NamedTuple

from plait.see.model import Actor, ActorKind, WaitKind

__all__ = [
    "BLOCKED",
    "IDLE",
    "KINDS",
    "LOOP",
    "READY",
    "TASKS",
    "Colour",
    "KindStyle",
    "actor_colour",
    "name_index",
    "terminal_shade",
]


class Colour(NamedTuple):
    """Hexadecimal, for a light and for a dark background."""

    light: str
    dark: str


class KindStyle(NamedTuple):
    """How a kind of wait is drawn."""

    label: str
    colour: Colour
    dash: tuple[int, ...]  # of the line on the page, in pixels; empty: unbroken
    sign: str  # one cell of the terminal


# Ordered so that neighbours differ most, also to the colour-blind: tasks made one after another get them in turn.
TASKS: tuple[Colour, ...] = (
    Colour("#3b76cf", "#6aa3f5"),  # blue
    Colour("#a4772f", "#cfa25c"),  # brown
    Colour("#62b6e2", "#93d6f7"),  # sky
    Colour("#46549f", "#8592dd"),  # indigo
    Colour("#e2902a", "#f2ac52"),  # orange
    Colour("#1c9c8c", "#3fc4b3"),  # teal
    Colour("#7a5cc8", "#a58ff0"),  # violet
    Colour("#6cc092", "#9fe3bd"),  # mint
    Colour("#9c478f", "#c87fbc"),  # plum
    Colour("#5b8c2e", "#8dbf58"),  # leaf
    Colour("#d873ae", "#f098cb"),  # pink
    Colour("#b5ab2f", "#d8cf62"),  # olive
)
BLOCKED = Colour("#d81b2a", "#ff4d57")
LOOP = Colour("#9aa0a8", "#6b727c")
READY = Colour("#8a8f98", "#8d94a0")
IDLE = Colour("#eceef1", "#1c212a")

KINDS: dict[WaitKind, KindStyle] = {
    WaitKind.NONE: KindStyle("ready", READY, (1, 2), "·"),
    WaitKind.DATABASE: KindStyle("database", Colour("#0f8b6d", "#2fc59d"), (), "━"),
    WaitKind.WEB: KindStyle("web", Colour("#2458cc", "#5a90fb"), (), "─"),
    WaitKind.NETWORK: KindStyle("network", Colour("#4fb3dd", "#8fd6f5"), (6, 2), "╌"),
    WaitKind.FILE: KindStyle("file", Colour("#d9820f", "#f4a93e"), (), "═"),
    WaitKind.DNS: KindStyle("DNS", Colour("#1f4c9c", "#5c86d6"), (2, 2), "┈"),
    WaitKind.PROCESS: KindStyle("process", Colour("#8a5a2b", "#c08a55"), (8, 3), "╍"),
    WaitKind.TIMER: KindStyle("timer", Colour("#7f9cbd", "#6c8fb8"), (2, 4), "┄"),
    WaitKind.LOCK: KindStyle("lock or queue", Colour("#b83a94", "#ea76c8"), (4, 2), "┅"),
    WaitKind.TASK: KindStyle("another task", Colour("#6d4fc2", "#a78df5"), (10, 3), "╴"),
    WaitKind.THREAD: KindStyle("thread", Colour("#8f8a1a", "#d3cc4d"), (6, 2, 2, 2), "╼"),
    WaitKind.SIGNAL: KindStyle("signal", Colour("#c9b400", "#f5e15a"), (2, 2), "┉"),
    WaitKind.DEVICE: KindStyle("pipe or device", Colour("#57a77a", "#8fdcae"), (4, 2), "╸"),
    WaitKind.FUTURE: KindStyle("future", Colour("#6b7280", "#b4bac4"), (4, 4), "╺"),
}

NUMBERED = re.compile(r"^(.*?)(\d+)$")


def name_index(name: str) -> int:
    """The place in TASKS of a name. "worker-1", "worker-2" and so on differ from their neighbours."""
    found = NUMBERED.match(name)
    head, number = (found[1], int(found[2])) if found else (name, 0)
    return (zlib.crc32(head.encode(errors="replace")) + number) % len(TASKS)


def terminal_shade(colour: Colour) -> str:
    """The shade for this terminal's background, as far as it tells: dark, unless COLORFGBG says another."""
    ground = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    return colour.light if ground in ("7", "15") else colour.dark


def actor_colour(actor: Actor) -> Colour:
    """The colour of its slices."""
    return LOOP if actor.kind == ActorKind.LOOP else TASKS[name_index(actor.name)]
