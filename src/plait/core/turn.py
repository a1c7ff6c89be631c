"""The turn of the loop, and the part of the event loop interface that is hot.

while not stopped:                 run_forever()
    wait for the engine            turn(): not at all when something is ready, until the first timer otherwise
    move due timers to the ring
    run what is ready now          new work waits for the next turn, so it never starves I/O
    run what was deferred          writes of one turn leave together
"""

import sys
import threading
from asyncio import BaseEventLoop
from inspect import iscoroutinefunction
from logging import getLogger
from time import monotonic

import cython
from cython.cimports.libc.math import ceil
from cython.cimports.plait.core.cpython import (
    PyContext_CopyCurrent,
    PyErr_CheckSignals,
    PyThread_get_thread_ident,
    plait_now_ns,
    plait_prefetch,
)
from cython.cimports.plait.core.current import plait_current_init, plait_leave_task
from cython.cimports.plait.core.frames import plait_record_task
from cython.cimports.plait.core.futures import Future, State
from cython.cimports.plait.core.handles import Handle, ThreadSafeHandle, TimerHandle, TimerHeap
from cython.cimports.plait.core.ready import Runnable, set_running
from cython.cimports.plait.core.recorded import run_begins, run_ends
from cython.cimports.plait.core.tasks import Task, live_tasks
from cython.cimports.plait.core.watches import Watch
from cython.cimports.plait.engine.contract import Engine
from cython.cimports.plait.engine.record import (
    PLAIT_AGAIN,
    PLAIT_BY_KERNEL,
    PLAIT_BY_SIGNAL,
    PLAIT_RETURNED,
    plait_is_recorded,
    plait_record,
    plait_record_begin_here,
    plait_record_end,
    plait_record_end_here,
    plait_record_pushes,
    plait_usually,
)

from plait.standard import ThreadSafeHandleFace, format_handle, get_running_loop_or_none, iscoroutine, set_running_loop

NS = cython.declare(cython.double, 1e9)
NS_MAX = cython.declare(cython.longlong, 2**63 - 1)
# From 3.14 on a handle of call_soon_threadsafe() can be cancelled in other threads.
CANCEL_WAITS = cython.declare(cython.bint, ThreadSafeHandleFace is not None)
logger = getLogger("asyncio")
plait_current_init()


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
@cython.nonecheck(False)
def usual_outcome(record: cython.pointer(plait_record), task: Task | None) -> cython.bint:
    """How nearly all slices of tasks end; False where Task.outcome() has to look."""
    if task.state == State.PENDING:
        if task._fut_waiter is None:
            record.outcome = PLAIT_AGAIN
            return True
        return record.awaited != 0  # the outcome is that it waits, unless somebody says otherwise
    if task.state == State.FINISHED and not task.failed:
        record.outcome = PLAIT_RETURNED
        return True
    return False


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
@cython.nonecheck(False)
def begin_task(record: cython.pointer(plait_record), task: Task | None) -> cython.bint:
    """Whose slice it is, where that takes no call."""
    return plait_record_task(record, cython.address(task.actor), cython.cast(cython.p_void, task._coro), task.number)


@cython.cfunc
@cython.exceptval(check=False)
def nanoseconds(when_s: cython.double) -> cython.longlong:
    """The first whole nanosecond at which loop.time() is not before `when_s`."""
    if when_s >= 9.2e9:
        return NS_MAX
    if not when_s > 0:
        return 0
    when_ns: cython.longlong = cython.cast(cython.longlong, ceil(when_s * NS))
    while cython.cast(cython.double, when_ns) / NS < when_s:
        when_ns += 1
    return when_ns


