# The contract between the loop and the kernel; see contract.py for the prose.
from plait.engine.record cimport plait_record

cdef class Operation:
    cdef Engine engine              # the engine that holds it, None before the first and after the last completion
    cdef unsigned int slot          # its place in the engine's slot table; the engine's own
    cdef unsigned int entry         # the number of its submission; the engine's own
    cdef int complete(self, int result, unsigned int flags) except -1
    cdef int abandon(self) except -1

cdef enum Telling:
    ALWAYS
    ONCE
    CHANGES

cdef class Source:
    cdef readonly int fd            # the descriptor that is waited for; the source's owner closes it, after disarm
    cdef Engine engine              # the engine it is armed on, else None
    cdef unsigned int events        # what it asked for (EPOLLIN, EPOLLOUT, EPOLLRDHUP)
    cdef bint level                 # level-triggered, on a descriptor that a user owns
    cdef Telling telling            # with `level`: how often it wants to be told; set by its owner before it is armed
    cdef unsigned int slot          # its place in the engine's slot table; the engine's own
    cdef unsigned int actor         # the number under which the recorder has it; 0 for none
    cdef int ready(self, unsigned int events) except -1

cdef class CallbackSource(Source):
    cdef readonly object callback

cdef class Engine:
    cdef object __weakref__
    cdef readonly str name          # "uring" or "epoll"
    cdef readonly dict sources      # armed sources by id(), for re-arming after a change of thread and for counting
    cdef readonly bint is_open
    cdef readonly bint forgotten    # this is a forked child's copy; open() makes it an engine of the child's own
    cdef public object report       # why this engine runs: an EngineReport (choice.py), or None
    cdef readonly unsigned long long enters     # system calls that waited or looked, for tests and for the report
    cdef unsigned long long told    # completions and events handed out, whoever got them: moves as long as a wait goes on
    cdef readonly bint sends        # submit_send() works here; known once it is open
    cdef readonly bint receives     # submit_receive() works here; known once it is open
    cdef bint hurried               # somebody waits for a send that was submitted: it is told before the next sleep
    cdef public long long spin_ns   # how long to look before it sleeps; 0: not at all
    cdef long long slept_ns         # how long the last sleep took, with the looking; only measured with `spin_ns`
    cdef volatile bint sleeping     # true only while the thread is (about to be) blocked in the kernel
    cdef plait_record* record       # is told of every sleep; NULL while nobody records
    cpdef int open(self) except -1
    cpdef int close(self) except -1
    cpdef int forget(self) except -1
    cpdef int arm(self, Source source, unsigned int events, bint level) except -1
    cpdef int disarm(self, Source source) except -1
    cpdef int wait(self, long long timeout_ns) except -1
    cpdef int flush(self) except -1
    cpdef bint pending(self) noexcept
    cpdef int wake(self) noexcept
    cpdef int adopt(self, Engine other) except -1
    cdef int submit_send(self, Operation operation, int fd, const char* data, unsigned int size) except -1
    cdef int submit_receive(self, Operation operation, int fd) except -1
    cdef const char* received(self, unsigned int flags) noexcept
    cdef bint overflowed(self, int result, unsigned int flags) noexcept
    cdef int cancel(self, Operation operation) except -1
    cdef bint submitted(self, Operation operation) noexcept
    cdef long long spin_until(self, long long now_ns, long long timeout_ns) noexcept
    cdef int check_open(self) except -1
    cdef int remember(self, Source source, unsigned int events, bint level) except -1
    cdef bint drop(self, Source source) except -1
