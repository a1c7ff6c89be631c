"""The ready ring: everything that can go on now, in order.

A growable power-of-two array of owned references. What is in it is a `Runnable`: a handle, a task, a transport that has
more to read. The turn takes from the head as many as stood there when it began.
"""

import cython
from cython.cimports.cpython.ref import Py_INCREF
from cython.cimports.libc.stdlib import calloc, free, malloc
from cython.cimports.plait.core.cpython import (
    PyContext_Copy,
    PyContext_CopyCurrent,
    PyObject_GC_IsTracked,
    PyObject_GC_Track,
    plait_are_equal,
    plait_contexts_init,
    plait_get_running,
    plait_is_current,
    plait_is_shared,
    plait_running_init,
    plait_set_running,
    plait_thread_ident,
    plait_vars,
)
from cython.cimports.plait.core.ready import plait_take
from cython.cimports.plait.engine.record import (
    PLAIT_BY_THREAD,
    PLAIT_RETURNED,
    plait_is_recorded,
    plait_pushed,
    plait_record_ready,
)

RECEIVE_SIZE = cython.declare(cython.size_t, 256 * 1024)
INITIAL_SLOTS = cython.declare(cython.uint, 256)

plait_contexts_init()
plait_running_init()


class Runnable:
    """Something that the turn can run for one slice."""

    def run(self):
        return 0

    def make_known(self):
        """Let the garbage collector see it: somebody else than the loop holds it, and may be held by it in turn."""
        if self.unknown:
            self.unknown = False
            if not PyObject_GC_IsTracked(self):  # subclasses come tracked
                PyObject_GC_Track(self)

    def identify(self, record):
        """The number of the actor whose slice its run is, introduced to the recorder if it must be; 0: of nobody."""
        return 0

    def outcome(self, record):
        """Tell the record how its run has ended."""
        record.outcome = PLAIT_RETURNED
        return 0


