"""Handles: a callback with its arguments and context, ready now or at a time; and the heap of those that wait for their time."""

import sys
import threading
from asyncio import Handle as AsyncioHandle
from asyncio import TimerHandle as AsyncioTimerHandle

import cython
from cython.cimports.cpython.object import PyTypeObject
from cython.cimports.cpython.ref import Py_DECREF, Py_INCREF
from cython.cimports.libc.stdlib import free, realloc
from cython.cimports.plait.core.cpython import (
    PyContext_Copy,
    plait_are_equal,
    plait_call,
    plait_fetch_exception,
    plait_is_as_lent,
    plait_reuse,
)
from cython.cimports.plait.core.frames import plait_record_callback
from cython.cimports.plait.core.handles import plait_change_places
from cython.cimports.plait.core.ready import Runnable
from cython.cimports.plait.core.recorder import Recorder, recorder_of
from cython.cimports.plait.engine.record import (
    PLAIT_BY_KERNEL,
    PLAIT_BY_TIMER,
    PLAIT_RAISED,
    PLAIT_RETURNED,
    plait_is_recorded,
    plait_record_pushes,
)

from plait.standard import ThreadSafeHandleFace, extract_stack, format_callback_source


class Handle:
    """What call_soon() returns. An instance of asyncio.Handle by isinstance()."""

    @property
    def __class__(self):
        return AsyncioHandle

    def setup(self, loop, callback, args, context):
        self._loop = loop
        self._callback = callback
        self._args = args
        if context is None:
            context = loop.snapshot()
            self.shares = context is loop.master
        self.context = context
        # In the ring or the heap it is alive whatever the collector finds, and most are never held by anybody else: then a hundred
        # thousand that wait cost a collection nothing.
        self.unknown = True
        return 0

    def trace(self):
        """Debug mode: remember where it was made. Frames of compiled code are not Python frames, so the caller is frame 0."""
        self._source_traceback = extract_stack(sys._getframe(0))
        return 0

    def run(self):
        if self._cancelled:
            return 0
        callback = self._callback  # held, for cancel() may let go of them while they run
        args: tuple = self._args
        loop = self._loop
        master: cython.p_void = cython.cast(cython.p_void, self.context)
        if not self.shares or (
            (loop.lends or loop.spare is None or not plait_are_equal(cython.cast(cython.p_void, loop.spare), master))
            and not loop.make_spare(self.context)
        ):
            if self.shares:
                self.own_context()
            return 0 if plait_call(cython.cast(cython.p_void, self.context), callback, args) else self.call_failed()
        plait_change_places(self, loop)
        self.shares = False
        loop.lends = True
        lent: cython.p_void = cython.cast(cython.p_void, self.context)
        called: cython.bint = plait_call(lent, callback, args)
        loop.lends = False
        if (
            called
            and cython.cast(cython.p_void, loop.spare) == master
            and cython.cast(cython.p_void, self.context) == lent
            and plait_is_as_lent(lent, master)
        ):
            plait_change_places(self, loop)
            self.shares = True
            return 0
        loop.spare = None
        return 0 if called else self.call_failed()  # whoever asks for its context later finds that in which it failed

    def call_failed(self):
        # Outside the context, for from 3.12 on the exception handler is called in it, and it cannot be entered twice.
        failure = plait_fetch_exception()
        if isinstance(failure, (SystemExit, KeyboardInterrupt)):
            raise failure
        return self.failed(failure)

    def _run(self):
        self.run()

    def identify(self, record):
        if self._cancelled:
            return 0
        return plait_record_callback(record, self._callback) or recorder_of(record).callback_actor(self._callback)

    def outcome(self, record):
        recorder: Recorder = recorder_of(record)
        if record.outcome != PLAIT_RAISED:
            record.outcome = PLAIT_RETURNED
        subject = recorder.subject
        if subject is not None:
            recorder.subject = None
            if isinstance(subject, Runnable):
                cython.cast(Runnable, subject).outcome(record)
            else:
                recorder.foreign_outcome(subject)
        return 0

    def failed(self, exc):
        self.make_known()
        if plait_is_recorded(self._loop.record):
            self._loop.record.outcome = PLAIT_RAISED
        source = format_callback_source(self._callback, self._args)
        context = {"message": f"Exception in callback {source}", "exception": exc, "handle": self}
        if self._source_traceback:
            context["source_traceback"] = self._source_traceback
        self._loop.call_exception_handler(context)
        return 0

    def cancel(self):
        """Do not run it, if it has not run yet. Idempotent; only in the loop's thread."""
        self.give_up()

    def give_up(self):
        """cancel() for those who are the only ones to hold it."""
        if not self._cancelled:
            self._cancelled = True
            if self._loop._debug:
                self._repr = repr(self)  # the slow-callback report still tells what it was
            self._callback = None
            self._args = None
        return 0

    def cancelled(self):
        return self._cancelled

    @property
    def _context(self):
        return self.own_context()

    def get_context(self):
        return self.own_context()

    def own_context(self):
        """The context for all to know: from now on it is not shared."""
        if self.shares:
            self.context = PyContext_Copy(self.context)
            self.shares = False
        return self.context

    def _repr_info(self):
        info = ["TimerHandle" if isinstance(self, AsyncioTimerHandle) else "Handle"]
        if self._cancelled:
            info.append("cancelled")
        if self._callback is not None:
            info.append(format_callback_source(self._callback, self._args))
        if self._source_traceback:
            frame = self._source_traceback[-1]
            info.append(f"created at {frame[0]}:{frame[1]}")
        return info

    def __repr__(self):
        if self._repr is not None:
            return self._repr
        return f"<{' '.join(self._repr_info())}>"


