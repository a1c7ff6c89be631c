"""The demo as a whole: real runs of all five ways, in small."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from plait.demo.measure import Measured
from plait.demo.options import WAYS
from plait.demo.picture import fork_join
from plait.demo.show import differing, relation, sentences
from plait.demo.work import Row, examine, page
from plait.see.model import WaitKind

import servers

SECONDS = 120
DEMO = [sys.executable, "-m", "plait", "demo"]
# Thirty processes for one test are slow where the processors are busy with others.
pytestmark = pytest.mark.timeout(240)
SMALL = ["--files", "60", "--latency", "2", "--concurrency", "20", "--processes", "4"]


def demo(*words: str) -> tuple[int, str, str]:
    """Without the picture, unless a place for its page is given."""
    picture = [] if "--page" in words else ["--no-picture"]
    ended = subprocess.run([*DEMO, *words, *picture], capture_output=True, text=True, timeout=SECONDS)
    return ended.returncode, ended.stdout, ended.stderr


def results(*words: str) -> dict[str, Any]:
    status, output, error = demo("--json", *SMALL, *words)
    assert (0, "") == (status, error)
    found: dict[str, Any] = json.loads(output)
    return found


def check(found: dict[str, Any], engine: str) -> None:
    """Five ways, the same rows, and numbers that fit what each way is."""
    assert (60, True, []) == (found["files"], found["equal"], found["different"])
    ways = {way["way"]: way for way in found["ways"]}
    assert list(WAYS) == list(ways)
    assert 1 == len({way["sha256"] for way in ways.values()})
    for way in ways.values():
        assert 60 == way["files"]
        assert 0 < way["wall_seconds"] < SECONDS
        assert 0 < way["cpu_seconds"] < SECONDS
        assert 1 << 20 < way["memory_bytes"] < 1 << 32
        assert (way["way"] == "plait") == (way["engine"] is not None)
    assert engine == ways["plait"]["engine"]
    assert ways["plait"]["engine_reason"]
    assert [1, 1, 5, 1, 1] == [way["processes"] for way in ways.values()]
    assert [1, 20, 4, 20, 20] == [way["limit"] for way in ways.values()]
    # The main thread, asyncio's default executor, and the one that writes to SQLite.
    assert all(1 < ways[way]["threads"] <= 34 for way in ("asyncio", "plait"))
    assert 2 < ways["threads"]["threads"] <= 22
    assert ways["sequential"]["threads"] == 1


def test_five_ways_store_the_same_rows_in_sqlite(engine: str) -> None:
    check(results(), engine)


def test_five_ways_store_the_same_rows_in_postgresql(postgres: servers.Server, engine: str) -> None:
    """Nothing is left in a database that is not ours."""
    address = f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres"
    check(results("--database", address, "--connections", "3"), engine)
    import psycopg

    with psycopg.connect(address) as connection:
        assert [] == connection.execute("select tablename from pg_tables where tablename like 'plait_demo%'").fetchall()


def test_without_a_terminal_it_prints_plain_lines(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i}.py").write_text(f"def f{i}(): pass\n")
    status, output, error = demo(*SMALL, "--folder", str(tmp_path))
    assert (0, "") == (status, error)
    assert "\x1b" not in output
    assert "\r" not in output
    assert f"30 of the 30 files in {tmp_path}" in " ".join(output.split())
    assert "mean 2 ms" in output
    for title in ("one after another", "fork-join threads", "fork-join processes", "asyncio", "plait"):
        assert re.search(rf"^{title}: 30 files in [\d.]+ s$", output, re.MULTILINE)
    rows = [line for line in output.splitlines() if line.rstrip().endswith("equal")]
    assert 5 == len(rows)
    assert "All ways stored the same 30 rows" in output
    assert "every page agrees with its file" in output
    assert all(len(line) <= 80 for line in output.splitlines()[: output.splitlines().index(rows[-1]) + 1])


def test_it_ends_with_the_picture_of_its_tasks_and_of_fork_join(tmp_path: Path, engine: str) -> None:
    """The weave in the terminal, and all of it as a page."""
    page, svg = tmp_path / "demo.html", tmp_path / "demo.svg"
    status, output, error = demo(*SMALL, "--page", str(page), "--svg", str(svg))
    assert (0, "") == (status, error)
    _, _, picture = output.partition("plait: one thread, ")
    for title in ("MainThread", "fork-join: 4 processes, each waits for itself", "█ runs", "── web", "━━ database"):
        assert title in picture
    assert re.search(r"^fork-join: \d+ threads, each waits for itself", picture, re.MULTILINE)
    assert re.search(r"^thread \d+ +█", picture, re.MULTILINE)
    assert re.search(r"^process \d+ +█", picture, re.MULTILINE)
    assert f"All of it, to zoom and click: {page.as_uri()}" in output
    assert "<title>plait demo on plait</title>" in page.read_text()
    assert "MainThread" in svg.read_text()


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    status, output, error = demo(*SMALL, "--ways", "plait", "--page", str(tmp_path / "none" / "demo.html"))
    assert (0, "") == (status, error)
    assert f"The page of it could not be written to {tmp_path}/none/demo.html: No such file or directory." in output


def test_fork_joins_picture_is_what_its_workers_wrote_down() -> None:
    """A worker waits for its page, reads, examines, and waits for its row to be stored; another overlaps with it."""
    recording = fork_join(
        "threads", [[7, 100, 140, 150, 155, 190], [9, 110, 120, 130, 131, 132], [7, 200, 240, 250, 255, 290]]
    )
    assert ["thread 1", "thread 2"] == [actor.name for actor in recording.actors]
    assert (100, 290) == (recording.start_ns, recording.end_ns)
    slices = recording.slices
    first = [
        (slices.start_ns[i], slices.duration_ns[i], WaitKind(slices.wait_kind[i]))
        for i in range(len(slices))
        if slices.actor[i] == 0
    ][:4]
    assert [
        (100, 0, WaitKind.NONE), (140, 0, WaitKind.WEB), (150, 5, WaitKind.FILE), (190, 0, WaitKind.DATABASE)
    ] == first  # fmt: skip


def test_a_share_of_the_files_is_said_to_be_one() -> None:
    status, output, error = demo("--files", "80", "--latency", "500", "--ways", "sequential,plait")
    assert (0, "") == (status, error)
    assert "one after another: 10 files in" in output
    assert "one after another was done for 10 of the 80 files, and scaled up" in output
    assert re.search(r"one after another +1 +~", output)


@contextmanager
def in_terminal(*words: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """The demo in a terminal of 100 columns, and the terminal's other end."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(
        [*DEMO, *words, "--no-picture"],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        os.close(ours)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def read_until(terminal: int, pattern: str | None) -> str:
    """What the terminal shows until it shows this; to its end without a pattern."""
    shown = b""
    while pattern is None or not re.search(pattern, shown.decode(errors="replace")):
        assert select.select([terminal], [], [], SECONDS)[0], f"{pattern!r} was not shown: {shown.decode()}"
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: the other end is closed
            break
        shown += data
    return shown.decode()


