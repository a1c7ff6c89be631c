# Who a kernel's event is for; see slots.py.

cimport cython

ctypedef enum Kind:
    FREE = 0
    SOURCE = 1
    OPERATION = 2
    RECEIVE = 3

cdef struct Slot:
    void* owner                     # the Source (borrowed) or Operation (held by the slot); NULL when nobody cares any more
    unsigned int generation         # counts up at each release, so that a late event of the last owner is known as such
    unsigned int following          # next in the list of free slots
    Kind kind

@cython.final
cdef class Slots:
    cdef Slot* table
    cdef unsigned int size, first_free
    cdef readonly unsigned int busy
    cdef unsigned int take(self, void* owner, Kind kind) except? 0xffffffff
    cdef int release(self, unsigned int index) noexcept
    cdef unsigned long long key(self, unsigned int index) noexcept
    cdef Slot* find(self, unsigned long long key) noexcept
    cdef int grow(self) except -1
