"""What a wait is: told from the code that waits, the peer of the descriptor that woke it, and the protocol that reads there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from plait.see.model import Target, WaitKind

__all__ = ["Waits"]

# Causes, as plait.see.decode has them: plait.see.model.WakerKind and two more.
BY_TIMER, BY_THREAD, BY_SIGNAL, BY_TASK, BY_END = 3, 4, 5, 6, 7
# What is awaited, as engine/record.h has it.
A_TASK, A_GROUP, AN_OPERATION = 2, 3, 4

# The first part of a module's name, or all of it, and what its waits are called.
DATABASES = {
    "aiomysql": "mysql",
    "aiopg": "postgresql",
    "aioredis": "redis",
    "aiosqlite": "sqlite",
    "asyncmy": "mysql",
    "asyncpg": "postgresql",
    "coredis": "redis",
    "databases": "database",
    "elasticsearch": "elasticsearch",
    "motor": "mongodb",
    "neo4j": "neo4j",
    "oracledb": "oracle",
    "psycopg": "postgresql",
    "psycopg_pool": "postgresql",
    "pymongo": "mongodb",
    "redis": "redis",
    "valkey": "valkey",
}
WEBS = {
    name: name
    for name in (
        "aiohttp",
        "fastapi",
        "granian",
        "grpc",
        "h11",
        "h2",
        "httpcore",
        "httpx",
        "hypercorn",
        "niquests",
        "quart",
        "sanic",
        "starlette",
        "tornado",
        "uvicorn",
        "websockets",
        "wsproto",
    )
}
FILES = {"aiofile": "file", "aiofiles": "file", "caio": "file"}
NAMES = {"aiodns": "dns", "dns": "dns", "pycares": "dns"}
MODULES = {
    **{name: (WaitKind.DATABASE, label) for name, label in DATABASES.items()},
    **{name: (WaitKind.WEB, label) for name, label in WEBS.items()},
    **{name: (WaitKind.FILE, label) for name, label in FILES.items()},
    **{name: (WaitKind.DNS, label) for name, label in NAMES.items()},
    "plait.demo.client": (WaitKind.WEB, "http"),  # whose service has whatever port is free
}
PORTS = {
    53: (WaitKind.DNS, "dns"),
    80: (WaitKind.WEB, "http"),
    443: (WaitKind.WEB, "https"),
    1433: (WaitKind.DATABASE, "sqlserver"),
    1521: (WaitKind.DATABASE, "oracle"),
    3306: (WaitKind.DATABASE, "mysql"),
    5432: (WaitKind.DATABASE, "postgresql"),
    6379: (WaitKind.DATABASE, "redis"),
    6432: (WaitKind.DATABASE, "pgbouncer"),
    8000: (WaitKind.WEB, "http"),
    8080: (WaitKind.WEB, "http"),
    8443: (WaitKind.WEB, "https"),
    9042: (WaitKind.DATABASE, "cassandra"),
    9200: (WaitKind.DATABASE, "elasticsearch"),
    11211: (WaitKind.DATABASE, "memcached"),
    27017: (WaitKind.DATABASE, "mongodb"),
}
SOCKET_NAMES = {".s.PGSQL.": "postgresql", "mysql": "mysql", "redis": "redis", "mongodb": "mongodb"}
# What of asyncio waits by itself, whoever calls it: by module, or by module and function.
WAITERS = {
    "asyncio.base_subprocess": (WaitKind.PROCESS, "process"),
    "asyncio.taskgroups": (WaitKind.TASK, "TaskGroup"),
    "asyncio.tasks": (WaitKind.TASK, ""),
    "asyncio.tasks.sleep": (WaitKind.TIMER, "sleep"),
    "asyncio.threads.to_thread": (WaitKind.THREAD, "to_thread"),
    "asyncio.base_events.BaseEventLoop.getaddrinfo": (WaitKind.DNS, "getaddrinfo"),
    "asyncio.base_events.BaseEventLoop.getnameinfo": (WaitKind.DNS, "getnameinfo"),
    "plait.system.names": (WaitKind.DNS, "getaddrinfo"),
    "plait.system.processes.ProcessFactories._reap": (WaitKind.PROCESS, "process"),
    "plait.standard.SubprocessTransport.exit": (WaitKind.PROCESS, "process"),
}
LOCKS = ("asyncio.locks", "asyncio.queues")
# Of what only the loop's own plumbing is seen.
PLUMBING = {"asyncio.streams": (WaitKind.NETWORK, "stream")}
DEVICES = {"pipe:": "pipe", "anon_inode:inotify": "inotify", "/dev/pts/": "terminal", "/dev/tty": "terminal"}


class Source(Protocol):
    """A descriptor, as plait.see.decode has it."""

    fd: int
    code: int
    text: str


class What(NamedTuple):
    """What a descriptor leads to."""

    kind: WaitKind
    label: str
    address: str
    fd: int


class Waits:
    """Names waits, and collects the targets that they name."""

    def __init__(self, codes: Mapping[int, Mapping[str, Any]]) -> None:
        self.codes = codes
        self.targets: list[Target] = []
        self._places: dict[tuple[WaitKind, str, int], int] = {}

    def classify(self, code: int, awaited: int, cause: int, source: Source | None) -> tuple[int, int]:
        """The kind of a wait, and the place of its target in `targets`; -1 for none."""
        known = self.codes.get(code, {})
        module, function = known.get("m", ""), known.get("q", "")
        if cause == BY_TIMER and awaited == 0:  # a callback
            return self._target(WaitKind.TIMER, "timer")
        if awaited in (A_TASK, A_GROUP):
            return self._target(WaitKind.TASK, "gather" if awaited == A_GROUP else "task")
        inner = function.rpartition("<locals>.")[2]
        if awaited == AN_OPERATION:
            return self._target(WaitKind.FILE, f"file in {inner}" if inner else "file")
        what = None if source is None else self._what(source)
        if module in LOCKS:
            if what is not None:
                return self._target(what.kind, f"{what.label} {what.address}".strip(), what.fd)
            return self._target(WaitKind.LOCK, function.partition(".")[0])
        waiter = WAITERS.get(f"{module}.{function}") or WAITERS.get(module)
        if waiter is not None:
            return self._target(waiter[0], waiter[1] or function.lstrip("_"))
        named = by_module(module)
        if named is not None:
            kind, label = named
            if what is None or what.kind not in (kind, WaitKind.NETWORK):
                return self._target(kind, label)
            return self._target(kind, f"{label} {what.address}".strip(), what.fd)
        if what is not None:
            return self._target(what.kind, f"{what.label} {what.address}".strip(), what.fd)
        if cause == BY_TIMER:
            return self._target(WaitKind.TIMER, "timer")
        if cause == BY_THREAD:
            return self._target(WaitKind.THREAD, "thread")
        if cause == BY_SIGNAL:
            return self._target(WaitKind.SIGNAL, "signal")
        if cause == BY_END:
            return self._target(WaitKind.TASK, "task")
        if module in PLUMBING:
            return self._target(*PLUMBING[module])
        return self._target(WaitKind.FUTURE, f"future in {inner}" if inner else "future")

    def _target(self, kind: WaitKind, text: str, fd: int = -1) -> tuple[int, int]:
        place = self._places.get((kind, text, fd))
        if place is None:
            place = self._places[kind, text, fd] = len(self.targets)
            self.targets.append(Target(kind, text, fd))
        return int(kind), place

    def _what(self, source: Source) -> What:
        side, tab, rest = source.text.partition("\t")
        if not tab:
            return device(source.text, source.fd)
        peer, local = [*rest.split("\t"), ""][:2]
        module = self.codes.get(source.code, {}).get("m", "")
        address = f"client {peer}".strip() if side == "server" else peer or local
        named = by_module(module) or by_address(local if side == "server" else peer)
        kind, label = named or (WaitKind.NETWORK, "udp" if side == "udp" else "stream")
        return What(kind, label, address, source.fd)


def by_module(name: str) -> tuple[WaitKind, str] | None:
    return MODULES.get(name.partition(".")[0]) or MODULES.get(name)


def by_address(address: str) -> tuple[WaitKind, str] | None:
    port = address.rpartition(":")[2]
    if port.isdecimal():
        return PORTS.get(int(port))
    name = address.rpartition("/")[2]
    for part, label in SOCKET_NAMES.items():
        if part in name:
            return WaitKind.DATABASE, label
    return None


def device(target: str, fd: int) -> What:
    if target == "anon_inode:[pidfd]":
        return What(WaitKind.PROCESS, "process", "", fd)
    for start, label in DEVICES.items():
        if target.startswith(start):
            return What(WaitKind.DEVICE, label, "" if label == "pipe" else target, fd)
    return What(WaitKind.DEVICE, "descriptor", target, fd)
