"""The file of a recording: whole, cut off, damaged, left by a killed process; and a ring that is smaller than what happens."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import plait
from plait.see.model import Recording
from plait.see.recording import RecordingError, live_path, read

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


def test_a_live_file_that_is_cut_or_damaged_never_crashes_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "killed.plait"
    subprocess.run([sys.executable, "-c", KILLED, str(path), str(SMALL)], timeout=30)
    whole = Path(live_path(path)).read_bytes()
    live = tmp_path / "damaged"
    chance = random.Random(2)
    places = [*range(0, 200, 3), *(chance.randrange(len(whole)) for _ in range(100))]
    for place in places:
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]):
            live.write_bytes(content)
            try:
                read(live)
            except RecordingError as error:
                assert str(live) in str(error)


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
