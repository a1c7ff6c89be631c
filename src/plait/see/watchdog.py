"""The watchdog: says which line blocks a loop while it still does, and what to use instead; and what else looks wrong.

A thread of C looks at the loops every few milliseconds, without the interpreter lock: the loop pays nothing for it. Once a second the
tasks are looked through for what suspicions.py knows; told is what was there twice.
"""

import asyncio
import contextlib
import dataclasses
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from plait import loop as loops
from plait import standard
from plait.core import tasks
from plait.see import attach, deadlocks, hints, side, snapshot
from plait.see.model import BLOCKS, STARVED

__all__ = ["Block", "Suspicion", "Watchdog", "from_environment", "report_taken", "scan", "watchdog"]

DEFAULT_MS = 50.0
SCAN_SECONDS = 1.0
SCAN_PART = 0.02  # of the time, at most: with very many tasks they are looked at less often
FAILED_MAX = 1000  # exceptions that may still be retrieved
RETRIEVE_SECONDS = 1.0
ALWAYS_REPORTED = 3  # blocks at one place; from then on every doubling of their number is
DEBUGGERS = ("bdb", "pdb", "pydevd", "debugpy", "_pydevd_bundle", "ipdb")


@dataclass(frozen=True)
class Block:
    """A slice that takes too long. `ended` false: it still does, and `seconds` is how long so far."""

    task: str  # name of the task, or "" for a callback
    coroutine: str
    seconds: float
    ended: bool
    file: str  # of the program's own line, or where there is none the innermost
    line: int
    function: str
    source: str  # that line
    calls: str  # full name of what it calls, as far as it is known
    hint: str
    stack: tuple[tuple[str, int, str], ...]  # outermost first
    times: int  # how often this place has blocked until now, this time included

    def text(self) -> str:
        by = f"{self.task} ({self.coroutine})" if self.task else "a callback"
        if self.ended:
            return f"plait: {by} has blocked the loop for {ms(self.seconds)} in all, at {self.file}:{self.line}\n"
        often = f", the {self.times}th time there" if self.times > ALWAYS_REPORTED else ""
        lines = [f"plait: {by} blocks the loop, for {ms(self.seconds)} so far{often}"]
        own = (self.file, self.line, self.function)
        for frame in self.stack:
            file, line, function = frame
            lines.append(f'  File "{file}", line {line}, in {function}')
            if frame == own and self.source:
                lines.append(f"    {self.source}")
        if self.hint:
            lines.append(f"  {f'{self.calls}: ' if self.calls else ''}{self.hint}")
        return "\n".join(lines) + "\n"

    def write_down(self, recorder: Any, since_ns: int) -> None:
        """As a mark at the beginning of the slice that blocks, so that the finding has its line and its hint."""
        advice = f"{self.calls}: {self.hint}" if self.calls and self.hint else self.hint
        place = f"{self.file}:{self.line} in {self.function}"
        recorder.mark(
            f"{self.task or 'a callback'} {BLOCKS}{advice}", "warning", int(self.seconds * 1e9), place, since_ns
        )


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


@dataclass(frozen=True)
class Suspicion:
    """Something that hardly anybody wants. `kind` is one of suspicions.py's, "deadlock", "never retrieved" or "never awaited"."""

    kind: str
    task: str  # name and coroutine of the task, or of the tasks
    what: str
    file: str
    line: int
    function: str

    def text(self) -> str:
        subject = f"{self.task} " if self.task else ""
        place = f'  File "{self.file}", line {self.line}, in {self.function}\n' if self.file else ""
        return f"plait: {subject}{self.what}\n{place}"

    def write_down(self, recorder: Any) -> None:
        subject = f"{self.task} " if self.task else ""
        place = f"{self.file}:{self.line} in {self.function}" if self.file else ""
        recorder.mark(f"{subject}{self.what}", "warning", place=place)


Report = Callable[["Block | Suspicion"], object]


def silent(found: Block | Suspicion) -> None:
    """The report of a watchdog that is there for a recording only: all is written down in it anyway."""


