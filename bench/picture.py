"""The results as a picture: bars of the ratio to the base, quartiles as whiskers, C's ratio as a mark (SVG)."""

import math
from collections.abc import Sequence
from html import escape

from bench.loops import FILE_PEERS, FLOORS, RECORDED
from bench.report import label, number
from bench.results import Results
from bench.rows import Part, Row
from bench.stats import Spread, spread

WIDTH, LEFT, RIGHT = 980, 345, 75
LONGEST = 40.0  # longer bars are cut, so that the others can be told apart
BAR, GAP, ROW_GAP = 10, 2, 15
ROW_MIN = 36  # room for two lines of text
HEAD, PANEL_HEAD, FOOT = 78, 46, 20

COLOURS = {"plait-uring": "#e0407f", "plait-epoll": "#2f9e5b", "plait": "#e0407f", "asyncio": "#9aa3ad"}
OTHERS = ("#3b82d0", "#c98a1b", "#7c5cc4", "#4aa7a0")

TITLES: dict[Part, str] = {
    "tcp": "TCP, by the server's CPU time per message",
    "libraries": "Servers and clients, by their CPU time per request, message or query",
    "files": "Files",
    "other": "Tasks, timers, memory",
}

STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2933 }
.title { font-size: 18px; font-weight: 600 }
.panel { font-size: 13px; font-weight: 600 }
.faint { fill: #66707c; font-size: 11px }
.value { font-size: 10px; fill: #3d4852 }
.card { fill: #ffffff }
.grid { stroke: #e4e7eb }
.base { stroke: #1f2933; stroke-width: 1.5 }
.whisker { stroke: #1f2933; stroke-opacity: .75 }
.floor { fill: none; stroke: #1f2933; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e9ed } .faint { fill: #9aa5b1 } .value { fill: #cbd2d9 } .card { fill: #161b22 } .grid { stroke: #2d3540 }
  .base, .floor, .whisker { stroke: #e6e9ed }
}
"""


def colours(loops: Sequence[str]) -> dict[str, str]:
    spare = iter(OTHERS * len(loops))
    return {loop: COLOURS.get(loop) or next(spare) for loop in loops}


def step_of(greatest: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that gives 4 to 10 lines."""
    rough = greatest / 8
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= rough)


class Panel:
    """Some rows on one scale."""

    def __init__(self, results: Results, title: str, rows: Sequence[Row], loops: Sequence[str], floors: bool) -> None:
        self.title, self.rows, self.loops = title, rows, loops
        self.paint = colours(loops)
        self.found: dict[tuple[str, str], Spread | None] = {}
        for row in rows:
            for subject in (*loops, *(f.name for f in FLOORS if floors)):
                self.found[row.name, subject] = results.ratio(row.name, subject)
        self.costs = {row.name: spread(results.of(row.name, results.base)) for row in rows}
        self.base = results.base
        self.greatest = min(max((s.high for s in self.found.values() if s), default=1.0), LONGEST) * 1.04
        self.row_height = max(ROW_MIN, len(loops) * (BAR + GAP) + ROW_GAP)
        self.height = PANEL_HEAD + len(rows) * self.row_height

    def x(self, value: float) -> float:
        return LEFT + min(value / self.greatest, 1.0) * (WIDTH - LEFT - RIGHT)

    def draw(self, top: float) -> list[str]:
        first, last = top + PANEL_HEAD, top + self.height - ROW_GAP / 2
        out = [f'<text class="panel" x="20" y="{top + 18:.0f}">{escape(self.title)}</text>']
        step = step_of(self.greatest)
        for k in range(int(self.greatest / step) + 1):
            x = self.x(k * step)
            out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{first - 6:.0f}" y2="{last:.0f}"/>')
            mark = f"{k * step:.1f}".removesuffix(".0")
            out.append(f'<text class="faint" text-anchor="middle" x="{x:.1f}" y="{first - 11:.0f}">{mark}</text>')
        for i, row in enumerate(self.rows):
            out += self.draw_row(row, first + i * self.row_height)
        x = self.x(1)
        out.append(f'<line class="base" x1="{x:.1f}" x2="{x:.1f}" y1="{first - 6:.0f}" y2="{last:.0f}"/>')
        return out

    def draw_row(self, row: Row, top: float) -> list[str]:
        height = len(self.loops) * (BAR + GAP) - GAP
        middle = top + height / 2
        cost = self.costs[row.name]
        base = f"{self.base} {number(cost.median)} {row.unit}" if cost else ""
        out = [
            f'<text x="20" y="{middle:.1f}">{escape(row.title)}</text>',
            f'<text class="faint" x="20" y="{middle + 13:.1f}">{escape(base)}</text>',
        ]
        for k, loop in enumerate(self.loops):
            found, y = self.found[row.name, loop], top + k * (BAR + GAP)
            if found is None:
                continue
            end, low, high = self.x(found.median), self.x(found.low), self.x(found.high)
            out += [
                rectangle(LEFT, y, end - LEFT, self.paint[loop], f"{label(loop)}: {found.median:.2f}"),
                f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{y + BAR / 2:.1f}" y2="{y + BAR / 2:.1f}"/>',
                f'<text class="value" x="{max(end, high) + 5:.1f}" y="{y + BAR - 1:.1f}">{self.value(found)}</text>',
            ]
        return out + self.draw_floors(row, top, height)

    def value(self, found: Spread) -> str:
        return f"{found.median:.2f}" + ("…" if found.median > self.greatest else "")

    def draw_floors(self, row: Row, top: float, height: float) -> list[str]:
        """A diamond for epoll and a ring for io_uring, at the foot of the row."""
        out, y = [], top + height + ROW_GAP / 2 - 1
        for name, shape in (("c-epoll", DIAMOND), ("c-uring", CIRCLE)):
            if found := self.found.get((row.name, name)):
                out.append(mark(shape, self.x(found.median), y, f"{label(name)}: {found.median:.2f}"))
        return out


DIAMOND = "M{x} {t}L{r} {y}L{x} {b}L{l} {y}Z"
CIRCLE = "M{l} {y}A3.5 3.5 0 1 1 {r} {y}A3.5 3.5 0 1 1 {l} {y}Z"


def rectangle(x: float, y: float, width: float, colour: str, title: str) -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR}" rx="1.5"'
    return f'<rect {at} fill="{colour}"><title>{escape(title)}</title></rect>'


def mark(shape: str, x: float, y: float, title: str) -> str:
    at = {"x": x, "y": y, "l": x - 3.5, "r": x + 3.5, "t": y - 4, "b": y + 4}
    path = shape.format(**{k: f"{v:.1f}" for k, v in at.items()})
    return f'<path class="floor" d="{path}"><title>{escape(title)}</title></path>'


def legend(loops: Sequence[str], with_floors: bool, y: float) -> list[str]:
    out, x = [], 20.0
    paint = colours(loops)
    for loop in loops:
        out.append(rectangle(x, y - 9, 14, paint[loop], label(loop)))
        out.append(f'<text x="{x + 20:.0f}" y="{y:.0f}">{escape(label(loop))}</text>')
        x += 34 + 7 * len(label(loop))
    for name, shape in (("c-epoll", DIAMOND), ("c-uring", CIRCLE)):
        if with_floors:
            out.append(mark(shape, x + 7, y - 4, label(name)))
            out.append(f'<text x="{x + 18:.0f}" y="{y:.0f}">{escape(label(name))}</text>')
            x += 34 + 7 * len(label(name))
    return out


def svg(results: Results) -> str:
    """A complete picture; it follows the viewer's light or dark scheme."""
    elsewhere = {subject.name for subject in (*FLOORS, *FILE_PEERS, RECORDED)}
    loops = [s for s in results.subjects if s not in elsewhere and s != results.base]
    with_floors = any(s in {f.name for f in FLOORS} for s in results.subjects)
    panels = [
        Panel(results, title, rows, loops, with_floors)
        for part, title in TITLES.items()
        if (rows := results.part(part)) and loops
    ]
    height = HEAD + sum(panel.height + 14 for panel in panels) + FOOT
    m = results.machine
    hint = "longer is better"
    if results.quick:
        hint = "a quick run: no claim about speed"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}">',
        f"<style>{STYLE}</style>",
        f'<rect class="card" width="{WIDTH}" height="{height:.0f}" rx="8"/>',
        f'<text class="title" x="20" y="32">Speed, {escape(results.base)} = 1</text>',
        f'<text class="faint" x="{WIDTH - 20}" y="32" text-anchor="end">{escape(hint)}</text>',
        *legend(loops, with_floors and any(row.floors for row in results.rows()), 58),
    ]
    top = float(HEAD)
    for panel in panels:
        out += panel.draw(top)
        top += panel.height + 14
    about = f"{m['processor']}, {m['cores']} cores, Linux {m['kernel']}, {m['python']}, {m['date']}"
    out.append(f'<text class="faint" x="20" y="{height - 12:.0f}">{escape(about)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"
