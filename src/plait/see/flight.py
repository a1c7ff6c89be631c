"""The flight recorder: the last seconds are always in memory, and are written down when something happens."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from plait.core import recorded
from plait.core import recorder as core
from plait.see import deadlocks
from plait.see.recorders import RING_SIZE, new_meta, running_loop
from plait.see.recording import END, EVENTS, describe_chunk, pack, write_block, write_head

if TYPE_CHECKING:
    from plait.loop import Loop

__all__ = ["FlightRecorder", "flight_recorder"]

logger = logging.getLogger("plait")

# What makes it write: a slice over `slow_seconds`, an exception that nobody handled, a task that ended with TimeoutError.
REASONS = ("slow", "error", "timeout")
# Something that goes wrong all the time is written down once in a while only.
PAUSE_SECONDS = 10.0
DUMPS_MAX = 100


class FlightRecorder:
    """Records the loops of one thread into a ring in memory; `flight_recorder` makes it."""

    # For `plait run`, which begins before the program is there.
    program: str | None = None
    arguments: Sequence[str] | None = None

    def __init__(
        self,
        folder: str | os.PathLike[str],
        seconds: float,
        slow_seconds: float | None,
        reasons: frozenset[str],
        signum: int | None,
        loop: Loop | None,
        size: int,
    ) -> None:
        self.folder = os.fspath(folder)
        self.dumps: list[str] = []  # the files written so far
        self._seconds = seconds
        self._slow_seconds = slow_seconds
        self._reasons = reasons
        self._signum = signum
        self._loop = loop
        self._size = size
        self._recorder: core.Recorder | None = None
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}  # when a reason counts again
        self._writers: list[threading.Thread] = []
        self._handler_before: Any = None
        self._hook_before: Callable[..., Any] | None = None

    def __enter__(self) -> FlightRecorder:
        if self._recorder is None:
            self.start()
        return self

    def begun(self) -> FlightRecorder:
        """Begin at once; the with statement then only ends it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and isinstance(error, Exception) and "error" in self._reasons:
            self.dump("error")
        self.stop()

    def start(self) -> None:
        """Begin. RuntimeError if the loop is not plait's, or is recorded already; ValueError if the folder cannot be written to."""
        if self._recorder is not None:
            raise RuntimeError("this flight recorder has begun already; each flight_recorder() is used once")
        core.check_build()  # before the folder is made
        loop = self._loop or running_loop()
        os.makedirs(self.folder, exist_ok=True)
        self._meta = new_meta(threading.current_thread().name, self.program, self.arguments)
        recorder = core.Recorder(self._size, None, self._meta)
        try:
            recorded.begin(recorder, loop, threading.get_ident())
        except BaseException:
            recorder.close()
            raise
        self._recorder = recorder
        if self._slow_seconds is not None and "slow" in self._reasons:
            recorder.slow_ns = int(self._slow_seconds * 1e9)
        recorder.on_event = self._happened
        if self._signum is not None:
            self._handler_before = signal.signal(self._signum, self._signalled)
            signal.siginterrupt(self._signum, False)
        if "error" in self._reasons:
            self._hook_before = sys.excepthook
            sys.excepthook = self._excepthook

    def stop(self) -> None:
        """End, after what is being written. Idempotent."""
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        recorder.on_event = None
        if self._signum is not None and signal.getsignal(self._signum) == self._signalled:
            signal.signal(self._signum, self._handler_before)
        if self._hook_before is not None and sys.excepthook == self._excepthook:
            sys.excepthook = self._hook_before
        recorded.end(recorder)
        for writer in self._writers:
            writer.join()
        recorder.close()

    def dump(self, reason: str = "call", path: str | os.PathLike[str] | None = None) -> str:
        """Write the last seconds now, and return the path: of the folder's next file, unless `path` is given. Any thread may call it.

        It takes about half a second for a full ring; call it by asyncio.to_thread() where the loop should not wait.
        """
        recorder = self._recorder
        if recorder is None:
            raise RuntimeError("the flight recorder is not running: there is nothing to write")
        with self._lock:
            if path is None:
                name = f"flight-{os.getpid()}-{next(self._numbers)}-{reason}.plait"
                path = os.path.join(self.folder, name)
            path = os.fspath(path)
            if (loop := recorder.loop) is not None:
                # For this file: the ring may have lost what the watchdog wrote when they began.
                deadlocks.note(recorder, loop)
            write_last(recorder, self._meta | {"reason": reason}, path, self._seconds)
            self.dumps.append(path)
        logger.info("plait wrote the last %g seconds to %s (%s)", self._seconds, path, reason)
        return path

    def mark(self, text: str) -> None:
        """A named point in time, drawn in the picture."""
        if self._recorder is not None:
            self._recorder.mark(text)

    # What happens.

    def _happened(self, reason: str) -> None:
        """Called by the loop, in the middle of its work: the writing is left to a thread."""
        now = time.monotonic()
        if reason not in self._reasons or now < self._due.get(reason, 0.0) or len(self.dumps) >= DUMPS_MAX:
            return
        self._due[reason] = now + PAUSE_SECONDS
        self._write_beside(reason)

    def _signalled(self, signum: int, frame: FrameType | None) -> None:
        self._write_beside("signal")
        if callable(self._handler_before):
            self._handler_before(signum, frame)

    def _write_beside(self, reason: str) -> None:
        writer = threading.Thread(target=self._write, args=(reason,), name="plait-flight", daemon=True)
        self._writers = [other for other in self._writers if other.is_alive()]
        self._writers.append(writer)
        writer.start()

    def _write(self, reason: str) -> None:
        try:
            self.dump(reason)
        except (OSError, RuntimeError) as error:
            logger.warning("plait could not write down the last seconds: %s", error)

    def _excepthook(self, kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if self._recorder is not None and issubclass(kind, Exception):
            with contextlib.suppress(OSError, RuntimeError):
                self.dump("error")
        assert self._hook_before is not None
        self._hook_before(kind, value, traceback)


def write_last(recorder: core.Recorder, meta: dict[str, Any], path: str, seconds: float) -> None:
    """The chunks that have something of the last seconds."""
    since_ns = recorder.now_ns - int(seconds * 1e9)
    last = -(-recorder.written // recorder.chunk_events)
    numbers = []
    for number in range(last - 1, max(-1, last - recorder.chunk_count - 1), -1):
        began_ns = recorder.began_ns(number)
        if began_ns is None:
            break
        numbers.append(number)
        if began_ns < since_ns:
            break
    # Another name until it is complete.
    partial = f"{path}.partial"
    with open(partial, "wb") as file:
        write_head(file)
        for number in reversed(numbers):
            found = describe_chunk(recorder, meta, number)
            if found is not None:
                write_block(file, EVENTS, number, pack(*found))
        write_block(file, END, 0, pack({"end_ns": recorder.now_ns, "written": recorder.written}))
    os.replace(partial, path)


def flight_recorder(
    folder: str | os.PathLike[str] = ".",
    *,
    seconds: float = 10.0,
    slow_seconds: float | None = 0.5,
    on: Iterable[str] = REASONS,
    signum: int | None = None,
    loop: Loop | None = None,
    size: int = RING_SIZE,
) -> FlightRecorder:
    """Keep the last seconds in memory and write them to a file of the folder when something happens: a context manager.

    `on` chooses from "slow" (a slice took longer than `slow_seconds`), "error" (an exception that nobody handled) and "timeout" (a
    task ended with TimeoutError), each at most every 10 seconds. `signum` is a signal that asks for a file too, only in the main
    thread; `dump()` writes one by call. The ring has `size` bytes, over a million slices; where that is less than `seconds`, it is
    what there is. Which loops are recorded, and what may be recorded at once, is as with record().
    """
    reasons = frozenset(on)
    if unknown := reasons - set(REASONS):
        raise ValueError(f"{sorted(unknown)[0]!r} is no reason to write: choose from {', '.join(REASONS)}")
    return FlightRecorder(folder, seconds, slow_seconds, reasons, signum, loop, size)
