cimport cython

@cython.final
cdef class Done:
    cdef object value
    cdef bint used
    cdef object take(self)

cdef Done done(object value)
