"""Says how far a long run is: a bar with rich if it is installed and someone looks, else a line now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.rounds import Progress

LINE_SECONDS = 10.0


@contextmanager
def progress() -> Iterator[Progress]:
    if sys.stderr.isatty():
        try:
            with _bar() as show:
                yield show
            return
        except ImportError:
            pass
    yield _lines()


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)


def _lines() -> Progress:
    last = time.monotonic() - LINE_SECONDS

    def show(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS or done == total:
            last = time.monotonic()
            print(f"bench: {done} of {total} samples; {what}", file=sys.stderr, flush=True)

    return show