class Scheduler:
    """The ready ring with the thread it belongs to, and the memory that all transports of a loop share."""

    def __cinit__(self):
        self.ring = cython.cast(cython.pp_void, calloc(INITIAL_SLOTS, cython.sizeof(cython.p_void)))
        self.receive_size = RECEIVE_SIZE
        self.receive_buffer = cython.cast(cython.p_uchar, malloc(RECEIVE_SIZE))
        if self.ring == cython.NULL or self.receive_buffer == cython.NULL:
            raise MemoryError
        self.mask = INITIAL_SLOTS - 1
        self.deferred = []

    def __dealloc__(self):
        while self.count:
            self.pop()
        free(self.ring)
        free(self.receive_buffer)

    def push(self, runnable):
        """Append for the next turn. Raises RuntimeError in a thread that is not the loop's."""
        if self.thread != 0 and self.thread != plait_thread_ident():
            self.wrong_thread()
        if self.count > self.mask:
            self.grow()
        if plait_is_recorded(self.record):
            plait_record_ready(self.record, (self.head + self.count) & self.mask, runnable.actor)
        # The ring owns one reference to each entry; pop() hands it to its caller.
        Py_INCREF(runnable)
        self.ring[(self.head + self.count) & self.mask] = cython.cast(cython.p_void, runnable)
        self.count = self.count + 1
        return 0

    def push_threadsafe(self, runnable):
        """Append from any thread: the interpreter lock makes it atomic, and a sleeping engine is woken."""
        if self.count > self.mask:
            self.grow()
        if plait_is_recorded(self.record):
            plait_record_ready(self.record, (self.head + self.count) & self.mask, runnable.actor)
            if self.thread != plait_thread_ident():
                self.record.pushed[(self.head + self.count) & self.mask].kind = PLAIT_BY_THREAD
        Py_INCREF(runnable)  # owned by the ring, as in push()
        self.ring[(self.head + self.count) & self.mask] = cython.cast(cython.p_void, runnable)
        self.count = self.count + 1
        if self.engine is not None and self.engine.sleeping:
            self.engine.wake()
        return 0

    def pop(self):
        """Take the head out; the caller sees that there is one."""
        entry: cython.p_void = self.ring[self.head]
        self.head = (self.head + 1) & self.mask
        self.count = self.count - 1
        if cython.cast(Runnable, entry).unknown and plait_is_shared(entry):
            cython.cast(Runnable, entry).make_known()
        return plait_take(entry)  # the ring's reference becomes the caller's

    def defer(self, runnable):
        """Run it at the end of this turn, after all that is ready and before the engine waits; once, however often deferred."""
        if not runnable.queued:
            self.check_thread()
            runnable.queued = True
            self.deferred.append(runnable)
        return 0

    def run_deferred(self):
        runnable: Runnable
        while self.deferred:
            batch: list = self.deferred
            self.deferred = []
            done: cython.Py_ssize_t = 0
            try:
                for item in batch:
                    done += 1
                    runnable = cython.cast(Runnable, item)
                    runnable.queued = False
                    runnable.run()
            finally:
                if done < len(batch):  # one asked to exit: the others keep their turn
                    self.deferred = batch[done:] + self.deferred
        return 0

    # Contexts. Nearly all callbacks and tasks of a program are made in equal contexts and change nothing in theirs: they share one, the
    # master, and each run is lent the same copy of it. Who changes it, or lets it be known, keeps it.

    def snapshot(self):
        """A copy of the current context; whoever gets the `master` sets `shares` and never enters it."""
        if self.master is not None and plait_is_current(cython.cast(cython.p_void, self.master)):
            return self.master
        context = PyContext_CopyCurrent()
        found: cython.p_void = plait_vars(cython.cast(cython.p_void, context))
        if found != cython.NULL and found == self.last_vars:  # the second of its kind; most that differ are only one
            self.master = context
        self.last_vars = found
        return context

    def make_spare(self, master):
        """Have a spare that is equal to this one, unless another is of more use, or lent just now."""
        if self.lends or (self.spare is not None and master is not self.master):
            return False
        self.spare = PyContext_Copy(master)
        return True

    def forget_contexts(self):
        """Before a sleep: what a context holds shall not live on for nobody. That in which the loop was started does anyway."""
        if self.master is not None and not self.is_base(self.master):
            self.master = None
        if self.spare is not None and not self.is_base(self.spare):
            self.spare = None
        return 0

    def is_base(self, shared):
        return self.base is not None and plait_are_equal(
            cython.cast(cython.p_void, self.base), cython.cast(cython.p_void, shared)
        )

    def grow(self):
        """Double the array and lay the entries out from its start."""
        slots: cython.uint = self.mask + 1
        ring: cython.pp_void = cython.cast(cython.pp_void, malloc(2 * slots * cython.sizeof(cython.p_void)))
        if ring == cython.NULL:
            raise MemoryError
        i: cython.uint
        for i in range(self.count):
            ring[i] = self.ring[(self.head + i) & self.mask]
        if plait_is_recorded(self.record):
            self.grow_record(2 * slots)
        free(self.ring)
        self.ring = ring
        self.head = 0
        self.mask = 2 * slots - 1
        return 0

    def grow_record(self, slots):
        """The same with what the recorder knows of the entries."""
        record = self.record
        pushed = cython.cast(cython.pointer(plait_pushed), calloc(slots, cython.sizeof(plait_pushed)))
        if pushed == cython.NULL:
            raise MemoryError
        i: cython.uint
        for i in range(self.count):
            pushed[i] = record.pushed[(self.head + i) & self.mask]
        if record.again != cython.NULL:
            record.again = pushed + ((cython.cast(cython.uint, record.again - record.pushed) - self.head) & self.mask)
        free(record.pushed)
        record.pushed = pushed
        return 0

    def check_thread(self):
        """Raise RuntimeError unless this is the loop's thread, or the loop does not run."""
        if self.thread != 0 and self.thread != plait_thread_ident():
            self.wrong_thread()
        return 0

    def wrong_thread(self):
        raise RuntimeError(
            "this event loop runs in another thread, and only that thread may use it; from here call "
            "loop.call_soon_threadsafe(callback, *args) or asyncio.run_coroutine_threadsafe(coro, loop)"
        )


@cython.cfunc
def get_running():
    """The loop of ours that runs in this thread, or None."""
    return plait_get_running()


@cython.cfunc
@cython.exceptval(-1, check=False)
def set_running(loop) -> cython.int:
    """That this loop runs in this thread; None or a loop that is not ours: none does."""
    plait_set_running(loop if isinstance(loop, Scheduler) else None)
    return 0
