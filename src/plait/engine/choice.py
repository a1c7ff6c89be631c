"""Which engine runs, and why: probe, never trust versions.

io_uring is tried from the best configuration to the plainest, each with a ring that is really used once and thrown away; what was
refused is kept with its reason. Then epoll, which runs everywhere. The ring that a loop runs on is made later, by `open_engine` in the
loop's own thread, and steps down in the same way if the kernel refuses by then.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import resource
import time
from typing import NamedTuple

from plait.engine.contract import Engine
from plait.engine.epoll import EpollEngine
from plait.engine.errors import EngineRefused, EngineUnavailable
from plait.engine.uring import BEST_FLAGS, PLAIN_FLAGS, UringEngine, seconds_since_close

logger = logging.getLogger("plait")

ENGINES = ("auto", "uring", "epoll")
#: Submission entries to ask for, largest first; the next is tried when memory is refused.
ENTRIES = (256, 128, 64, 32, 16)
CONFIGURATIONS = {BEST_FLAGS: "completions on demand", PLAIN_FLAGS: "plain"}
PROBE_SECONDS = 5
SPIN_MAX_US = 10_000
BY_WORKERS = "by worker threads"
#: Calls for files that io_uring came to know one after another, with their numbers (linux/io_uring.h).
FILE_OPCODES = {
    "open": 18,
    "close": 19,
    "read": 22,
    "write": 23,
    "fsync": 3,
    "fallocate": 17,
    "statx": 21,
    "splice": 30,
    "rename": 35,
    "unlink": 36,
    "mkdir": 37,
    "symlink": 38,
    "link": 39,
    "xattr": 44,
    "truncate": 55,
}
GIVEN_BACK_SECONDS = 0.2
RETRY_SECONDS = 0.002

_ALLOW_IN_CONTAINER = (
    "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile "
    "(docker/podman: --security-opt seccomp=profile.json, or seccomp=unconfined to try it out)"
)


class Refusal(NamedTuple):
    """One configuration of an engine that cannot run here."""

    engine: str
    configuration: str
    error: str
    """The name of the errno that the kernel answered."""
    explanation: str
    fix: str

    def __str__(self) -> str:
        return f"{self.engine} ({self.configuration}): {self.error}, {self.explanation}. To change it: {self.fix}"


class EngineReport(NamedTuple):
    """Which engine runs a loop, and why."""

    name: str
    """"uring" or "epoll"."""
    reason: str
    requested: str
    """"auto", "uring" or "epoll"."""
    features: tuple[str, ...]
    refused: tuple[Refusal, ...]
    """What was tried before and could not run, in the order in which it was tried."""
    files: str = BY_WORKERS
    """Who carries out the calls for files."""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Probe(NamedTuple):
    """What this process can have of io_uring."""

    flags: int
    entries: int
    """0 if nothing at all."""
    features: tuple[str, ...]
    refused: tuple[Refusal, ...]
    files: str = ""


class Surroundings(NamedTuple):
    """What decides about io_uring, apart from the kernel's code."""

    kernel: str
    disabled: int
    """sysctl kernel.io_uring_disabled: 0 for nobody, 1 for the unprivileged, 2 for all."""
    seccomp: bool
    """A filter stands between this process and the kernel."""
    memlock_bytes: int
    """RLIMIT_MEMLOCK, which a ring counts towards; -1 is unlimited."""


def new_engine(requested: str | None = None) -> Engine:
    """Make the engine for a loop; the thread that runs the loop opens it with `open_engine`.

    `requested` is "auto", "uring" or "epoll"; None asks the environment's PLAIT_ENGINE and means "auto" without it. Raises
    EngineUnavailable if "uring" is asked for and cannot run, ValueError for other names.
    """
    name, asked = _requested(requested)
    if name == "epoll":
        return _ready(EpollEngine(), EngineReport("epoll", asked, name, _epoll_features(), ()))
    probe = probe_uring()
    if not probe.entries:
        return _ready(EpollEngine(), _without_uring(name, asked, probe.refused))
    engine = UringEngine(probe.entries, flags=probe.flags)
    reason = asked if name == "uring" else "io_uring runs here, and is the better one"
    return _ready(engine, EngineReport("uring", reason, name, probe.features, probe.refused, probe.files))


