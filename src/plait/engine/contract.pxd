# The contract between the loop and the kernel; see contract.py for the prose.

cdef class Operation:
    cdef int complete(self, int result, unsigned int flags) except -1

cdef class Source:
    cdef readonly int fd            # the descriptor that is waited for; the source's owner closes it, after disarm
    cdef Engine engine              # the engine it is armed on, else None
    cdef unsigned int events        # what it asked for (EPOLLIN, EPOLLOUT, EPOLLRDHUP)
    cdef bint level                 # level-triggered, on a descriptor that a user owns
    cdef int in_flight              # completions the kernel still owes (uring); the engine's own
    cdef int ready(self, unsigned int events) except -1

cdef class Engine:
    cdef readonly str name          # "uring" or "epoll"
    cdef readonly dict sources      # armed sources by id(), for re-arming after a change of thread and for counting
    cdef readonly bint is_open
    cdef volatile bint sleeping     # true only while the thread is (about to be) blocked in the kernel
    cdef int open(self) except -1
    cdef int close(self) except -1
    cdef int forget(self) except -1
    cdef int arm(self, Source source, unsigned int events, bint level) except -1
    cdef int disarm(self, Source source) except -1
    cdef int wait(self, long long timeout_ns) except -1
    cdef bint pending(self) noexcept
    cdef int wake(self) noexcept
