"""Runs the ways one after the other and shows them: a progress bar each, then a table and what can be read in it.

Without a terminal there are no bars, but a line per way. Colours are the terminal's own, which are readable on its background.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from plait.demo.measure import Child, Measured, measure
from plait.demo.options import Refused, Settings, allow_descriptors, find_files, spread
from plait.demo.picture import FILES as PICTURE_FILES
from plait.demo.picture import Picture, drawn, save, take
from plait.demo.work import Row, digest

__all__ = ["show"]


class Administration(Protocol):
    """The demo's own view of a database; see sqlite.py and postgresql.py."""

    def create(self) -> str:
        """Make the table anew; returns the address that the ways' stores are made with."""

    def rows(self) -> list[Row]: ...

    def close(self) -> None: ...


TITLES = {
    "sequential": "one after another",
    "threads": "fork-join threads",
    "processes": "fork-join processes",
    "asyncio": "asyncio",
    "plait": "plait",
}

# A single run says nothing about smaller differences.
NOISE = 0.1

MIB = 1 << 20

SVG_WIDTH = 100


def show(settings: Settings) -> int:
    """Returns the exit status: 0 when all ways stored the same rows."""
    console = Console(highlight=False, quiet=settings.json)
    with ended_by_sigterm(), ExitStack() as stack:
        allow_descriptors(settings)
        folder, files, available = find_files(settings)
        database, administration = open_database(settings, stack)
        describe(console, settings, f"{len(files):,} of the {available:,} files in {folder}")
        service = stack.enter_context(
            Child("plait.demo.service", {"folder": str(folder), "files": files, "latency_ms": settings.latency_ms})
        )
        port = (service.message() or {})["port"]

        def task(way: str, share: int) -> dict[str, Any]:
            return {
                "way": way,
                "folder": str(folder),
                "files": spread(files, share),
                "port": port,
                "database": database,
                "address": administration.create(),
                "limit": min(share, limit(settings, way)),
                "connections": settings.connections,
            }

        results: list[Measured] = []
        stored: dict[str, list[Row]] = {}
        with progress_bars(console) as start_bar:
            for way in settings.ways:
                share = settings.sequential_files(len(files)) if way == "sequential" else len(files)
                advance, finish = start_bar(TITLES[way], share)
                results.append(measure(task(way, share), advance))
                finish(seconds(results[-1].wall_seconds))
                stored[way] = administration.rows()
        pictures = list(taken(settings, len(files), task))
    different = differing(results, stored)
    if settings.json:
        print(json.dumps(for_programs(results, stored, different, len(files)), indent=2))
    else:
        console.print(table(results, different, len(files)))
        for sentence in sentences(results, stored, different, len(files)):
            console.print(sentence, soft_wrap=not console.is_terminal)
        show_pictures(console, settings, pictures)
    if settings.svg is not None:
        parts: list[RenderableType] = [
            table(results, different, len(files)),
            *sentences(results, stored, different, len(files)),
        ]
        save_picture(settings.svg, [*parts, Text(), *drawn(pictures, SVG_WIDTH)] if pictures else parts)
    return 1 if different else 0


def taken(settings: Settings, files: int, task: Callable[[str, int], dict[str, Any]]) -> Iterator[Picture]:
    """Of plait and of fork-join, as far as they were asked for; none where nobody looks at them."""
    if settings.json or settings.page is None or "plait" not in settings.ways:
        return
    ways = tuple(way for way in ("plait", "threads", "processes") if way in settings.ways)
    yield from take(ways, lambda way, more: {**task(way, min(files, PICTURE_FILES)), **more})


def show_pictures(console: Console, settings: Settings, pictures: list[Picture]) -> None:
    """In the terminal, and plait's as a page."""
    if not pictures or settings.page is None:
        return
    console.print()
    console.print(*drawn(pictures, console.width), sep="\n")
    console.print()
    console.print(save(pictures[0], settings.page), soft_wrap=True)