class ThreadSafeHandle(Handle):
    """What call_soon_threadsafe() returns from Python 3.14 on: after cancel(), in whatever thread, the callback does not run, nor does
    it go on; a callback that runs just then is waited for.
    """

    def __cinit__(self):
        self.lock = threading.RLock()

    @property
    def __class__(self):
        return ThreadSafeHandleFace

    def run(self):
        with self.lock:
            Handle.run(self)
        return 0

    def cancel(self):
        """Do not run it; waits while it runs. Idempotent; in any thread."""
        with self.lock:
            self.give_up()

    def cancelled(self):
        with self.lock:
            return self._cancelled


class TimerHandle(Handle):
    """What call_later() and call_at() return. An instance of asyncio.TimerHandle by isinstance()."""

    def __cinit__(self):
        self.place = -1

    @property
    def __class__(self):
        return AsyncioTimerHandle

    @property
    def _when(self):
        return self.when_s

    @property
    def _scheduled(self):
        return self.place >= 0

    def when(self):
        """The time it is due, in seconds of loop.time()."""
        return self.when_s

    def cancel(self):
        """Take it out of the heap at once. Idempotent; only in the loop's thread."""
        self.give_up()
        self.make_known()

    def give_up(self):
        if self.place >= 0:
            self.heap.remove(self)
        return Handle.give_up(self)

    def _repr_info(self):
        info = Handle._repr_info(self)
        info.insert(2 if self._cancelled else 1, f"when={self.when_s}")
        return info

    def __hash__(self):
        return hash(self.when_s)

    def __lt__(self, other):
        return self.when_s < other._when if isinstance(other, AsyncioTimerHandle) else NotImplemented

    def __le__(self, other):
        if not isinstance(other, AsyncioTimerHandle):
            return NotImplemented
        return self.when_s < other._when or self == other

    def __gt__(self, other):
        return self.when_s > other._when if isinstance(other, AsyncioTimerHandle) else NotImplemented

    def __ge__(self, other):
        if not isinstance(other, AsyncioTimerHandle):
            return NotImplemented
        return self.when_s > other._when or self == other

    def __eq__(self, other):
        if not isinstance(other, AsyncioTimerHandle):
            return NotImplemented
        return (
            self.when_s == other._when
            and self._callback == other._callback
            and self._args == other._args
            and self._cancelled == other._cancelled
        )


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def before(a: Entry, b: Entry) -> cython.bint:
    return a.when_ns < b.when_ns or (a.when_ns == b.when_ns and a.sequence < b.sequence)


