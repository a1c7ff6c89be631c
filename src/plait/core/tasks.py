"""The task: a coroutine cut into slices where it waits.

A Task is itself what stands in the ready ring. Each `run` is one slice: the coroutine goes on until it yields a future (the task
then waits for it), yields nothing (it is ready again at once), returns or raises. Behaviour is asyncio.Task's to the letter.
"""

import sys
from asyncio import CancelledError, InvalidStateError, get_event_loop
from asyncio import Task as AsyncioTask
from contextvars import Context
from types import GenericAlias

import cython
from cython.cimports.cpython.object import PyObject, PyTypeObject
from cython.cimports.cpython.ref import Py_DECREF
from cython.cimports.plait.core.cpython import (
    PYGEN_ERROR,
    PYGEN_NEXT,
    Py_EnterRecursiveCall,
    Py_LeaveRecursiveCall,
    PyContext_Copy,
    PyContext_Enter,
    PyContext_Exit,
    PyCoro_CheckExact,
    PyGen_CheckExact,
    PyIter_Send,
    PySendResult,
    plait_are_equal,
    plait_drop,
    plait_enter,
    plait_exit,
    plait_fetch_exception,
    plait_is_as_lent,
    plait_reuse,
    plait_set_traceback,
    plait_throw,
)
from cython.cimports.plait.core.current import (
    plait_current_init,
    plait_current_task,
    plait_leave_task,
    plait_switch_task,
)
from cython.cimports.plait.core.frames import plait_coroutine_code, plait_coroutine_place
from cython.cimports.plait.core.futures import Future, OperationFuture, State
from cython.cimports.plait.core.recorder import Interrupted, Recorder, recorder_of, set_wakeup
from cython.cimports.plait.core.tasks import plait_change_places
from cython.cimports.plait.engine.record import (
    PLAIT_AGAIN,
    PLAIT_AWAITS_FUTURE,
    PLAIT_AWAITS_OPERATION,
    PLAIT_AWAITS_TASK,
    PLAIT_CANCELLED,
    PLAIT_NEW_ACTOR,
    PLAIT_RAISED,
    PLAIT_RETURNED,
    PLAIT_WAITS,
    plait_code,
    plait_is_recorded,
    plait_record_code,
    plait_record_introduce,
    plait_record_knows,
)

from plait.standard import iscoroutine, task_get_stack, task_print_stack, task_repr

# From 3.13 uncancel() down to zero takes back a cancellation that was not yet delivered (gh-117407).
UNCANCEL_TAKES_BACK = cython.declare(cython.bint, sys.version_info >= (3, 13))
# A task that runs more often has a context of its own, which costs less than to be lent one each time.
LENT_MAX = cython.declare(cython.uchar, 16)
THROW = cython.declare(str, "throw")
names_given = cython.declare(cython.longlong, 0)
# Told of every task of ours that fails while nobody waits for it; None: nobody wants to know.
failure_watcher = cython.declare(object, None)

plait_current_init()


@cython.cfunc
@cython.inline
def is_ours(future) -> cython.bint:
    """Whether it is woken without a call; a subclass may have methods of its own for that."""
    return type(future) is Future or type(future) is Task or type(future) is OperationFuture