def save_picture(path: Path, parts: Sequence[RenderableType]) -> None:
    """What the terminal showed at the end, drawn; it names no font of the web, so that it is complete by itself."""
    console = Console(record=True, width=SVG_WIDTH, file=io.StringIO(), highlight=False, color_system="truecolor")
    console.print(*parts, sep="\n")
    drawn = console.export_svg(title="plait demo")
    drawn = re.sub(r"@font-face\s*{[^}]*}", "", drawn).replace("Fira Code, monospace", "monospace")
    try:
        path.write_text(drawn)
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """`kill` ends the demo as Ctrl-C does: through the clean-up, with the status that a shell reports for the signal."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def open_database(settings: Settings, stack: ExitStack) -> tuple[str, Administration]:
    if settings.database is None:
        from plait.demo import sqlite

        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="plait-demo-"))
        return "sqlite", stack.enter_context(closing(sqlite.Administration(os.path.join(folder, "found.sqlite"))))
    from plait.demo import postgresql

    return "postgresql", stack.enter_context(closing(postgresql.Administration(settings.database)))


def limit(settings: Settings, way: str) -> int:
    return {"sequential": 1, "processes": settings.processes}.get(way, settings.concurrency)


def describe(console: Console, settings: Settings, files: str) -> None:
    """What is going to happen, with everything that is not as it would be in the wild."""
    if settings.database is None:
        database = "an embedded SQLite file; rows that wait for its one writing thread are written together"
    else:
        database = f"PostgreSQL; {settings.connections} connections, asyncpg on the loops, psycopg elsewhere"
    parts = [
        ("for each of", files),
        ("fetch its page", f"from a web service in a process of its own, whose answers take a drawn time: log-normal, mean "
         f"{settings.latency_ms:g} ms, the same for each way (--latency)"),
        ("read the file", "and count its lines, definitions and imports; compare it with its page"),
        ("store a row", f"in {database}"),
    ]  # fmt: skip
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for head, text in parts:
        grid.add_row(head, text)
    console.print(grid)
    console.print()


# How one way's bar goes on: told how many files are done, and at the end a last word.
Bar = tuple[Callable[[int], None], Callable[[str], None]]


@contextmanager
def progress_bars(console: Console) -> Iterator[Callable[[str, int], Bar]]:
    if not console.is_terminal:

        def start_line(title: str, files: int) -> Bar:
            return lambda done: None, lambda word: console.print(f"{title}: {files:,} files in {word}")

        yield start_line
        return
    columns = (
        TextColumn("{task.description:20}"),
        BarColumn(style="dim", complete_style="magenta", finished_style="green"),
        TextColumn("{task.completed:,} of {task.total:,}", justify="right"),
        TextColumn("{task.fields[word]:>9}"),
    )
    with Progress(*columns, console=console) as progress:

        def start_bar(title: str, files: int) -> Bar:
            bar = progress.add_task(title, total=files, word="")
            return lambda done: progress.update(bar, completed=done), lambda word: progress.update(bar, word=word)

        yield start_bar


def differing(results: list[Measured], stored: dict[str, list[Row]]) -> list[str]:
    """The ways whose rows are not what the way with most files stored for the same files, or are too few."""
    most = {row.path: row for row in max(stored.values(), key=len)}
    return [
        result.way
        for result in results
        if len(stored[result.way]) != result.files or any(most.get(row.path) != row for row in stored[result.way])
    ]


def whole(result: Measured, files: int) -> float:
    """What the numbers of a share are multiplied with to stand for all files."""
    return files / result.files


def table(results: list[Measured], different: list[str], files: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    table.add_column("", no_wrap=True)
    for head in ("at\nonce", "wall\ntime", "CPU\ntime", "peak\nmemory", "pro-\ncesses", "\nthreads"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("\nrows", no_wrap=True)
    for result in results:
        times = whole(result, files)
        scaled = "~" if times > 1 else ""
        title = TITLES[result.way]
        if result.engine is not None:
            title += f" on {'io_uring' if result.engine == 'uring' else result.engine}"
        table.add_row(
            title,
            f"{result.limit}",
            f"{scaled}{seconds(result.wall_seconds * times)}",
            f"{scaled}{seconds(result.cpu_seconds * times)}",
            f"{result.memory_bytes / MIB:.0f} MiB",
            f"{result.processes}",
            f"{result.threads}",
            Text("different", style="red") if result.way in different else Text("equal", style="green"),
            style="bold" if result.way == "plait" else None,
        )
    return table


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 100 else f"{value:,.0f} s"


def sentences(results: list[Measured], stored: dict[str, list[Row]], different: list[str], files: int) -> Iterator[str]:
    """What can be read in the table; every number is computed from it."""
    by_way = {result.way: result for result in results}
    sequential, plait = by_way.get("sequential"), by_way.get("plait")
    if sequential is not None and sequential.files < files:
        yield f"~ one after another was done for {sequential.files:,} of the {files:,} files, and scaled up."
    if plait is not None and plait.engine == "epoll":
        yield f"plait ran on epoll: {plait.engine_reason} (plait doctor says more)."
    if different:
        yield f"The rows differ: {', '.join(TITLES[way] for way in different)}."
    elif len(results) > 1:
        rows = max(stored.values(), key=len)
        stale = sum(not row.agrees for row in rows)
        pages = "every page agrees with its file" if not stale else f"{stale:,} files changed meanwhile"
        yield f"All ways stored the same {len(rows):,} rows (sha256 {digest(rows)[:12]}); {pages}."
    if plait is None or len(results) == 1:
        return
    if sequential is not None:
        ratio = sequential.wall_seconds * whole(sequential, files) / plait.wall_seconds
        yield f"Interwoven by plait, the work was done {ratio:.1f} times as fast as one after another."
    comparisons = [
        f"{name}: {compare(plait, by_way[way])}"
        for way, name in (
            ("asyncio", "asyncio"),
            ("threads", "fork-join threads"),
            ("processes", "fork-join processes"),
        )
        if way in by_way
    ]
    if comparisons:
        yield f"plait took, compared with {'; with '.join(comparisons)} (one run; within {NOISE:.0%} counts as the same)."


def compare(plait: Measured, other: Measured) -> str:
    """Wall time, CPU time and memory in words."""
    values = (
        ("wall time", plait.wall_seconds, other.wall_seconds),
        ("CPU time", plait.cpu_seconds, other.cpu_seconds),
        ("memory", plait.memory_bytes, other.memory_bytes),
    )
    words: dict[str, list[str]] = {}
    for name, mine, theirs in values:
        words.setdefault(relation(mine, theirs), []).append(name)
    return ", ".join(f"{word} {' and '.join(names)}" for word, names in words.items())


def relation(mine: float, theirs: float) -> str:
    ratio = mine / theirs
    if abs(ratio - 1) <= NOISE:
        return "about the same"
    return f"{1 - ratio:.0%} less" if ratio < 1 else f"{ratio - 1:.0%} more"


def for_programs(
    results: list[Measured], stored: dict[str, list[Row]], different: list[str], files: int
) -> dict[str, object]:
    return {
        "files": files,
        "equal": not different,
        "different": different,
        "ways": [{**dataclasses.asdict(result), "sha256": digest(stored[result.way])} for result in results],
    }
