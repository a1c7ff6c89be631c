"""The five ways, each run in a fresh process: `python -m plait.demo.ways`.

Talks with its parent in lines of JSON: reads its job, says `ready` once everything is imported, starts the work at the next line,
tells how many files are `done`, and at the end the seconds that went by and the CPU seconds that it and its processes used.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from plait.demo.client import BlockingClient, LoopClient
from plait.demo.work import examine
from plait.files import open as open_file
from plait.loop import Loop
from plait.running import new_event_loop
from plait.see.recorders import record

__all__: list[str] = []

PROGRESS_SECONDS = 0.05

# prctl(2): the signal that this process gets when its parent dies, so that nothing is left behind by a killed demo.
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Job:
    """What one process has to do."""

    way: str
    folder: str
    files: list[str]
    port: int
    database: str
    address: str
    limit: int
    connections: int
    record: str = (
        ""  # a picture is wanted: plait's recording goes into this file, fork-join's workers tell their stamps
    )

    def stores(self) -> ModuleType:
        if self.database == "sqlite":
            from plait.demo import sqlite

            return sqlite
        from plait.demo import postgresql

        return postgresql


class Progress:
    """Tells the parent how many files are done, at most twenty times a second."""

    def __init__(self) -> None:
        self.done = 0
        self.told = time.monotonic()
        self.looked_seconds = 0.0
        self.stamps: list[list[int]] = []

    def advance(self, stamps: list[int] | None = None) -> None:
        self.done += 1
        if stamps:
            self.stamps.append(stamps)
        now = time.monotonic()
        if now - self.told >= PROGRESS_SECONDS:
            self.told = now
            tell(done=self.done)

    def look(self) -> None:
        """All files are done and everything that the way made is still there: let the parent look, off the clock."""
        start = time.perf_counter()
        tell(done=self.done, look=True)
        sys.stdin.readline()
        self.looked_seconds = time.perf_counter() - start


def sequential(job: Job, progress: Progress) -> None:
    """One after another: the program waits for each answer and does nothing meanwhile."""
    client = BlockingClient(job.port)
    store = job.stores().ProcessStore(job.address, 1)
    for path in job.files:
        one_file(job, path, client, store)
        progress.advance()
    progress.look()
    client.close()
    store.close()


def one_file(job: Job, path: str, client: BlockingClient, store: Any) -> None:
    """What every blocking way does with a file."""
    document = client.get(path)
    store.insert(examine(path, read(job.folder, path), document))


def stamped_file(job: Job, path: str, client: BlockingClient, store: Any) -> list[int]:
    """The same, with the times at which it began and had done each step."""
    times = [time.monotonic_ns()]
    document = client.get(path)
    times.append(time.monotonic_ns())
    content = read(job.folder, path)
    times.append(time.monotonic_ns())
    row = examine(path, content, document)
    times.append(time.monotonic_ns())
    store.insert(row)
    return [*times, time.monotonic_ns()]


def threads(job: Job, progress: Progress) -> None:
    """Fork-join: as many threads as may wait at once, each blocking for its own file."""
    own = threading.local()
    clients: list[BlockingClient] = []
    store = job.stores().ThreadStore(job.address, job.connections)

    def start() -> None:
        own.client = BlockingClient(job.port)
        clients.append(own.client)

    def one(path: str) -> list[int] | None:
        if job.record:
            return [threading.get_native_id(), *stamped_file(job, path, own.client, store)]
        one_file(job, path, own.client, store)
        return None

    try:
        with ThreadPoolExecutor(job.limit, initializer=start) as pool:
            for stamps in pool.map(one, job.files):
                progress.advance(stamps)
            progress.look()
    finally:
        for client in clients:
            client.close()
        store.close()


def processes(job: Job, progress: Progress) -> None:
    """Fork-join: as many processes as may wait at once, each blocking for its own file."""
    with multiprocessing.get_context("fork").Pool(job.limit, Worker.start, (job,)) as pool:
        # Few files per message: a process that got slow pages must not hold many others.
        for stamps in pool.imap_unordered(Worker.one, job.files, chunksize=4):
            progress.advance(stamps)
        progress.look()
        pool.close()
        pool.join()


class Worker:
    """What a forked process has of its own."""

    job: Job
    client: BlockingClient
    store: Any

    @classmethod
    def start(cls, job: Job) -> None:
        die_with_parent()
        cls.job = job
        cls.client = BlockingClient(job.port)
        cls.store = job.stores().ProcessStore(job.address, 1)

    @classmethod
    def one(cls, path: str) -> list[int] | None:
        if cls.job.record:
            return [os.getpid(), *stamped_file(cls.job, path, cls.client, cls.store)]
        one_file(cls.job, path, cls.client, cls.store)
        return None


ReadFile = Callable[[str, str], Awaitable[bytes]]


async def read_in_thread(folder: str, path: str) -> bytes:
    """asyncio has no files."""
    return await asyncio.to_thread(read, folder, path)


async def read_on_loop(folder: str, path: str) -> bytes:
    async with open_file(os.path.join(folder, path), "rb") as file:
        return await file.read()


async def tasks(job: Job, progress: Progress, read_file: ReadFile) -> None:
    """I/O-driven: one thread, one task per file, cut where it waits. The same coroutine runs on asyncio and on plait, but for the files."""
    client = LoopClient(job.port)
    limit = asyncio.Semaphore(job.limit)
    async with job.stores().LoopStore(job.address, job.connections) as store:

        async def one(path: str) -> None:
            async with limit:
                document = await client.get(path)
                content = await read_file(job.folder, path)
                await store.insert(examine(path, content, document))
            progress.advance()

        async with asyncio.TaskGroup() as group:
            for path in job.files:
                group.create_task(one(path))
        progress.look()
    await client.close()


def on_asyncio(job: Job, progress: Progress) -> None:
    asyncio.run(tasks(job, progress, read_in_thread))


def on_plait(job: Job, progress: Progress) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        loop = cast(Loop, runner.get_loop())
        with record(job.record, loop=loop) if job.record else nullcontext():
            runner.run(tasks(job, progress, read_on_loop))
        engine = loop.engine
    tell(engine=engine.name, engine_reason=engine.reason)


WAYS: dict[str, Callable[[Job, Progress], None]] = {
    "sequential": sequential,
    "threads": threads,
    "processes": processes,
    "asyncio": on_asyncio,
    "plait": on_plait,
}


def read(folder: str, path: str) -> bytes:
    with open(os.path.join(folder, path), "rb") as file:
        return file.read()


def tell(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def cpu_seconds() -> float:
    """User and system time of this process and of those children that it has waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    parent = os.getppid()
    die_with_parent()
    job = Job(**json.loads(sys.stdin.readline()))
    if os.getppid() != parent:
        return
    job.stores()
    tell(ready=True)
    sys.stdin.readline()
    try:
        progress = Progress()
        cpu, wall = cpu_seconds(), time.perf_counter()
        WAYS[job.way](job, progress)
        wall, cpu = time.perf_counter() - wall - progress.looked_seconds, cpu_seconds() - cpu
    except Exception as error:
        tell(error=explain(error))
        raise SystemExit(1) from None
    if progress.stamps:
        tell(stamps=progress.stamps)
    tell(done=progress.done, wall_seconds=wall, cpu_seconds=cpu)


def explain(error: BaseException) -> str:
    """One line; of a group of errors the first, which is the cause of the others' cancelling."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


if __name__ == "__main__":
    main()
