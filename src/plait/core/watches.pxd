from plait.core.futures cimport Future
from plait.core.handles cimport Handle
from plait.core.ready cimport Scheduler
from plait.engine.contract cimport Source

cdef class Watch(Source):
    cdef Scheduler loop
    cdef Handle reader, writer
    cdef Future receiver, sender        # of the first call that waits in each direction
    cdef list more                      # (future, EPOLLIN or EPOLLOUT) of further ones, or None
    # What sock_*() know of the socket that they waited for last; they look at it again when it is another.
    cdef void* sock
    cdef bint stream                    # it is no datagram socket
    cdef bint drained                   # the last receive has left nothing, and no readiness was told since
    cdef bint bulk                      # the last receive brought much
    cdef int wait(self, Future future, unsigned int wanted) except -1
    cdef int add(self, Future future, unsigned int wanted) except -1
    cdef int give_up(self, Future future) except -1
    cdef int tell_more(self, unsigned int events) except -1
    cdef bint idle(self) noexcept
    cdef unsigned int wanted(self) except? 0xffffffff
    cdef int update(self) except -1
