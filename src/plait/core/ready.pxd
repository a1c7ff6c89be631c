from plait.engine.contract cimport Engine

cdef class Runnable:
    cdef bint queued                          # stands in the ready ring or among the deferred
    cdef int run(self) except -1

cdef class Scheduler:
    cdef readonly Engine engine
    cdef void** ring                          # power-of-two array of owned references to Runnables
    cdef unsigned int mask, head, count
    cdef list deferred                        # Runnables to run at the end of this turn, before the engine waits
    cdef unsigned long thread                 # of the thread the loop runs in; 0 while it does not run
    cdef unsigned char* receive_buffer        # one hot buffer for all receives of this loop, RECEIVE_SIZE bytes
    cdef size_t receive_size
    cdef int push(self, Runnable runnable) except -1
    cdef int push_threadsafe(self, Runnable runnable) except -1
    cdef Runnable pop(self)
    cdef int defer(self, Runnable runnable) except -1
    cdef int run_deferred(self) except -1
    cdef int grow(self) except -1
    cdef int check_thread(self) except -1
    cdef int wrong_thread(self) except -1
