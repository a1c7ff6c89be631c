"""Files, by one library on one loop:  python -m bench.workloads.files MODULE:FACTORY LIBRARY FOLDER

LIBRARY is plait, to_thread, aiofiles, anyio, caio (with aiofile for whole files, lines and writes) or sync. FOLDER was made by
bench.folder. Requests and answers are those of bench.workloads.tasks.
"""

import asyncio
import gc
import importlib
import json
import os
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle, islice, takewhile
from pathlib import Path
from statistics import median
from time import perf_counter_ns as now
from typing import Any

from bench.loops import run
from bench.rows import COLD

TICK_NS = 1_000_000
SMALL_FILES = 1000
WRITE_BYTES = 1 << 20
WRITES_OF_A_PASS = 64  # the file that is written over, in MiB
LATE_SECONDS = 0.6
PASSES_SECONDS = 0.25


class ToThread:
    """Each call handed to a thread by hand; the base of those that know better."""

    lines_max = 10_000  # the whole text would take a minute; what a line costs is the same in its first part

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.big = folder / "big"
        self.text = folder / "text"
        self.target = folder / f"target-{os.getpid()}"
        self.fd = os.open(self.big, os.O_RDONLY)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_RANDOM)

    async def prepare(self, conc: int) -> None:
        """What is opened once and not measured."""

    async def end(self) -> None:
        os.close(self.fd)
        self.target.unlink(missing_ok=True)

    def read(self, worker: int, size: int, offset: int) -> Awaitable[Any]:
        """To be awaited. No coroutine of the benchmark's own where the library has something that can be."""
        return asyncio.to_thread(os.pread, self.fd, size, offset)

    async def whole(self, path: str) -> Any:
        return await asyncio.to_thread(Path(path).read_bytes)

    async def many(self, paths: list[str]) -> int:
        limit = asyncio.Semaphore(64)

        async def one(path: str) -> int:
            async with limit:
                return len(await self.whole(path))

        return sum(await asyncio.gather(*map(one, paths)))

    async def lines(self, most: int) -> int:
        with self.text.open() as file:
            count = 0
            line = "\n"
            while count < most and line:
                line = await asyncio.to_thread(file.readline)
                count += 1
            return count

    async def write(self, data: bytes, times: int) -> None:
        with self.target.open("r+b", 0) as file:
            for _ in range(times):
                await asyncio.to_thread(file.write, data)


class Sync(ToThread):
    """The floor: no other task runs meanwhile."""

    lines_max = 1_000_000

    async def read(self, worker: int, size: int, offset: int) -> Any:
        return os.pread(self.fd, size, offset)

    async def whole(self, path: str) -> Any:
        return Path(path).read_bytes()

    async def lines(self, most: int) -> int:
        with self.text.open() as file:
            count = 0
            for _ in file:
                count += 1
                if count == most:
                    break
            return count

    async def write(self, data: bytes, times: int) -> None:
        with self.target.open("r+b", 0) as file:
            for _ in range(times):
                file.write(data)


class Plait(ToThread):
    lines_max = 1_000_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.plait = importlib.import_module("plait")
        loop: Any = asyncio.get_running_loop()  # plait's
        self.pread: Callable[[int, int, int], Awaitable[Any]] = loop.pread

    def read(self, worker: int, size: int, offset: int) -> Awaitable[Any]:
        return self.pread(self.fd, size, offset)

    async def whole(self, path: str) -> Any:
        return await self.plait.Path(path).read_bytes()

    async def many(self, paths: list[str]) -> int:
        return sum([len(content) async for _, content in self.plait.read_many(paths)])

    async def lines(self, most: int) -> int:
        count = 0
        async with self.plait.open(self.text) as file:
            async for _ in file:
                count += 1
                if count == most:
                    break
        return count

    async def write(self, data: bytes, times: int) -> None:
        async with self.plait.open(self.target, "r+b", 0) as file:
            for _ in range(times):
                await file.write(data)


