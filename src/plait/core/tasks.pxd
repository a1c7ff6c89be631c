cimport cython

from plait.core.futures cimport Future
from plait.core.ready cimport Runnable, Scheduler, plait_flag
from plait.engine.record cimport plait_record

cdef class Task(Future):
    cdef object name                         # None until somebody gives one, or asks for that of its number
    cdef long long number                    # of "Task-N"; 0 of one that was given a name
    cdef readonly object _coro
    cdef object context
    cdef readonly object _fut_waiter
    cdef unsigned int cancels_requested
    cdef public plait_flag _log_destroy_pending
    cdef readonly plait_flag _must_cancel
    cdef plait_flag linked                   # stands in the loop's list of live tasks
    cdef void* previous                      # borrowed neighbours in that list
    cdef void* next
    @cython.final
    cdef int start(self, Scheduler loop, object coro, object name, object context, bint eagerly) except -1
    @cython.final
    cdef object own_context(self)
    @cython.final
    cdef int run_in_own(self) except -1
    @cython.final
    cdef int slice(self, object error) except -1
    @cython.final
    cdef int suspended(self, object yielded) except -1
    @cython.final
    cdef int suspended_on_foreign(self, object future) except -1
    @cython.final
    cdef int returned(self, object value) except -1
    @cython.final
    cdef int raised(self, object error) except -1
    @cython.final
    cdef int complain(self, str text) except -1
    cdef int begin_eagerly(self) except -1
    cdef int first_slice_inside(self) except -1
    cdef bint cancel_awaited(self, object message) except -1
    cdef int tell_cancel(self, plait_record* record, object message) except -1
    cdef int introduce(self, plait_record* record) except -1
    cdef unsigned int identify(self, plait_record* record) except? 0
    cdef int outcome(self, plait_record* record) except -1
    @cython.final
    cdef void link(self) noexcept
    @cython.final
    cdef void unlink(self) noexcept

cdef extern from "contexts.h":
    void plait_change_places(Task borrower, Scheduler lender) noexcept

cdef list live_tasks(Scheduler loop)
