"""`plait doctor` tells the truth about the engine, for people and for programs."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plait import doctor

SECONDS = 30
ENGINE_TESTS = str(Path(__file__).parent.parent / "engine")
# The doctor where a real seccomp filter answers io_uring_setup (425) with EPERM, as in a container.
REFUSED = (
    f"import sys; sys.path.insert(0, {ENGINE_TESTS!r}); import confined, errno; confined.deny({{425: errno.EPERM}}); "
    "from plait.cli import main; sys.exit(main(sys.argv[1:]))"
)


def plait(*words: str, python: tuple[str, ...] = ("-m", "plait")) -> tuple[int, str, str]:
    ended = subprocess.run([sys.executable, *python, *words], capture_output=True, text=True, timeout=SECONDS)
    return ended.returncode, ended.stdout, ended.stderr


def as_json(*words: str, python: tuple[str, ...] = ("-m", "plait"), status: int = 0) -> dict[str, Any]:
    ended = plait("doctor", "--json", *words, python=python)
    assert (status, "") == (ended[0], ended[2])
    found: dict[str, Any] = json.loads(ended[1])
    return found


def test_it_names_the_engine_that_runs(engine: str) -> None:
    found = as_json()
    assert (engine, engine, None) == (found["engine"]["name"], found["engine"]["requested"], found["error"])
    assert found["engine"]["features"]
    assert engine == found["plait_engine_variable"]
    assert (platform.python_version(), os.uname().release) == (found["python"], found["kernel"])
    status, output, error = plait("doctor")
    assert (0, "") == (status, error)
    shown = "io_uring" if engine == "uring" else engine
    assert f"engine {shown}: asked for by the environment's PLAIT_ENGINE={engine}" in " ".join(output.split())


def test_it_says_what_was_refused_and_how_to_change_it() -> None:
    found = as_json(python=("-c", REFUSED))
    assert ("epoll", True) == (found["engine"]["name"], found["seccomp_filter"])
    [refusal] = found["engine"]["refused"]
    assert "EPERM" == refusal["error"]
    status, output, error = plait("doctor", python=("-c", REFUSED))
    assert (0, "") == (status, error)
    text = " ".join(output.split())
    assert "engine epoll: io_uring is refused here: EPERM, a seccomp filter" in text
    assert "refused uring, completions on demand, 256 entries: EPERM, a seccomp filter" in text
    assert f"to change it {refusal['fix']}" in text


def test_it_fails_where_no_engine_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that was asked for and is refused, and one that does not exist."""
    for asked, reason in (("uring", "cannot run here: EPERM"), ("kqueue", "there is no engine 'kqueue'")):
        monkeypatch.setenv("PLAIT_ENGINE", asked)
        found = as_json(python=("-c", REFUSED), status=1)
        assert found["engine"] is None
        assert reason in found["error"]
        status, output, error = plait("doctor", python=("-c", REFUSED))
        assert (1, "") == (status, error)
        assert f"engine none. {found['error']}" in " ".join(output.split())


def test_lines_fit_and_limits_are_readable() -> None:
    found = doctor.examine()
    report, error = doctor.try_loop()
    lines = doctor.describe(report, error, {**found, "memlock_bytes_max": None, "descriptors_max": 1024, "plait": None})
    assert all(len(line) <= doctor.WIDTH for line in lines)
    text = " ".join(" ".join(lines).split())
    assert "locked memory unlimited (ulimit -l)" in text
    assert "open files 1,024 (ulimit -n, few for a server)" in text
    assert "plait not installed, runs from its folder" in text


def test_a_reader_that_has_enough_ends_it_quietly() -> None:
    """As `plait doctor | head -n 1`."""
    command = f"{sys.executable} -m plait doctor | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=SECONDS)
    assert "" == ended.stderr
    assert ended.returncode in (0, 1)
