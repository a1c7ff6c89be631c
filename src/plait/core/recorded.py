"""Which loops are recorded: those that run in a thread for which a recorder waits. In the child of a fork none is."""

import os
import threading
import weakref

import cython
from cython.cimports.plait.core.ready import Scheduler

# Those that have memory and perhaps a loop.
recorders = weakref.WeakSet()


def forget_after_fork():
    """In the child: the parent goes on recording, and its mapping is not written to from here."""
    waiting.clear()
    for recorder in list(recorders):
        recorder._forget()


os.register_at_fork(after_in_child=forget_after_fork)

# Recorders that wait for a loop to run in their thread, by its number.
waiting: dict = {}


def begin(recorder, loop, thread):
    """Record `loop`, or if it is None, whatever loop runs in the thread from now on."""
    if loop is not None:
        recorder.attach(loop)
        return
    if thread in waiting:
        raise RuntimeError("the loops of this thread are recorded already: one recording at a time has their events")
    waiting[thread] = recorder


def end(recorder):
    """No more, neither of its loop nor of those that would come."""
    for thread, other in list(waiting.items()):
        if other is recorder:
            del waiting[thread]
    recorder.detach()


@cython.cfunc
def run_begins(loop: Scheduler) -> cython.int:
    if waiting and loop.recorder is None:
        recorder = waiting.get(threading.get_ident())
        if recorder is not None and recorder.loop is None:
            recorder.attach(loop)
    return 0


@cython.cfunc
def run_ends(loop: Scheduler) -> cython.int:
    """A recorder that waits for whatever runs is free for the next loop."""
    if waiting and loop.recorder is not None and loop.recorder in waiting.values():
        loop.recorder.detach()
    return 0
