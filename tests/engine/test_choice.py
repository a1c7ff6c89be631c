"""Which engine runs where the kernel refuses something: every refusal is a real one."""

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import plait.engine.choice as choice
from plait.engine.choice import Surroundings, explain
from plait.engine.errors import EngineRefused, EngineUnavailable
from plait.engine.uring import BEST_FLAGS, PLAIN_FLAGS, UringEngine

SETUP, ENTER, REGISTER, EPOLL_PWAIT2 = 425, 426, 427, 441
LIMIT_SECONDS = 60
CONFINED = Path(__file__).with_name("confined.py")


def confined(when: str, **case: Any) -> dict[str, Any]:
    """What the choice comes to in a process of its own, in these surroundings."""
    environment = {name: value for name, value in os.environ.items() if name != "PLAIT_ENGINE"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    run = subprocess.run(
        [sys.executable, str(CONFINED), json.dumps({"when": when, **case})],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert (0, "") == (run.returncode, run.stderr)
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def test_where_nothing_is_refused_the_best_ring_runs():
    got = confined("start")
    assert ("uring", "uring", []) == (got["chosen"], got["name"], got["refused"])
    assert 256 == got["entries"]
    assert "completions on demand (SINGLE_ISSUER, DEFER_TASKRUN, TASKRUN_FLAG)" in got["features"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize("call", [SETUP, ENTER])
def test_a_seccomp_filter_means_epoll_and_is_named(number, call):
    got = confined("start", deny={call: number})
    assert ("epoll", "epoll", [1]) == (got["chosen"], got["name"], got["told"])
    [(configuration, error, explanation, fix)] = got["refused"]
    assert "completions on demand, 256 entries" == configuration
    assert errno.errorcode[number] == error
    assert "seccomp filter" in explanation
    assert "--security-opt seccomp" in fix
    assert f"io_uring is refused here: {error}, {explanation}" == got["reason"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_filter_that_comes_after_the_choice_means_epoll_with_all_sources(number):
    got = confined("chosen", deny={SETUP: number})
    assert ("uring", "epoll", [1]) == (got["chosen"], got["name"], got["told"])
    assert [errno.errorcode[number]] == [refused[1] for refused in got["refused"]]


@pytest.mark.parametrize("when", ["start", "chosen"])
def test_a_ring_that_was_asked_for_and_is_refused_is_an_error_with_the_fix(when):
    got = confined(when, deny={SETUP: errno.EPERM}, engine="uring")
    assert "EngineUnavailable" == got["error"]
    assert "io_uring was asked for by engine='uring' and cannot run here: EPERM, a seccomp filter" in got["text"]
    assert "--security-opt seccomp" in got["text"]
    assert "PLAIT_ENGINE=auto" in got["text"]


def test_a_ring_runs_without_io_uring_register():
    """It only tells which operations there are; the ring itself does without."""
    got = confined("start", deny={REGISTER: errno.EPERM})
    assert ("uring", [1]) == (got["name"], got["told"])
    assert "0 operations" in got["features"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_epoll_runs_without_epoll_pwait2(number):
    got = confined("start", deny={EPOLL_PWAIT2: number}, engine="epoll")
    assert ("epoll", [], [1]) == (got["name"], got["features"], got["told"])


@pytest.mark.parametrize("when", ["start", "chosen"])
def test_locked_memory_too_small_for_any_ring_means_epoll_and_names_the_limit(when):
    """As an ordinary user, whose rings count towards RLIMIT_MEMLOCK before Linux 5.12 and since 6.14; else they just run."""
    got = confined(when, memlock=0)
    assert [1] == got["told"]
    assert (errno.ENOMEM if got["name"] == "epoll" else 0) == got["kernel_says"]
    if got["name"] == "epoll":
        assert {"ENOMEM"} == {refused[1] for refused in got["refused"]}
        sizes = [f"completions on demand, {entries} entries" for entries in choice.ENTRIES]
        assert sizes == [refused[0] for refused in got["refused"]][: len(sizes)]
        assert "limit of locked memory, 0 bytes (RLIMIT_MEMLOCK)" in got["reason"]
        assert "ulimit -l" in got["refused"][-1][3]


def test_locked_memory_for_a_small_ring_gives_a_small_ring():
    got = confined("start", memlock=16384)
    assert ("uring", [1]) == (got["name"], got["told"])
    if got["refused"]:  # the kernel counts rings towards the limit
        assert got["entries"] < 256
        assert {"ENOMEM"} == {refused[1] for refused in got["refused"]}


def test_a_forced_ring_that_does_not_fit_names_the_limit():
    got = confined("start", memlock=0, engine="uring")
    if "error" in got:
        assert "EngineUnavailable" == got["error"]
        assert "0 bytes (RLIMIT_MEMLOCK)" in got["text"]
        assert "LimitMEMLOCK=8M" in got["text"]
    else:
        assert ("uring", 0) == (got["name"], got["kernel_says"])


@pytest.mark.parametrize("when", ["start", "chosen"])
def test_no_descriptors_left_is_no_reason_for_another_engine(when):
    got = confined(when, nofile=5)
    assert "OSError" == got["error"]
    assert "the limit of open files is 5" in got["text"]


# In this process.


@pytest.fixture
def no_environment(monkeypatch):
    monkeypatch.delenv("PLAIT_ENGINE", raising=False)


def test_the_environment_chooses(engine):
    made = choice.new_engine()
    assert engine == made.name == made.report.name
    assert f"asked for by the environment's PLAIT_ENGINE={engine}" == made.report.reason
    assert not made.is_open


@pytest.mark.parametrize("name", ["uring", "epoll"])
def test_the_argument_goes_before_the_environment(name, engine):
    report = choice.new_engine(name).report
    assert (name, f"asked for by engine={name!r}") == (report.name, report.reason)


@pytest.mark.usefixtures("no_environment")
@pytest.mark.parametrize("requested", [None, "auto"])
def test_auto_is_the_ring_where_it_runs(requested):
    report = choice.new_engine(requested).report
    assert ("uring", "auto", ()) == (report.name, report.requested, report.refused)
    assert "uring: io_uring runs here, and is the better one" == str(report)


def test_an_empty_environment_variable_is_auto(monkeypatch):
    monkeypatch.setenv("PLAIT_ENGINE", "")
    assert "auto" == choice.new_engine().report.requested


def test_an_unknown_engine_is_an_error(monkeypatch):
    with pytest.raises(ValueError, match=r"no engine 'kqueue' \(asked for by engine='kqueue'\); .* auto, uring, epoll"):
        choice.new_engine("kqueue")
    monkeypatch.setenv("PLAIT_ENGINE", "io_uring")
    with pytest.raises(ValueError, match="PLAIT_ENGINE=io_uring"):
        choice.new_engine()


def test_the_choice_is_logged_once(caplog, engine):
    caplog.set_level(logging.INFO, "plait")
    made = choice.new_engine(engine)
    choice.open_engine(made).close()
    assert [f"engine {engine}: asked for by engine={engine!r}"] == [record.message for record in caplog.records]


@pytest.mark.usefixtures("no_environment")
def test_a_ring_steps_down_when_memory_is_refused_at_the_opening():
    engine = choice.new_engine("uring")
    smaller = choice.fallback(engine, EngineRefused(errno.ENOMEM, "no memory"))
    assert (128, BEST_FLAGS) == (smaller.entries, smaller.flags)
    assert ["completions on demand, 256 entries"] == [refused.configuration for refused in smaller.report.refused]
    for _ in range(3):
        smaller = choice.fallback(smaller, EngineRefused(errno.ENOMEM, "no memory"))
    assert 16 == smaller.entries
    with pytest.raises(EngineUnavailable, match="ENOMEM"):
        choice.fallback(smaller, EngineRefused(errno.ENOMEM, "no memory"))


def test_what_is_no_refusal_is_raised(engine):
    made = choice.new_engine(engine)
    error = OSError(errno.EMFILE, "no descriptors")
    with pytest.raises(OSError, match="no descriptors") as caught:
        choice.fallback(made, error)
    assert error is caught.value


def test_flags_that_the_kernel_does_not_know_are_refused():
    made = UringEngine(flags=1 << 31)
    with pytest.raises(EngineRefused, match="io_uring_setup: Invalid argument"):
        made.open()
    assert not made.is_open


def test_an_older_kernel_gets_a_plain_ring(monkeypatch):
    """Flags that no kernel knows stand for the best ones on an old kernel."""
    unknown = BEST_FLAGS | 1 << 31
    monkeypatch.setattr(choice, "CONFIGURATIONS", {unknown: "completions on demand", PLAIN_FLAGS: "plain"})
    probe = choice.probe_uring.__wrapped__()
    assert (PLAIN_FLAGS, 256) == (probe.flags, probe.entries)
    assert ["EINVAL"] == [refused.error for refused in probe.refused]
    assert "plain ring" in probe.features


HERE = Surroundings(kernel="6.1.0", disabled=0, seccomp=False, memlock_bytes=65536)


@pytest.mark.parametrize(
    ("number", "here", "explanation", "fix"),
    [
        (errno.EPERM, {"disabled": 2}, "switched off by sysctl kernel.io_uring_disabled=2", "io_uring_disabled=0"),
        (errno.EPERM, {"disabled": 1}, "io_uring_disabled=1 keeps io_uring for privileged", "io_uring_group"),
        (errno.EPERM, {"disabled": 2, "seccomp": True}, "io_uring_disabled=2", "io_uring_disabled=0"),
        (errno.EPERM, {"seccomp": True}, "a seccomp filter forbids", "io_uring_setup, io_uring_enter"),
        (errno.EACCES, {}, "a security module", "audit log"),
        (errno.ENOSYS, {}, "kernel 6.1.0 has no io_uring", "Linux 5.13"),
        (errno.ENOSYS, {"seccomp": True}, "a seccomp filter hides", "seccomp profile"),
        (errno.ENOMEM, {}, "65536 bytes (RLIMIT_MEMLOCK)", "ulimit -l 8192"),
        (errno.ENOMEM, {"memlock_bytes": -1}, "no memory for the ring", "cgroup"),
        (errno.EOPNOTSUPP, {}, "kernel 6.1.0 lacks what was asked for (the text)", "Linux 6.1"),
        (errno.ETIME, {}, "the kernel answered: the text", "PLAIT_ENGINE=epoll"),
    ],
)
def test_each_refusal_is_explained_with_a_fix(number, here, explanation, fix):
    got = explain(number, "the text", HERE._replace(**here))
    assert explanation in got[0]
    assert fix in got[1]


def test_the_surroundings_are_read_from_this_machine():
    here = choice.surroundings()
    assert os.uname().release == here.kernel
    assert here.disabled in (0, 1, 2)
