"""`plait top`: the figures of a running program, once a second."""

import os
import time
from collections.abc import Callable
from typing import Any

from plait.see import colours
from plait.see.client import Attached
from plait.see.model import WaitKind
from plait.see.screen import Line, Screen, width_of
from plait.see.tree import KIND_WORDS, short, show

__all__ = ["run", "view"]

BAR = "▏▎▍▌▋▊▉█"
BLOCKED_SECONDS = 0.05

Figures = dict[str, Any]


def run(pid: int, every: float, once: bool, write: Callable[[str], object]) -> None:
    """Show it until q is pressed or the process ends. `once` writes one view instead, without a screen."""
    from plait.see.screen import cut, paint, wants_colour

    watching = Watching()
    with Attached(pid) as attached:
        watching.add(attached.ask("top"))
        if once:
            time.sleep(every)
            watching.add(attached.ask("top"))
            colour = wants_colour()
            columns, rows = Screen().size()
            for line in view(watching, columns, rows):
                write(paint(cut(line, columns), colour) + "\n")
            return
        with Screen() as screen:
            while True:
                screen.show(view(watching, *screen.size()))
                if screen.key(every) in ("q", "Q", "\x1b", "\x03"):
                    return
                watching.add(attached.ask("top"))


class Watching:
    """The last two answers, and since when a loop does not move."""

    def __init__(self) -> None:
        self.before: Figures | None = None
        self.now: Figures = {}
        self.stuck_since: dict[int, float] = {}

    def add(self, figures: Figures) -> None:
        self.before, self.now = self.now or None, figures
        for loop in figures["loops"]:
            old = self.old(loop)
            if old is None or not loop["running"] or loop["asleep"] or loop["pulse"] != old["pulse"]:
                self.stuck_since.pop(loop["id"], None)
            else:
                self.stuck_since.setdefault(loop["id"], self.before["monotonic"] if self.before else 0.0)

    def old(self, loop: Figures) -> Figures | None:
        """The same loop in the answer before."""
        loops = self.before["loops"] if self.before else []
        return next((each for each in loops if each["id"] == loop["id"]), None)

    def seconds(self) -> float:
        return max(1e-3, self.now["monotonic"] - self.before["monotonic"]) if self.before else 1.0

    def rate(self, loop: Figures, value: Callable[[Figures], float]) -> float:
        """The growth of a figure in a second."""
        old = self.old(loop)
        return max(0.0, value(loop) - value(old)) / self.seconds() if old else 0.0

    def stuck(self, loop: Figures) -> float:
        """For how many seconds it has been in one slice, at least."""
        since = self.stuck_since.get(loop["id"])
        return max(self.now["monotonic"] - since if since else 0.0, 0.0)


