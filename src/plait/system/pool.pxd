from plait.engine.contract cimport Engine, Operation, Source
from plait.system.requests cimport plait_request, pthread_cond_t, pthread_mutex_t

cdef class Job(Operation):
    # An operation that a worker can carry out as well as the ring; it is told of its end by complete().
    cdef plait_request request
    cdef int call(self) except -1       # for PLAIT_OP_CALL, in a worker, with the interpreter

cdef class Pool(Source):
    cdef object __weakref__
    cdef pthread_mutex_t mutex          # guards all from here to `stopping`
    cdef pthread_cond_t work
    cdef plait_request* first           # what no worker has taken yet
    cdef plait_request* last
    cdef plait_request* first_done      # what is carried out and not told yet
    cdef plait_request* last_done
    cdef unsigned int queued, idle
    cdef unsigned int looking           # of the idle, those that look for work without sleeping
    cdef bint stopping
    cdef readonly list threads
    cdef readonly unsigned int outstanding      # jobs put in and not told of yet; the loop's thread only
    cdef int put(self, Job job, Engine engine) except -1
    cdef bint withdraw(self, Job job) noexcept
    cdef int start_thread(self) except -1
    cdef plait_request* take(self, bint looks) noexcept nogil
    cdef void give(self, plait_request* request) noexcept nogil
    cdef plait_request* next_done(self) noexcept
    cdef bint closed                    # nobody waits for the threads any more
    cdef int tell(self) except -1
    cdef int tell_last(self) except -1