def spin_ns(requested_us: float | None = None) -> int:
    """How long a loop looks before it sleeps, in nanoseconds; None asks the environment's PLAIT_SPIN_US, and without it means 0."""
    if requested_us is None:
        text = os.environ.get("PLAIT_SPIN_US") or "0"
        asked = f"the environment's PLAIT_SPIN_US={text}"
        try:
            requested_us = float(text)
        except ValueError:
            requested_us = -1
    else:
        asked = f"spin_us={requested_us!r}"
    if not 0 <= requested_us <= SPIN_MAX_US:
        raise ValueError(
            f"{asked} is no number of microseconds from 0 to {SPIN_MAX_US}: so long a loop that has nothing to do looks for "
            "events before it sleeps, with a busy core"
        )
    return round(requested_us * 1000)


def open_engine(engine: Engine) -> Engine:
    """Open it in this thread. Where the kernel refuses it by now, the answer is another engine, opened, with all its sources."""
    while True:
        try:
            engine.open()
        except EngineRefused as error:
            if error.errno == errno.ENOMEM and seconds_since_close() < GIVEN_BACK_SECONDS:
                # The memory that is missing may be that of a ring we closed just now: no reason to settle for less.
                time.sleep(RETRY_SECONDS)
                continue
            engine = fallback(engine, error)
        else:
            return engine


def fallback(engine: Engine, error: OSError) -> Engine:
    """The engine to open instead of one that was refused, with its sources; raises `error` if it was no refusal."""
    report: EngineReport = engine.report or EngineReport(engine.name, "made by hand", "auto", (), ())
    if not isinstance(engine, UringEngine) or not isinstance(error, EngineRefused):
        raise error
    refused = (*report.refused, _refusal(engine.flags, engine.entries, error))
    smaller = next((entries for entries in ENTRIES if entries < engine.entries), 0)
    instead: Engine
    if error.errno == errno.ENOMEM and smaller:
        instead = UringEngine(smaller, flags=engine.flags)
        instead.adopt(engine)
        return _ready(instead, report._replace(refused=refused))
    without = _without_uring(report.requested, report.reason, refused)
    instead = EpollEngine()
    instead.adopt(engine)
    return _ready(instead, without)


@functools.cache
def probe_uring() -> Probe:
    """Find the best configuration of io_uring that works in this process. Asked once; a forked child asks again."""
    refused: list[Refusal] = []
    for flags in CONFIGURATIONS:
        for entries in ENTRIES:
            try:
                features, files = _try_ring(flags, entries)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    raise  # says nothing about io_uring, and no engine runs without descriptors
                refused.append(_refusal(flags, entries, error))
                if error.errno == errno.ENOMEM:
                    continue
                if error.errno == errno.EINVAL:
                    break  # flags that this kernel does not know
                return Probe(0, 0, (), tuple(refused))
            return Probe(flags, entries, features, tuple(refused), files)
    return Probe(0, 0, (), tuple(refused))


os.register_at_fork(after_in_child=probe_uring.cache_clear)


def _try_ring(flags: int, entries: int) -> tuple[tuple[str, ...], str]:
    """Make a ring and use it once for each thing the engine stands on: an operation and a poll that stays armed."""
    engine = UringEngine(entries, flags=flags)
    results: list[int] = []
    engine.open()
    try:
        engine.nop(results.append)
        engine.wake()
        give_up = time.monotonic() + PROBE_SECONDS
        while not results:
            if time.monotonic() > give_up:
                raise EngineRefused(errno.ETIME, "a ring was made, but an operation on it never came back")
            engine.wait(PROBE_SECONDS * 10**9)
        features: tuple[str, ...] = engine.features
        files = _files_on(engine.opcodes)
    finally:
        engine.close()
    return features, files


def _files_on(opcodes: frozenset[int]) -> str:
    """How a ring with these operations serves files."""
    lacking = [name for name, opcode in FILE_OPCODES.items() if opcode not in opcodes]
    if len(lacking) == len(FILE_OPCODES):
        return BY_WORKERS
    return f"on the ring, but {', '.join([*lacking, 'large writes'])} {BY_WORKERS}"


@functools.cache
def _epoll_features() -> tuple[str, ...]:
    engine = EpollEngine()
    engine.open()
    features: tuple[str, ...] = engine.features
    engine.close()
    return features


