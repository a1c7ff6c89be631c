"""The future: a result that is not there yet, and those that wait for it.

Complete in behaviour as asyncio.Future; what differs is inside. The first waiter is kept in place, a waiting Task of ours is woken by
putting it into the ready ring itself, and a future is its own await iterator.
"""

import sys
import warnings
from asyncio import CancelledError, InvalidStateError, get_event_loop
from asyncio import Future as AsyncioFuture
from types import GenericAlias

import cython
from cython.cimports.cpython.object import PyObject, PyTypeObject
from cython.cimports.cpython.ref import Py_INCREF
from cython.cimports.plait.core.cpython import (
    PYGEN_ERROR,
    PYGEN_NEXT,
    PYGEN_RETURN,
    PyContext_Copy,
    PyContext_CopyCurrent,
    PyObjectPointer,
    PySendResult,
    plait_drop,
    plait_raise,
    plait_reuse,
    plait_set_await,
)
from cython.cimports.plait.core.frames import plait_record_awaits
from cython.cimports.plait.core.handles import Handle
from cython.cimports.plait.core.recorder import recorder_of
from cython.cimports.plait.engine.contract import Operation
from cython.cimports.plait.engine.record import (
    PLAIT_AWAITS_FUTURE,
    PLAIT_AWAITS_OPERATION,
    PLAIT_AWAITS_TASK,
    plait_is_recorded,
    plait_record,
    plait_usually,
)

from plait.standard import extract_stack, future_repr, replace_awaited_by

# From 3.12 throw() wants the exception alone, as that of generators does.
THROW_WANTS_ONE = cython.declare(cython.bint, sys.version_info >= (3, 12))
# set_exception(StopIteration): a TypeError up to 3.12, from 3.13 a RuntimeError that holds it (gh-112182).
STOP_ITERATION_IS_WRAPPED = cython.declare(cython.bint, sys.version_info >= (3, 13))
STATE_NAMES = ("PENDING", "CANCELLED", "FINISHED")


