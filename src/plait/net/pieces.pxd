cimport cython


@cython.final
@cython.freelist(16)
cdef class Pieces:
    cdef list pieces
    cdef Py_ssize_t first               # of those that are left

    cdef bytes take(self)
    cdef Py_ssize_t left(self) noexcept


cdef Pieces pieces_of(bytes piece)