class Core:
    """The compiled half of plait's Loop; asyncio.BaseEventLoop is the other."""

    def __cinit__(self):
        self.timers = TimerHeap()
        self.watches = {}
        self.slow_callback_duration = 0.1
        self._closed = True  # until __init__ is through: a loop that was refused an engine needs no close()

    # Running.

    def _set_engine(self, engine: Engine):
        """Give it an engine, which the thread that runs the loop opens."""
        self.engine = engine

    def _get_engine(self):
        return self.engine

    def call_exception_handler(self, context):
        if self.recorder is not None:
            self.recorder._event("error")
        BaseEventLoop.call_exception_handler(self, context)

    def open_engine(self):
        """Open the engine in this thread: io_uring serves none but the thread that made the ring."""
        if self.engine is None:
            raise RuntimeError("the loop was not initialized: a subclass must call super().__init__()")
        # The kernel's number: pthreads gives the next thread the identity of one that has ended.
        thread: cython.ulong = threading.get_native_id()
        if self.engine.is_open and self.engine_thread != thread:
            self.engine.close()
        if not self.engine.is_open:
            self._open_engine()
            self.engine_thread = thread
        self.engine.record = self.record
        return 0

    def run_forever(self):
        """Run until stop() is called."""
        self._check_closed()
        if self.is_running():
            raise RuntimeError("This event loop is already running")
        if get_running_loop_or_none() is not None:
            raise RuntimeError("Cannot run the event loop while another loop is running")
        hooks = sys.get_asyncgen_hooks()
        self.open_engine()
        try:
            self._begin_run()
            self._set_coroutine_origin_tracking(self._debug)
            self.thread = PyThread_get_thread_ident()
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
            set_running_loop(self)
            set_running(self)
            run_begins(self)
            self.base = PyContext_CopyCurrent()
            while True:
                self.turn()
                if self._stopping:
                    break
        finally:
            self.leave_task()
            run_ends(self)
            self.base = None
            self.forget_contexts()
            self._stopping = False
            self.thread = 0
            self._thread_id = None
            set_running_loop(None)
            set_running(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)
            self._end_run()
            # What was closed in the last turn is really released now, not when the loop runs again.
            self.engine.flush()

    def stop(self):
        """Stop after the turn that runs now."""
        self._stopping = True

    def _run_once(self):
        """One turn, for those who drive a loop by hand."""
        self.open_engine()
        self.turn()
        self.leave_task()

    def _write_to_self(self):
        self.engine.wake()

    def close(self):
        """Drop what is left and give back what the kernel holds. RuntimeError while it runs; idempotent."""
        if self._closed:
            return
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        self._system_close()
        BaseEventLoop.close(self)
        # Handles and tasks that stand ready are dropped unrun, as asyncio does; first all are taken out, since dropping one may
        # run a finalizer that asks for more.
        while self.count:
            self.pop()
        self.deferred.clear()
        self.timers.clear()
        for watch in list(self.watches.values()):
            self.engine.disarm(watch)
        self.watches.clear()
        self.engine.close()

    def turn(self):
        timeout_ns: cython.longlong = -1
        self.turns = self.turns + 1
        if self.count or self._stopping or self.deferred:  # deferred: left over by a turn that an exit ended
            if self.engine.pending():
                self.wait(0)
            # A busy loop of C callables alone would never come to where Python looks for Ctrl-C.
            PyErr_CheckSignals()
        else:
            if self.timers.count:
                timeout_ns = self.timers.first_ns() - plait_now_ns()
                if timeout_ns < 0:
                    timeout_ns = 0
            self.wait(timeout_ns)
        if self.timers.count:
            self.timers.fire(self, plait_now_ns())
        self.run_ready(self.count)
        if self.deferred:
            self.leave_task()
            self.run_deferred()
            if plait_is_recorded(self.record):
                self.record.loop_due = True
        return 0

    def wait(self, timeout_ns):
        self.leave_task()
        if timeout_ns != 0:
            self.forget_contexts()
        if plait_is_recorded(self.record):
            self.record.woke_ns = self.record.boundary_ns  # unless it sleeps
            self.record.loop_due = True
        self.engine.wait(timeout_ns)
        if plait_is_recorded(self.record):
            plait_record_pushes(self.record, PLAIT_BY_KERNEL, 0)
        return 0

    def leave_task(self):
        """Before anything runs that is not a Task of ours: it must see no current task, and a standard Task finds none when it steps.

        Not before: from one task to the next it is one store, and often there is nothing else in a turn.
        """
        if self.task_is_current:
            self.task_is_current = False
            plait_leave_task(self)
        return 0

    def run_ready(self, count):
        """Run what stands at the head of the ring, `count` of them; what they make ready waits for the next turn.

        Fewer, where one of them drives the loop by hand and runs others.
        """
        runnable: Runnable = None
        while count and self.count:
            try:
                while count and self.count:
                    count -= 1
                    # What comes next but one is on its way into the processor's cache while this one runs.
                    plait_prefetch(self.ring[(self.head + 2) & self.mask])
                    runnable = self.pop()
                    if type(runnable) is not Task:
                        self.leave_task()
                    if plait_is_recorded(self.record):
                        self.run_recorded(runnable)
                    elif self._debug:
                        self.run_slowly(runnable)
                    else:
                        runnable.run()
            except (SystemExit, KeyboardInterrupt):
                self.end_slice(runnable)
                raise
            except BaseException as exc:
                self.end_slice(runnable)
                self.call_exception_handler(
                    {"message": f"Exception in callback {runnable!r}", "exception": exc, "handle": runnable}
                )
        return 0

    @cython.nonecheck(False)
    def run_recorded(self, runnable):
        """As a slice of its actor."""
        record = self.record
        plait_record_begin_here(record, (self.head - 1) & self.mask)
        if not (
            plait_usually(type(runnable) is Task) and plait_usually(begin_task(record, cython.cast(Task, runnable)))
        ):
            actor: cython.uint = runnable.identify(record)
            record.actor = actor
            record.running = actor != 0
        if plait_usually(not self._debug):
            runnable.run()
        else:
            self.run_slowly(runnable)
        record = self.record  # it may have ended, or begun
        if record != cython.NULL and record.running:
            if not (
                plait_usually(type(runnable) is Task)
                and plait_usually(usual_outcome(record, cython.cast(Task, runnable)))
            ):
                runnable.outcome(record)
            plait_record_end_here(record)
            if record.slow:
                self.tell_slow(record)
        return 0

    @cython.nonecheck(False)
    def end_slice(self, runnable):
        """Of what raised."""
        record = self.record
        if plait_is_recorded(record) and record.running:
            runnable.outcome(record)
            plait_record_end(record)
            if record.slow:
                self.tell_slow(record)
        return 0

    def tell_slow(self, record):
        record.slow = False
        self.recorder._event("slow")
        return 0

    def run_slowly(self, runnable):
        """Debug mode: report what takes too long."""
        began = monotonic()
        try:
            runnable.run()
        finally:
            took = monotonic() - began
            if took >= self.slow_callback_duration:
                logger.warning("Executing %s took %.3f seconds", format_handle(runnable), took)
        return 0

    # Callbacks.

    def check_closed(self):
        if self._closed:
            raise RuntimeError("Event loop is closed")
        return 0

    def handle(self, callback, args, context):
        handle: Handle = Handle.__new__(Handle)
        if self._closed or self._debug:
            return self.prepare(handle, callback, args, context)
        handle.setup(self, callback, args, context)
        return handle

    def prepare(self, handle, callback, args, context):
        self.check_closed()
        handle.setup(self, callback, args, context)
        if self._debug:
            self.check_callback(callback)
            handle.trace()
        return handle

    def check_callback(self, callback):
        """Debug mode: a coroutine is not a callback."""
        if iscoroutine(callback) or iscoroutinefunction(callback):
            raise TypeError(f"coroutines cannot be used with call_soon() and its relatives: {callback!r}")
        if not callable(callback):
            raise TypeError(f"a callable object was expected, got {callback!r}")

    def call_soon(self, callback, /, *args, context=None):
        """Call it in the next turn, in the order of asking. Only in the loop's thread (RuntimeError tells what to use elsewhere)."""
        handle: Handle = self.handle(callback, args, context)
        self.push(handle)
        return handle

    def call_soon_threadsafe(self, callback, /, *args, context=None):
        """call_soon() for any thread and for signal handlers; wakes a loop that sleeps."""
        handle: Handle = ThreadSafeHandle.__new__(ThreadSafeHandle) if CANCEL_WAITS else Handle.__new__(Handle)
        self.prepare(handle, callback, args, context)
        self.push_threadsafe(handle)
        return handle

    def _call_soon_by_signal(self, signum, callback, args, context):
        """call_soon_threadsafe() for a signal's handler."""
        if not plait_is_recorded(self.record) or self.thread != PyThread_get_thread_ident():
            return self.call_soon_threadsafe(callback, *args, context=context)
        handle = self.call_soon_threadsafe(callback, *args, context=context)
        if plait_is_recorded(self.record):
            place: cython.uint = (self.head + self.count - 1) & self.mask
            if self.ring[place] == cython.cast(cython.p_void, handle):
                self.record.pushed[place].kind, self.record.pushed[place].id = PLAIT_BY_SIGNAL, signum
        return handle

    def time(self):
        """Seconds of CLOCK_MONOTONIC, in whole nanoseconds."""
        return cython.cast(cython.double, plait_now_ns()) / NS

    def timer(self, when_s, callback, args, context):
        self.check_closed()
        self.check_thread()
        if when_s != when_s:
            raise ValueError("a time was expected, got NaN")
        timer: TimerHandle = TimerHandle.__new__(TimerHandle)
        timer.setup(self, callback, args, context)
        if self._debug:
            self.check_callback(callback)
            timer.trace()
        timer.when_s = when_s
        timer.when_ns = nanoseconds(when_s)
        self.timers.add(timer)
        return timer

    def call_later(self, delay, callback, /, *args, context=None):
        """Call it after `delay` seconds, never earlier. Cancelling the handle takes it out at once."""
        if delay is None:
            raise TypeError("delay must not be None")
        delay_s: cython.double = delay
        return self.timer(cython.cast(cython.double, plait_now_ns()) / NS + delay_s, callback, args, context)

    def call_at(self, when, callback, /, *args, context=None):
        """Call it when loop.time() has reached `when`, never earlier."""
        if when is None:
            raise TypeError("when cannot be None")
        return self.timer(when, callback, args, context)

    # Futures and tasks.

    def create_future(self):
        future: Future = Future.__new__(Future)
        future.setup(self)
        return future

    def create_task(self, coro, *, name=None, context=None, **kwargs):
        """Run a coroutine as a task. Debug mode and a user's task factory make the standard library's Task."""
        self.check_closed()
        if self._task_factory is not None or self._debug:
            if name is not None:
                kwargs["name"] = name
            if context is not None:
                kwargs["context"] = context
            return BaseEventLoop.create_task(self, coro, **kwargs)
        eagerly: cython.bint = False
        if kwargs:
            eagerly = bool(kwargs.pop("eager_start", False))
            if kwargs:
                raise TypeError(f"create_task() got an unexpected keyword argument {next(iter(kwargs))!r}")
        task: Task = Task.__new__(Task)
        task.start(self, coro, name, context, eagerly)
        return task

    def _live_tasks(self):
        return live_tasks(self)

    def _held(self):
        """What a loop that stands still holds, by kind; tests assert that a program that ended left nothing."""
        timers: list = []
        place: cython.Py_ssize_t
        for place in range(self.timers.count):
            timers.append(cython.cast(TimerHandle, self.timers.entries[self.timers.start + place].timer))
        sources: list = [] if self.engine is None else list(self.engine.sources.values())
        # Of a descriptor that sock_*() waited for and that nobody waits for now, all that is kept is a registration that tells nothing.
        sources = [source for source in sources if not (type(source) is Watch and cython.cast(Watch, source).idle())]
        ready = self.count + len(self.deferred)
        in_flight = 0 if self.engine is None else self.engine.in_flight
        return {
            "tasks": list(live_tasks(self)),
            "ready": ready,
            "timers": timers,
            "sources": sources,
            "in_flight": in_flight,
        }

    # Descriptors of users.

    def watch_of(self, fileobj):
        fd: cython.int = descriptor(fileobj)
        watch = self.watches.get(fd)
        if watch is None:
            watch = Watch(self, fd)
        return watch

    def _add_reader(self, fd, callback, /, *args, context=None):
        return self.begin_watch(fd, self.handle(callback, args, context), True)

    def _add_writer(self, fd, callback, /, *args, context=None):
        return self.begin_watch(fd, self.handle(callback, args, context), False)

    def begin_watch(self, fileobj, handle, reading):
        """Watch in one direction, in place of who did before. Where the engine refuses, all stays as it was.

        asyncio lets other threads do so too, and programs do (ipykernel); the engine is told by the loop's own.
        """
        handle.make_known()
        watch: Watch = self.watch_of(fileobj)
        reader, writer = watch.reader, watch.writer
        if reading:
            watch.reader = handle
        else:
            watch.writer = handle
        if self.thread != 0 and self.thread != PyThread_get_thread_ident():
            self.call_soon_threadsafe(self._update_watch, watch)
        else:
            try:
                watch.update()
            except BaseException:
                watch.reader, watch.writer = reader, writer
                raise
        self.watches[watch.fd] = watch
        replaced = reader if reading else writer
        if replaced is not None:
            replaced.cancel()
        return handle

    def _update_watch(self, watch: Watch):
        watch.update()

    def _remove_reader(self, fd):
        return self.forget_watch(fd, True)

    def _remove_writer(self, fd):
        return self.forget_watch(fd, False)

    def forget_watch(self, fileobj, reading):
        if self._closed:
            return False
        fd: cython.int = descriptor(fileobj)
        watch: Watch = self.watches.get(fd)
        if watch is None:
            return False
        handle = watch.reader if reading else watch.writer
        if handle is None:
            return False
        if reading:
            watch.reader = None
        else:
            watch.writer = None
        if watch.idle():
            del self.watches[fd]
        watch.update()
        handle.cancel()
        return True

    def add_reader(self, fd, callback, /, *args):
        """Call it in every turn in which the descriptor can be read. Replaces an earlier one; the descriptor stays the caller's."""
        self._ensure_fd_no_transport(fd)
        self._add_reader(fd, callback, *args)

    def add_writer(self, fd, callback, /, *args):
        """Call it in every turn in which the descriptor can be written."""
        self._ensure_fd_no_transport(fd)
        self._add_writer(fd, callback, *args)

    def remove_reader(self, fd):
        """Stop watching for reading; True when somebody was watching."""
        self._ensure_fd_no_transport(fd)
        return self._remove_reader(fd)

    def remove_writer(self, fd):
        """Stop watching for writing; True when somebody was watching."""
        self._ensure_fd_no_transport(fd)
        return self._remove_writer(fd)


@cython.cfunc
@cython.exceptval(-1, check=True)
def descriptor(fileobj) -> cython.int:
    """The descriptor of an int or of something with fileno(); ValueError otherwise, as selectors say it."""
    if isinstance(fileobj, int):
        fd = fileobj
    else:
        try:
            fd = int(fileobj.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {fileobj!r}") from None
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd
