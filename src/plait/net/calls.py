"""A coroutine that has no frame: what calls return that may have to wait, those on sockets and on stream readers.

It is a coroutine to all who ask (asyncio.iscoroutine): create_task, gather and wait_for take it, nothing happens before it is awaited,
and there is a warning if it never is. What a kind of call does is its attempt(), which gives the result or NOT_NOW; then wait() makes the
future to wait for, and once that is done, in the slice of the task that gets the result, it is attempted again.
"""

import warnings

import cython
from cython.cimports.cpython.object import PyObject, PyTypeObject
from cython.cimports.cpython.ref import Py_INCREF
from cython.cimports.plait.core.cpython import (
    PYGEN_ERROR,
    PYGEN_NEXT,
    PYGEN_RETURN,
    PyObjectPointer,
    PySendResult,
    plait_raise,
    plait_set_await,
)
from cython.cimports.plait.core.futures import State

# What attempt() says when it has to wait.
NOT_NOW = object()
REUSED = cython.declare(str, "cannot reuse already awaited coroutine")


class Call:
    """One call, awaited once."""

    def __del__(self):
        if self.stage == Stage.NEW:
            warnings.warn(f"coroutine {self.name()!r} was never awaited", RuntimeWarning, stacklevel=2, source=self)

    # What a kind of call does.

    def name(self):
        """What a coroutine would have as its __qualname__."""
        raise NotImplementedError

    def begin(self):
        """At the first step, before the first attempt."""
        return 0

    def attempt(self):
        """The result, or NOT_NOW. `waiter` is what it has waited for, None at the first attempt."""
        raise NotImplementedError

    def wait(self):
        """Have `waiter` be a future that is done when it is worth another attempt, and begin to await it."""
        raise NotImplementedError

    def end(self):
        """Nothing more will come of it, and nothing is kept."""
        self.stage = Stage.ENDED
        self.waiter = None
        return 0

    # What a coroutine has.

    def __getattr__(self, name):
        if name == "__qualname__":  # as a property, the class would not have its own
            return self.name()
        if name == "__name__":
            return self.name().rpartition(".")[2]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def cr_await(self):
        return self.waiter

    @property
    def cr_running(self):
        return False

    @property
    def cr_frame(self):
        return None

    @property
    def cr_code(self):
        return None

    @property
    def cr_origin(self):
        return None

    def __repr__(self):
        return f"<coroutine object {self.name()} at {id(self):#x}>"

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send_none()

    def send(self, value, /):
        """One step: the future that it waits for, or StopIteration with the result."""
        return self.send_none()

    def throw(self, typ, val=None, tb=None, /):
        """End it with this exception."""
        if self.stage == Stage.ENDED:
            raise RuntimeError(REUSED)
        self.end()
        error = typ if val is None else typ(val) if isinstance(typ, type) and not isinstance(val, typ) else val
        raise error if tb is None else error.with_traceback(tb)

    def close(self):
        """End it."""
        if self.stage != Stage.ENDED:
            self.end()

    def send_none(self):
        value = self.step()
        if value is NOT_NOW:
            return self.waiter
        raise StopIteration(value)

    def step(self):
        """The result; NOT_NOW, and the future to wait for is in `waiter`."""
        if self.stage == Stage.ENDED:
            raise RuntimeError(REUSED)
        if self.waiter is not None and self.waiter.state == State.PENDING:
            raise RuntimeError("coroutine is being awaited already")
        try:
            if self.stage == Stage.NEW:
                self.begin()
            result = self.attempt()
            if result is NOT_NOW:
                self.wait()
                self.stage = Stage.WAITING
            else:
                self.end()
        except BaseException:
            self.end()
            raise
        return result


@cython.cfunc
@cython.exceptval(check=False)
def call_send(
    iterator: cython.pointer(PyObject), argument: cython.pointer(PyObject), result: cython.pointer(PyObjectPointer)
) -> PySendResult:
    """am_send: one step, without a StopIteration."""
    call: Call = cython.cast(Call, iterator)
    try:
        value = call.step()
    except BaseException as error:
        plait_raise(error, error.__traceback__)
        result[0] = cython.NULL
        return PYGEN_ERROR
    if value is NOT_NOW:
        Py_INCREF(call.waiter)  # the caller's reference to what is yielded
        result[0] = cython.cast(cython.pointer(PyObject), call.waiter)
        return PYGEN_NEXT
    Py_INCREF(value)  # the caller's reference to what is returned
    result[0] = cython.cast(cython.pointer(PyObject), value)
    return PYGEN_RETURN


plait_set_await(cython.cast(cython.pointer(PyTypeObject), Call), call_send)