class Handles(ToThread):
    """Libraries whose files have a position: each worker has one of its own."""

    open: Callable[..., Any]

    async def prepare(self, conc: int) -> None:
        self.files = [await self.open(self.big, "rb", buffering=0) for _ in range(conc)]

    async def end(self) -> None:
        for file in self.files:
            await file.close()
        await super().end()

    async def read(self, worker: int, size: int, offset: int) -> Any:
        await self.files[worker].seek(offset)
        return await self.files[worker].read(size)

    async def whole(self, path: str) -> Any:
        async with self.open(path, "rb") as file:
            return await file.read()

    async def lines(self, most: int) -> int:
        count = 0
        async with self.open(self.text) as file:
            async for _ in file:
                count += 1
                if count == most:
                    break
        return count

    async def write(self, data: bytes, times: int) -> None:
        async with self.open(self.target, "r+b", buffering=0) as file:
            for _ in range(times):
                await file.write(data)


class Aiofiles(Handles):
    open = staticmethod(lambda *args, **kw: importlib.import_module("aiofiles").open(*args, **kw))


class Anyio(Handles):
    open = staticmethod(lambda *args, **kw: importlib.import_module("anyio").open_file(*args, **kw))

    async def whole(self, path: str) -> Any:
        return await importlib.import_module("anyio").Path(path).read_bytes()

    async def lines(self, most: int) -> int:
        count = 0
        async with await self.open(self.text) as file:
            async for _ in file:
                count += 1
                if count == most:
                    break
        return count

    async def write(self, data: bytes, times: int) -> None:
        async with await self.open(self.target, "r+b", buffering=0) as file:
            for _ in range(times):
                await file.write(data)

    async def end(self) -> None:
        for file in self.files:
            await file.aclose()
        await ToThread.end(self)


class Caio(ToThread):
    """caio's own choice of a backend, and aiofile upon it."""

    async def prepare(self, conc: int) -> None:
        self.context = importlib.import_module("caio").AsyncioContext(max_requests=512)
        self.context_read: Callable[[int, int, int], Awaitable[Any]] = self.context.read
        self.aiofile = importlib.import_module("aiofile")

    async def end(self) -> None:
        self.context.close()
        await super().end()

    def read(self, worker: int, size: int, offset: int) -> Awaitable[Any]:
        return self.context_read(size, self.fd, offset)

    async def whole(self, path: str) -> Any:
        async with self.aiofile.async_open(path, "rb") as file:
            return await file.read()

    async def lines(self, most: int) -> int:
        count = 0
        async with self.aiofile.async_open(self.text) as file:
            async for _ in file:
                count += 1
                if count == most:
                    break
        return count

    async def write(self, data: bytes, times: int) -> None:
        async with self.aiofile.async_open(self.target, "rb+") as file:
            for _ in range(times):
                await file.write(data)


LIBRARIES: dict[str, type[ToThread]] = {
    "plait": Plait,
    "to_thread": ToThread,
    "aiofiles": Aiofiles,
    "anyio": Anyio,
    "caio": Caio,
    "sync": Sync,
}


def for_seconds(duration: float, offsets: list[int]) -> Iterator[int]:
    """The offsets again and again, for so long."""
    end = now() + int(duration * 1e9)
    return takewhile(lambda _: now() < end, cycle(offsets))


def places(library: ToThread, size: int, n: int) -> list[int]:
    """Where to read: drawn beforehand, as drawing takes a third of the time that the fastest read takes."""
    blocks = os.fstat(library.fd).st_size // size
    order = random.Random(1)
    return [order.randrange(blocks) * size for _ in range(n)]


async def reads(library: ToThread, offsets: Iterator[int], conc: int, size: int) -> None:
    async def worker(number: int) -> None:
        for offset in offsets:
            await library.read(number, size, offset)

    await asyncio.gather(*(worker(i) for i in range(conc)))


async def smalls(library: ToThread, paths: Iterator[str], conc: int) -> None:
    async def worker() -> None:
        for path in paths:
            await library.whole(path)

    await asyncio.gather(*(worker() for _ in range(conc)))


async def overwrite(library: ToThread, passes: int) -> None:
    """The same pages of the page cache again and again: new ones, and the disk, would be most of what is measured, and never alike."""
    data = os.urandom(WRITE_BYTES)
    for _ in range(passes):
        await library.write(data, WRITES_OF_A_PASS)