def view(watching: Watching, columns: int, rows: int) -> list[Line]:
    """As many lines as fit."""
    now = watching.now
    before = watching.before
    cpu = (now["cpu_s"] - before["cpu_s"]) / watching.seconds() * 100 if before else 0.0
    program = " ".join(os.path.basename(word) if index == 0 else word for index, word in enumerate(now["program"]))
    right = f"CPU {cpu:3.0f} %  Python {now['python']}  q quits"
    left = f"plait top {now['pid']}  "
    room = max(0, columns - len(left) - len(right) - 1)
    lines: list[Line] = [
        [(left, "bold"), (program[:room].ljust(room) + " ", ""), (right, "dim")],
    ]
    loops = [loop for loop in now["loops"] if loop["running"]] or now["loops"]
    if not loops:
        lines.append([("no loop of plait is open in this process", "dim")])
    share = max(6, (rows - 1) // max(1, len(loops)))
    for loop in loops:
        lines += loop_view(watching, loop, columns, share)
    return lines[:rows]


def loop_view(watching: Watching, loop: Figures, columns: int, rows: int) -> list[Line]:
    stuck = watching.stuck(loop)
    busy = min(1.0, watching.rate(loop, lambda each: each["cpu_ns"]) / 1e9)
    turns = watching.rate(loop, lambda each: each["pulse"][0])
    state, style = (
        (f"BLOCKED {stuck:.1f} s", "bold red")
        if stuck >= BLOCKED_SECONDS
        else ("stopped", "dim")
        if not loop["running"]
        else ("waits", "green")
        if loop["asleep"]
        else ("runs", "green")
    )
    executor = loop["executor"]
    lines: list[Line] = [
        [
            (f"{loop['engine']} ", "bold"),
            (state.ljust(9), style),
            ("  computing ", "dim"),
            bar(busy, 10),
            (f" {busy * 100:3.0f} %", ""),
            ("  turns/s ", "dim"),
            (f"{turns:,.0f}", ""),
            ("  lag ", "dim"),
            (duration(loop["lag_s"]), "bold red" if loop["lag_s"] >= BLOCKED_SECONDS else ""),
        ],
        [
            (f"{'≈' if loop['sampled'] else ''}{loop['tasks']:,} tasks", "bold"),
            (f"  {loop['ready']:,} ready  {loop['timers']:,} timers", ""),
            (
                f"  executor {executor['threads']}/{executor['threads_max']}, {executor['queued']} queued"
                if executor
                else "",
                "",
            ),
        ],
    ]
    if stuck >= BLOCKED_SECONDS and loop["stack"]:
        lines += [[(f"  {show(frame)}", "red")] for frame in loop["stack"][-4:]]
    lines += kinds_view(loop["kinds"], columns)
    lines.append([(f"{'tasks':>7}  {'waits for':<10} {'coroutine':<26} where", "reverse dim")])
    room = max(1, rows - len(lines))
    groups = loop["groups"]
    shown = groups[: room if len(groups) <= room else room - 1]
    lines += [group_line(group, columns) for group in shown]
    if len(groups) > len(shown):
        rest = sum(group[-1] for group in groups[len(shown) :])
        lines.append([(f"{rest:>7}  in {len(groups) - len(shown)} more places", "dim")])
    return lines


def kinds_view(kinds: dict[str, int], columns: int) -> list[Line]:
    """One bar of all tasks by what they wait for, and its legend."""
    total = sum(kinds.values())
    if not total:
        return []
    ordered = sorted(kinds.items(), key=lambda each: -each[1])
    pieces: list[tuple[str, str]] = []
    done = 0
    drawn = 0
    for name, number in ordered:
        done += number
        width = round(done / total * columns) - drawn
        drawn += width
        pieces.append(("█" * width, shade(name)))
    legend: list[tuple[str, str]] = []
    for name, number in ordered:
        entry = [("■ ", shade(name)), (f"{word(name)} {number:,}  ", "")]
        if width_of([*legend, *entry]) > columns:
            break
        legend += entry
    return [pieces, legend]


def shade(kind: str) -> str:
    return colours.terminal_shade(colours.KINDS[WaitKind[kind]].colour)


def word(kind: str) -> str:
    return KIND_WORDS[WaitKind[kind]] or "ready"


def group_line(group: list[Any], columns: int) -> Line:
    name, file, line, text, kind, number = group
    where = f"{short(file)}:{line}" if file else ""
    kind_word = word(kind)
    return [
        (f"{number:>7,}  ", "bold"),
        (f"{kind_word:<10} ", shade(kind)),
        (f"{name if len(name) <= 26 else '…' + name[-25:]:<26} ", ""),
        (where, ""),
        (f"  {text}" if text and text != kind_word else "", "dim"),
    ]


def bar(part: float, width: int) -> tuple[str, str]:
    eighths = round(part * width * 8)
    full, rest = divmod(eighths, 8)
    text = "█" * full + (BAR[rest - 1] if rest else "")
    return text.ljust(width, "·"), "red" if part > 0.9 else "yellow" if part > 0.7 else "green"


def duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.1f} s"
