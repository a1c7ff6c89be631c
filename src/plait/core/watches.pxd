from plait.core.handles cimport Handle
from plait.core.ready cimport Scheduler
from plait.engine.contract cimport Source

cdef class Watch(Source):
    cdef Scheduler loop
    cdef Handle reader, writer
    cdef unsigned int wanted(self) noexcept
    cdef int update(self) except -1
