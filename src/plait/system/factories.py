"""The system side of the loop in one class, and its life: made, run, closed, forgotten in a forked child."""

import os
import signal
import threading
import weakref

from plait import standard
from plait.system.disk import FileFactories
from plait.system.names import NameFactories
from plait.system.pipes import PipeFactories
from plait.system.processes import ProcessFactories
from plait.system.signals import SignalFactories

loops: "weakref.WeakSet[SystemFactories]" = weakref.WeakSet()


class SystemFactories(ProcessFactories, PipeFactories, FileFactories, SignalFactories, NameFactories):
    """Processes, pipes, files, signals and names for the loop, which calls `_begin_run` and `_end_run` around a run, and `_system_close` before
    its engine closes."""

    def __init__(self) -> None:
        super().__init__()
        self._processes_init()
        self._signals_init()
        self._names_init()
        self._files_init()
        loops.add(self)

    def _begin_run(self) -> None:
        self._signals_begin()
        self._files.begin_run()

    def _end_run(self) -> None:
        self._signals_end()
        self._files.end_run()

    def _system_close(self) -> None:
        loops.discard(self)
        self._files.close()
        self._processes_close()
        self._signals_close()
        self._names_close()


# While a thread forks: the signal mask it had before.
forking = threading.local()


def hold_signals() -> None:
    """Before a fork: signals that a loop handles wait, in this thread and so in the child, until the child can act on them.

    A handler of Python's that runs in the child before `forget_after_fork` would hand the signal to the parent's loop, of which the
    child has but a dead copy: a SIGTERM sent right after the fork would be lost.
    """
    numbers = {number for loop in loops for number in loop._deliveries}
    if standard.is_runner_interrupt(signal.getsignal(signal.SIGINT)):
        numbers.add(signal.SIGINT)
    if numbers:
        forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def release_signals() -> None:
    mask = forking.__dict__.pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def forget_after_fork() -> None:
    """In the child of a fork: no loop runs here, and the loops of the parent are not touched from here any more."""
    if loops:
        # From 3.12 asyncio does this itself.
        standard.set_running_loop(None)
    for loop in list(loops):
        loop._processes_close()
        loop._files.forget()
        loop._signals_forget()
        loop._names_forget()
    # The parent's main task cannot be cancelled from here: without this the child's first Ctrl-C would do nothing.
    if loops and standard.is_runner_interrupt(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    release_signals()


os.register_at_fork(before=hold_signals, after_in_parent=release_signals, after_in_child=forget_after_fork)