class Future:
    """What loop.create_future() returns. An instance of asyncio.Future by isinstance(); not thread-safe, as that."""

    __class_getitem__ = classmethod(GenericAlias)

    @property
    def __class__(self):
        return AsyncioFuture

    def __init__(self, *, loop=None):
        self.setup(get_event_loop() if loop is None else loop)

    def setup(self, loop):
        if (
            self._loop is not None
        ):  # as asyncio from 3.15; a task that starts twice would stand twice in the loop's lists
            raise RuntimeError(f"{type(self).__name__} object is already initialized")
        self._loop = loop
        if loop._debug:
            self.trace()
        return 0

    def trace(self):
        traced: Traced = Traced.__new__(Traced)
        traced.source_traceback = extract_stack(sys._getframe(0))
        self.awaited_by = traced
        return 0

    def __del__(self):
        if self.log_traceback:
            self.report_unretrieved()

    def report_unretrieved(self):
        """asyncio's report of an exception that nobody asked for."""
        self.log_traceback = False
        context = {
            "message": f"{type(self).__name__} exception was never retrieved",
            "exception": self.result_value,
            "future": self,
        }
        if self._source_traceback:
            context["source_traceback"] = self._source_traceback
        self._loop.call_exception_handler(context)
        return 0

    # What libraries read of asyncio's own.

    @property
    def _state(self):
        return STATE_NAMES[self.state]

    @property
    def _result(self):
        return None if self.failed else self.result_value

    @property
    def _exception(self):
        return self.result_value if self.failed else None

    @property
    def _source_traceback(self):
        return cython.cast(Traced, self.awaited_by).source_traceback if type(self.awaited_by) is Traced else None

    @property
    def _callbacks(self):
        found = []
        if self.waiter is not None:
            if self.waiter_shares:
                self.waiter_context = PyContext_Copy(self.waiter_context)
                self.waiter_shares = False
            found.append((self.waiter._wakeup if self.waiter_is_task else self.waiter, self.waiter_context))
        for callback, context in self.more or ():
            found.append((callback._wakeup if context is None else callback, context))
        return found or None

    @property
    def _asyncio_awaited_by(self):
        """The tasks that wait for it, or None; from 3.14 asyncio.capture_call_graph() asks."""
        found: set = set()
        awaited_by = get_awaited_by(self)
        if awaited_by is not None:
            found.update(awaited_by if type(awaited_by) is set else (awaited_by,))
        if self.waiter_is_task:
            found.add(self.waiter)
        for callback, context in self.more or ():
            if context is None:
                found.add(callback)
        return frozenset(found) or None

    @property
    def _log_traceback(self):
        return self.log_traceback

    @_log_traceback.setter
    def _log_traceback(self, value):
        if value:
            raise ValueError("_log_traceback can only be set to False")
        self.log_traceback = False

    def __repr__(self):
        return future_repr(self)

    def get_loop(self):
        return self._loop

    # State and results.

    def done(self):
        return self.state != State.PENDING

    def cancelled(self):
        return self.state == State.CANCELLED

    def result(self):
        """The result; raises the exception set, CancelledError, or InvalidStateError while pending."""
        if self.state == State.FINISHED and not self.failed:
            return self.result_value
        return self.result_of()

    def result_of(self):
        if self.state == State.PENDING:
            raise InvalidStateError("Result is not ready.")
        if self.state == State.CANCELLED:
            raise self.make_cancelled_error()
        self.log_traceback = False
        if self.failed:
            raise self.result_value.with_traceback(self.set_aside)
        return self.result_value

    def exception(self):
        """The exception set, or None; raises CancelledError, or InvalidStateError while pending."""
        if self.state == State.CANCELLED:
            raise self.make_cancelled_error()
        if self.state == State.PENDING:
            raise InvalidStateError("Exception is not set.")
        self.log_traceback = False
        return self.result_value if self.failed else None

    def set_result(self, result, /):
        """Mark it done with a result and schedule its callbacks. InvalidStateError when it is done already."""
        if self.state != State.PENDING:
            raise InvalidStateError(f"{STATE_NAMES[self.state]}: {self!r}")
        self.finish(result)

    def set_exception(self, exception, /):
        """Mark it done with an exception (a class or an instance). InvalidStateError when it is done already."""
        if self.state != State.PENDING:
            raise InvalidStateError(f"{STATE_NAMES[self.state]}: {self!r}")
        if isinstance(exception, type):
            exception = exception()
        if isinstance(exception, StopIteration):
            stop = exception
            message = "StopIteration interacts badly with generators and cannot be raised into a Future"
            if not STOP_ITERATION_IS_WRAPPED:
                raise TypeError(message)
            exception = RuntimeError(message)
            exception.__cause__ = stop
            exception.__context__ = stop
        if not isinstance(exception, BaseException):
            raise TypeError(f"an exception is needed, got {exception!r}")
        self.finish_failed(exception)

    def cancel(self, msg=None):
        """Cancel it and schedule its callbacks; False when it is done already."""
        self.log_traceback = False
        return self.finish_cancelled(msg)

    def check_ready(self):
        """Future.__new__ without __init__ must fail, not crash."""
        if self._loop is None:
            raise RuntimeError("Future object is not initialized.")
        return 0

    def finish(self, value):
        self.check_ready()
        self.result_value = value
        self.state = State.FINISHED
        return self.schedule_callbacks()

    def finish_failed(self, exception):
        self.check_ready()
        self.result_value = exception
        self.set_aside = exception.__traceback__
        self.failed = True
        self.state = State.FINISHED
        self.log_traceback = True
        return self.schedule_callbacks()

    def finish_cancelled(self, message):
        if self.state != State.PENDING:
            return False
        self.check_ready()
        self.state = State.CANCELLED
        self._cancel_message = message
        self.schedule_callbacks()
        return True

    def make_cancelled_error(self):
        """The CancelledError that was raised inside, once; later ones are new with the same message."""
        if self.state == State.CANCELLED and self.set_aside is not None:
            error = self.set_aside
            self.set_aside = None
            return error
        if self._cancel_message is None:
            return CancelledError()
        return CancelledError(self._cancel_message)

    def _make_cancelled_error(self):
        return self.make_cancelled_error()

    # Callbacks and waiters.

    def add_done_callback(self, fn, /, *, context=None):
        """Call fn(future) in `context` (default: a copy of the current one) once it is done, by the loop, soon."""
        self.check_ready()
        if self.state != State.PENDING:
            self.schedule(fn, context, False)
        elif self.waiter is None and self.more is None:
            self.waiter_shares = False
            if context is None:
                context = self._loop.snapshot()
                self.waiter_shares = context is self._loop.master
            self.waiter = fn
            self.waiter_context = context
        else:
            if context is None:
                context = PyContext_CopyCurrent()
            if self.more is None:
                self.more = []
            self.more.append((fn, context))

    def remove_done_callback(self, fn, /):
        """Remove all of this callback; returns how many there were."""
        self.check_ready()
        removed: cython.Py_ssize_t = 0
        waiter = self.waiter  # held: its __eq__ may call this function, too
        if waiter is not None and not self.waiter_is_task and waiter == fn and self.waiter is waiter:
            self.waiter = None
            self.waiter_context = None
            removed += 1
        if self.more is not None:
            kept = [entry for entry in self.more if entry[1] is None or entry[0] != fn]
            if self.more is not None:
                removed += len(self.more) - len(kept)
                self.more = kept or None
        return removed

    def add_task_waiter(self, task):
        """A Task of ours waits: it is put into the ready ring when the future is done."""
        if self.waiter is None and self.more is None:
            self.waiter = task
            self.waiter_is_task = True
        else:
            if self.more is None:
                self.more = []
            self.more.append((task, None))
        return 0

    def schedule_callbacks(self):
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if self.waiter_is_task:
                self.waiter_is_task = False
                self._loop.push(cython.cast(Runnable, waiter))
            else:
                context = self.waiter_context
                self.waiter_context = None
                self.schedule(waiter, context, self.waiter_shares)
        if self.more is not None:
            more: list = self.more
            self.more = None
            for callback, context in more:
                if context is None:
                    self._loop.push(cython.cast(Runnable, callback))
                else:
                    self.schedule(callback, context, False)
        return 0

    def schedule(self, callback, context, shares):
        if self._loop._closed:
            raise RuntimeError("Event loop is closed")
        handle: Handle = Handle.__new__(Handle)
        handle.setup(self._loop, callback, (self,), context)
        if shares:
            handle.shares = True
        if self._loop._debug:
            handle.trace()
        return self._loop.push(handle)

    # Awaiting.

    def __await__(self):
        """For those who drive a coroutine by hand; `await` itself takes the slots below, in which a future is its own iterator."""
        return FutureIterator(self)

    def __iter__(self):
        return FutureIterator(self)

    def __next__(self):
        if self.state == State.PENDING:
            self.begin_await()
            return self
        raise StopIteration(self.result())

    def begin_await(self):
        """The Task that is given the future takes the mark away; an await that finds it was not driven by one."""
        if self._asyncio_future_blocking:
            raise RuntimeError("await wasn't used with future")
        self._asyncio_future_blocking = True
        if plait_is_recorded(self._loop.record):
            tell_await(self._loop.record, self)
        return 0


