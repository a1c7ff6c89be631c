"""The answer that is there already, for calls that sometimes wait: awaiting it costs a call and never a turn of the loop."""

import cython
from cython.cimports.cpython.object import PyObject, PyTypeObject
from cython.cimports.cpython.ref import Py_INCREF
from cython.cimports.plait.core.cpython import (
    PYGEN_ERROR,
    PYGEN_RETURN,
    PyObjectPointer,
    PySendResult,
    plait_raise,
    plait_reuse,
    plait_set_await,
)

REUSED = cython.declare(str, "cannot reuse already awaited coroutine")


class Done:
    """An awaitable whose result is there: a coroutine that ends at its first step, to all who ask."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        raise StopIteration(self.take())

    def send(self, value, /):
        raise StopIteration(self.take())

    def throw(self, typ, val=None, tb=None, /):
        self.used = True
        raise typ if val is None else val

    def close(self):
        self.used = True

    def take(self):
        if self.used:
            raise RuntimeError(REUSED)
        self.used = True
        return self.value


@cython.cfunc
def done(value) -> Done:
    made: Done = Done.__new__(Done)
    made.value = value
    return made


@cython.cfunc
@cython.exceptval(check=False)
def done_send(
    iterator: cython.pointer(PyObject), argument: cython.pointer(PyObject), result: cython.pointer(PyObjectPointer)
) -> PySendResult:
    """am_send: the only step, without a StopIteration."""
    made: Done = cython.cast(Done, iterator)
    if made.used:
        plait_raise(RuntimeError(REUSED), None)
        result[0] = cython.NULL
        return PYGEN_ERROR
    made.used = True
    Py_INCREF(made.value)  # the caller's reference to what is returned
    result[0] = cython.cast(cython.pointer(PyObject), made.value)
    return PYGEN_RETURN


plait_set_await(cython.cast(cython.pointer(PyTypeObject), Done), done_send)
plait_reuse(cython.cast(cython.pointer(PyTypeObject), Done), cython.NULL, False)
