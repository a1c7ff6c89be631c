cimport cython

@cython.final
cdef class Pause:
    cdef bint over