class Task(Future):
    """What loop.create_task() returns. An instance of asyncio.Task by isinstance(); not thread-safe, as that."""

    __class_getitem__ = classmethod(GenericAlias)

    @property
    def __class__(self):
        return AsyncioTask

    def __init__(self, coro, *, loop=None, name=None, context=None, eager_start=False):
        scheduler: Scheduler = get_event_loop() if loop is None else loop
        if scheduler._closed:
            raise RuntimeError("Event loop is closed")
        self.start(scheduler, coro, name, context, eager_start)

    def start(self, loop, coro, name, context, eagerly):
        global names_given
        self.setup(loop)
        if not PyCoro_CheckExact(coro) and not iscoroutine(coro):
            raise TypeError(f"a coroutine was expected, got {coro!r}")
        if context is None:
            context = loop.snapshot()
            if context is loop.master:
                self.shares = LENT_MAX
        elif type(context) is not Context:  # asyncio checks since 2026 (gh-157301); before, entering it failed
            raise TypeError(f"a contextvars.Context was expected, got {type(context).__name__}")
        self._log_destroy_pending = True
        if name is None:
            names_given += 1
            self.number = names_given
        else:
            self.name = str(name)
        self._coro = coro
        self.context = context
        if eagerly and loop.thread != 0:
            return self.begin_eagerly()
        loop.push(self)
        self.link()
        if plait_is_recorded(loop.record):
            self.actor = PLAIT_NEW_ACTOR
        return 0

    def __del__(self):
        # Not in __dealloc__: there the garbage collector may have cleared _loop already.
        self.unlink()
        if self.state == State.PENDING and self._log_destroy_pending:
            context = {"task": self, "message": "Task was destroyed but it is pending!"}
            if self._source_traceback:
                context["source_traceback"] = self._source_traceback
            self._loop.call_exception_handler(context)
        if self.log_traceback:
            self.report_unretrieved()

    def __repr__(self):
        return task_repr(self)

    @property
    def _num_cancels_requested(self):
        return self.cancels_requested

    def get_coro(self):
        return self._coro

    @property
    def _context(self):
        return self.own_context()

    def get_context(self):
        return self.own_context()

    def own_context(self):
        """The context for all to know: from now on it is not shared."""
        if self.shares:
            self.context = PyContext_Copy(self.context)
            self.shares = False
        return self.context

    def get_name(self):
        if self.name is None:
            self.name = f"Task-{self.number}"
        return self.name

    def set_name(self, value, /):
        self.name = str(value)
        self.number = 0
        if plait_is_recorded(self._loop.record) and self.linked and self.actor != PLAIT_NEW_ACTOR:
            self.introduce(self._loop.record)

    def set_result(self, result, /):
        raise RuntimeError("Task does not support set_result operation")

    def set_exception(self, exception, /):
        raise RuntimeError("Task does not support set_exception operation")

    def get_stack(self, *, limit=None):
        """The frames of the suspended coroutine, or of its traceback; oldest first, as asyncio.Task.get_stack."""
        return task_get_stack(self, limit)

    def print_stack(self, *, limit=None, file=None):
        """Print what get_stack() gives to `file` (default: sys.stderr)."""
        return task_print_stack(self, limit, file)

    def cancel(self, msg=None):
        """Have CancelledError thrown into the coroutine at its next slice; False when the task is done already."""
        self.log_traceback = False
        if self.state != State.PENDING:
            return False
        self.cancels_requested += 1
        if plait_is_recorded(self._loop.record):
            self.tell_cancel(self._loop.record, msg)
        if self._fut_waiter is not None and self.cancel_awaited(msg):
            return (
                True  # it stays: it may be a task that ignores this, and then there must be something to cancel again
            )
        self._must_cancel = True
        self._cancel_message = msg
        return True

    def cancel_awaited(self, message):
        """Tasks that await each other in a circle get asyncio's RecursionError, and not the end of C's stack."""
        Py_EnterRecursiveCall(b" while cancelling a task")
        try:
            return self._fut_waiter.cancel(msg=message)
        finally:
            Py_LeaveRecursiveCall()

    def cancelling(self):
        return self.cancels_requested

    def uncancel(self):
        if self.cancels_requested > 0:
            self.cancels_requested -= 1
            if self.cancels_requested == 0 and UNCANCEL_TAKES_BACK:
                self._must_cancel = False
        return self.cancels_requested

    # What the recorder asks.

    @cython.nonecheck(False)
    def identify(self, record):
        if not plait_record_knows(record, self.actor):
            self.introduce(record)
        record.at = plait_coroutine_place(record, cython.cast(cython.p_void, self._coro))
        return self.actor

    def tell_cancel(self, record, message):
        if self.actor == PLAIT_NEW_ACTOR:
            self.actor = 0  # it is known from here on, and not by what makes its first slice ready
        if not plait_record_knows(record, self.actor):
            self.introduce(record)
        return recorder_of(record).cancel_asked(self.actor, message)

    @cython.nonecheck(False)
    def introduce(self, record):
        number: cython.uint = 0
        if self.number != 0:
            number = cython.cast(cython.uint, self.number)
            code: cython.p_void = plait_coroutine_code(record, cython.cast(cython.p_void, self._coro))
            known = cython.cast(cython.pointer(plait_code), cython.NULL)
            if code != cython.NULL:
                known = plait_record_code(record, code)
            if known != cython.NULL:
                self.actor = plait_record_introduce(record, self.actor, 0, known.number, number)
                return 0
        recorder: Recorder = recorder_of(record)
        text = self.name if number == 0 else None
        self.actor = recorder.introduce(self.actor, 0, recorder.code_of_coroutine(self._coro), number, text)
        return 0

    @cython.nonecheck(False)
    def outcome(self, record):
        if self.state == State.PENDING:
            waiter = self._fut_waiter
            if waiter is None:
                record.outcome = PLAIT_AGAIN
            else:
                record.outcome = PLAIT_WAITS
                if type(waiter) is Future:
                    record.awaited = PLAIT_AWAITS_FUTURE
                elif type(waiter) is Task:
                    record.awaited = PLAIT_AWAITS_TASK
                elif type(waiter) is OperationFuture:
                    record.awaited = PLAIT_AWAITS_OPERATION
        elif self.state == State.CANCELLED:
            record.outcome = PLAIT_CANCELLED
        elif self.failed:
            record.outcome = PLAIT_RAISED
            recorder_of(record).task_ended(record.actor, self.result_value)
        else:
            record.outcome = PLAIT_RETURNED
        return 0

    # The slice.

    def run(self):
        loop = self._loop
        master: cython.p_void = cython.cast(cython.p_void, self.context)
        if self.shares <= 1 or (
            (loop.lends or loop.spare is None or not plait_are_equal(cython.cast(cython.p_void, loop.spare), master))
            and not loop.make_spare(self.context)
        ):
            return self.run_in_own()
        left: cython.uchar = self.shares - 1
        lent: cython.p_void = cython.cast(cython.p_void, loop.spare)
        plait_enter(lent)
        plait_change_places(self, loop)
        self.shares = False
        loop.lends = True
        try:
            self.slice(None)
        finally:
            plait_exit(lent)
            loop.lends = False
            if (
                cython.cast(cython.p_void, loop.spare) == master
                and cython.cast(cython.p_void, self.context) == lent
                and plait_is_as_lent(lent, master)
            ):
                plait_change_places(self, loop)
                self.shares = left
            else:
                loop.spare = None
        return 0

    def run_in_own(self):
        context = self.own_context()
        PyContext_Enter(context)
        try:
            self.slice(None)
        finally:
            PyContext_Exit(context)
        return 0

    def _wakeup(self, future):
        """The done callback on a future that is not ours; runs in the task's context."""
        error = None
        try:
            future.result()
        except BaseException as exc:
            error = exc
        self.slice(error)

    def slice(self, error):
        """Let the coroutine go on until it waits or ends. The task's context has been entered."""
        if self.state != State.PENDING:
            raise InvalidStateError(f"__step(): already done: {self!r} {error!r}")
        if self._fut_waiter is not None:
            if error is None and is_ours(self._fut_waiter):
                waiter: Future = cython.cast(Future, self._fut_waiter)
                if waiter.state == State.CANCELLED:
                    error = waiter.make_cancelled_error()
                elif waiter.failed:
                    waiter.log_traceback = False
                    error = waiter.result_value
                    plait_set_traceback(error, waiter.set_aside)
            self._fut_waiter = None
        elif self.set_aside is not None:
            error = self.set_aside
            self.set_aside = None
        if self._must_cancel:
            self._must_cancel = False
            if not isinstance(error, CancelledError):
                error = self.make_cancelled_error()

        plait_switch_task(self._loop, self)
        self._loop.task_is_current = True
        result: cython.pointer(PyObject) = cython.NULL
        outcome: PySendResult
        if error is None:
            outcome = PyIter_Send(self._coro, None, cython.address(result))
        else:
            outcome = plait_throw(self._coro, error, THROW, cython.address(result))
        if outcome == PYGEN_ERROR:
            return self.raised(plait_fetch_exception())
        value = cython.cast(object, result)
        Py_DECREF(value)  # the reference that PyIter_Send gave; `value` holds its own
        if outcome == PYGEN_NEXT:
            return self.suspended(value)
        return self.returned(value)

    def suspended(self, yielded):
        """It waits for what it yielded."""
        if is_ours(yielded):
            future: Future = cython.cast(Future, yielded)
            if yielded is self:
                return self.complain(f"Task cannot await on itself: {self!r}")
            if future._loop is not self._loop:
                return self.complain(f"Task {self!r} got Future {yielded!r} attached to a different loop")
            if not future._asyncio_future_blocking:
                return self.complain(f"yield was used instead of yield from in task {self!r} with {yielded!r}")
            future._asyncio_future_blocking = False
            if future.state == State.PENDING:
                future.add_task_waiter(self)
            else:
                self._loop.push(self)
            self._fut_waiter = future
            if self._must_cancel and future.cancel(msg=self._cancel_message):
                self._must_cancel = False
            return 0
        if yielded is None:
            return self._loop.push(self)
        if getattr(yielded, "_asyncio_future_blocking", None) is not None:
            return self.suspended_on_foreign(yielded)
        if PyGen_CheckExact(yielded):
            return self.complain(
                f"yield was used instead of yield from for generator in task {self!r} with {yielded!r}"
            )
        return self.complain(f"Task got bad yield: {yielded!r}")

    def suspended_on_foreign(self, future):
        """A future of the standard library or of somebody else: it calls back."""
        get_loop = getattr(future, "get_loop", None)
        if (get_loop() if get_loop is not None else future._loop) is not self._loop:
            return self.complain(f"Task {self!r} got Future {future!r} attached to a different loop")
        if not future._asyncio_future_blocking:
            return self.complain(f"yield was used instead of yield from in task {self!r} with {future!r}")
        future._asyncio_future_blocking = False
        future.add_done_callback(self._wakeup, context=self.own_context())
        self._fut_waiter = future
        if plait_is_recorded(self._loop.record):
            recorder_of(self._loop.record).awaits_foreign(self._coro, future)
        if self._must_cancel and future.cancel(msg=self._cancel_message):
            self._must_cancel = False
        return 0

    def complain(self, text):
        """Throw a RuntimeError into the coroutine at its next slice."""
        self.set_aside = RuntimeError(text)
        return self._loop.push(self)

    def returned(self, value):
        self.unlink()
        if plait_is_recorded(self._loop.record):
            self._loop.record.ending = True
        if self._must_cancel:  # cancelled in its last slice: it was asked to end, and it ended
            self._must_cancel = False
            self.finish_cancelled(self._cancel_message)
            return 0
        return self.finish(value)

    def raised(self, error):
        self.unlink()
        if isinstance(error, CancelledError):
            self.set_aside = error
            self.finish_cancelled(None)
            return 0
        alone: cython.bint = self.waiter is None and self.more is None
        self.finish_failed(error)
        if alone and failure_watcher is not None:
            failure_watcher(self)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
        return 0

    def begin_eagerly(self):
        """The first slice now, inside whatever runs, which is the current task again afterwards."""
        loop = self._loop
        was_ours: cython.bint = loop.task_is_current
        previous = plait_current_task(loop)
        self.link()
        context = self.own_context()
        PyContext_Enter(context)
        try:
            if not plait_is_recorded(loop.record):
                self.slice(None)
            else:
                self.first_slice_inside()
        finally:
            PyContext_Exit(context)
            if previous is None:
                plait_leave_task(loop)
            else:
                plait_switch_task(loop, previous)
            loop.task_is_current = was_ours
        if self.state != State.PENDING:
            self._coro = None
        return 0

    def first_slice_inside(self):
        """Recorded, it cuts the slice around it in two."""
        record = self._loop.record
        recorder: Recorder = recorder_of(record)
        interrupted = cython.declare(Interrupted)
        recorder.begin_inside(cython.address(interrupted))
        self.actor = PLAIT_NEW_ACTOR
        record.actor = self.identify(record)
        try:
            self.slice(None)
        finally:
            if self._loop.record == record and record.running:
                self.outcome(record)
                recorder.end_inside(cython.address(interrupted))
        return 0

    # The loop's list of live tasks: borrowed references, so that a task that nobody holds can still be collected.

    def link(self):
        self.linked = True
        self.previous = cython.NULL
        self.next = self._loop.tasks
        if self.next != cython.NULL:
            cython.cast(Task, self.next).previous = cython.cast(cython.p_void, self)
        self._loop.tasks = cython.cast(cython.p_void, self)

    def unlink(self):
        if not self.linked:
            return
        self.linked = False
        if self.previous != cython.NULL:
            cython.cast(Task, self.previous).next = self.next
        else:
            self._loop.tasks = self.next
        if self.next != cython.NULL:
            cython.cast(Task, self.next).previous = self.previous


def watch_failures(function):
    """Have it called, in the loop's thread, with each task that ends by an exception while nobody waits for it; None ends that.

    Gives back what was there before. It must not raise.
    """
    global failure_watcher
    before = failure_watcher
    failure_watcher = function
    return before


@cython.cfunc
def live_tasks(loop: Scheduler) -> list:
    """All tasks of ours that are not done, newest first. The list is built without running any Python code."""
    found: list = []
    entry: cython.p_void = loop.tasks
    while entry != cython.NULL:
        found.append(cython.cast(Task, entry))
        entry = cython.cast(Task, entry).next
    return found


@cython.cfunc
@cython.exceptval(check=False)
def task_dealloc(task: cython.pointer(PyObject)) -> cython.void:
    """tp_dealloc of Task; a task that has ended and whose exception, if any, was asked for has nothing to report."""
    plait_drop(
        task,
        cython.cast(cython.pointer(PyTypeObject), Task),
        cython.cast(Task, task).linked or cython.cast(Task, task).log_traceback,
    )


plait_reuse(cython.cast(cython.pointer(PyTypeObject), Task), task_dealloc, False)
set_wakeup(Task._wakeup)
