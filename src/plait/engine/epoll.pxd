from plait.engine.contract cimport Engine, Source
from plait.engine.kernel cimport epoll_event
from plait.engine.slots cimport Slots

cdef class EpollEngine(Engine):
    cdef int epoll, wake_fd
    cdef bint exact                 # the kernel has epoll_pwait2: timeouts to the nanosecond
    cdef Slots slots
    cdef epoll_event* batch         # what the kernel gave; [position, count) is not told yet
    cdef int position, count
    cdef int idle                   # looks in a row that brought nothing
    cdef long long looked_ns        # when the kernel was asked last
    cdef int rearm(self, Source source) except -1
    cdef int acquire(self) except -1
    cdef int release(self) noexcept
    cdef int close_descriptors(self) noexcept
    cdef int register(self, Source source, bint known) except -1
    cdef bint owns(self, int fd) noexcept
    cdef int sleep(self, long long timeout_ns) except -1
    cdef int looked(self, int count) except -1
    cdef int tell(self) except -1

cdef unsigned int epoll_flags(Source source) noexcept
cdef object cannot_wait_for(int fd, int errno)
cdef object no_descriptor(int errno, str what)
