"""Starts the demo's processes and measures one way from outside, so that measuring costs the measured nothing."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from plait.demo.options import Refused

__all__ = ["Child", "Measured", "measure"]

SAMPLE_SECONDS = 0.1
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Measured:
    """What one way took for so many files; memory is the proportional set size of all its processes together."""

    way: str
    limit: int
    files: int
    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int
    processes: int
    threads: int
    engine: str | None
    engine_reason: str | None


class Child:
    """A process of the demo, in a process group of its own, so that Ctrl-C reaches only the demo, and `stop` ends all of it."""

    def __init__(self, module: str, task: dict[str, Any]) -> None:
        self.name = module
        self.received = b""
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
        )
        self.send(json.dumps(task))

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; message() says so

    def message(self, seconds: float | None = None) -> dict[str, Any] | None:
        """The next thing it tells, or None after so many seconds. Raises `Refused` when it failed or ended."""
        assert self.process.stdout is not None
        deadline = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self.received:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self.process.stdout], [], [], left)[0]:
                return None
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise Refused(f"{self.name} ended by itself, with status {self.process.wait()}")
            self.received += data
        line, _, self.received = self.received.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise Refused(message["error"])
        return message

    def stop(self) -> None:
        """End it and whatever it forked; it has nothing to lose."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(STOP_SECONDS)


def measure(task: dict[str, Any], advance: Callable[[int], None]) -> Measured:
    """Run one way in a fresh process; `advance` is told how many files are done."""
    with Child("plait.demo.ways", task) as child:
        while "ready" not in (child.message() or {}):
            pass
        memory = processes = threads = 0
        child.send("go")
        sample_at = 0.0
        told: dict[str, Any] = {}
        while "wall_seconds" not in told:
            now = time.monotonic()
            message = child.message(max(0.0, sample_at - now)) or {}
            told.update(message)
            if "done" in message:
                advance(message["done"])
            if "look" in message or now >= sample_at:
                seen = sample(child.process.pid)
                memory, processes, threads = max(memory, seen[0]), max(processes, seen[1]), max(threads, seen[2])
                sample_at = time.monotonic() + SAMPLE_SECONDS
            if "look" in message:
                child.send("looked")
    return Measured(
        way=task["way"],
        limit=task["limit"],
        files=len(task["files"]),
        wall_seconds=told["wall_seconds"],
        cpu_seconds=told["cpu_seconds"],
        memory_bytes=memory,
        processes=processes,
        threads=threads,
        engine=told.get("engine"),
        engine_reason=told.get("engine_reason"),
    )


def sample(pid: int) -> tuple[int, int, int]:
    """Memory, processes and threads of a process and its children now."""
    memory = processes = threads = 0
    for member in [pid, *children(pid)]:
        try:
            threads += len(os.listdir(f"/proc/{member}/task"))
            memory += memory_bytes(member)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended between the two looks
        processes += 1
    return memory, processes, threads


def children(pid: int) -> list[int]:
    """The processes that its main thread forked; nobody else forks here."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def memory_bytes(pid: int) -> int:
    """Proportional set size: pages that several processes share count once in their sum, unlike resident size."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except PermissionError:
        pass
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
