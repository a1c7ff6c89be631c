cimport cython

from plait.core.handles cimport Handle, TimerHandle, TimerHeap
from plait.core.ready cimport Runnable, Scheduler
from plait.core.tasks cimport Task
from plait.core.watches cimport Watch
from plait.engine.record cimport plait_record

cdef class Core(Scheduler):
    cdef TimerHeap timers
    cdef unsigned long long turns            # made so far
    cdef dict watches                        # descriptor -> Watch: add_reader() and add_writer()
    cdef public object _task_factory
    cdef public double slow_callback_duration
    cdef Handle handle(self, object callback, tuple args, object context)
    cdef Handle prepare(self, Handle handle, object callback, tuple args, object context)
    cdef TimerHandle timer(self, double when_s, object callback, tuple args, object context)
    cdef int turn(self) except -1
    cdef int wait(self, long long timeout_ns) except -1
    cdef int leave_task(self) except -1
    cdef int run_ready(self, unsigned int count) except -1
    cdef int run_slowly(self, Runnable runnable) except -1
    @cython.final
    cdef int run_recorded(self, Runnable runnable) except -1
    @cython.final
    cdef int tell_slow(self, plait_record* record) except -1
    cdef int end_slice(self, Runnable runnable) except -1
    cdef int check_callback(self, object callback) except -1
    cdef Handle begin_watch(self, object fileobj, Handle handle, bint reading)
    cdef bint forget_watch(self, object fileobj, bint reading) except -1
    cdef Watch watch_of(self, object fileobj)
    cdef int check_closed(self) except -1
    cdef int open_engine(self) except -1
    cdef unsigned long engine_thread         # that opened the engine
