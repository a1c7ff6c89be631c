"""What `plait demo` may be asked for. Whatever cannot work is refused here, in one line that names value and limits."""

from __future__ import annotations

import argparse
import os
import resource
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

__all__ = ["WAYS", "Refused", "Settings", "allow_descriptors", "find_files", "parse", "spread"]

WAYS = ("sequential", "threads", "processes", "asyncio", "plait")

# Larger files than this are data rather than text, and would turn a test of waiting into one of hashing.
FILE_BYTES_MAX = 1 << 20

# Not the standard library's own, or not written by people.
FOLDERS_LEFT_OUT = ("site-packages", "__pycache__")

# Going on one by one for so long is enough to know its pace.
SEQUENTIAL_SECONDS = 5.0

# Descriptors that a way needs besides one socket per file at work: standard streams, loop, database, files being read.
DESCRIPTORS_SPARE = 128


class Refused(Exception):
    """What was asked for cannot be done; the text is the one line that the user sees."""


@dataclass(frozen=True)
class Settings:
    """What was asked for."""

    files: int
    folder: Path | None
    latency_ms: float
    concurrency: int
    processes: int
    database: str | None
    connections: int
    ways: tuple[str, ...]
    json: bool
    svg: Path | None = None
    page: Path | None = None

    def sequential_files(self, files: int) -> int:
        """How many of the files are done one after another: all, or a share when all would take too long."""
        if files * self.latency_ms / 1000 <= SEQUENTIAL_SECONDS:
            return files
        return min(files, max(10, round(SEQUENTIAL_SECONDS * 1000 / self.latency_ms)))


class Parser(argparse.ArgumentParser):
    """Refuses in one line; the usage is one `--help` away."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parse(given: Sequence[str]) -> Settings:
    """The settings, or SystemExit with status 2 after one line."""
    parser = Parser(
        prog="plait demo",
        description="For each of a few thousand real files: fetch its page from a web service, read the file, store what "
        "was found in a database. The same work is done one after another, by fork-join threads, by fork-join processes, on "
        "asyncio and on plait, and measured.",
    )
    add = parser.add_argument
    add("--files", type=whole(1, 100_000), default=2000, help="how many files (default: %(default)s)")
    add("--folder", type=Path, help="take its files, instead of the standard library of this Python")
    add(
        "--latency",
        dest="latency_ms",
        type=milliseconds,
        default=40.0,
        metavar="MS",
        help="mean time of an answer (default: %(default)g)",
    )
    add(
        "--concurrency",
        type=whole(1, 10_000),
        default=200,
        metavar="N",
        help="files at work at once, by threads and on the loops (default: %(default)s)",
    )
    add(
        "--processes",
        type=whole(1, 256),
        default=32,
        metavar="N",
        help="processes that fork-join forks (default: %(default)s)",
    )
    add("--database", type=postgresql, metavar="URL", help="postgresql://..., instead of an embedded SQLite")
    add(
        "--connections",
        type=whole(1, 500),
        default=16,
        metavar="N",
        help="PostgreSQL connections that threads and loops share (default: %(default)s)",
    )
    add("--ways", type=ways, default=WAYS, metavar="WAY,...", help=f"some of {', '.join(WAYS)} (default: all)")
    add("--json", action="store_true", help="print the results for programs")
    add("--svg", type=Path, metavar="FILE", help="save what is shown at the end as a picture")
    picture = parser.add_mutually_exclusive_group()
    picture.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        default=Path("plait-demo.html"),
        help="where the picture of the tasks goes as a page (default: %(default)s)",
    )
    picture.add_argument("--no-picture", dest="page", action="store_const", const=None, help="end with the table")
    options = parser.parse_args(given)
    return Settings(**vars(options))


def whole(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low:,} to {high:,}, not {text}")
        return number

    return convert


def milliseconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 10_000:
        raise argparse.ArgumentTypeError(f"must be milliseconds from 0 to 10,000, not {text}")
    return number


def postgresql(text: str) -> str:
    if urlsplit(text).scheme not in ("postgresql", "postgres"):
        raise argparse.ArgumentTypeError(
            "must be an address such as postgresql://user@host:5432/name; leave it out for SQLite"
        )
    return text


def ways(text: str) -> tuple[str, ...]:
    asked = text.split(",")
    for way in asked:
        if way not in WAYS:
            raise argparse.ArgumentTypeError(f"knows {', '.join(WAYS)}, not {way!r}")
    return tuple(way for way in WAYS if way in asked)


def allow_descriptors(settings: Settings) -> None:
    """Each file at work has a socket, in its way and in the web service: raise the soft limit, for all children too."""
    needed = settings.concurrency + DESCRIPTORS_SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if needed > hard != resource.RLIM_INFINITY:
        raise Refused(
            f"--concurrency {settings.concurrency} needs {needed} open files, but `ulimit -Hn` allows {hard}; ask for at "
            f"most {max(1, hard - DESCRIPTORS_SPARE)}"
        )
    if needed > soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def find_files(settings: Settings) -> tuple[Path, list[str], int]:
    """The folder, the files' paths in it, sorted, and how many there were to choose from: taken evenly from all of them."""
    folder = settings.folder or Path(sysconfig.get_path("stdlib"))
    found: list[str] = []

    def refuse(error: OSError) -> None:
        # A folder inside that cannot be read is left out like a file that cannot; the one asked for must be readable.
        if error.filename == os.fspath(folder):
            raise Refused(f"cannot read the folder {folder}: {error.strerror}")

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in FOLDERS_LEFT_OUT]
        for name in names:
            path = os.path.join(place, name)
            if not name.startswith(".") and usable(path):
                found.append(os.path.relpath(path, folder))
    if not found:
        raise Refused(f"found no readable file of at most 1 MiB in the folder {folder}")
    found.sort()
    return folder, spread(found, min(settings.files, len(found))), len(found)


def spread(items: list[str], count: int) -> list[str]:
    """So many of them, evenly from the first to the last."""
    return [items[i * len(items) // count] for i in range(count)]


def usable(path: str) -> bool:
    try:
        path.encode()  # a name that is not UTF-8 could not be asked for over HTTP, nor stored
        return (
            not os.path.islink(path)
            and os.path.isfile(path)
            and os.path.getsize(path) <= FILE_BYTES_MAX
            and os.access(path, os.R_OK)
        )
    except (OSError, UnicodeEncodeError):
        return False
