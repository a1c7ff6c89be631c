from plait.engine.contract cimport Engine

cdef class Runnable:
    cdef bint queued                          # stands in the ready ring or among the deferred
    cdef bint unknown                         # to the garbage collector: only the loop holds it, see Handle.setup()
    cdef int run(self) except -1
    cdef void make_known(self) noexcept

cdef class Scheduler:
    cdef Engine engine                        # None until the loop first runs; replaced when it moves to another thread
    cdef public bint _debug, _closed, _stopping   # under the names that asyncio.BaseEventLoop uses
    cdef void** ring                          # power-of-two array of owned references to Runnables
    cdef unsigned int mask, head, count
    cdef list deferred                        # Runnables to run at the end of this turn, before the engine waits
    cdef void* tasks                          # head of the list of live tasks, linked through them; borrowed
    cdef bint task_is_current                 # asyncio.current_task() has been told of a Task of ours
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