class TimerHeap:
    """A binary heap of timers by (when, order of asking). Each timer knows its place, so that cancel removes it at once.

    Timers that are asked for in the order in which they are due (equal timeouts, the usual case) make an ordered array, which is a heap
    too; as long as that holds, the first leaves by moving `start`, without any sifting.
    """

    def __dealloc__(self):
        self.clear()
        free(self.entries)

    def __len__(self):
        return self.count

    def add(self, timer):
        if self.start + self.count == self.room:
            self.make_room()
        Py_INCREF(timer)  # the heap's reference, given back by remove() or clear()
        timer.heap = self
        entry: Entry
        entry.when_ns = timer.when_ns
        entry.sequence = self.sequence
        entry.timer = cython.cast(cython.p_void, timer)
        self.sequence = self.sequence + 1
        end: cython.Py_ssize_t = self.start + self.count
        if self.count == 0:
            self.ordered = True
        elif self.ordered and before(entry, self.entries[end - 1]):
            self.ordered = False
        self.count = self.count + 1
        if self.ordered:
            self.put(end, entry)
        else:
            self.sift_up(end, entry)
        return 0

    def make_room(self):
        """Close the gap before `start`, or double the array when there is no large one."""
        i: cython.Py_ssize_t
        if self.start > self.room // 2:
            for i in range(self.count):
                self.put(i, self.entries[self.start + i])
            self.start = 0
            return 0
        room: cython.Py_ssize_t = 2 * self.room or 64
        entries: cython.pointer(Entry) = cython.cast(
            cython.pointer(Entry), realloc(self.entries, room * cython.sizeof(Entry))
        )
        if entries == cython.NULL:
            raise MemoryError
        self.entries = entries
        self.room = room
        return 0

    def first_ns(self):
        return self.entries[self.start].when_ns

    def remove(self, timer):
        """Take a timer out that is in the heap."""
        place: cython.Py_ssize_t = timer.place
        timer.place = -1
        self.count = self.count - 1
        end: cython.Py_ssize_t = self.start + self.count
        if self.count == 0:
            self.start = 0
        elif place == self.start and self.ordered:
            self.start = self.start + 1
        elif place != end:
            self.ordered = False
            last: Entry = self.entries[end]
            parent: cython.Py_ssize_t = self.start + ((place - self.start - 1) >> 1)
            if place > self.start and before(last, self.entries[parent]):
                self.sift_up(place, last)
            else:
                self.sift_down(place, last)
        Py_DECREF(timer)
        return 0

    def fire(self, loop, now_ns):
        """Move what is due into the ready ring, in order."""
        if plait_is_recorded(loop.record):
            plait_record_pushes(loop.record, PLAIT_BY_TIMER, 0)
        while self.count and self.first_ns() <= now_ns:
            timer: TimerHandle = cython.cast(TimerHandle, self.entries[self.start].timer)
            self.remove(timer)
            loop.push(timer)
            if plait_is_recorded(loop.record):
                # It was ready when it was due.
                loop.record.pushed[(loop.head + loop.count - 1) & loop.mask].ns = timer.when_ns
        if plait_is_recorded(loop.record):
            plait_record_pushes(loop.record, PLAIT_BY_KERNEL, 0)
        return 0

    def clear(self):
        while self.count:
            self.count = self.count - 1
            timer: TimerHandle = cython.cast(TimerHandle, self.entries[self.start + self.count].timer)
            timer.place = -1
            Py_DECREF(timer)
            timer.make_known()
        self.start = 0
        return 0

    def put(self, place, entry):
        self.entries[place] = entry
        cython.cast(TimerHandle, entry.timer).place = place

    def sift_up(self, place, entry):
        while place > self.start:
            parent: cython.Py_ssize_t = self.start + ((place - self.start - 1) >> 1)
            if before(self.entries[parent], entry):
                break
            self.put(place, self.entries[parent])
            place = parent
        self.put(place, entry)

    def sift_down(self, place, entry):
        end: cython.Py_ssize_t = self.start + self.count
        child: cython.Py_ssize_t = 2 * place - self.start + 1
        while child < end:
            if child + 1 < end and before(self.entries[child + 1], self.entries[child]):
                child += 1
            if before(entry, self.entries[child]):
                break
            self.put(place, self.entries[child])
            place = child
            child = 2 * place - self.start + 1
        self.put(place, entry)


plait_reuse(cython.cast(cython.pointer(PyTypeObject), Handle), cython.NULL, True)
plait_reuse(cython.cast(cython.pointer(PyTypeObject), TimerHandle), cython.NULL, True)
