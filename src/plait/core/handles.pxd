from plait.core.ready cimport Runnable, Scheduler
from plait.engine.record cimport plait_record

cdef class Handle(Runnable):
    cdef readonly Scheduler _loop
    cdef object context
    cdef readonly object _callback, _source_traceback
    cdef readonly tuple _args
    cdef str _repr
    cdef readonly bint _cancelled
    cdef object __weakref__
    cdef int setup(self, Scheduler loop, object callback, tuple args, object context) except -1
    cdef int trace(self) except -1
    cdef unsigned int identify(self, plait_record* record) except? 0
    cdef int outcome(self, plait_record* record) except -1
    cdef int call_failed(self) except -1
    cdef object own_context(self)
    cdef int failed(self, object exc) except -1
    cdef int give_up(self) except -1

cdef extern from "contexts.h":
    void plait_change_places(Handle borrower, Scheduler lender) noexcept

cdef class ThreadSafeHandle(Handle):
    cdef object lock               # held while the callback runs

cdef class TimerHeap

cdef class TimerHandle(Handle):
    cdef TimerHeap heap
    cdef double when_s             # as asked for
    cdef long long when_ns         # the first whole nanosecond that is not early
    cdef Py_ssize_t place          # index in the heap; -1 outside it

cdef struct Entry:
    long long when_ns
    long long sequence             # breaks ties: equal times fire in the order they were asked for
    void* timer                    # an owned reference to the TimerHandle

cdef class TimerHeap:
    cdef Entry* entries
    cdef Py_ssize_t start, count, room       # the heap is entries[start : start + count]
    cdef bint ordered                        # entries stand in order: the first is taken out without moving any
    cdef long long sequence
    cdef int add(self, TimerHandle timer) except -1
    cdef int remove(self, TimerHandle timer) except -1
    cdef int fire(self, Scheduler loop, long long now_ns) except -1
    cdef int clear(self) except -1
    cdef int make_room(self) except -1
    cdef void sift_up(self, Py_ssize_t place, Entry entry) noexcept
    cdef void sift_down(self, Py_ssize_t place, Entry entry) noexcept
    cdef void put(self, Py_ssize_t place, Entry entry) noexcept
    cdef long long first_ns(self) noexcept
