"""The machine that is measured on: which core for whom, whose turn it is, what it is."""

import contextlib
import fcntl
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HOLD_SECONDS = 45.0
"""Others who want to measure wait no longer than this for their turn."""


def cores() -> tuple[int, int]:
    """The core of what is measured and the core of the client; the same one twice if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[1 % len(allowed)]


@contextlib.contextmanager
def pinned(*wanted: int) -> Iterator[None]:
    """What is started inside runs on these cores, and before all ordinary processes where we may do that (root).

    Nice values do not do it: sessions share a core evenly (autogroup). The kernel keeps some time for the others.
    """
    cores, policy, parameter = os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setaffinity(0, wanted)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)
        os.sched_setaffinity(0, cores)


class Turn:
    """The right to measure: a lock file shared by everyone who measures on this machine.

    BENCH_LOCK names another file. The lock is kept over consecutive measurements and given to others now and then.
    """

    def __init__(self) -> None:
        default = os.path.join(tempfile.gettempdir(), "bench.lock")
        self._path = os.environ.get("BENCH_LOCK", default)
        self._fd = -1
        self._since = 0.0

    def take(self) -> None:
        if self._fd >= 0 and time.monotonic() - self._since > HOLD_SECONDS:
            self.give()
            time.sleep(0.2)  # else we would win it back at once from those who wait
        if self._fd < 0:
            self._fd = self._open()
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"bench: waiting for another measurement on this machine ({self._path})", file=sys.stderr)
                fcntl.flock(self._fd, fcntl.LOCK_EX)
            self._since = time.monotonic()

    def give(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        # Without O_CREAT first: in a sticky folder the kernel refuses O_CREAT on a file of another user.
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)


def waited_ns(pid: int | str = "thread-self") -> int:
    """Nanoseconds a process's main thread (or this thread) was ready to run and had no core; 0 if not known."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    except (OSError, IndexError):
        return 0


def describe() -> dict[str, str]:
    """What a reader must know to judge the figures."""
    model = "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith(("model name", "cpu model")):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "date": time.strftime("%Y-%m-%d"),
    }
