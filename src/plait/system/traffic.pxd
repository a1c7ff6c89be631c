from plait.core.futures cimport OperationFuture
from plait.core.ready cimport Runnable, Scheduler
from plait.system.pool cimport Job, Pool

cdef enum Place:
    NOWHERE                             # not begun, or over
    WAITING                             # for its turn, in Traffic.waiting
    ON_RING
    WITH_WORKERS

cdef class FileOperation
cdef class CloseOperation

cdef class Traffic(Runnable):
    cdef readonly Scheduler loop
    cdef readonly unsigned int in_flight        # operations that the kernel or a worker has
    cdef readonly object waiting                # deque: those beyond IN_FLIGHT_MAX, or asked for before the loop runs
    cdef readonly Pool pool                     # None until it is needed
    cdef readonly bint closed
    cdef readonly unsigned long long on_ring, by_workers, at_once    # how many were served in which way
    cdef list left                              # what the ring had when the loop last stopped
    cdef int left_thread                        # whose ring that was
    cdef int give_up_left(self) except -1
    cdef dict lingering                         # by descriptor: None for each abandoned operation that a worker has, then closes
    cdef Py_ssize_t calls_left, bytes_left      # what may still be read from the page cache in this turn without a submission
    cdef unsigned int misses, pause             # reads in a row that were not cached; how many are not tried now
    cdef readonly object later                  # deque: reads for which this turn has no room
    cdef bint must_wait(self, Py_ssize_t size) noexcept
    cdef int count_call(self, Py_ssize_t size) except -1
    cdef int come_again(self) except -1
    cdef OperationFuture put_off(self, FileOperation operation)
    cdef int resume(self, FileOperation operation) except -1
    cdef OperationFuture start(self, FileOperation operation)
    cdef OperationFuture future_of(self, FileOperation operation)
    cdef OperationFuture close_later(self, CloseOperation operation, int fd)
    cdef int linger(self, int fd) except -1
    cdef int lingered(self, int fd) except -1
    cdef OperationFuture done(self, object value)
    cdef int launch(self, FileOperation operation) except -1
    cdef int launch_waiting(self) except -1
    cdef long try_cached(self, int fd, char* data, Py_ssize_t size, long long offset) except? -1

cdef class FileOperation(Job):
    cdef Traffic files
    cdef OperationFuture future                 # who waits; None when nobody does any more
    cdef Place place
    cdef bint lingers                           # abandoned while a worker had it: Traffic.lingering has it
    cdef int begin(self, Traffic files, unsigned char opcode, int fd) except -1
    cdef object value(self, int result)
    cdef object error(self, int code)
    cdef int too_late(self, int result) except -1
    cdef int release(self) except -1
    cdef int landed(self) except -1
    cdef int again(self) except -1
    cdef int end(self, OperationFuture future) except -1
    cdef int fail(self, object error) except -1
    cdef int have_turn(self) except -1

cdef class CloseOperation(FileOperation):
    pass