class OperationFuture(Future):
    """The result of something that the kernel or a worker does. Cancelled, it says so to the operation, which comes to its end later.

    An operation that stays here after its end holds something that must not get lost (a descriptor): it is told when the result is never
    asked for, as when a task is cancelled in the very turn in which the result came.
    """

    def __del__(self):
        if self.log_traceback:
            self.report_unretrieved()
        operation: Operation = self.operation
        if operation is not None and self.state == State.FINISHED:
            self.operation = None
            operation.abandon()

    def result(self):
        if self.state == State.FINISHED:
            self.operation = None
        return self.result_of()

    def finish_cancelled(self, message):
        if not Future.finish_cancelled(self, message):
            return False
        operation: Operation = self.operation
        if operation is not None:
            self.operation = None
            operation.abandon()
        return True


class Traced:
    """Where a future was made, which debug mode remembers, beside those that wait for it."""


@cython.cfunc
def get_awaited_by(future: Future):
    noted = future.awaited_by
    return cython.cast(Traced, noted).awaited_by if type(noted) is Traced else noted


@cython.cfunc
@cython.exceptval(-1, check=True)
def set_awaited_by(future: Future, waiter) -> cython.int:
    if type(future.awaited_by) is Traced:
        cython.cast(Traced, future.awaited_by).awaited_by = waiter
    else:
        future.awaited_by = waiter
    return 0


class FutureIterator:
    """The generator-like object that asyncio.Future.__await__() gives."""

    def __cinit__(self, future: Future):
        self.future = future

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value, /):
        future = self.future
        if future is None:
            raise StopIteration
        if future.state == State.PENDING:
            future.begin_await()
            return future
        self.future = None
        raise StopIteration(future.result())

    def throw(self, typ, val=None, tb=None, /):
        if THROW_WANTS_ONE and (val is not None or tb is not None):
            warnings.warn(
                "the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.",
                DeprecationWarning,
                stacklevel=1,
            )
        self.future = None
        error = thrown(typ, val)
        if tb is not None:
            error = error.with_traceback(tb)
        raise error

    def close(self):
        self.future = None


def future_add_to_awaited_by(future, waiter, /):
    """asyncio's function of this name, for futures of ours, too: `waiter`, a task, waits for `future` by way of something else."""
    if not isinstance(future, Future):
        native_add_to_awaited_by(future, waiter)
    elif waiter is not None:
        before = get_awaited_by(cython.cast(Future, future))
        if before is None:
            set_awaited_by(cython.cast(Future, future), waiter)
        elif type(before) is set:
            before.add(waiter)
        else:
            set_awaited_by(cython.cast(Future, future), {before, waiter})


