from plait.core.codes cimport Codes
from plait.core.ready cimport Runnable, Scheduler
from plait.engine.record cimport plait_record

cdef struct Interrupted:               # a slice that was cut by one inside it
    unsigned int actor
    unsigned short at
    bint running

cdef class Recorder(Codes):
    cdef readonly Scheduler loop
    cdef readonly object mapping           # an mmap: head, chunks, codes, events
    cdef readonly str thread
    cdef readonly dict meta
    cdef public object on_event            # called with "slow", "error" or "timeout" when that happens
    cdef public object on_end              # called with the loop that is recorded no more
    cdef object foreign_tasks              # tasks of the standard library -> their actor
    cdef object subject                    # the task whose step the handle that runs is
    cdef dict descriptors                  # fd -> (inode, actor)
    cdef size_t events_start
    cdef size_t caller
    cdef int write_head(self, size_t codes_room) except -1
    cdef int write_meta(self) except -1
    cdef int tell_wall_clock(self) except -1
    cdef int begin_clock(self) except -1
    cdef unsigned int new_code_here(self, object code) except? 0
    cdef unsigned int introduce(self, unsigned int previous, unsigned int kind, unsigned int code, unsigned int number,
                                object text) except 0
    cdef int write_text(self, bytes text) except -1
    cdef unsigned int callback_actor(self, object callback) except? 0
    cdef unsigned int foreign_task_actor(self, object task) except 0
    cdef int foreign_outcome(self, object task) except -1
    cdef unsigned int descriptor_actor(self, int fd) except 0
    cdef int awaits(self) except -1
    cdef int awaits_foreign(self, object coroutine, object future) except -1
    cdef int cancel_asked(self, unsigned int actor, object message) except -1
    cdef int task_ended(self, unsigned int actor, object error) except -1
    cdef int begin_inside(self, Interrupted* interrupted) except -1
    cdef int end_inside(self, Interrupted* interrupted) except -1
    cdef int find_frames(self) except -1

cdef Recorder recorder_of(plait_record* record)
cdef int set_wakeup(object function) except? -1
