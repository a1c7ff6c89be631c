from plait.core.futures cimport Future
from plait.core.ready cimport Scheduler
from plait.net.calls cimport Call
from plait.net.pieces cimport Pieces

cdef enum Kind:
    READ
    EXACTLY
    UNTIL
    LINE
    NEXT_LINE

cdef class StreamReader:
    cdef object __weakref__
    cdef readonly Scheduler _loop
    cdef public object _transport, _exception, _waiter
    cdef public object _source_traceback
    cdef public Py_ssize_t _limit
    cdef public bint _eof, _paused
    cdef bytes head                     # what was received and not yet read begins at head[at]
    cdef Py_ssize_t at
    cdef Pieces more                    # and goes on here, or None
    cdef Py_ssize_t size                # in all
    cdef Py_ssize_t searched            # `sought` does not begin in so many of them
    cdef bytes sought
    cdef bytearray flat                 # instead of all that, once somebody has asked for `_buffer`
    cdef int feed(self, object data) except -1
    cdef int append(self, bytes data) except -1
    cdef int wake(self) except -1
    cdef bytes take(self, Py_ssize_t size)
    cdef bytes gather(self, Py_ssize_t size)
    cdef int advance(self) except -1
    cdef int resume(self) except -1
    cdef Py_ssize_t find(self, bytes separator) except -1
    cdef Py_ssize_t find_byte(self, char byte) except -2
    cdef Py_ssize_t held(self) except -1
    cdef bint at_hand(self) except -1
    cdef Py_ssize_t found(self, bytes separator) except -1
    cdef Future start_waiting(self, str name)

cdef class ReadCall(Call):
    cdef readonly StreamReader reader   # None at its end
    cdef Kind kind
    cdef Py_ssize_t size                # how many are asked for
    cdef object argument                # as it was asked for: their number, or the separator
    cdef int woken(self) except -1
    cdef Py_ssize_t find_line(self) except -1
