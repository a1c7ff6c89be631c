"""Signals: handlers that run in the loop, and a loop that no signal finds asleep.

Two halves. A handler of Python's own (signal.signal) puts the user's callback into the ready ring: it runs between two
bytecodes of the main thread, so a signal that comes while the loop is stopped waits there for its next run. And while
the loop runs in the main thread a wakeup descriptor (signal.set_wakeup_fd) is set whose other end the engine watches:
the C handler writes to it in whatever thread the kernel chose, so that a signal which comes after the last bytecode and
before the sleep, or in another thread, wakes the loop, and with it Ctrl-C.
"""

import contextlib
import contextvars
import errno
import os
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any, TypeVarTuple

from plait import standard
from plait.engine.contract import CallbackSource
from plait.system.host import Host

READ_SIZE = 4096
NO_DESCRIPTOR = -1

Ts = TypeVarTuple("Ts")


class Delivery:
    """What signal.signal gets for one signal. Holds the loop weakly: a signal must not keep a forgotten loop alive."""

    def __init__(self, loop: "SignalFactories", callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.loop = weakref.ref(loop)
        self.callback = callback
        self.args = args
        self.context = contextvars.copy_context()

    def __call__(self, signum: int, frame: object) -> None:
        loop = self.loop()
        if loop is not None and not loop.is_closed():
            loop._call_soon_by_signal(signum, self.callback, self.args, self.context)


class SignalFactories(Host):
    """add_signal_handler and remove_signal_handler, and what the loop does around a run for signals to wake it."""

    _deliveries: dict[int, Delivery]
    _wakeup_pipe: tuple[int, int] | None  # read and write end, from the first run in the main thread until close
    _wakeup_source: CallbackSource | None  # of its read end
    _wakeup_previous: int | None  # the wakeup descriptor found at the start of this run; None outside a run

    def _signals_init(self) -> None:
        self._deliveries = {}
        self._wakeup_pipe = None
        self._wakeup_source = None
        self._wakeup_previous = None

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], Any], *args: *Ts) -> None:
        """Call callback(*args) in the loop when the signal comes; works in the main thread only.

        Raises ValueError for a number that is no signal, RuntimeError for one that cannot be caught and in another
        thread, TypeError for a coroutine function. A signal that comes while the loop is stopped is handled in its next
        run.
        """
        if standard.iscoroutine(callback) or standard.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        check_signal(sig)
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        delivery = Delivery(self, callback, args)
        try:
            signal.signal(sig, delivery)
            # SA_RESTART: system calls of other code are not interrupted for it.
            signal.siginterrupt(sig, False)
        except ValueError as error:
            raise RuntimeError(str(error)) from None
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise
        self._deliveries[sig] = delivery

    def remove_signal_handler(self, sig: int) -> bool:
        """Give the signal its default action back; false when this loop has no handler for it."""
        check_signal(sig)
        if self._deliveries.pop(sig, None) is None:
            return False
        signal.signal(sig, default_action(sig))
        return True

    def _signals_begin(self) -> None:
        """At the start of a run: signals wake the loop. Does nothing in a thread that gets no signals."""
        if threading.current_thread() is not threading.main_thread():
            return
        if self._wakeup_pipe is None:
            self._wakeup_pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._wakeup_source = self._arm(self._wakeup_pipe[0], self._signals_drain)
        # In a subinterpreter's main thread there are no signals either.
        with contextlib.suppress(ValueError):
            # A full pipe is no loss: it wakes the loop as well as one byte more would.
            self._wakeup_previous = signal.set_wakeup_fd(self._wakeup_pipe[1], warn_on_full_buffer=False)

    def _signals_end(self) -> None:
        """At the end of a run: the wakeup descriptor of whoever had one before is set again."""
        previous, self._wakeup_previous = self._wakeup_previous, None
        if previous is None or self._wakeup_pipe is None:
            return
        found = signal.set_wakeup_fd(previous)
        if found != self._wakeup_pipe[1]:
            # Somebody set another during the run, and still counts on it.
            signal.set_wakeup_fd(found)

    def _signals_drain(self, events: int) -> None:
        """The wakeup itself was the point: Python's handlers run on the way here."""
        assert self._wakeup_pipe is not None
        while True:
            try:
                numbers = os.read(self._wakeup_pipe[0], READ_SIZE)
            except BlockingIOError:
                return
            if self._wakeup_previous not in (None, NO_DESCRIPTOR):
                # Whoever set a wakeup descriptor before us reads signal numbers from it.
                with contextlib.suppress(OSError):
                    os.write(self._wakeup_previous, numbers)

    def _close_wakeup_pipe(self) -> None:
        if self._wakeup_pipe is None or self._wakeup_source is None:
            return
        self._disarm(self._wakeup_source)
        for fd in self._wakeup_pipe:
            os.close(fd)
        self._wakeup_pipe = self._wakeup_source = None

    def _signals_close(self) -> None:
        self._close_wakeup_pipe()
        if sys.is_finalizing():
            if self._deliveries:
                warnings.warn(
                    f"Closing the loop {self!r} on interpreter shutdown stage, skipping signal handlers removal",
                    ResourceWarning,
                    stacklevel=2,
                    source=self,
                )
                self._deliveries.clear()
            return
        for sig in list(self._deliveries):
            self.remove_signal_handler(sig)

    def _signals_forget(self) -> None:
        """In the child of a fork: the parent's loop gets no byte of ours, and its handlers, which no loop here would
        ever run, give way to the default actions, so that terminate() and Ctrl-C end the child.
        """
        if self._wakeup_pipe is not None:
            found = signal.set_wakeup_fd(NO_DESCRIPTOR)
            if found not in (NO_DESCRIPTOR, self._wakeup_pipe[1]):
                signal.set_wakeup_fd(found)
            self._close_wakeup_pipe()
        self._wakeup_previous = None
        for sig, delivery in self._deliveries.items():
            if signal.getsignal(sig) is delivery:
                signal.signal(sig, default_action(sig))
        self._deliveries.clear()


def check_signal(sig: int) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def default_action(sig: int) -> Any:
    return signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
