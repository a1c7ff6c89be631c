"""A recording in the terminal: the thread and the lanes of its tasks as coloured cells, and the summary. Needs rich (`plait[see]`)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from plait.see import colours
from plait.see.colours import terminal_shade as shade
from plait.see.findings import Finding, find, show_ns
from plait.see.model import ActorKind, Recording, WaitKind
from plait.see.summary import BLOCKED_NS, Summary, beginning, group_name, summarize

__all__ = ["legend", "picture", "show", "summary_table", "weave"]

NAME_WIDTH = 22
# From thin to thick: how much of a cell's time was run.
THICK = "▁▂▃▄▅▆▇█"
RUNS = "█"
READY = "░"
LOST = "\N{BOX DRAWINGS LIGHT DIAGONAL UPPER RIGHT TO LOWER LEFT}"
# Of so many lanes at most so many are of callbacks and protocols; the rest is said in numbers only.
LANES_MAX = 16
OTHERS_MAX = 3


@dataclass(eq=False)
class Lane:
    """What stands in a row: slices in order of time."""

    name: str
    colour: colours.Colour | None
    indexes: list[int] = field(default_factory=list)
    actors: set[int] = field(default_factory=set)
    life_ns: int = 0  # of all its actors together


@dataclass(frozen=True)
class Window:
    """The part of the recording that is shown, in so many cells."""

    start_ns: int
    end_ns: int
    cells: int

    @property
    def cell_ns(self) -> float:
        return max(1.0, (self.end_ns - self.start_ns) / self.cells)

    def span(self, start_ns: float, end_ns: float) -> range:
        """The cells that these times touch, at least one; none outside of the window."""
        if end_ns < self.start_ns or start_ns > self.end_ns:
            return range(0)
        first = max(0, min(self.cells - 1, int((start_ns - self.start_ns) / self.cell_ns)))
        return range(first, max(first + 1, min(self.cells, ceil((end_ns - self.start_ns) / self.cell_ns))))


def show(recording: Recording, console: Console, blocked_ns: int = BLOCKED_NS) -> None:
    """Print the whole recording: lanes, legend, summary and findings."""
    console.print(picture(recording, console.width, blocked_ns))


def picture(recording: Recording, width: int, blocked_ns: int = BLOCKED_NS) -> RenderableType:
    summary = summarize(recording, blocked_ns)
    program = recording.meta.get("program", "recording")
    known = max(1, summary.wall_ns - summary.unknown_ns)
    head = Text.assemble(
        (f"{program}", "bold"),
        f"  {show_ns(summary.wall_ns)}, {summary.tasks:,} tasks, {summary.slices.count:,} slices, "
        f"the thread {summary.busy_ns / known:.0%} busy",
    )
    parts: list[RenderableType] = [head, Text(), weave(recording, width, blocked_ns=blocked_ns), Text()]
    parts += [legend([recording], width), Text(), summary_table(summary)]
    found = find(recording, summary)
    if found:
        parts += [Text(), *(finding_lines(finding) for finding in found[:8])]
        if len(found) > 8:
            parts.append(Text(f"and {len(found) - 8} more", "dim"))
    return Group(*parts)


def weave(
    recording: Recording,
    width: int,
    start_ns: int | None = None,
    end_ns: int | None = None,
    blocked_ns: int = BLOCKED_NS,
    lanes_max: int = LANES_MAX,
    others_max: int = OTHERS_MAX,
    thread: bool = True,
) -> Text:
    """The thread's lane and those of its tasks, between two times of the recording, in lines of `width` cells.

    Without the thread's lane, what ran may overlap.
    """
    start = recording.start_ns if start_ns is None else start_ns
    end = recording.end_ns if end_ns is None else end_ns
    window = Window(start, max(end, start + 1), max(10, width - NAME_WIDTH - 1))
    slices = recording.slices
    low = max(0, bisect_left(slices.start_ns, start) - 1)
    high = bisect_right(slices.start_ns, end)
    lines = [name_cell("time", "dim").append(ruler(window, recording.start_ns))]
    if thread:
        cells = thread_cells(recording, window, range(low, high), blocked_ns)
        lines += [name_cell(name, "bold").append(row) for name, row in zip(("", recording.thread), cells, strict=True)]
    shown = [*range(low, high), *next_slices(recording, high)]
    lanes, left_out = choose_lanes(recording, shown, lanes_max, others_max, 2 * window.cell_ns)
    for lane in lanes:
        name = name_cell(lane.name, f"bold {shade(lane.colour)}" if lane.colour else "bold")
        lines.append(name.append(lane_cells(recording, window, lane, blocked_ns)))
    if left_out:
        lines.append(Text(f"{'':{NAME_WIDTH}} and {left_out:,} more", "dim"))
    return Text("\n").join(lines)


def next_slices(recording: Recording, after: int) -> list[int]:
    """The first slice of each actor from there on: it ends a wait that may have begun before."""
    found: dict[int, int] = {}
    actors = recording.slices.actor
    for index in range(after, len(actors)):
        found.setdefault(actors[index], index)
    return list(found.values())


def name_cell(name: str, style: str) -> Text:
    name = shortened(name, NAME_WIDTH)
    return Text.assemble((f"{name:{NAME_WIDTH}}", style), " ")


def ruler(window: Window, origin_ns: int) -> Text:
    """Times at every so many cells, none before the origin."""
    text = ""
    step = 16
    for cell in range(0, window.cells, step):
        since_ns = window.start_ns - origin_ns + cell * window.cell_ns
        time = show_ns(since_ns) if since_ns else "0"
        room = min(step, window.cells - cell)
        if since_ns < 0 or len(time) + 1 > room:
            text += " " * room
        else:
            text += f"╷{time:{room - 1}}"
    return Text(text, "dim")


def thread_cells(recording: Recording, window: Window, indexes: Iterable[int], blocked_ns: int) -> list[Text]:
    """Two rows: full cells where the thread ran all the time, else as much as it ran, in the colour of who ran longest."""
    slices = recording.slices
    busy = [0.0] * window.cells
    longest: list[tuple[float, int]] = [(0.0, -1)] * window.cells
    for index in indexes:
        start, duration = slices.start_ns[index], slices.duration_ns[index]
        end = start + duration
        for cell in window.span(start, end):
            left = window.start_ns + cell * window.cell_ns
            share = min(end, left + window.cell_ns) - max(start, left)
            busy[cell] += max(0.0, share)
            if share > longest[cell][0]:
                longest[cell] = share, index
    top, bottom = Text(), Text()
    lost = gap_cells(recording, window)
    for cell in range(window.cells):
        index = longest[cell][1]
        if lost[cell]:
            top.append(LOST, "dim")
            bottom.append(LOST, "dim")
        elif index < 0:
            top.append(" ")
            bottom.append(" ")
        else:
            style = slice_style(recording, index, blocked_ns)
            level = min(16, max(1, round(16 * busy[cell] / window.cell_ns)))
            top.append(THICK[level - 9] if level > 8 else " ", style)
            bottom.append(THICK[min(level, 8) - 1], style)
    return [top, bottom]


def gap_cells(recording: Recording, window: Window) -> list[bool]:
    lost = [False] * window.cells
    for gap in recording.gaps:
        for cell in window.span(gap.start_ns, gap.end_ns):
            lost[cell] = True
    return lost


def slice_style(recording: Recording, index: int, blocked_ns: int) -> str:
    if recording.slices.duration_ns[index] >= blocked_ns:
        return f"bold {shade(colours.BLOCKED)}"
    return shade(colours.actor_colour(recording.actors[recording.slices.actor[index]]))


def choose_lanes(
    recording: Recording, indexes: Iterable[int], lanes_max: int, others_max: int, least_ns: float
) -> tuple[list[Lane], int]:
    """The lanes of the busiest functions, each as many as it needs or gets, and how many actors have none.

    Where not all have room, those of tasks that lived for less than `least_ns` go first: they would be a dot each.
    """
    groups: dict[tuple[bool, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    slices = recording.slices
    for index in indexes:
        actor = slices.actor[index]
        if recording.actors[actor].kind != ActorKind.LOOP:
            groups[group_of(recording, actor)][actor].append(index)
    for pending in recording.pending:
        groups[group_of(recording, pending.actor)].setdefault(pending.actor, [])
    by_size = sorted(groups, key=lambda group: -sum(map(len, groups[group].values())))
    others = [group for group in by_size if group[0]][: min(others_max, lanes_max // 4)]
    kept = {*others, *[group for group in by_size if not group[0]][: lanes_max - len(others)]}
    packed = {group: pack(recording, actors) for group, actors in groups.items() if group in kept}
    if sum(1 if other else len(rows) for (other, _), rows in packed.items()) > lanes_max:
        brief = [g for g, rows in packed.items() if not g[0] and all(row.life_ns < least_ns for row in rows)]
        if any(not group[0] for group in packed.keys() - set(brief)):
            for group in brief:
                del packed[group]
    # As many rows for each as all fit.
    every = lanes_max
    while every > 1 and sum(1 if other else min(every, len(rows)) for (other, _), rows in packed.items()) > lanes_max:
        every -= 1
    lanes: list[Lane] = []
    for group, rows in sorted(packed.items(), key=lambda item: item[0][0]):
        fullest = sorted(rows, key=lambda row: -len(row.indexes))[: 1 if group[0] else every]
        lanes += [row for row in rows if row in fullest]
    return lanes, sum(map(len, groups.values())) - sum(len(lane.actors) for lane in lanes)


def group_of(recording: Recording, actor: int) -> tuple[bool, str]:
    """What lanes are grouped by; callbacks and protocols come after the tasks."""
    described = recording.actors[actor]
    return described.kind != ActorKind.TASK, group_name(described)


def pack(recording: Recording, actors: dict[int, list[int]]) -> list[Lane]:
    """Tasks of one function in as few rows as there were at once."""
    rows: list[tuple[Lane, int]] = []
    for actor, indexes in actors.items():
        described = recording.actors[actor]
        first = recording.slices.start_ns[indexes[0]] if indexes else 0
        begin = described.created_ns or first
        end = described.ended_ns or recording.end_ns
        place = next((i for i, (_, until) in enumerate(rows) if until <= begin), len(rows))
        if place == len(rows):
            rows.append((Lane(described.name, colours.actor_colour(described)), end))
        lane = rows[place][0]
        lane.indexes += indexes
        lane.actors.add(actor)
        lane.life_ns += end - begin
        if len(lane.actors) > 1:
            lane.name, lane.colour = f"{group_name(described)} x {len(lane.actors):,}", None
        rows[place] = lane, end
    return [lane for lane, _ in rows]


def lane_cells(recording: Recording, window: Window, lane: Lane, blocked_ns: int) -> Text:
    """A line of its kind where a task waits, a block where it runs; where both lie in a cell, the block."""
    slices = recording.slices
    cells: list[tuple[str, str]] = [(" ", "")] * window.cells
    ends: dict[int, int] = {}

    def fill(start: float, end: float, sign: str, style: str) -> None:
        for cell in window.span(start, end) if end > start else ():
            if cells[cell][0] != RUNS:
                cells[cell] = (sign, style)

    for index in lane.indexes:
        actor, start = slices.actor[index], slices.start_ns[index]
        duration, kind = slices.duration_ns[index], WaitKind(slices.wait_kind[index])
        since = ends[actor] if actor in ends else beginning(recording, recording.actors[actor])
        since = since if since >= 0 else start
        ready = max(since, start - max(0, slices.delay_ns[index]))
        style = colours.KINDS[kind]
        if kind:
            fill(since, ready, style.sign, shade(style.colour))
        if start - ready > window.cell_ns / 2:
            fill(ready, start, READY, shade(colours.READY))
        ends[actor] = start + duration
        for cell in window.span(start, start + duration):
            cells[cell] = (RUNS, slice_style(recording, index, blocked_ns))
    for pending in recording.pending:
        if pending.actor in lane.actors:
            style = colours.KINDS[pending.kind]
            fill(pending.since_ns, recording.end_ns, style.sign, shade(style.colour))
    for cell, lost in enumerate(gap_cells(recording, window)):
        if lost:
            cells[cell] = (LOST, "dim")
    text = Text()
    for sign, look in cells:
        text.append(sign, look)
    return text


def legend(recordings: Iterable[Recording], width: int) -> Text:
    """What the signs mean; only kinds that occur."""
    used: set[int] = set()
    for recording in recordings:
        used |= {*recording.slices.wait_kind, *(pending.kind for pending in recording.pending)}
    entries = [Text.assemble((RUNS, shade(colours.TASKS[5])), " runs"), Text.assemble((READY * 2, "dim"), " ready")]
    entries.append(Text.assemble((RUNS, f"bold {shade(colours.BLOCKED)}"), " blocks"))
    for kind in sorted(used - {WaitKind.NONE}):
        style = colours.KINDS[WaitKind(kind)]
        entries.append(Text.assemble((style.sign * 2, shade(style.colour)), f" {style.label}"))
    lines = [Text()]
    for entry in entries:
        if lines[-1].cell_len + entry.cell_len + 3 > width:
            lines.append(Text())
        lines[-1].append("   " if lines[-1] else "").append(entry)
    return Text("\n").join(lines)


def summary_table(summary: Summary) -> Table:
    """What was waited for, and who ran."""
    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "right", "right", "right"):
        table.add_column(justify=justify)
    table.add_row(*(Text(head, "dim") for head in ("waited for", "in sum", "times", "half within", "99% within")))
    for waits in summary.waits:
        style = colours.KINDS[waits.kind]
        durations = waits.durations
        table.add_row(
            Text.assemble((style.sign * 3, shade(style.colour)), f" {style.label}"),
            show_ns(durations.total_ns),
            f"{durations.count:,}",
            show_ns(durations.p50_ns),
            show_ns(durations.p99_ns),
        )
    delays = summary.delays
    table.add_row(
        Text("the thread"),
        show_ns(delays.total_ns),
        f"{delays.count:,}",
        show_ns(delays.p50_ns),
        show_ns(delays.p99_ns),
    )
    table.add_row()
    table.add_row(*(Text(head, "dim") for head in ("who ran", "in sum", "slices", "tasks", "longest")))
    for top in [top for top in summary.top if top.slices][:8]:
        longest = Text(show_ns(top.longest_ns), shade(colours.BLOCKED) if top.longest_ns >= summary.blocked_ns else "")
        tasks = f"{top.actors:,}" if top.kind == ActorKind.TASK else ""
        table.add_row(shortened(top.name, 40), show_ns(top.busy_ns), f"{top.slices:,}", tasks, longest)
    return table


def shortened(name: str, room: int) -> str:
    return name if len(name) <= room else "…" + name[1 - room :]


LEVELS = {"warning": ("!", "bold red"), "hint": ("?", "bold yellow"), "info": ("·", "dim")}


def finding_lines(finding: Finding) -> Table:
    """The sign, and beside it all else, also where it takes more than one line."""
    sign, style = LEVELS[finding.level]
    text = Text(finding.text)
    for part in (finding.place, finding.advice):
        if part:
            text.append(f"\n{part}", "dim")
    table = Table.grid(padding=(0, 1))
    table.add_row(Text(sign, style), text)
    return table