async def lateness_ns(work: Awaitable[None]) -> float:
    """How late a tick of a millisecond is beside `work`, in ninety-nine of a hundred cases at most."""
    late: list[int] = []

    async def tick() -> None:
        due = now() + TICK_NS
        while True:
            await asyncio.sleep(max(0, due - now()) / 1e9)
            late.append(now() - due)
            due = max(due + TICK_NS, now())

    ticking = asyncio.ensure_future(tick())
    await asyncio.sleep(0.01)
    late.clear()
    await work
    ticking.cancel()
    late.sort()
    return float(late[int(len(late) * 0.99)]) if late else 0.0


async def measure_row(row: str, library: ToThread, scale: float) -> float:
    """Nanoseconds per operation, or of lateness."""

    async def read(n: int) -> None:
        await reads(library, islice(offsets, n), ROWS[row], size)

    async def small(n: int) -> None:
        await smalls(library, islice(cycle(paths), n), 32)

    size = 65536 if row == "file-64k-x32" else 4096
    offsets = places(library, size, 20_000)
    paths = [f"{library.folder}/small/{i}" for i in range(SMALL_FILES)]
    if row in ("file-4k-x1", "file-4k-x32"):
        return await fast(read, 20_000, scale)
    if row == "file-64k-x32":
        return await fast(read, 10_000, scale)
    if row == "file-cold-x256":
        await read(1000)
        os.posix_fadvise(library.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        n = max(64, int(COLD.count * scale))
        return await timed(read(n), n)
    if row in ("file-late-x32", "file-late-x256"):
        again = for_seconds(LATE_SECONDS * scale, offsets)
        return await lateness_ns(reads(library, again, ROWS[row], size))
    if row == "file-small":
        return await fast(small, 3_000, scale)
    if row == "file-many":
        return await fast(lambda n: library.many(paths[:n]), SMALL_FILES, scale)
    if row == "file-lines":
        return await per_line(library, max(64, int(library.lines_max * scale)))
    if row == "file-write":
        passes = max(1, int(16 * scale))
        return await timed(overwrite(library, passes), passes * WRITES_OF_A_PASS)
    raise LookupError(row)


async def fast(work: Callable[[int], Awaitable[Any]], n: int, scale: float) -> float:
    """`work` of a fifth as a warm-up, in which modules are loaded, threads started, and code meets what it will meet; then the median
    of several passes, since a single one of some ten milliseconds tells of the moment."""
    n = max(64, int(n * scale))
    await work(max(64, n // 5))
    passes: list[float] = []
    end = now() + int(PASSES_SECONDS * scale * 1e9)
    while len(passes) < 3 or now() < end:
        passes.append(await timed(work(n), n))
    return median(passes)


async def per_line(library: ToThread, most: int) -> float:
    start = now()
    lines = await library.lines(most)
    return (now() - start) / lines


async def timed(work: Awaitable[Any], n: int) -> float:
    start = now()
    await work
    return (now() - start) / n


ROWS = {
    "file-4k-x1": 1,
    "file-4k-x32": 32,
    "file-64k-x32": 32,
    "file-cold-x256": COLD.conc,
    "file-late-x32": 32,
    "file-late-x256": 256,
    "file-small": 0,
    "file-many": 0,
    "file-lines": 0,
    "file-write": 0,
}
"""Row name -> workers that read at random."""


def measure(factory: str, name: str, folder: Path, row: str, scale: float) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        library = LIBRARIES[name](folder)
        await library.prepare(ROWS[row])
        try:
            if row in ("file-4k-x1", "file-4k-x32", "file-64k-x32", "file-late-x32", "file-late-x256"):
                with library.big.open("rb", 0) as big:
                    while big.read(1 << 24):
                        pass
            if row == "file-write":
                with library.target.open("wb") as target:
                    for _ in range(WRITES_OF_A_PASS):
                        target.write(bytes(WRITE_BYTES))
                    os.fsync(target.fileno())  # or the disk would be written beside the measurement
            gc.collect()
            return {"ns": await measure_row(row, library, scale), "waited": 0.0}
        finally:
            await library.end()

    try:
        return run(factory, main)
    except Exception as error:  # whatever the library raises is the answer
        return {"error": f"{type(error).__name__}: {error}"}


async def nothing() -> None:
    pass


def main() -> None:
    factory, name, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    run(factory, nothing)
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(measure(factory, name, folder, request["row"], request["scale"])), flush=True)


if __name__ == "__main__":
    main()
