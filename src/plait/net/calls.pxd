from plait.core.futures cimport Future

cdef object NOT_NOW

cdef enum Stage:
    NEW
    WAITING
    ENDED

cdef class Call:
    cdef object __weakref__
    cdef Stage stage
    cdef Future waiter                  # what it waits for, while it does
    cdef str name(self)
    cdef int begin(self) except -1
    cdef object attempt(self)
    cdef int wait(self) except -1
    cdef int end(self) except -1
    cdef object send_none(self)
    cdef object step(self)
