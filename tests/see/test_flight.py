"""The flight recorder writes the last seconds down when something happens, and only then."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import plait
from plait.see.recording import read

Run = Callable[[Any], Any]


def files(folder: Path) -> list[str]:
    """The reasons of what was written, sorted."""
    return sorted(name.rpartition("-")[2].removesuffix(".plait") for name in os.listdir(folder))


def test_nothing_happened_nothing_is_written(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with plait.flight_recorder(tmp_path):
            await asyncio.sleep(0.001)

    run(main())
    assert [] == files(tmp_path)


def test_by_call(run: Run, tmp_path: Path) -> None:
    async def main() -> str:
        with plait.flight_recorder(tmp_path) as flight:
            flight.mark("before")
            await asyncio.create_task(asyncio.sleep(0), name="seen")
            return await asyncio.to_thread(flight.dump)

    recording = read(run(main()))
    assert ["call"] == files(tmp_path)
    assert "call" == recording.meta["reason"]
    assert "seen" in [actor.name for actor in recording.actors]
    assert ["before"] == [mark.text for mark in recording.marks]
    assert "problems" not in recording.meta


def test_on_a_slow_slice_an_error_and_a_timeout(loop: Any, tmp_path: Path) -> None:
    async def late() -> None:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(1)

    async def main() -> None:
        with plait.flight_recorder(tmp_path, slow_seconds=0.01):
            time.sleep(0.02)
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(int, "no number")
            await asyncio.gather(asyncio.create_task(late()), return_exceptions=True)

    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(asyncio.wait_for(main(), 30))
    assert ["slow", "timeout"] == [name for name in files(tmp_path) if name != "error"]


def test_reasons_are_chosen(loop: Any, tmp_path: Path) -> None:
    async def main() -> None:
        with plait.flight_recorder(tmp_path, slow_seconds=0.01, on=["timeout"]):
            time.sleep(0.02)
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert [] == files(tmp_path)
    with pytest.raises(ValueError, match="'never' is no reason"):
        plait.flight_recorder(on=["never"])


def test_only_the_last_seconds_are_written(run: Run, tmp_path: Path) -> None:
    async def main() -> str:
        with plait.flight_recorder(tmp_path, seconds=0.0, size=32 * 1024) as flight:
            for _ in range(5000):
                await asyncio.sleep(0)
            await asyncio.create_task(asyncio.sleep(0), name="last")
            return flight.dump()

    recording = read(run(main()))
    assert len(recording.slices) <= 256
    assert "last" in [actor.name for actor in recording.actors]


PROGRAM = """
import asyncio, os, signal, sys
async def main():
    if sys.argv[1] == "signal":
        os.kill(os.getpid(), signal.SIGUSR2)
    await asyncio.create_task(asyncio.sleep(0.01), name="the task")
    if sys.argv[1] == "error":
        raise ValueError("the end")
asyncio.run(main())
"""


@pytest.mark.parametrize("reason", ["signal", "error"])
def test_plait_run_flight(engine: str, tmp_path: Path, reason: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    folder = tmp_path / "flight"
    ended = subprocess.run(
        [sys.executable, "-m", "plait", "run", "--flight", str(folder), str(program), reason],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (1 if reason == "error" else 0) == ended.returncode, ended.stderr
    assert ("ValueError: the end" in ended.stderr) == (reason == "error")
    assert [reason] == files(folder)
    recording = read(folder / os.listdir(folder)[0])
    assert reason == recording.meta["reason"]


@pytest.mark.parametrize("reason", ["none", "error"])
def test_plait_run_record(engine: str, tmp_path: Path, reason: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    path = tmp_path / "out.plait"
    ended = subprocess.run(
        [sys.executable, "-m", "plait", "run", "--record", str(path), str(program), reason],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (1 if reason == "error" else 0) == ended.returncode, ended.stderr
    recording = read(path)
    assert "problems" not in recording.meta
    assert "program.py" == recording.meta["program"]
    assert "the task" in [actor.name for actor in recording.actors]


def test_plait_run_record_into_nowhere_is_one_line(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "plait", "run", "--record", str(tmp_path / "no" / "out.plait"), "-c"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert 0 != ended.returncode
    assert 1 == len(ended.stderr.splitlines())


def test_the_signal_is_given_back(run: Run, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR2)

    async def main() -> None:
        with plait.flight_recorder(tmp_path, signum=signal.SIGUSR2):
            os.kill(os.getpid(), signal.SIGUSR2)
            await asyncio.sleep(0.001)

    run(main())
    assert before == signal.getsignal(signal.SIGUSR2)
    assert ["signal"] == files(tmp_path)
