from plait.engine.record cimport plait_event

cdef struct Known:                     # what is known of an actor while its slices go by
    unsigned int code
    unsigned int site                  # where it waits
    unsigned char kind, awaited, outcome, begun
    int source                         # index of the descriptor that it reads from, or -1
    long long end_ns
    unsigned int told_site             # the last wait of which a descriptor was learned
    int told_source

cdef class Decoder:
    cdef object classify               # (code, awaited, cause, source or None) -> (kind, index of target)
    cdef dict codes
    cdef readonly list actors, sources, marks, gaps, pending
    cdef readonly object columns       # by name
    cdef readonly Py_ssize_t count     # slices
    cdef Py_ssize_t room
    cdef readonly long long first_ns, last_ns
    cdef readonly Py_ssize_t damaged   # events that could not be as they are
    cdef dict index_of, source_of, callbacks, lines, waits
    cdef list starts, parents, cancels
    cdef dict wait_fors
    cdef Known* known
    cdef Py_ssize_t known_room
    cdef unsigned long long next_position
    cdef long long[::1] start_ns, duration_ns, delay_ns
    cdef unsigned int[::1] actor
    cdef unsigned char[::1] outcome, waker_kind, wait_kind, cause
    cdef int[::1] waker, wait_target, line, cause_source
    cdef int make_room(self, Py_ssize_t more) except -1
    cdef int new_actor(self, object actor, unsigned int kind, unsigned int code) except -1
    cdef int meet(self, plait_event* event, str text, unsigned long long number) except -1
    cdef bint is_sane(self, plait_event* events, Py_ssize_t i, Py_ssize_t count) noexcept
    cdef int skipped(self, unsigned long long number) except -1
    cdef int slice(self, plait_event* event, unsigned long long number) except -1
    cdef Py_ssize_t index_of_slice(self, long long number)
    cdef int learn_wait(self, plait_event* event, Py_ssize_t index, Py_ssize_t waker, unsigned int actor) except -1
    cdef bint is_wait_for(self, unsigned int code)
    cdef int line_of(self, unsigned int code, unsigned int at) except? -1