class Watchdog:
    """What plait.watchdog() gives: stop() ends it, and so does leaving a `with` block.

    `blocks` and `suspicions` have the last hundred of each.
    """

    def __init__(self, threshold_ms: float, report: Report | None, origins: bool) -> None:
        self.threshold_ms = threshold_ms
        self.report = report
        self.origins = origins
        self.blocks: deque[Block] = deque(maxlen=100)
        self.count = 0
        self.places: Counter[tuple[str, int]] = Counter()
        self.last: tuple[Block, int] | None = None  # the one that lasts, and since when in nanoseconds
        self.suspicions: deque[Suspicion] = deque(maxlen=100)
        self.seen: set[Any] = set()  # in the last look at the tasks
        self.told: set[Any] = set()
        self.failed: deque[tuple[Any, float, Suspicion]] = deque(maxlen=FAILED_MAX)
        self.scan_seconds = 0.0  # that the last look took
        self.scanned = 0.0  # when it was

    def __enter__(self) -> "Watchdog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Watch no more. Idempotent; any thread."""
        global current
        if current is self:
            current = None
            side.stop_monitor()
            if self.last is not None:
                tell_end(self, time.monotonic_ns())
            tasks.watch_failures(None)
            watch_coroutines(False)
            if self.origins:
                sys.set_coroutine_origin_tracking_depth(0)
            give_signal_back()
            for address in list(watched):
                forget(address)


current: Watchdog | None = None
# Loops that the monitor reads, by id, with the engine whose memory it reads too.
watched: "dict[int, tuple[weakref.ref[Any], Any]]" = {}
stack_signal = 0


def watchdog(ms: float = DEFAULT_MS, report: Report | None = None, *, origins: bool = False) -> Watchdog:
    """Report slices that block a loop of this process for more than `ms` milliseconds, while they do; and what looks wrong.

    `report(found)` is called in a thread of plait's: with a Block that is unfinished (`ended` false), and once more when it has
    ended after more than twice that time; and with a Suspicion: an exception that nobody retrieves, a task that nothing can wake,
    tasks that wait for each other, a cancel that is ignored, a full executor, a thousand tasks at once. The default writes them to
    standard error; a loop that is recorded has them in its recording, too. One watchdog at a time: a new one takes the place of the
    one before. `PLAIT_WATCHDOG=ms` and `plait run --watchdog` do the same from outside.
    `origins` has coroutines remember where they were made, for the warning of one that is never awaited; it costs each 100 ns.
    Raises ValueError for less than 1 ms and OSError where no thread can be had.
    """
    global current
    if not ms >= 1:
        raise ValueError(f"a watchdog needs a time of at least 1 ms, not {ms!r}")
    attach.begin(needed=True)
    current = Watchdog(ms, report, origins)
    tasks.watch_failures(task_failed)
    watch_coroutines(True)
    begin_monitor()
    for loop in snapshot.loops_of_process():
        follow(loop)
    if follow not in loops.opening:
        loops.opening.append(follow)
    return current


def end() -> None:
    """At the end of the process."""
    if current is not None:
        current.stop()


def from_environment() -> None:
    """PLAIT_WATCHDOG: milliseconds, or 1 for the default; a value that is neither is said and left."""
    text = os.environ.get("PLAIT_WATCHDOG", "")
    if current is not None or text in ("", "0"):
        return
    try:
        watchdog(DEFAULT_MS if text == "1" else float(text))
    except (ValueError, OSError) as error:
        print(f"plait: PLAIT_WATCHDOG={text!r}: {error}", file=sys.stderr)


def begin_monitor() -> None:
    if current is not None:
        signum = 0 if current.report is silent else take_signal()
        side.monitor(int(current.threshold_ms * 1e6), int(SCAN_SECONDS * 1e9), signum)


def take_signal() -> int:
    """A signal that has the thread which gets it write its stack, lock or no lock; 0 when none is free."""
    global stack_signal
    if stack_signal:
        return stack_signal
    for number in range(signal.SIGRTMAX - 1, signal.SIGRTMIN + 1, -1):
        try:
            if signal.getsignal(number) == signal.SIG_DFL:
                faulthandler.register(number, file=2, all_threads=False, chain=False)
                stack_signal = int(number)
                return stack_signal
        except (OSError, ValueError, RuntimeError):
            continue
    return 0


