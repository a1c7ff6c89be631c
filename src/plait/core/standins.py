"""Compiled stand-ins for small parts of asyncio that programs go through all the time."""

import cython
from cython.cimports.cpython.object import PyObject, PyTypeObject
from cython.cimports.cpython.ref import Py_INCREF
from cython.cimports.plait.core.cpython import (
    PYGEN_NEXT,
    PYGEN_RETURN,
    PyObjectPointer,
    PySendResult,
    plait_reuse,
    plait_set_await,
)

from plait.standard import replace_pause


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
def pause_await(iterator: cython.pointer(PyObject)) -> cython.pointer(PyObject):
    """am_await: itself."""
    Py_INCREF(cython.cast(object, iterator))  # the caller's reference
    return iterator


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


@cython.cfunc
@cython.exceptval(check=False)
def pause_next(iterator: cython.pointer(PyObject)) -> cython.pointer(PyObject):
    """tp_iternext: the same for `await` from Python 3.12 on; the end needs no exception where the result is None."""
    if cython.cast(Pause, iterator).over:
        return cython.NULL
    cython.cast(Pause, iterator).over = True
    Py_INCREF(None)  # the caller's reference
    return cython.cast(cython.pointer(PyObject), None)


plait_set_await(cython.cast(cython.pointer(PyTypeObject), Pause), pause_await, pause_send, pause_next)
plait_reuse(cython.cast(cython.pointer(PyTypeObject), Pause), cython.NULL, False)
replace_pause(pause)