def future_discard_from_awaited_by(future, waiter, /):
    """asyncio's function of this name, for futures of ours, too."""
    if not isinstance(future, Future):
        native_discard_from_awaited_by(future, waiter)
        return
    before = get_awaited_by(cython.cast(Future, future))
    if before is waiter:
        set_awaited_by(cython.cast(Future, future), None)
    elif type(before) is set:
        before.discard(waiter)


native_add_to_awaited_by, native_discard_from_awaited_by = replace_awaited_by(
    future_add_to_awaited_by, future_discard_from_awaited_by
)


@cython.cfunc
def thrown(typ, val):
    """The exception of throw(type, value), with generators' rules for the pair."""
    if isinstance(typ, BaseException):
        if val is not None:
            raise TypeError("instance exception may not have a separate value")
        return typ
    if not (isinstance(typ, type) and issubclass(typ, BaseException)):
        raise TypeError(
            f"exceptions must be classes deriving BaseException or instances of such a class, not {type(typ)}"
        )
    if isinstance(val, typ):
        return val
    if val is None:
        return typ()
    return typ(*val) if isinstance(val, tuple) else typ(val)


@cython.cfunc
@cython.inline
@cython.exceptval(-1)
def tell_await(record: cython.pointer(plait_record), future: Future) -> cython.int:
    """Tell the record where a task is about to wait, and for what."""
    awaited: cython.uint = PLAIT_AWAITS_TASK
    if type(future) is Future:
        awaited = PLAIT_AWAITS_FUTURE
    elif type(future) is OperationFuture:
        awaited = PLAIT_AWAITS_OPERATION
    if plait_usually(plait_record_awaits(record, awaited)):
        return 0
    return recorder_of(record).awaits()


@cython.cfunc
@cython.exceptval(check=False)
def future_send(
    iterator: cython.pointer(PyObject), argument: cython.pointer(PyObject), result: cython.pointer(PyObjectPointer)
) -> PySendResult:
    """am_send of Future: one step of `await future`, without a StopIteration and without a frame of ours in tracebacks."""
    future: Future = cython.cast(Future, iterator)
    if future.state == State.PENDING:
        if future._asyncio_future_blocking:
            plait_raise(RuntimeError("await wasn't used with future"), None)
            result[0] = cython.NULL
            return PYGEN_ERROR
        future._asyncio_future_blocking = True
        if plait_is_recorded(future._loop.record) and tell_await(future._loop.record, future) < 0:
            result[0] = cython.NULL
            return PYGEN_ERROR
        Py_INCREF(future)  # the caller's reference to what is yielded
        result[0] = iterator
        return PYGEN_NEXT
    if future.state == State.CANCELLED:
        plait_raise(future.make_cancelled_error(), None)
    elif future.failed:
        future.log_traceback = False
        plait_raise(future.result_value, future.set_aside)
    else:
        Py_INCREF(future.result_value)  # the caller's reference to what is returned
        result[0] = cython.cast(cython.pointer(PyObject), future.result_value)
        return PYGEN_RETURN
    result[0] = cython.NULL
    return PYGEN_ERROR


@cython.cfunc
@cython.exceptval(check=False)
def future_dealloc(future: cython.pointer(PyObject)) -> cython.void:
    """tp_dealloc of Future: __del__ only if it would report something. No reference is taken, for there is none any more."""
    plait_drop(future, cython.cast(cython.pointer(PyTypeObject), Future), cython.cast(Future, future).log_traceback)


@cython.cfunc
@cython.exceptval(check=False)
def operation_send(
    iterator: cython.pointer(PyObject), argument: cython.pointer(PyObject), result: cython.pointer(PyObjectPointer)
) -> PySendResult:
    """am_send of OperationFuture: the result is asked for."""
    future: OperationFuture = cython.cast(OperationFuture, iterator)
    if future.state == State.FINISHED:
        future.operation = None
    return future_send(iterator, argument, result)


@cython.cfunc
@cython.exceptval(check=False)
def operation_dealloc(future: cython.pointer(PyObject)) -> cython.void:
    """tp_dealloc of OperationFuture, as that of Future; what an operation still holds is one more thing to look after."""
    plait_drop(
        future,
        cython.cast(cython.pointer(PyTypeObject), OperationFuture),
        cython.cast(OperationFuture, future).log_traceback
        or cython.cast(OperationFuture, future).operation is not None,
    )


plait_set_await(cython.cast(cython.pointer(PyTypeObject), Future), future_send)
plait_set_await(cython.cast(cython.pointer(PyTypeObject), OperationFuture), operation_send)
plait_reuse(cython.cast(cython.pointer(PyTypeObject), Future), future_dealloc, False)
plait_reuse(cython.cast(cython.pointer(PyTypeObject), OperationFuture), operation_dealloc, False)
