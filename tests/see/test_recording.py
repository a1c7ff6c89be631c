"""The file of a recording: whole, cut off, damaged, left by a killed process; and a ring that is smaller than what happens."""

import asyncio
import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import plait
from plait.see import recorders
from plait.see.exports import chrome, lines, perfetto, speedscope
from plait.see.findings import find
from plait.see.model import Recording
from plait.see.page import page
from plait.see.recording import (
    EVENT,
    LIVE,
    LIVE_CHUNK,
    LIVE_META_ROOM,
    PAGE,
    RecordingError,
    live_path,
    read,
)
from plait.see.summary import summarize
from plait.see.terminal import show

SMALL = 32 * 1024  # 1024 events in 4 chunks

Run = Callable[[Any], Any]


async def spin(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.fixture
def small(tmp_path: Path) -> bytes:
    """A file of two chunks."""
    path = tmp_path / "small.plait"

    async def main() -> None:
        with plait.record(path, size=SMALL):
            await asyncio.gather(spin(200), spin(200))

    plait.run(main())
    return path.read_bytes()


def slices_of(recording: Recording) -> list[tuple[int, int]]:
    return list(zip(recording.slices.start_ns, recording.slices.duration_ns, strict=True))


def test_a_file_says_who_wrote_it(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with plait.record(tmp_path / "out.plait") as recording:
            recording.mark("here")
            plait.mark("there")

    run(main())
    recording = read(tmp_path / "out.plait")
    assert os.getpid() == recording.meta["pid"]
    assert recording.meta["engine"] in ("uring", "epoll")
    assert ["here", "there"] == [mark.text for mark in recording.marks]
    assert "problems" not in recording.meta
    assert not os.path.exists(live_path(tmp_path / "out.plait"))
    assert abs(recording.wall_start - os.stat(tmp_path / "out.plait").st_mtime) < 60


def test_a_file_that_is_cut_anywhere_gives_what_is_there(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "whole.plait"
    path.write_bytes(small)
    whole = slices_of(read(path))
    seen = set()
    for size in range(len(small)):
        path.write_bytes(small[:size])
        try:
            recording = read(path)
        except RecordingError as error:
            assert str(path) in str(error)
            assert "cut off" in str(error) or "no events" in str(error)
            continue
        found = slices_of(recording)
        assert whole[: len(found)] == found
        assert "cut off" in recording.meta["problems"] or "the end is missing" in recording.meta["problems"]
        seen.add(len(found))
    assert len(seen) >= 2


def test_a_file_with_flipped_bits_gives_what_is_whole(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "flipped.plait"
    path.write_bytes(small)
    whole = set(slices_of(read(path)))
    chance = random.Random(1)
    for _ in range(2000):
        damaged = bytearray(small)
        for _ in range(chance.choice((1, 1, 2, 8))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            recording = read(path)
        except RecordingError as error:
            assert str(path) in str(error)
        else:
            assert set(slices_of(recording)) <= whole
            assert recording.meta.get("problems") or bytes(damaged) == small


def test_what_is_no_recording_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "other"
    for content, words in ((b"", "empty"), (b"hello " * 100, "not a recording"), (b"plaitlv\n", "not a recording")):
        path.write_bytes(content)
        with pytest.raises(RecordingError, match=words):
            read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere")


KILLED = """
import asyncio, os, signal, sys, plait
async def spin():
    for i in range(2000):
        await asyncio.sleep(0)
async def main():
    with plait.record(sys.argv[1], size=int(sys.argv[2])):
        task = asyncio.create_task(spin(), name="the spinner")
        await task
        plait.mark("last words")
        os.kill(os.getpid(), signal.SIGKILL)
plait.run(main())
"""


@pytest.mark.parametrize("size", [1 << 20, SMALL], ids=["ring", "file and ring"])
def test_a_killed_process_leaves_its_last_moments(engine: str, tmp_path: Path, size: int) -> None:
    path = tmp_path / "killed.plait"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path), str(size)], timeout=30)
    assert -signal.SIGKILL == ended.returncode
    for name in (path, Path(live_path(path))):
        recording = read(name)
        assert "killed" in recording.meta["problems"]
        assert ["last words"] == [mark.text for mark in recording.marks]
        assert "the spinner" in [actor.name for actor in recording.actors]
        if size > SMALL:
            assert len(recording.slices) > 2000


MANY_KINDS = """
import asyncio, os, signal, sys, plait
async def spin():
    for i in range(40):
        await asyncio.sleep(0)
async def fails():
    raise ValueError("no luck")
async def sleeps():
    await asyncio.sleep(0.001)
async def main():
    loop = asyncio.get_running_loop()
    with plait.record(sys.argv[1], size=1 << 15):
        tasks = [asyncio.create_task(spin(), name="the spinner"), asyncio.create_task(sleeps()), asyncio.create_task(fails())]
        reading, writing = os.pipe()
        loop.add_reader(reading, lambda: loop.remove_reader(reading))
        os.write(writing, b"x")
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        client, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        await asyncio.gather(*tasks, return_exceptions=True)
        task = asyncio.create_task(asyncio.sleep(9))
        await asyncio.sleep(0)
        task.cancel("for a reason")
        await asyncio.wait([task])
        waits = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        plait.mark("last words")
        os.kill(os.getpid(), signal.SIGKILL)
plait.run(main())
"""


def shown(recording: Recording) -> None:
    """By all who show recordings."""
    known = summarize(recording)
    find(recording, known)
    page(recording)
    console = Console(file=io.StringIO(), width=100)
    show(recording, console)
    for tool in (chrome, lines, perfetto, speedscope):
        assert b"".join(tool.parts(recording, True))


def test_a_live_file_that_is_cut_or_damaged_is_shown_or_refused(tmp_path: Path) -> None:
    """No checksum guards it: a process that is killed leaves it as it is. Bits are flipped in all that it has."""
    path = tmp_path / "killed.plait"
    ended = subprocess.run([sys.executable, "-c", MANY_KINDS, str(path)], timeout=30)
    assert -signal.SIGKILL == ended.returncode
    live = Path(live_path(path))
    whole = live.read_bytes()
    slices = len(read(live).slices)
    assert slices > 60
    shown(read(live))
    _, _, _, _, chunk_count, meta, meta_size, codes_room, _, written, codes_used = LIVE.unpack_from(whole)[:11]
    codes = meta + LIVE_META_ROOM
    events = codes + codes_room
    parts = [
        range(LIVE.size),
        range(PAGE, PAGE + chunk_count * LIVE_CHUNK.size),
        range(meta, meta + meta_size),
        range(codes, codes + codes_used),
        range(events, events + written * EVENT),
    ]
    chance = random.Random(2)
    kept = 0
    with live.open("r+b") as file:
        for part in (*parts, *parts[-2:] * 3):
            for _ in range(8):
                places = chance.sample(part, chance.choice((1, 1, 2, 8)))
                for place in places:
                    os.pwrite(file.fileno(), bytes([whole[place] ^ 1 << chance.randrange(8)]), place)
                try:
                    recording = read(live)
                except RecordingError as error:
                    assert str(live) in str(error)
                else:
                    shown(recording)
                    kept += len(recording.slices) >= slices - 2 * len(places)
                for place in places:
                    os.pwrite(file.fileno(), whole[place : place + 1], place)
        assert kept > 50
        for size in (
            *range(0, 200, 3),
            *(chance.randrange(len(whole)) for _ in range(20)),
            *range(events, events + 100),
        ):
            live.write_bytes(whole[:size])
            with contextlib.suppress(RecordingError):
                shown(read(live))


MANY = """
import asyncio, os, sys, plait
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
async def spin(times):
    for _ in range(times):
        await asyncio.sleep(0)
async def nothing():
    pass
async def the_same(slices):
    await asyncio.gather(*(spin(slices // 100) for _ in range(100)))
async def ever_new(slices):
    for _ in range(slices // 2):
        await asyncio.create_task(nothing())
async def named(slices):
    for i in range(slices // 2):
        await asyncio.create_task(nothing(), name=f"request {i}")
async def callbacks(slices):
    loop = asyncio.get_running_loop()
    for i in range(slices // 100):
        for _ in range(100):
            loop.call_soon(lambda: i)
        await asyncio.sleep(0)
async def main():
    work, into, slices = globals()[sys.argv[1]], sys.argv[2], int(sys.argv[3])
    if into == "memory":
        recording = plait.flight_recorder(os.curdir, on=(), size=1 << 20)
    else:
        recording = plait.record(into, size=1 << 20)
    with recording:
        await work(slices // 10)
        before = resident()
        await work(slices - slices // 10)
        print(asyncio.get_running_loop().recorder.slices, resident() - before)
plait.run(main())
"""


@pytest.mark.parametrize(
    ("what", "into", "slices"),
    [
        ("the_same", "memory", 10_000_000),
        ("ever_new", "memory", 10_000_000),
        ("named", "memory", 2_000_000),
        ("callbacks", "memory", 2_000_000),
        ("ever_new", "file", 2_000_000),
    ],
)
def test_memory_is_flat_over_millions_of_slices(tmp_path: Path, what: str, into: str, slices: int) -> None:
    """From the first tenth on: neither slices, nor tasks, nor the writing of a file leave a byte behind."""
    into = into if into == "memory" else str(tmp_path / "out.plait")
    # The address sanitizer would keep back what was freed, until it is much.
    sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"
    ended = subprocess.run(
        [sys.executable, "-c", MANY, what, into, str(slices)],
        cwd=tmp_path,
        env=os.environ | {"ASAN_OPTIONS": sanitizer},
        stdout=subprocess.PIPE,
        timeout=50,
    )
    recorded, grown = map(int, ended.stdout.split())
    assert recorded >= slices
    # A byte for each slice would be millions; the allocator takes memory by the mebibyte.
    assert grown <= 1 << 20


def test_what_is_called_is_not_kept_alive_by_being_recorded(run: Run, tmp_path: Path) -> None:
    class Sized(list[int]):
        pass

    async def main() -> None:
        with plait.record(tmp_path / "out.plait"):
            sized = Sized()
            gone = weakref.ref(sized)
            asyncio.get_running_loop().call_soon(sized.__len__)
            await asyncio.sleep(0)
            del sized
            assert gone() is None

    run(main())


def test_memory_stays_flat_and_what_is_lost_is_a_gap(tmp_path: Path) -> None:
    """The ring is smaller than what happens: the file goes on growing, the memory does not."""
    path = tmp_path / "long.plait"

    async def main() -> None:
        with plait.record(path, size=SMALL) as recording:
            await spin(5000)
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(20):
                await asyncio.gather(*(spin(100) for _ in range(50)))
            after = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            recording.stop()
            assert after - before < 512 * 1024

    plait.run(main())
    recording = read(path)
    lost = sum(gap.lost for gap in recording.gaps)
    assert (lost > 0) == bool(recording.gaps)
    ends = 0
    for start, duration in slices_of(recording):
        assert start >= ends
        ends = start + duration
    tasks = {actor.name for actor in recording.actors}
    assert len(tasks) > 10


def test_what_the_ring_lost_is_counted_and_drawn_as_a_gap(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is held up while the ring goes round."""
    path = tmp_path / "lost.plait"
    go_on = threading.Event()
    describe = recorders.describe_chunk
    monkeypatch.setattr(recorders, "describe_chunk", lambda *of: (go_on.wait(), describe(*of))[1])

    async def main() -> None:
        with plait.record(path, size=SMALL) as recording:
            await asyncio.create_task(spin(3000), name="spinner")
            written.append(asyncio.get_running_loop().recorder.written)
            go_on.set()
            recording.stop()
            lost.append(recording.lost)

    written: list[int] = []
    lost: list[int] = []
    run(main())
    recording = read(path)
    # A thousand events fit in, and the last chunk is not full.
    assert written[0] - 1024 <= lost[0] < written[0]
    assert lost[0] == sum(gap.lost for gap in recording.gaps) > 1000
    gap = recording.gaps[-1]
    slices = slices_of(recording)
    assert all(start + duration <= gap.start_ns or start >= gap.end_ns for start, duration in slices)
    assert any(start >= gap.end_ns for start, duration in slices)


def test_chunks_are_read_alone(small: bytes, tmp_path: Path) -> None:
    """A file without its first chunk still knows its actors, under the same names."""
    path = tmp_path / "without.plait"
    first = small.index(b"PLBK")
    second = small.index(b"PLBK", first + 1)
    path.write_bytes(small)
    names = {actor.name: actor.function for actor in read(path).actors}
    path.write_bytes(small[:first] + small[second:])
    recording = read(path)
    assert 1 == len(recording.gaps)
    assert 256 == recording.gaps[0].lost
    found = {actor.name: actor.function for actor in recording.actors}
    assert {name for name in found if name.startswith("Task-")} <= set(names)
    assert all(names[name] == function for name, function in found.items())


def test_only_one_recording_has_a_loops_events(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with plait.record(tmp_path / "a.plait"):
            with pytest.raises(RuntimeError, match="one recording at a time"):
                plait.record(tmp_path / "b.plait").start()

    run(main())
    assert not os.path.exists(live_path(tmp_path / "b.plait"))


def test_a_loop_of_asyncio_is_refused_with_the_way_out(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"plait\.run"):
            plait.record(tmp_path / "a.plait").start()

    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_loops_that_run_one_after_another_are_one_recording(tmp_path: Path) -> None:
    with plait.record(tmp_path / "two.plait"):
        plait.run(spin(3))
        plait.run(spin(4))
    recording = read(tmp_path / "two.plait")
    spinning = [actor for actor in recording.actors if actor.function.endswith(".spin")]
    counts = [sum(1 for actor in recording.slices.actor if recording.actors[actor] is spinner) for spinner in spinning]
    assert [4, 5] == counts


def test_the_child_of_a_fork_is_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "parent.plait"
    with plait.record(path) as recording:
        plait.run(spin(3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork beside threads, as the writer's
            child = os.fork()
        if child == 0:
            plait.run(spin(100))
            recording.stop()
            os._exit(0)
        assert 0 == os.waitpid(child, 0)[1]
        assert os.path.exists(live_path(path))
        plait.run(spin(3))
    whole = read(path)
    assert 8 == len([actor for actor in whole.slices.actor if whole.actors[actor].function.endswith(".spin")])
