from plait.engine.contract cimport Engine
from plait.engine.record cimport plait_record

cdef extern from *:
    """
    typedef unsigned char plait_flag; /* a truth in one byte of an object, where Cython's own takes four; only 0 and 1 may be put into it */
    """
    ctypedef bint plait_flag

cdef class Runnable:
    cdef unsigned char queued                 # stands in the ready ring or among the deferred
    cdef unsigned char unknown                # to the garbage collector: only the loop holds it, see Handle.setup()
    cdef unsigned char shares                 # its context is the loop's `master` or was: it is lent a copy, so many times yet
    cdef unsigned int actor                   # the number under which the recorder has it; 0 for none
    cdef int run(self) except -1
    cdef unsigned int identify(self, plait_record* record) except? 0
    cdef int outcome(self, plait_record* record) except -1
    cdef void make_known(self) noexcept

cdef extern from *:
    """
    #define plait_take(entry) (entry) /* what an entry of the ring owned, its taker owns */
    """
    Runnable plait_take(void* entry) noexcept

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
    # Contexts (contexts.h): one for all that are made while the current one is the same, and a copy of it to run them in.
    cdef object master, spare, base
    cdef void* last_vars
    cdef object snapshot(self)
    cdef bint lends                           # somebody runs in the spare: `master` or the like stands in its place
    cdef bint make_spare(self, object master) except -1
    cdef int forget_contexts(self) except -1
    cdef bint is_base(self, object shared) except -1
    cdef plait_record* record                 # what runs and what is pushed is written there; NULL while nobody records
    cdef readonly object recorder             # whose record that is
    cdef int push(self, Runnable runnable) except -1
    cdef int push_threadsafe(self, Runnable runnable) except -1
    cdef Runnable pop(self)
    cdef int defer(self, Runnable runnable) except -1
    cdef int run_deferred(self) except -1
    cdef int grow(self) except -1
    cdef int grow_record(self, unsigned int slots) except -1
    cdef int check_thread(self) except -1
    cdef int wrong_thread(self) except -1

cdef object get_running()
cdef int set_running(object loop) except -1