def _requested(requested: str | None) -> tuple[str, str]:
    """The engine's name and who asked for it. The argument goes before the environment."""
    if requested is not None:
        name, asked = requested, f"asked for by engine={requested!r}"
    else:
        name = os.environ.get("PLAIT_ENGINE") or "auto"
        asked = f"asked for by the environment's PLAIT_ENGINE={name}"
    if name not in ENGINES:
        raise ValueError(f"there is no engine {name!r} ({asked}); it is one of {', '.join(ENGINES)}")
    return name, asked


def _without_uring(requested: str, asked: str, refused: tuple[Refusal, ...]) -> EngineReport:
    """The report of epoll in the place of io_uring; EngineUnavailable if io_uring must be."""
    last = refused[-1]
    if requested == "uring":
        raise EngineUnavailable(
            f"io_uring was {asked} and cannot run here: {last.error}, {last.explanation}. To change it: {last.fix}; "
            "or let plait choose (PLAIT_ENGINE=auto), which then runs on epoll"
        )
    return EngineReport(
        "epoll", f"io_uring is refused here: {last.error}, {last.explanation}", requested, _epoll_features(), refused
    )


def _ready(engine: Engine, report: EngineReport) -> Engine:
    engine.report = report
    logger.info("engine %s", report)
    return engine


def _refusal(flags: int, entries: int, error: OSError) -> Refusal:
    number = error.errno or 0
    explanation, fix = explain(number, error.strerror or "", surroundings())
    configuration = f"{CONFIGURATIONS.get(flags, hex(flags))}, {entries} entries"
    return Refusal("uring", configuration, errno.errorcode.get(number, str(number)), explanation, fix)


def surroundings() -> Surroundings:
    status = _read("/proc/self/status").splitlines()
    seccomp = next((line.split()[1] for line in status if line.startswith("Seccomp:")), "0")
    disabled = _read("/proc/sys/kernel/io_uring_disabled").strip()
    return Surroundings(
        kernel=os.uname().release,
        disabled=int(disabled) if disabled.isdecimal() else 0,
        seccomp=seccomp != "0",
        memlock_bytes=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
    )


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def explain(number: int, text: str, here: Surroundings) -> tuple[str, str]:
    """Why io_uring is refused with this errno, and what to change."""
    if number in (errno.EPERM, errno.EACCES):
        return _explain_forbidden(here)
    if number == errno.ENOSYS:
        if here.seccomp:
            return "a seccomp filter hides io_uring from this process, as containers do", _ALLOW_IN_CONTAINER
        return (
            f"kernel {here.kernel} has no io_uring (or a sandbox as gVisor stands in its place)",
            "run on Linux 5.13 or later, built with CONFIG_IO_URING",
        )
    if number == errno.ENOMEM:
        if here.memlock_bytes < 0:
            return "the kernel has no memory for the ring", "raise the memory limit of the container or cgroup"
        return (
            f"the rings of this user do not fit into the limit of locked memory, {here.memlock_bytes} bytes (RLIMIT_MEMLOCK)",
            "raise it to 8 MiB or more (ulimit -l 8192, LimitMEMLOCK=8M in systemd, --ulimit memlock=8388608 in docker)",
        )
    if number in (errno.EINVAL, errno.EOPNOTSUPP):
        return (
            f"kernel {here.kernel} lacks what was asked for ({text})",
            "run on Linux 6.1 or later for the best configuration, on 5.13 or later for io_uring at all",
        )
    return f"the kernel answered: {text}", "see io_uring_setup(2), or run on epoll (PLAIT_ENGINE=epoll)"


def _explain_forbidden(here: Surroundings) -> tuple[str, str]:
    if here.disabled >= 2:
        return "io_uring is switched off by sysctl kernel.io_uring_disabled=2", "sysctl kernel.io_uring_disabled=0"
    if here.disabled == 1:
        return (
            "sysctl kernel.io_uring_disabled=1 keeps io_uring for privileged processes",
            "sysctl kernel.io_uring_disabled=0, or add this user's group as sysctl kernel.io_uring_group",
        )
    if here.seccomp:
        return "a seccomp filter forbids io_uring to this process, as containers do", _ALLOW_IN_CONTAINER
    return (
        "a security module (SELinux, AppArmor) or a sandbox forbids io_uring to this process",
        "look for a denial of io_uring in the kernel's audit log (ausearch -m avc, dmesg) and allow it",
    )
