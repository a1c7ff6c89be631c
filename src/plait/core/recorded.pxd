from plait.core.ready cimport Scheduler

cdef int run_begins(Scheduler loop) except? -1
cdef int run_ends(Scheduler loop) except? -1
