cimport cython

from plait.core.ready cimport Runnable, Scheduler, plait_flag
from plait.engine.contract cimport Operation

cdef enum State:
    PENDING
    CANCELLED
    FINISHED

# A future and the collector's head before it fill two lines of the processor's cache, a task three, of which a slice needs the first and
# the last; so what is rare shares its place.
cdef class Future(Runnable):
    cdef readonly Scheduler _loop
    cdef unsigned char state                 # a State
    cdef public plait_flag _asyncio_future_blocking
    cdef plait_flag log_traceback
    cdef plait_flag waiter_shares            # its context is the loop's `master` or was
    cdef plait_flag waiter_is_task           # the first waiter is a Task of ours: woken without a handle
    cdef plait_flag failed
    cdef object set_aside                    # failed: the traceback; cancelled: the error raised inside; a task: what its next slice raises
    cdef object waiter, waiter_context       # the first callback, kept in place: nearly every future has one
    cdef list more                           # further ones, as (callback, context); context None marks a Task of ours
    cdef object result_value                 # the result, or the exception when failed
    cdef public object _cancel_message
    cdef object awaited_by                   # a task that waits for it by way of gather(), a TaskGroup, ...; or a set; or a Traced with it
    cdef object __weakref__
    cdef int setup(self, Scheduler loop) except -1
    cdef int trace(self) except -1
    cdef object result_of(self)
    cdef int finish(self, object value) except -1
    cdef int finish_failed(self, object exception) except -1
    cdef bint finish_cancelled(self, object message) except -1
    cdef int schedule_callbacks(self) except -1
    cdef int schedule(self, object callback, object context, bint shares) except -1
    cdef int add_task_waiter(self, Runnable task) except -1
    cdef object make_cancelled_error(self)
    cdef int report_unretrieved(self) except -1
    cdef int begin_await(self) except -1
    cdef int check_ready(self) except -1

cdef class OperationFuture(Future):
    cdef Operation operation                 # None once it was abandoned, or has completed and holds nothing

@cython.final
cdef class Traced:
    cdef object source_traceback, awaited_by

cdef class FutureIterator:
    cdef Future future
