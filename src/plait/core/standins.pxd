cimport cython

from plait.core.turn cimport Core

@cython.final
cdef class Pause:
    cdef bint over

@cython.final
cdef class Timeout:
    cdef object __weakref__
    cdef readonly Core loop                   # that ran where it was made
    cdef public object _state, _when, _task, _cancelling, _timeout_handler
    cdef int arm(self) except -1
    cdef int disarm(self) except -1
    cdef bint is_usual(self, object when) except -1
    cdef bint begin(self) except -1
