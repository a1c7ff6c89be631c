"""The side thread and the monitor (side.h), for the Python that uses them; and the pulse of a loop, read from any thread."""

import os

import cython
from cython.cimports.libc.errno import errno
from cython.cimports.plait.core.turn import Core
from cython.cimports.plait.see.side import (
    plait_block,
    plait_give_quit_back,
    plait_monitor_start,
    plait_monitor_started,
    plait_monitor_stop,
    plait_monitor_take,
    plait_monitor_unwatch,
    plait_monitor_watch,
    plait_side_accept,
    plait_side_asked,
    plait_side_forget,
    plait_side_is_ours,
    plait_side_listener,
    plait_side_ring,
    plait_side_start,
    plait_side_started,
    plait_side_stop,
    plait_soon,
    plait_take_quit,
)

STOP, DUMP, REPORT, SCAN = 1, 2, 4, 8  # the bits of `asked`, as in side.h


def start(name: bytes, hello: bytes, serve):
    """Listen on an abstract Unix socket and serve it from a thread of C; OSError where that cannot be.

    `serve(client, asked)` is called in that thread: with the descriptor of a client of the right user (or -1), and with what
    was asked for otherwise.
    """
    if plait_side_start(name, len(name), hello, serve) < 0:
        raise OSError(errno, os.strerror(errno))


def stop(seconds: float):
    """End the thread; false when there is none, or when it did not end in time."""
    return plait_side_stop(seconds)


def forget():
    """In the child of a fork: there is no thread, and the socket is the parent's."""
    plait_side_forget()


def started():
    return bool(plait_side_started)


def listener():
    """The descriptor that listens, or -1; it is closed behind our back in programs that close all."""
    return plait_side_listener if plait_side_is_ours() else -1


def accept():
    """The next client that may look, or -1."""
    return plait_side_accept()


def asked():
    """What was asked for since the last call (STOP, DUMP, REPORT, SCAN)."""
    return plait_side_asked()


def ring(what: cython.int):
    """Ask for something from any thread."""
    plait_side_ring(what)


def take_quit():
    """Have SIGQUIT ask for a dump, where nobody handles it."""
    plait_take_quit()


def give_quit_back():
    plait_give_quit_back()


def soon(function):
    """Call it in the main thread between two bytecodes, once the C function that runs now has returned."""
    plait_soon(function)


def one_after_the_other(first, second):
    """A function that calls both. It has no frame of its own, so that a warning of theirs names the line of who called it."""

    def both(word):
        first(word)
        second(word)

    return both


def monitor(threshold_ns: cython.longlong, scan_every_ns: cython.longlong, stack_signal: cython.int):
    """Watch the loops for slices that take longer, and ask for a SCAN every so often (0: never).

    `stack_signal` has faulthandler write the stack of the thread that gets it.
    """
    if plait_monitor_start(threshold_ns, scan_every_ns, stack_signal) < 0:
        raise OSError("no thread could be started for the watchdog")


def stop_monitor():
    """End it; false when there is none."""
    was: cython.bint = plait_monitor_started
    plait_monitor_stop()
    return was


def watch(loop: Core):
    """Have the monitor look at it, with the engine that it has now; the caller keeps both alive until unwatch()."""
    return plait_monitor_watch(
        cython.cast(cython.p_void, loop),
        cython.address(loop.head),
        cython.address(loop.turns),
        cython.address(loop.engine.told),
        cython.cast("const int*", cython.address(loop.engine.sleeping)),
        cython.address(loop.thread),
    )


def unwatch(address: cython.size_t):
    """By id(loop): it may be gone already."""
    plait_monitor_unwatch(cython.cast(cython.p_void, address))


def take():
    """The block that the monitor saw: (id of the loop, since when in ns, until when or 0, starved ns, lock kept, still there). Or None.

    `starved`: not 0 for a slice that is no block but for so long as its thread, ready to run, had no processor.
    `lock kept`: by C code, so that its stack was written by the signal. `still there`: the loop's stack now is that of the block.
    """
    block: plait_block = plait_monitor_take()
    if block.loop == cython.NULL:
        return None
    return (
        cython.cast(cython.size_t, block.loop),
        block.since_ns,
        block.until_ns,
        block.starved_ns,
        bool(block.lock_kept),
        bool(block.still),
    )


def pulse(loop: Core):
    """What a loop does, without disturbing it: (turns, place in the ready ring, events told, asleep, ready, timers, thread).

    When the first three do not move and it is not asleep, one slice blocks it. `thread` is 0 while it does not run.
    """
    told: cython.ulonglong = 0
    asleep: cython.bint = False
    if loop.engine is not None:
        told = loop.engine.told
        asleep = loop.engine.sleeping
    return (loop.turns, loop.head, told, asleep, loop.count + len(loop.deferred), loop.timers.count, loop.thread)
