cimport cython
from plait.core.done cimport Done

cdef enum Wants:
    EITHER
    TO_READ
    TO_WRITE

cdef class Turns:
    cdef public bint _busy              # something that waits is under way, or the file is closed: nothing is done in passing
    cdef public bint _reads, _writes    # what the mode allows
    cdef bint taken                     # somebody has the file to himself
    cdef object waiters                 # deque of futures of those who come next, or None
    cdef bint may_begin(self, Wants wants) noexcept
    cdef object line_now(self)          # the next line, if it is in memory; else None

@cython.final
cdef class Lines:
    cdef Turns file
    cdef Done answer

@cython.freelist(16)
@cython.final
cdef class Turn:
    cdef Turns file
    cdef str what
    cdef Wants wants

cdef class RawMemory(Turns):
    cdef public object _landing         # the future of a change that comes to its end though its task was cancelled, or None

cdef class BinaryMemory(Turns):
    cdef RawMemory bare
    cdef bytes data                     # what was read ahead is data[at:end]
    cdef Py_ssize_t at, end
    cdef bytearray pending              # what is to be written is pending[:filled]
    cdef Py_ssize_t filled
    cdef readonly Py_ssize_t _room      # the size of the buffer
    cdef bytes cut(self, Py_ssize_t size)
    cdef Py_ssize_t line_end(self, Py_ssize_t limit) noexcept
    cdef bint put(self, const char* data, Py_ssize_t size) except -1

ctypedef enum Newlines:
    LINE_FEED                           # newline=None, which has been translated, and newline="\n"
    UNIVERSAL                           # newline="": \n, \r and \r\n, each kept
    RETURN                              # newline="\r"
    RETURN_LINE_FEED                    # newline="\r\n"

cdef class TextMemory(Turns):
    cdef public bint _telling           # tell() is possible: no `async for` is under way
    cdef public bint _utf8_in_passing   # write() may encode and buffer at once
    cdef BinaryMemory binary
    cdef Newlines newlines_are
    cdef str text                       # decoded, and from `at` on not given out
    cdef Py_ssize_t at, size
    cdef Py_ssize_t before              # characters of `text` that were decoded before the last chunk
    cdef Py_ssize_t searched            # up to here there is no line end
    cdef str cut(self, Py_ssize_t size)
    cdef Py_ssize_t line_end(self, Py_ssize_t limit) except -2
    cdef Py_ssize_t universal_end(self, Py_ssize_t start, Py_ssize_t end) except -2
    cdef Py_ssize_t pair_end(self, Py_ssize_t start, Py_ssize_t end) except -2