def give_signal_back() -> None:
    global stack_signal
    if stack_signal:
        faulthandler.unregister(stack_signal)
        stack_signal = 0


def follow(loop: Any) -> None:
    """Have the monitor read this loop, as long as it lives."""
    if current is None:
        return
    if current.origins and side.pulse(loop)[-1] in (0, threading.get_ident()):
        sys.set_coroutine_origin_tracking_depth(max(1, sys.get_coroutine_origin_tracking_depth()))
    begin_monitor()  # again in the child of a fork
    address = id(loop)
    forget(address)
    if side.watch(loop):
        watched[address] = (weakref.ref(loop, lambda _: forget(address)), loop._get_engine())


def forget(address: int) -> None:
    side.unwatch(address)
    watched.pop(address, None)


def report_taken() -> None:
    """In the side thread: the monitor saw a block begin or end."""
    dog = current
    taken = side.take()
    if dog is None or taken is None:
        return
    address, since_ns, until_ns, starved_ns, lock_kept, still = taken
    loop = watched[address][0]() if address in watched else None
    if loop is None:
        return
    if starved_ns:
        if (recorder := loop.recorder) is not None:
            recorder.mark(STARVED, duration_ns=starved_ns, at_ns=since_ns)
        return
    if until_ns:
        tell_end(dog, until_ns)
        return
    block = new_block(dog, loop, since_ns, lock_kept) if still else None
    dog.last = None if block is None else (block, since_ns)
    if block is None:
        return
    dog.blocks.append(block)
    if (recorder := loop.recorder) is not None:
        block.write_down(recorder, since_ns)
    if block.times <= ALWAYS_REPORTED or block.times & (block.times - 1) == 0:
        tell(dog, block)


def tell(dog: Watchdog, found: Block | Suspicion) -> None:
    if dog.report is None:
        from plait.see.serving import write_error

        write_error(found.text())
        return
    try:
        dog.report(found)
    except Exception:
        traceback.print_exc()


def tell_end(dog: Watchdog, until_ns: int) -> None:
    """How long it was in all, where that says more than the report before."""
    last, dog.last = dog.last, None
    if last is None:
        return
    block, since_ns = last
    if until_ns - since_ns >= 2e6 * dog.threshold_ms and block.times <= ALWAYS_REPORTED:
        tell(dog, dataclasses.replace(block, seconds=(until_ns - since_ns) / 1e9, ended=True))


def new_block(dog: Watchdog, loop: Any, since_ns: int, lock_kept: bool) -> Block | None:
    """What blocks it now; None when it is a debugger."""
    thread = side.pulse(loop)[-1]
    frames = snapshot.frames_of_thread(thread) if thread else []
    if not frames or any(module_of(frame).partition(".")[0] in DEBUGGERS for frame in frames):
        return None
    own = own_frame(frames)
    source, expression = hints.call_text(own)
    called = hints.called_name(own, expression)
    inner = [module_of(frame) for frame in frames[frames.index(own) + 1 :]]
    place = (own.f_code.co_filename, own.f_lineno or 0)
    dog.places[place] += 1
    dog.count += 1
    task = task_of(loop)
    return Block(
        task=task.get_name() if task is not None else "",
        coroutine=getattr(task.get_coro(), "__qualname__", "") if task is not None else "",
        seconds=(time.monotonic_ns() - since_ns) / 1e9,
        ended=False,
        file=place[0],
        line=place[1],
        function=own.f_code.co_qualname,
        source=source,
        calls=called,
        hint=hints.advice([*reversed(inner), called], lock_kept or computes(thread)),
        stack=tuple((frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_qualname) for frame in frames),
        times=dog.places[place],
    )


def own_frame(frames: list[FrameType]) -> FrameType:
    """The innermost one of the program's own code."""
    for frame in reversed(frames):
        if not snapshot.is_installed(frame.f_code.co_filename):
            return frame
    return frames[-1]


def module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def task_of(loop: Any) -> Any:
    with contextlib.suppress(RuntimeError):
        return asyncio.current_task(loop)
    return None


