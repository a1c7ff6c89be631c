"""Every program that runs on plait can be looked at: a Unix socket of its own user, served by a thread that no loop can block.

It begins when a loop is first run and ends with the process. Nothing is imported and no interpreter lock is taken before somebody
looks: see side.h. PLAIT_ATTACH=0 leaves it out, PLAIT_SIGQUIT=0 leaves SIGQUIT alone.
"""

import atexit
import os
import sys
from typing import Any

from plait import loop as loops
from plait.see import side

__all__ = ["PROTOCOL", "begin", "socket_name"]

PROTOCOL = 1
# A fork waits for the thread's end no longer than this; it is busy only while it answers somebody.
FORK_SECONDS = 2.0
EXIT_SECONDS = 0.5

unusable = False  # no thread or no socket is to be had here; not tried again
hooked = False
stopped_for_fork = False


def socket_name(pid: int, namespace: int) -> bytes:
    """Behind the leading zero of an abstract address. Containers may share the network, and with it these names, but not their pids."""
    return b"plait-%d-%d" % (namespace, pid)


def pid_namespace(pid: int | str = "self") -> int:
    """The number of the namespace that a pid counts in; 0 where /proc does not tell."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return 0


def begin(needed: bool = False) -> None:
    """From now on this process can be looked at. `needed`: OSError where it cannot."""
    global unusable, hooked
    if side.started():
        return
    if not needed and (unusable or os.environ.get("PLAIT_ATTACH") == "0"):
        return
    pid = os.getpid()
    try:
        side.start(socket_name(pid, pid_namespace()), b"plait %d %d\n" % (PROTOCOL, pid), serve)
    except OSError:
        unusable = True
        if needed:
            raise
        return
    if os.environ.get("PLAIT_SIGQUIT") != "0":
        side.take_quit()
    if not hooked:
        hooked = True
        atexit.register(end)
        os.register_at_fork(
            before=before_fork, after_in_parent=after_fork_in_parent, after_in_child=after_fork_in_child
        )


def serve(client: int, asked: int) -> None:
    """In the side thread, with somebody there: what it takes to answer is imported now."""
    from plait.see import serving

    serving.serve(client, asked)


def end() -> None:
    if "plait.see.watchdog" in sys.modules:
        sys.modules["plait.see.watchdog"].end()
    side.give_quit_back()
    side.stop(EXIT_SECONDS)


def before_fork() -> None:
    """A fork finds no threads of ours: none that could hold a lock in the child, and none for Python's warning to count."""
    global stopped_for_fork
    monitored = side.stop_monitor()
    stopped_for_fork = side.stop(FORK_SECONDS) or monitored


def after_fork_in_parent() -> None:
    global stopped_for_fork
    if stopped_for_fork:
        stopped_for_fork = False
        # Not here: up to Python 3.13 the threads are counted after this.
        side.soon(begin_again)


def begin_again() -> None:
    begin(needed=True)
    if "plait.see.watchdog" in sys.modules:
        sys.modules["plait.see.watchdog"].begin_monitor()


def after_fork_in_child() -> None:
    global unusable, stopped_for_fork
    unusable = stopped_for_fork = False
    side.forget()
    if "plait.see.watchdog" in sys.modules:
        sys.modules["plait.see.watchdog"].watched.clear()


def opens(loop: Any) -> None:
    begin()
    if os.environ.get("PLAIT_WATCHDOG"):
        from plait.see import watchdog

        watchdog.from_environment()


loops.opening.append(opens)
