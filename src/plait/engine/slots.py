"""Who a kernel's event is for.

The kernel gets a number with each request and gives it back with each event: a slot's index and generation. Never a pointer:
a late event of a disarmed source, or of a connection whose descriptor's number lives on, finds another generation and is
dropped without touching anything.
"""

import cython
from cython.cimports.libc.stdlib import free, realloc
from cython.cimports.plait.engine.slots import FREE, Slot

NO_SLOT = cython.declare(cython.uint, 0xFFFFFFFF)
INITIAL_SLOTS = cython.declare(cython.uint, 64)


class Slots:
    """A growing table of slots. An index is taken at once and may be in use until it is released."""

    def __cinit__(self):
        self.first_free = NO_SLOT

    def __dealloc__(self):
        free(self.table)

    def take(self, owner, kind):
        if self.first_free == NO_SLOT:
            self.grow()
        index: cython.uint = self.first_free
        self.first_free = self.table[index].following
        self.table[index].owner = owner
        self.table[index].kind = kind
        self.busy = self.busy + 1
        return index

    def release(self, index):
        self.table[index].owner = cython.NULL
        self.table[index].kind = FREE
        self.table[index].generation += 1
        self.table[index].following = self.first_free
        self.first_free = index
        self.busy = self.busy - 1
        return 0

    def key(self, index):
        """The number for the kernel."""
        return (cython.cast(cython.ulonglong, self.table[index].generation) << 32) | index

    def find(self, key):
        """The slot that the kernel's number means, or NULL if it was released since."""
        index: cython.uint = cython.cast(cython.uint, key)
        if index >= self.size or self.table[index].generation != cython.cast(cython.uint, key >> 32):
            return cython.NULL
        return cython.address(self.table[index])

    def grow(self):
        size: cython.uint = 2 * self.size if self.size else INITIAL_SLOTS
        table: cython.pointer(Slot) = cython.cast(cython.pointer(Slot), realloc(self.table, size * cython.sizeof(Slot)))
        if table == cython.NULL:
            raise MemoryError
        self.table = table
        # The lowest index is taken first.
        index: cython.uint
        for i in range(size - self.size):
            index = size - 1 - i
            table[index].owner = cython.NULL
            table[index].kind = FREE
            table[index].generation = 0
            table[index].following = self.first_free
            self.first_free = index
        self.size = size
        return 0
