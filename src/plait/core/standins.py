"""Compiled stand-ins for small parts of asyncio that programs go through all the time."""

import inspect
import sys
from asyncio import isfuture as standard_isfuture
from concurrent.futures import Future as ConcurrentFuture

import cython
from cython.cimports.cpython.object import PyObject, PyTypeObject
from cython.cimports.cpython.ref import Py_INCREF
from cython.cimports.plait.core.cpython import (
    PYGEN_NEXT,
    PYGEN_RETURN,
    PyCoro_CheckExact,
    PyObjectPointer,
    PySendResult,
    plait_is_shared,
    plait_now_ns,
    plait_reuse,
    plait_set_await,
    plait_thread_ident,
)
from cython.cimports.plait.core.current import plait_current_init, plait_current_task
from cython.cimports.plait.core.done import done
from cython.cimports.plait.core.futures import Future, OperationFuture, State
from cython.cimports.plait.core.handles import Handle, TimerHandle
from cython.cimports.plait.core.ready import get_running, set_running
from cython.cimports.plait.core.tasks import Task

from plait.standard import (
    TIMEOUT_CREATED,
    TIMEOUT_ENTERED,
    TIMEOUT_EXITED,
    StandardTimeout,
    get_running_loop_or_none,
    replace_functions,
    replace_running_loop,
    replace_timeout,
    standard_get_event_loop,
    standard_get_running_loop,
    standard_set_running_loop,
)

# Up to 3.11 asyncio asks the kernel for the number of the process, a system call, each time that it is asked for the running loop: so it
# finds out that it is in a fork's child.
ASKS_THE_KERNEL = cython.declare(cython.bint, sys.version_info < (3, 12))
# The loops that Timeout serves: of this very class, for one that is derived from it may have a time and timers of its own.
loop_class = cython.declare(object, None)

plait_current_init()


