"""The rows of the table: what is measured, in which unit, and what plait aims at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

Kind = Literal["tcp", "server", "client", "task", "file", "memory", "startup"]
Style = Literal["protocol", "streams", "sock", "uvicorn", "aiohttp", "websockets"]


Part = Literal["tcp", "libraries", "files", "other"]

PARTS: dict[Part, tuple[Kind, ...]] = {
    "tcp": ("tcp",),
    "libraries": ("server", "client"),
    "files": ("file",),
    "other": ("task", "memory", "startup"),
}
"""The parts of the tables and of the picture."""


@dataclass(frozen=True)
class Load:
    """What the load generator does: `conns` connections, each with `outstanding` messages of `size` bytes on the way."""

    size: int
    conns: int
    outstanding: int = 1
    style: Style = "protocol"
    tls: bool = False
    spin: bool = False
    """Plait and the C programs look for what comes before they sleep; other loops cannot."""

    @property
    def client(self) -> str:
        """The program that makes it."""
        return "loadtls" if self.tls else "loadgen"

    @property
    def is_echo(self) -> bool:
        """Whether the C servers answer it too: they receive and send, whatever the style."""
        return self.style in ("protocol", "streams", "sock")


@dataclass(frozen=True)
class Cold:
    """`count` reads of `size` bytes from the disk, `conc` at a time."""

    size: int
    conc: int
    count: int


COLD = Cold(4096, 256, 5000)


@dataclass(frozen=True)
class Row:
    """`aims` are the least ratios to uvloop, by loop; `aims_to` those of plait-uring to others. `recorded` is what plait-uring
    may cost more while it is recorded, as a share. `most` are the greatest values, by loop. A heavy row takes seconds and is
    measured in fewer rounds. In rows of files, loops without file calls of their own use asyncio.to_thread."""

    name: str
    title: str
    kind: Kind
    unit: str = "ns"
    load: Load | None = None
    cold: Cold | None = None
    aims: dict[str, float] = field(default_factory=dict)
    heavy: bool = False
    aims_to: dict[str, float] = field(default_factory=dict)
    recorded: float | None = None
    most: dict[str, float] = field(default_factory=dict)

    @property
    def floors(self) -> tuple[str, ...]:
        """The C programs that do it too."""
        if self.cold:
            return ("c-uring",)
        return ("c-epoll", "c-uring") if self.load and self.load.is_echo else ()


def _tcp(
    kib: int,
    conns: int,
    aim: float | None = None,
    *,
    outstanding: int = 1,
    style: Style = "protocol",
    aim_epoll: float | None = None,
    recorded: float | None = None,
    tls: bool = False,
    spin: bool = False,
) -> Row:
    many = f", {outstanding} outstanding" if outstanding > 1 else ""
    looking = ", plait and C spinning" if spin else ""
    below = "TLS" if tls else "TCP"
    how = {"protocol": f"{below} echo", "streams": "streams echo", "sock": "sock_recv/sock_sendall echo"}[style]
    if tls and style != "protocol":
        how += " over TLS"
    words = [below.lower()] * (tls or style == "protocol") + [style] * (style != "protocol")
    return Row(
        name="-".join([*words, f"{kib}k-x{conns}"]) + (f"-p{outstanding}" if many else "") + "-spin" * spin,
        title=f"{how}, {kib} KiB x {conns}{many}{looking}",
        kind="tcp",
        unit="us",
        load=Load(kib * 1024, conns, outstanding, style, tls, spin),
        aims={k: v for k, v in (("plait-uring", aim), ("plait-epoll", aim_epoll)) if v is not None},
        recorded=recorded,
    )


def _server(style: Style, title: str, aim: float, *, recorded: float | None = None) -> Row:
    load = Load(0, 100, style=style)
    return Row(f"{style}-x100", title, "server", "us", load=load, aims={"plait-uring": aim}, recorded=recorded)


def _client(name: str, title: str, aim: float) -> Row:
    return Row(name, title, "client", "us", aims={"plait-uring": aim})


def _task(
    name: str, title: str, aim: float | None = None, *, heavy: bool = False, recorded: float | None = None
) -> Row:
    return Row(name, title, "task", aims={} if aim is None else {"plait-uring": aim}, heavy=heavy, recorded=recorded)


def _file(
    name: str,
    title: str,
    aim: float | None = None,
    *,
    unit: str = "us",
    heavy: bool = False,
    cold: Cold | None = None,
    **aims_to: float,
) -> Row:
    aims = {} if aim is None else {"plait-uring": aim}
    return Row(f"file-{name}", title, "file", unit, cold=cold, aims=aims, heavy=heavy, aims_to=aims_to)


def _late(readers: int, most: float) -> Row:
    title = f"lateness of a 1 ms tick (99 %) beside 4 KiB x {readers}"
    return Row(f"file-late-x{readers}", title, "file", "us", most={"plait-uring": most, "plait-epoll": most})


ROWS: tuple[Row, ...] = (
    _tcp(1, 1, 1.0),
    _tcp(1, 1, 1.5, spin=True),
    _tcp(1, 10, 1.33),
    _tcp(1, 100, 1.34, aim_epoll=1.10, recorded=0.03),
    _tcp(1, 1000, 1.28),
    _tcp(1, 100, 1.12, outstanding=16),
    _tcp(10, 100, 1.23),
    _tcp(100, 10, 1.14),
    _tcp(100, 100, 1.14),
    _tcp(1, 100, 2.3, style="streams"),
    _tcp(100, 10, 1.7, style="streams"),
    _tcp(1, 100, 3.5, style="sock"),
    _tcp(100, 10, 1.2, style="sock"),
    _tcp(1, 100, 1.5, tls=True),
    _tcp(1, 100, 1.8, tls=True, style="streams"),
    _tcp(100, 10, 1.2, tls=True),
    _server("uvicorn", "uvicorn, hello x 100", 1.25, recorded=0.03),
    _server("aiohttp", "aiohttp, hello x 100", 1.25),
    _server("websockets", "websockets echo, 1 KiB x 100", 1.2),
    _client("asyncpg-x50", "asyncpg, select 1 x 50 tasks", 1.15),
    _client("redis-x50", "redis-py, GET x 50 tasks", 1.15),
    _task("sleep0-x1", "sleep(0), 1 task", 3.0),
    _task("sleep0-x100", "sleep(0), 100 tasks", 2.3, recorded=0.10),
    _task("sleep0-x10000", "sleep(0), 10,000 tasks", 2.0),
    _task("create-task", "await asyncio.create_task()", 4.0, recorded=0.08),
    _task("loop-create-task", "await loop.create_task()", 6.0),
    _task("call-soon", "call_soon"),
    _task("call-soon-chain", "call_soon, each from the one before", 4.5),
    _task("timer-cancel", "call_later and cancel", 6.0),
    _task("timer-million", "1,000,000 timers set, then cancelled", heavy=True),
    _task("timer-fire", "call_later that fires", 2.0),
    _task("future-pingpong", "two tasks, one future each way", 5.0),
    _task("queue", "Queue(1), put and get", 2.2),
    _task("gather-100", "gather(100), per task", 2.0),
    _task("gather-10000", "gather(10,000), per task"),
    _task("taskgroup-100", "TaskGroup of 100, per task", 2.5),
    _task("wait-for", "wait_for around sleep(0)", 3.0),
    _task("timeout", "timeout around sleep(0)", 2.0),
    _task("executor", "run_in_executor, there and back"),
    _file("4k-x1", "random reads, 4 KiB x 1, cached"),
    _file("4k-x32", "random reads, 4 KiB x 32, cached", 10.0, caio=2.0),
    _file("64k-x32", "random reads, 64 KiB x 32, cached", 4.0),
    _file("cold-x256", "random reads, 4 KiB x 256, from the disk", 6.0, heavy=True, cold=COLD),
    _file("small", "whole small files, one by one x 32", 4.0, aiofiles=14.0),
    _file("many", "1,000 whole small files at once", 4.0, aiofiles=14.0),
    _file("lines", "lines of a text, per line", 30.0, unit="ns", heavy=True, aiofiles=30.0, sync=1 / 1.5),
    _file("write", "writing 1 GiB over 64 MiB of the page cache, per MiB", 1.0, heavy=True),
    _late(32, 1000),
    _late(256, 2500),
    Row("memory-connection", "memory of an idle connection", "memory", "B", heavy=True),
    Row("memory-task", "memory of a parked task", "memory", "B", heavy=True),
    Row("startup", "import, first run, close", "startup", "ms", heavy=True),
)


def select(patterns: Sequence[str]) -> list[Row]:
    """The rows whose name matches any of the globs; all if there is no glob.

    Raises LookupError for a glob that matches nothing.
    """
    if not patterns:
        return list(ROWS)
    for pattern in patterns:
        if not any(fnmatchcase(row.name, pattern) for row in ROWS):
            raise LookupError(f"no row is called {pattern!r}; the rows are: {', '.join(row.name for row in ROWS)}")
    return [row for row in ROWS if any(fnmatchcase(row.name, pattern) for pattern in patterns)]