def test_in_a_terminal_each_way_has_a_bar() -> None:
    with in_terminal(*SMALL) as (process, terminal):
        shown = read_until(terminal, None)
        assert 0 == process.wait(SECONDS)
    for title in ("one after another", "fork-join threads", "fork-join processes", "asyncio", "plait"):
        assert re.search(rf"{title}.*━━━━.*60 of 60", shown)


def descendants(pid: int) -> list[int]:
    """Descriptors that become readable when a process that it started, or one of theirs, has ended."""
    found = []
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        found += [os.pidfd_open(child), *descendants(child)]
    return found


def all_end(pidfds: list[int]) -> bool:
    try:
        return all(select.select([pidfd], [], [], SECONDS)[0] for pidfd in pidfds)
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


@pytest.mark.parametrize(
    ("way", "number", "expected"),
    [
        *((way, signal.SIGINT, 130) for way in WAYS),
        ("processes", signal.SIGTERM, 143),
        ("processes", signal.SIGKILL, -signal.SIGKILL),
        ("plait", signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_signal_ends_it_with_all_its_processes(way: str, number: signal.Signals, expected: int) -> None:
    """Ctrl-C, kill, and kill -9, which leaves the demo no time to clean up."""
    words = ["--files", "400", "--latency", "300", "--concurrency", "10", "--processes", "3", "--ways", way]
    with in_terminal(*words) as (process, terminal):
        read_until(terminal, r"\b[1-9]\d* of (17|400) ")  # something is done: all that is needed for it runs
        started = descendants(process.pid)
        assert len(started) >= 2
        process.send_signal(number)
        assert expected == process.wait(SECONDS)
        assert all_end(started)
        assert process.stderr is not None
        error = process.stderr.read().decode()
    if number == signal.SIGINT:
        assert "plait demo: interrupted, everything it started is stopped\n" == error
    else:
        assert "" == error


def test_a_file_that_disappears_is_one_line(tmp_path: Path) -> None:
    """Whatever goes wrong in a way's process ends the demo with a line, not with a traceback of its processes."""
    for i in range(40):
        (tmp_path / f"{i}").write_text("x")
    command = [
        *DEMO,
        "--folder",
        str(tmp_path),
        "--latency",
        "500",
        "--ways",
        "plait",
        "--concurrency",
        "1",
        "--no-picture",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("for each of")
        with suppress(FileNotFoundError):
            (tmp_path / "9").unlink()
        _, error = process.communicate(timeout=SECONDS)
    assert 1 == process.returncode
    assert 1 == len(error.splitlines())
    assert "No such file or directory" in error


def measured(way: str, wall: float, cpu: float, memory: int, **more: Any) -> Measured:
    values = {"limit": 9, "files": 100, "processes": 1, "threads": 1, "engine": None, "engine_reason": None}
    return Measured(way=way, wall_seconds=wall, cpu_seconds=cpu, memory_bytes=memory, **{**values, **more})


def row(path: str) -> Row:
    return examine(path, b"", page(path, b""))


ROWS = [row(str(i)) for i in range(100)]


def test_the_sentences_say_what_the_numbers_say() -> None:
    ways = [
        measured("sequential", 5.0, 0.1, 100, files=10),
        measured("threads", 2.0, 3.0, 400),
        measured("asyncio", 1.05, 2.0, 200),
        measured("plait", 1.0, 1.0, 200, engine="epoll", engine_reason="asked for"),
    ]
    stored = {"sequential": ROWS[:10], "threads": ROWS, "asyncio": ROWS, "plait": ROWS}
    assert [] == differing(ways, stored)
    said = list(sentences(ways, stored, [], 100))
    assert "~ one after another was done for 10 of the 100 files, and scaled up." == said[0]
    assert "plait ran on epoll: asked for (plait doctor says more)." == said[1]
    assert said[2].startswith("All ways stored the same 100 rows")
    assert "Interwoven by plait, the work was done 50.0 times as fast as one after another." == said[3]
    assert (
        "plait took, compared with asyncio: about the same wall time and memory, 50% less CPU time; with fork-join "
        "threads: 50% less wall time and memory, 67% less CPU time (one run; within 10% counts as the same)." == said[4]
    )


def test_relations_below_the_noise_are_none() -> None:
    assert "about the same" == relation(1.09, 1.0) == relation(0.91, 1.0)
    assert ("12% more", "25% less") == (relation(1.12, 1.0), relation(0.75, 1.0))


def test_rows_that_differ_are_found_and_said() -> None:
    ways = [measured("asyncio", 1, 1, 1), measured("plait", 1, 1, 1), measured("sequential", 1, 1, 1, files=10)]
    good = {"asyncio": ROWS, "plait": ROWS, "sequential": ROWS[:10]}
    assert [] == differing(ways, good)
    assert ["plait"] == differing(ways, {**good, "plait": ROWS[:-1]})
    assert ["plait"] == differing(ways, {**good, "plait": [*ROWS[:-1], ROWS[-1]._replace(lines=7)]})
    assert ["sequential"] == differing(ways, {**good, "sequential": [*ROWS[:9], row("new")]})
    assert "The rows differ: plait." in list(sentences(ways, good, ["plait"], 100))


def test_a_missing_sentence_needs_no_way() -> None:
    """Any choice of ways has something to say."""
    for way in WAYS:
        only = [measured(way, 1, 1, 1, engine="uring" if way == "plait" else None)]
        assert [] == [word for word in sentences(only, {way: ROWS}, [], 100) if "compared" in word]
