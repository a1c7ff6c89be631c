"""What a test may not leave behind: descriptors, threads, child processes, and whatever its loops still hold."""

import os
import socket
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from plait.loop import Loop

THREAD_END_SECONDS = 5
# The ring watches its nested epoll all the time.
ATTACH_ADDRESS = r"bound to b'\x00plait-"
IN_FLIGHT_AT_REST = {"uring": 1, "epoll": 0}


@dataclass(frozen=True)
class Snapshot:
    """What this process holds. Cheap: a listing of /proc/self/fd with a readlink each, one of threads, one of children."""

    descriptors: frozenset[tuple[int, str]]
    threads: frozenset[threading.Thread]
    children: frozenset[int]


def take() -> Snapshot:
    return Snapshot(open_descriptors(), frozenset(threading.enumerate()), children())


def open_descriptors() -> frozenset[tuple[int, str]]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
            # plait's own side thread closes its end of a connection a moment after its client.
            if not (target.startswith("socket:") and ATTACH_ADDRESS in describe(int(name), target)):
                found.append((int(name), target))
        except FileNotFoundError:
            pass  # the descriptor of the listing itself
    return frozenset(found)


def children() -> frozenset[int]:
    """Process ids of our children, those that ended and wait to be reaped too."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        try:
            found.update(map(int, Path(f"/proc/self/task/{thread}/children").read_text().split()))
        except FileNotFoundError:
            pass  # that thread ended just now
    return frozenset(found)


def differences(before: Snapshot) -> list[str]:
    """One line for everything that is there and was not `before`, and for every descriptor that was and is not."""
    for thread in frozenset(threading.enumerate()) - before.threads:
        # A pool that was told to stop needs a moment; one that was not never ends.
        thread.join(THREAD_END_SECONDS)
    after = take()
    found = [
        f"descriptor {fd} is still open: {describe(fd, target)}"
        for fd, target in after.descriptors - before.descriptors
    ]
    found += [
        f"descriptor {fd} was closed though the test did not open it: {target}"
        for fd, target in before.descriptors - after.descriptors
    ]
    found += [f"thread {thread.name!r} still runs" for thread in after.threads - before.threads]
    found += [f"child process {pid} is not reaped: {command(pid)}" for pid in after.children - before.children]
    return sorted(found)


def describe(fd: int, target: str) -> str:
    """The target, and for a socket what it is and to whom it leads."""
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return target
        with socket.socket(fileno=os.dup(fd)) as copy:
            kind = f"{copy.family.name} {copy.type.name} bound to {copy.getsockname()!r}"
            try:
                return f"{target} {kind}, connected to {copy.getpeername()!r}"
            except OSError:
                return f"{target} {kind}, not connected"
    except OSError:
        return target


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip() or "ended (zombie)"
    except OSError:
        return "ended"


def completions_owed(loop: Loop) -> int:
    """How many requests the kernel has not answered yet, but for those that are always there, and calls of files' workers."""
    in_flight: int = loop._held()["in_flight"]
    pool = loop._files.pool
    with_workers: int = pool.outstanding if pool is not None else 0
    # A ring watches the descriptor of the workers by a request, as it does that of the wake-ups.
    at_rest = IN_FLIGHT_AT_REST[loop.engine.name] * (1 if pool is None else 2)
    return max(0, in_flight - at_rest) + with_workers


def in_loop(loop: Loop) -> list[str]:
    """One line for everything that a loop which stands still has: tasks, timers, what is ready, watched descriptors."""
    held = loop._held()
    # By which signals and workers wake it, until it is closed.
    own = [] if loop._wakeup_pipe is None else [loop._wakeup_pipe[0]]
    own += [] if loop._files.pool is None else [loop._files.pool.fd]
    found = [f"task {task!r}" for task in held["tasks"]]
    found += [f"timer {timer!r}" for timer in held["timers"]]
    found += [f"watched descriptor {source.fd}: {source!r}" for source in held["sources"] if source.fd not in own]
    if owed := completions_owed(loop):
        found.append(f"{owed} requests in flight, without what would be told of their end")
    if held["ready"]:
        found.append(f"{held['ready']} callbacks or tasks that are ready to run")
    return found