class Pause:
    """What asyncio.sleep(0) awaits: yields None once, so that the task is ready again at once. Done by asyncio with a generator."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.over:
            raise StopIteration
        self.over = True


@cython.binding(False)
def pause():
    return Pause.__new__(Pause)


@cython.cfunc
@cython.exceptval(check=False)
def pause_send(
    iterator: cython.pointer(PyObject), argument: cython.pointer(PyObject), result: cython.pointer(PyObjectPointer)
) -> PySendResult:
    """am_send."""
    Py_INCREF(None)  # the caller's reference to what is yielded, or returned
    result[0] = cython.cast(cython.pointer(PyObject), None)
    if cython.cast(Pause, iterator).over:
        return PYGEN_RETURN
    cython.cast(Pause, iterator).over = True
    return PYGEN_NEXT


plait_set_await(cython.cast(cython.pointer(PyTypeObject), Pause), pause_send)


@cython.cfunc
@cython.inline
def is_plain(future) -> cython.bint:
    """Whether it is a future of ours, and not a task."""
    return type(future) is Future or type(future) is OperationFuture


@cython.binding(False)
def isfuture(obj, /):
    """asyncio.isfuture()."""
    if is_plain(obj) or type(obj) is Task:
        return True
    if PyCoro_CheckExact(obj) or type(obj) is ConcurrentFuture:
        return False
    return standard_isfuture(obj)


@cython.binding(False)
def _set_result_unless_cancelled(fut, result, /):
    """What ends asyncio.sleep()."""
    if type(fut) is Future and cython.cast(Future, fut).state == State.PENDING:
        cython.cast(Future, fut).finish(result)
    elif not fut.cancelled():
        fut.set_result(result)


@cython.binding(False)
def _release_waiter(waiter, *args):
    """What ends the wait in asyncio.wait(), and up to 3.11 that in wait_for()."""
    if type(waiter) is Future:
        if cython.cast(Future, waiter).state == State.PENDING:
            cython.cast(Future, waiter).finish(None)
    elif not waiter.done():
        waiter.set_result(None)


@cython.cfunc
def running_loop():
    loop = get_running() if ASKS_THE_KERNEL else None
    return get_running_loop_or_none() if loop is None else loop


@cython.binding(False)
def get_running_loop():
    """get_running_loop()\n--\n\nasyncio.get_running_loop()."""
    loop = get_running()
    return standard_get_running_loop() if loop is None else loop


@cython.binding(False)
def _get_running_loop():
    """_get_running_loop()\n--\n\nThe running loop, or None."""
    return running_loop()


@cython.binding(False)
def get_event_loop():
    """get_event_loop()\n--\n\nasyncio.get_event_loop()."""
    loop = get_running()
    return standard_get_event_loop() if loop is None else loop


@cython.binding(False)
def _set_running_loop(loop, /):
    """_set_running_loop(loop, /)\n--\n\nWhat runs in this thread from now on."""
    standard_set_running_loop(loop)
    set_running(loop)


class Timeout:
    """asyncio.Timeout without coroutines for what waits for nothing. Whatever is not the usual course is left to asyncio's own methods,
    which find here what they look for; so it does as they do in each release.
    """

    @property
    def __class__(self):
        return StandardTimeout

    def __getattr__(self, name):
        found = inspect.getattr_static(StandardTimeout, name, None)
        if found is None:
            raise AttributeError(f"'Timeout' object has no attribute {name!r}")
        return found.__get__(self, StandardTimeout)

    def __repr__(self):
        return StandardTimeout.__repr__(self)

    def when(self):
        """The time at which it ends what is inside, in seconds of loop.time(), or None."""
        return self._when

    def reschedule(self, when):
        """Set another time, or None for no end."""
        if self._state is not TIMEOUT_ENTERED or not self.is_usual(when):
            StandardTimeout.reschedule(self, when)
            return
        self._when = when
        self.disarm()
        self.arm()

    def __aenter__(self):
        """Awaited, it is what `async with` gives."""
        if self.begin():
            return done(self)
        return StandardTimeout.__aenter__(self)

    def __aexit__(self, exc_type, exc_val, exc_tb):
        """Awaited, it tells whether an exception ends here: never."""
        if self._state is not TIMEOUT_ENTERED:
            return StandardTimeout.__aexit__(self, exc_type, exc_val, exc_tb)
        self.disarm()
        self._state = TIMEOUT_EXITED
        return done(None)

    def _on_timeout(self):
        StandardTimeout._on_timeout(self)

    def is_usual(self, when):
        """Whether the loop that ran where it was made runs here, and the time is one of loop.time()."""
        return (when is None or type(when) is float) and self.loop.thread == plait_thread_ident()

    def begin(self):
        """Enter it, if it is for the first time, and by a Task of ours."""
        if self._state is not TIMEOUT_CREATED or not self.loop.task_is_current or not self.is_usual(self._when):
            return False
        task = plait_current_task(self.loop)
        if type(task) is not Task:
            return False
        self._state = TIMEOUT_ENTERED
        self._task = task
        self._cancelling = cython.cast(Task, task).cancels_requested
        self.arm()
        return True

    def arm(self):
        if self._when is None:
            return 0
        when_s: cython.double = self._when
        if when_s <= cython.cast(cython.double, plait_now_ns()) / 1e9:
            handle: Handle = self.loop.handle(self._on_timeout, (), None)
            self.loop.push(handle)
            self._timeout_handler = handle
        else:
            self._timeout_handler = self.loop.timer(when_s, self._on_timeout, (), None)
        return 0

    def disarm(self):
        handler = self._timeout_handler
        if handler is not None:
            self._timeout_handler = None
            if type(handler) is not TimerHandle:
                handler.cancel()
            else:
                cython.cast(TimerHandle, handler).give_up()
                if plait_is_shared(cython.cast(cython.p_void, handler)):
                    cython.cast(TimerHandle, handler).make_known()
        return 0


def new_timeout(cls, /, *args, **kwargs):
    """asyncio.Timeout.__new__: one of ours where a loop of ours runs. What is not an instance of `cls` is not initialized."""
    if cls is StandardTimeout and len(args) == 1 and not kwargs:
        loop = running_loop()
        if type(loop) is loop_class:
            timeout: Timeout = Timeout.__new__(Timeout)
            timeout.loop = loop
            timeout._state = TIMEOUT_CREATED
            timeout._when = args[0]
            return timeout
    return object.__new__(cls)


def serve_timeouts(cls):
    """From now on asyncio.timeout() gives a compiled one in running loops of this class."""
    global loop_class
    loop_class = cls
    replace_timeout(new_timeout)


plait_reuse(cython.cast(cython.pointer(PyTypeObject), Pause), cython.NULL, False)
replace_functions(pause, isfuture, _set_result_unless_cancelled, _release_waiter)
if ASKS_THE_KERNEL:
    replace_running_loop(get_running_loop, _get_running_loop, get_event_loop, _set_running_loop)