def computes(thread: int) -> bool:
    """Whether it used the processor in the last milliseconds."""
    try:
        clock = time.pthread_getcpuclockid(thread)
        before = time.clock_gettime_ns(clock)
        time.sleep(0.002)
        return time.clock_gettime_ns(clock) - before > 500_000
    except OSError:
        return False


# Suspicions.


def scan() -> None:
    """In the side thread, about once a second: tell what was wrong the last time too."""
    dog = current
    if dog is None or time.monotonic() - dog.scanned < dog.scan_seconds / SCAN_PART:
        return
    began = time.monotonic()
    tell_unretrieved(dog, began)
    found: dict[Any, tuple[Suspicion, Any]] = {}
    loop_of_thread = {side.pulse(loop)[-1]: loop for loop in snapshot.loops_of_process()}
    for told in snapshot.take(stacks=False)["loops"]:
        loop = loop_of_thread.get(told["thread_id"])
        wrong = [(each["kind"], each["task"], each["text"], each["place"]) for each in told["suspicions"]]
        wrong += [("deadlock", "", each.text, each.place) for each in deadlocks.deadlocks(told["tasks"])]
        for kind, task, text, place in wrong:
            file, line, function = place or ("", 0, "")
            found[kind, file, line] = Suspicion(kind, task, text, file, line, function), loop
    for key in found.keys() & dog.seen - dog.told:
        suspect(dog, *found[key])
    dog.told |= found.keys() & dog.seen
    dog.seen = set(found)
    dog.scanned = time.monotonic()
    dog.scan_seconds = dog.scanned - began


def suspect(dog: Watchdog, found: Suspicion, loop: Any) -> None:
    dog.suspicions.append(found)
    if (recorder := getattr(loop, "recorder", None)) is not None:
        found.write_down(recorder)
    tell(dog, found)


def task_failed(task: Any) -> None:
    """In the loop's thread: it ended by an exception, and nobody waits for it."""
    dog = current
    error = task._exception
    if dog is None or error is None:
        return
    frames = [(frame.f_code.co_filename, line, frame) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [each for each in frames if not snapshot.is_installed(each[0])] or frames
    file, line, frame = own[-1] if own else ("", 0, None)
    what = f"ended by {type(error).__name__}, and nobody has asked for its result"
    name = f"{task.get_name()} {getattr(task.get_coro(), '__qualname__', '')}"
    function = frame.f_code.co_qualname if frame is not None else ""
    dog.failed.append(
        (weakref.ref(task), time.monotonic(), Suspicion("never retrieved", name, what, file, line, function))
    )


def tell_unretrieved(dog: Watchdog, now: float) -> None:
    """A task that is gone by now has logged its exception itself, as asyncio does."""
    while dog.failed and now - dog.failed[0][1] >= RETRIEVE_SECONDS:
        task, _, found = dog.failed.popleft()
        key = (found.kind, found.file, found.line)
        held = task()
        if held is not None and held._log_traceback and key not in dog.told:
            dog.told.add(key)
            suspect(dog, found, held._loop)


# Python tells of coroutines that were never awaited by this function, when they are collected.
warn_unawaited: Any = getattr(warnings, "_warn_unawaited_coroutine", None)


def watch_coroutines(on: bool) -> None:
    if warn_unawaited is not None:
        told = on and current is not None and current.report is not None
        both = side.one_after_the_other(coroutine_unawaited, warn_unawaited) if told else warn_unawaited
        setattr(warnings, "_warn_unawaited_coroutine", both)  # noqa: B010


def coroutine_unawaited(coroutine: Any) -> None:
    dog = current
    if dog is not None:
        origin = getattr(coroutine, "cr_origin", None)
        if origin:
            file, line, function = origin[0]
        else:
            # Where it was dropped: of a call whose `await` was forgotten that is where it was made.
            frame = sys._getframe(1)
            file, line, function = frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname
        what = "was made and never awaited"
        found = Suspicion("never awaited", f"coroutine {coroutine.__qualname__}", what, file, line, function)
        suspect(dog, found, standard.get_running_loop_or_none())
