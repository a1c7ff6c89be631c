from plait.core.futures cimport Future
from plait.core.handles cimport Handle
from plait.core.ready cimport Scheduler
from plait.engine.contract cimport Source

cdef class Watch(Source):
    cdef Scheduler loop
    cdef Handle reader, writer
    cdef Future receiver, sender        # of the first call that waits in each direction
    cdef list more                      # (future, EPOLLIN or EPOLLOUT) of further ones, or None
    cdef object owner                   # a weak reference to the socket that was waited for last, or None
    cdef int waits                      # that it was armed for
    cdef int strays                     # events in a row that nobody waited for
    cdef bint armed                     # edge-triggered, and the kernel was just seen to tell: the next wait needs no call
    # What sock_*() know of it. Hints: wrong ones cost time only.
    cdef bint stream                    # no datagrams
    cdef bint drained                   # the last receive has left nothing, and no readiness was told since
    cdef bint bulk                      # the last receive brought much
    cdef int wait(self, Future future, unsigned int wanted) except -1
    cdef int add(self, Future future, unsigned int wanted) except -1
    cdef int give_up(self, Future future) except -1
    cdef int told_nobody(self) except -1
    cdef bint belongs_to(self, object sock) except -1
    cdef int give_to(self, object sock) except -1
    cdef int tell_handles(self, unsigned int events) except -1
    cdef int tell_more(self, unsigned int events) except -1
    cdef bint idle(self) noexcept
    cdef unsigned int wanted(self) except? 0xffffffff
    cdef int update(self) except -1
