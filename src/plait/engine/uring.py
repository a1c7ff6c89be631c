"""The engine on io_uring(7).

Sockets are watched by one multishot poll each, which tells changes only (edges). Descriptors of users are watched level-triggered by
one nested epoll instance, which the ring watches in turn: a ring's poll would hold the user's file open after its close.
With DEFER_TASKRUN the kernel says in memory whether it has something for us, so a turn that needs no system call makes none.

What the kernel holds: the ring's own memory, the files of armed polls, and the buffers of operations. `close` cancels everything and
waits for the last completions before it lets go of any of them.
"""

import errno
import os
import time
import warnings

import cython
from cython.cimports.cpython.ref import Py_DECREF, Py_INCREF
from cython.cimports.libc.stdlib import free, malloc, realloc
from cython.cimports.plait.engine.contract import ALWAYS, ONCE, Engine, Operation, Source
from cython.cimports.plait.engine.epoll import cannot_wait_for, epoll_flags, no_descriptor
from cython.cimports.plait.engine.kernel import (
    EPOLL_CTL_DEL,
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    PyErr_CheckSignals,
    PyThread_get_thread_native_id,
    close,
    epoll_event,
    plait_epoll_create,
    plait_epoll_ctl,
    plait_epoll_set,
    plait_epoll_wait,
    plait_eventfd,
    plait_eventfd_write,
    plait_now_ns,
    plait_pollable,
    plait_thread,
)
from cython.cimports.plait.engine.record import plait_is_recorded, plait_record_busy, plait_record_idle
from cython.cimports.plait.engine.slots import OPERATION, RECEIVE, SOURCE, Slot, Slots
from cython.cimports.plait.engine.uring import (
    IORING_CQE_BUFFER_SHIFT,
    IORING_CQE_F_BUFFER,
    IORING_CQE_F_MORE,
    IORING_CQE_F_SOCK_NONEMPTY,
    IORING_FEAT_CQE_SKIP,
    IORING_OP_NOP,
    IORING_OP_RECV,
    IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_SINGLE_ISSUER,
    IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_TASKRUN_FLAG,
    io_uring_cqe,
    io_uring_sqe,
    plait_buffers_at,
    plait_buffers_close,
    plait_buffers_give,
    plait_buffers_open,
    plait_prepare_cancel,
    plait_prepare_look,
    plait_prepare_receive,
    plait_prepare_send,
    plait_prepare_watch,
    plait_ring,
    plait_ring_completions,
    plait_ring_enter,
    plait_ring_forget,
    plait_ring_holds,
    plait_ring_init,
    plait_ring_next,
    plait_ring_overflows,
    plait_ring_probe,
    plait_ring_queued,
    plait_ring_reap,
    plait_ring_setup,
    plait_ring_spin,
    plait_ring_unmap,
    plait_ring_wants_enter,
    plait_sends_grow,
)

from plait.engine.errors import EngineRefused

# Keys that no slot has: completions of the engine's own requests.
OWN_KEYS = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFF0)
NESTED = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFF0)
WAKE = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFF1)
CANCEL = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFF2)
NO_SLOT = cython.declare(cython.uint, 0xFFFFFFFF)
# Events to gather before any is told: what the kernel makes in one call, and few enough for the provided buffers to suffice.
BATCH_ENOUGH = cython.declare(cython.uint, 20)
NESTED_BATCH = cython.declare(cython.int, 256)
# Provided buffers are used in turn, so all of them must fit in the core's L2 beside the rest (half the speed where they do not).
BUFFERS = cython.declare(cython.uint, 64)
BUFFER_SIZE = cython.declare(cython.uint, 16 * 1024)

#: What to ask of io_uring_setup, best first: completions made only when this thread asks for them (6.1), then what every kernel
#: with io_uring has. COOP_TASKRUN alone was measured slower than plain.
BEST_FLAGS = (
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL
)
PLAIN_FLAGS = 0

_closed_at = cython.declare(cython.double, -1e9)


def seconds_since_close():
    """Since this process closed a ring: the kernel gives its memory back some 30 ms later, and till then it counts."""
    return time.monotonic() - _closed_at


class RawOperation(Operation):
    """An operation of any kind that calls a Python callable; made by UringEngine.submit_raw()."""

    def __init__(self, callback, buffer):
        self.callback = callback
        self.buffer = buffer
        if buffer is not None:
            self.lock = memoryview(buffer)

    @property
    def in_flight(self):
        return self.engine is not None

    def complete(self, result, flags):
        if self.engine is None and self.lock is not None:
            self.lock.release()
        self.callback(result)
        return 0


class UringEngine(Engine):
    """See contract.py."""

    def __cinit__(self, entries=256, completions=0, flags=BEST_FLAGS):
        self.name = "uring"
        self.entries = entries
        self.completions = completions or 2 * entries
        self.flags = flags
        self.wake_fd = self.nested = -1
        self.slots = Slots()
        plait_ring_init(cython.address(self.ring))
        self.room = 2 * self.completions
        self.batch = cython.cast(cython.pointer(io_uring_cqe), malloc(self.room * cython.sizeof(io_uring_cqe)))
        self.nested_batch = cython.cast(cython.pointer(epoll_event), malloc(NESTED_BATCH * cython.sizeof(epoll_event)))
        if self.batch == cython.NULL or self.nested_batch == cython.NULL:
            raise MemoryError

    def __init__(self, entries=256, completions=0, flags=BEST_FLAGS):
        """The arguments are those of io_uring_setup(2); completions default to twice the entries."""

    def __dealloc__(self):
        # No operation is in flight: each holds its engine. Polls need no memory of ours; the kernel drops them with the ring.
        plait_ring_unmap(cython.address(self.ring))
        plait_buffers_close(cython.address(self.buffers), False)
        self.close_descriptors()
        free(self.batch)
        free(self.nested_batch)
        free(self.sending.list)

    @property
    def features(self):
        """What the kernel gave; known once the engine was open."""
        deferred = self.flags & IORING_SETUP_DEFER_TASKRUN
        return (
            "completions on demand (SINGLE_ISSUER, DEFER_TASKRUN, TASKRUN_FLAG)" if deferred else "plain ring",
            f"{self.entries} submissions, {self.completions} completions",
            f"{sum(self.supported[i] for i in range(256))} operations",
            f"receives into {BUFFERS} buffers of {BUFFER_SIZE // 1024} KiB"
            if self.receives
            else "receives by readiness",
        )

    @property
    def opcodes(self):
        """Numbers of the operations that the kernel knows; known once the engine was open."""
        return frozenset(i for i in range(256) if self.supported[i])

    @property
    def in_flight(self):
        """Requests that the kernel still owes a completion for, among them the polls of armed sources; and users' descriptors that are
        watched all the time."""
        owed = self.slots.busy + self.sending.end - self.sending.first
        return owed - sum(1 for source in self.sources.values() if cython.cast(Source, source).telling != ALWAYS)

    def open(self):
        if self.is_open:
            if self.thread == plait_thread():
                return 0
            self.close()
        try:
            self.acquire()
            self.is_open = True
            self.forgotten = False
            for item in list(self.sources.values()):
                self.rearm(cython.cast(Source, item))
        except BaseException:
            self.close()
            raise
        return 0

    def rearm(self, source):
        if not source.level:
            return self.watch(source)
        if source.events == 0:
            self.drop(source)
            return 0
        return self.rearm_level(source, False)

    def rearm_level(self, source, known):
        try:
            self.watch_level(source, known)
        except OSError as error:
            if error.errno != errno.EBADF and error.errno != errno.EPERM:
                raise
            # The user has closed it since, and may have opened a file under its number: never told, as with epoll.
        return 0

    def acquire(self):
        result: cython.int = plait_ring_setup(cython.address(self.ring), self.entries, self.completions, self.flags)
        if result == -errno.EMFILE or result == -errno.ENFILE:
            raise no_descriptor(-result, "io_uring instance")
        if result < 0:
            raise EngineRefused(-result, f"io_uring_setup: {os.strerror(-result)}")
        self.wake_fd = plait_eventfd()
        if self.wake_fd < 0:
            raise no_descriptor(-self.wake_fd, "eventfd")
        self.thread = PyThread_get_thread_native_id()
        self.entries = self.ring.sq_entries
        self.completions = self.ring.cq_entries
        self.quiet = self.ring.features & IORING_FEAT_CQE_SKIP != 0
        plait_ring_probe(cython.address(self.ring), self.supported)
        # Completions of failures alone came with 5.17; a send that has failed in part tells how much has left since 6.1, with which
        # came on-demand completions, too.
        self.sends = self.quiet and self.flags & IORING_SETUP_DEFER_TASKRUN != 0
        # Multishot receives came with 6.0, and these completions with 6.1.
        self.receives = (
            self.flags & IORING_SETUP_DEFER_TASKRUN != 0
            and self.supported[IORING_OP_RECV] != 0
            and plait_buffers_open(cython.address(self.buffers), cython.address(self.ring), BUFFERS, BUFFER_SIZE) == 0
        )
        self.closing = False
        self.watch_wake()
        return 0

    def close(self):
        """Cancel what is in flight, wait for its last completions (as long as they take), and give everything back.

        In another thread than the one that opened it, the kernel refuses us the ring. The polls then end with the ring, a
        moment later; operations, whose thread is gone or busy elsewhere, are kept for ever with their buffers, as nobody can
        tell when the kernel has done with them.
        """
        global _closed_at
        if self.ring.fd >= 0:
            self.is_open = False
            self.closing = True
            self.sleeping = False
            left: cython.uint = 0
            try:
                if self.thread == PyThread_get_thread_native_id():
                    self.settle()
                else:
                    self.reap()
                    while self.position < self.count:
                        self.tell_last()
                    self.end_sends()
                    # The kernel ends them with the ring, a moment later, and may write into the buffers until then.
                    if self.buffers.entries != cython.NULL:
                        self.buffers.memory = cython.NULL
                    self.end_receives()
            finally:
                left = self.operations_in_flight
                plait_ring_unmap(cython.address(self.ring))
                plait_buffers_close(cython.address(self.buffers), False)
                _closed_at = time.monotonic()
                self.let_go(False)
            if left:
                warnings.warn(
                    f"an engine was closed by another thread than its own while {left} operations were in flight; their "
                    "buffers are kept for ever. Let the loop finish them, or close it in the thread that ran it",
                    ResourceWarning,
                    stacklevel=2,
                )
        self.close_descriptors()
        return 0

    def settle(self):
        """Cancel everything and gather the last completions."""
        result: cython.int
        ring: cython.pointer(plait_ring) = cython.address(self.ring)
        self.cancel_all()
        while self.slots.busy or self.wake_armed or self.nested_armed:
            if plait_ring_completions(ring) == 0 and self.position == self.count:
                self.enters = self.enters + 1
                with cython.nogil:
                    result = plait_ring_enter(ring, 1, -1)
                self.entered(result)
            self.reap()
            while self.position < self.count:
                self.tell_last()
        self.end_sends()
        return 0

    def tell_last(self):
        """What operations make of their last completions cannot stop the engine from closing: it is reported and passed over."""
        self.tell()
        return 0

    def cancel_all(self):
        i: cython.uint
        for i in range(self.slots.size):
            if self.slots.table[i].kind == SOURCE:
                if self.slots.table[i].owner != cython.NULL and cython.cast(Source, self.slots.table[i].owner).level:
                    self.slots.release(i)
                    continue
                self.slots.table[i].owner = cython.NULL
            elif self.slots.table[i].kind != OPERATION and self.slots.table[i].kind != RECEIVE:
                continue
            plait_prepare_cancel(self.entry(), self.slots.key(i), CANCEL, self.quiet)
        if self.wake_armed:
            plait_prepare_cancel(self.entry(), WAKE, CANCEL, self.quiet)
        if self.nested_armed:
            plait_prepare_cancel(self.entry(), NESTED, CANCEL, self.quiet)
        return 0

    def end_receives(self):
        """Tell the receives that no completion will come, so that their streams receive on another engine."""
        i: cython.uint
        for i in range(self.slots.size):
            if self.slots.table[i].kind == RECEIVE:
                operation: Operation = cython.cast(Operation, self.slots.table[i].owner)
                self.slots.release(i)
                operation.engine = None
                Py_DECREF(operation)  # taken by prepare(); `operation` holds its own
                self.tell_last_of(operation, -errno.ECANCELED)
        return 0

    def end_sends(self):
        """Tell all sends how they ended; those that the kernel has not taken, as if it had no room for them."""
        result: cython.int
        while self.sending.first < self.sending.end:
            operation: Operation = cython.cast(Operation, self.sending.list[self.sending.first].operation)
            result = -errno.EAGAIN
            if not plait_ring_holds(cython.address(self.ring), operation.entry):
                result = self.sending.list[self.sending.first].result
            self.sending.first += 1
            operation.engine = None
            Py_DECREF(operation)  # taken by submit_send(); `operation` holds its own
            self.tell_last_of(operation, result)
        return 0

    def tell_last_of(self, operation, result):
        """As tell_last."""
        operation.complete(result, 0)
        return 0

    def let_go(self, operations_too):
        """Free all slots. Operations keep the reference that their slot held unless told otherwise."""
        i: cython.uint
        operation: Operation
        for i in range(self.slots.size):
            if (self.slots.table[i].kind == OPERATION or self.slots.table[i].kind == RECEIVE) and operations_too:
                operation = cython.cast(Operation, self.slots.table[i].owner)
                operation.engine = None
                Py_DECREF(operation)  # taken by prepare()
            if self.slots.table[i].owner != cython.NULL or self.slots.table[i].kind == SOURCE:
                self.slots.release(i)
        while self.sending.first < self.sending.end:  # in the child of a fork; else they were told
            operation = cython.cast(Operation, self.sending.list[self.sending.first].operation)
            self.sending.first += 1
            operation.engine = None
            Py_DECREF(operation)  # taken by submit_send()
        self.hurried = False
        self.operations_in_flight = 0
        self.wake_armed = self.nested_armed = False
        self.position = self.count = 0
        return 0

    def close_descriptors(self):
        if self.wake_fd >= 0:
            close(self.wake_fd)
        if self.nested >= 0:
            close(self.nested)
        self.wake_fd = self.nested = -1
        return 0

    def forget(self):
        # The ring's memory does not exist in the child, and its nested epoll instance is shared with the parent. Operations write
        # into the parent's memory only, so that the child's copies of their buffers may go.
        if self.is_open:
            self.is_open = False
            self.forgotten = True
            self.sleeping = False
            plait_ring_forget(cython.address(self.ring))
            plait_buffers_close(cython.address(self.buffers), True)
            self.close_descriptors()
            self.let_go(True)
        return 0

    # Sources

    def arm(self, source, events, level):
        if source.engine is not None and source.engine is not self:
            raise RuntimeError("the source is armed on another engine; disarm it there first")
        result: cython.int
        if source.engine is self and source.level != level:
            self.disarm(source)
        known: cython.bint = source.engine is self
        if not known and not (level and self.is_open):
            # What epoll would say at once, the ring says too late (EBADF) or not at all (regular files).
            result = plait_pollable(source.fd)
            if result < 0:
                raise cannot_wait_for(source.fd, -result)
        self.remember(source, events, level)
        if not self.is_open:
            return 0
        try:
            if level:
                self.watch_level(source, known)
            else:
                if known:
                    self.unwatch(source)
                self.watch(source)
        except BaseException:
            self.disarm(source)
            raise
        return 0

    def watch(self, source):
        source.slot = NO_SLOT
        sqe: cython.pointer(io_uring_sqe) = self.entry()
        source.slot = self.slots.take(cython.cast(cython.p_void, source), SOURCE)
        plait_prepare_watch(sqe, source.fd, source.events, self.slots.key(source.slot))
        return 0

    def unwatch(self, source):
        """Cancel a multishot poll. Its slot stays taken until the last completion, and means nobody from now on."""
        index: cython.uint = source.slot
        if index != NO_SLOT:
            source.slot = NO_SLOT
            self.slots.table[index].owner = cython.NULL
            plait_prepare_cancel(self.entry(), self.slots.key(index), CANCEL, self.quiet)
        return 0

    def watch_level(self, source, known):
        if not known:
            source.slot = NO_SLOT
        if self.nested < 0:
            self.nested = plait_epoll_create()
            if self.nested < 0:
                raise no_descriptor(-self.nested, "epoll instance")
        if not known:
            source.slot = self.slots.take(cython.cast(cython.p_void, source), SOURCE)
        result: cython.int = -errno.EBADF
        # Closed by the user, a number may have become one of ours.
        if source.fd != self.nested and source.fd != self.wake_fd and source.fd != self.ring.fd:
            result = plait_epoll_set(
                self.nested, source.fd, source.events | epoll_flags(source), self.slots.key(source.slot), known
            )
        if result < 0:
            raise cannot_wait_for(source.fd, -result)
        if not self.nested_armed:
            self.look_nested()
        return 0

    def look_nested(self):
        """Have the ring tell when any user's descriptor is ready: now, if one still is."""
        plait_prepare_look(self.entry(), self.nested, EPOLLIN, NESTED)
        self.nested_armed = True
        return 0

    def watch_wake(self):
        plait_prepare_watch(self.entry(), self.wake_fd, EPOLLIN, WAKE)
        self.wake_armed = True
        return 0

    def disarm(self, source):
        index: cython.uint
        if self.drop(source) and self.is_open:
            if source.level:
                index = source.slot
                if index != NO_SLOT:
                    source.slot = NO_SLOT
                    # Fails if the user has closed the descriptor already, which has unregistered it.
                    plait_epoll_ctl(self.nested, EPOLL_CTL_DEL, source.fd, 0, 0)
                    self.slots.release(index)
            else:
                self.unwatch(source)
        return 0

    # Operations

    def prepare(self, operation):
        """Queue an entry for the caller to fill in, and hold the operation until its last completion."""
        self.check_open()
        if operation.engine is not None:
            raise RuntimeError("the operation is in flight already")
        sqe: cython.pointer(io_uring_sqe) = self.entry()
        operation.entry = self.ring.sq_tail - 1
        operation.slot = self.slots.take(cython.cast(cython.p_void, operation), OPERATION)
        operation.engine = self
        Py_INCREF(operation)  # given back by tell_operation() with the last completion, or by let_go()
        self.operations_in_flight = self.operations_in_flight + 1
        sqe.user_data = self.slots.key(operation.slot)
        return sqe

    def cancel(self, operation):
        if operation.engine is self and self.is_open:
            plait_prepare_cancel(self.entry(), self.slots.key(operation.slot), CANCEL, self.quiet)
        return 0

    def submit_send(self, operation, fd, data, size):
        self.check_open()
        if operation.engine is not None:
            raise RuntimeError("the operation is in flight already")
        if self.sending.end == self.sending.room and plait_sends_grow(cython.address(self.sending)) < 0:
            raise MemoryError
        sqe: cython.pointer(io_uring_sqe) = self.entry()
        operation.entry = self.ring.sq_tail - 1
        operation.engine = self
        Py_INCREF(operation)  # given back when it is told, by tell_sends() or end_sends(), or by let_go()
        plait_prepare_send(sqe, fd, data, size, cython.address(self.sending), cython.cast(cython.p_void, operation))
        return 0

    def submit_receive(self, operation, fd):
        plait_prepare_receive(self.prepare(operation), fd)
        self.slots.table[operation.slot].kind = RECEIVE
        self.operations_in_flight = self.operations_in_flight - 1
        return 0

    def received(self, flags):
        return plait_buffers_at(cython.address(self.buffers), flags >> IORING_CQE_BUFFER_SHIFT)

    def overflowed(self, result, flags):
        return result == self.buffers.size and flags & IORING_CQE_F_SOCK_NONEMPTY != 0

    def submitted(self, operation):
        return operation.engine is not self or not plait_ring_holds(cython.address(self.ring), operation.entry)

    def supports(self, opcode):
        return self.supported[opcode] != 0

    def nop(self, callback):
        """Submit an operation that does nothing; `callback(result)` is called when it has come back."""
        return self.submit_raw(callback, IORING_OP_NOP)

    def submit_raw(self, callback, opcode: cython.uchar, fd: cython.int = -1, buffer=None, offset: cython.longlong = 0):
        """Submit any operation by its number, for diagnosis: `callback(result)` is called with each completion.

        `buffer`, a bytearray, is what the kernel reads or writes; it cannot be resized until the last completion.
        """
        operation: RawOperation = RawOperation(callback, buffer)
        sqe: cython.pointer(io_uring_sqe) = self.prepare(operation)
        sqe.opcode = opcode
        sqe.fd = fd
        sqe.off = offset
        if operation.buffer is not None:
            data: cython.p_char = operation.buffer
            sqe.addr = cython.cast(cython.size_t, data)
            sqe.len = len(operation.buffer)
        return operation

    def cancel_raw(self, operation: RawOperation):
        self.cancel(operation)

    # Waiting

    def wait(self, timeout_ns):
        self.check_open()
        ring: cython.pointer(plait_ring) = cython.address(self.ring)
        ready: cython.bint = self.position < self.count or plait_ring_completions(ring) != 0
        wants: cython.bint = plait_ring_wants_enter(ring)
        if wants or ((ready or timeout_ns == 0 or self.hurried) and plait_ring_queued(ring) != 0):
            # Nothing sleeps here, so the interpreter is kept: giving it up can cost 5 ms when other threads compute.
            self.enter()
            ready = ready or plait_ring_completions(ring) != 0
        if not ready and timeout_ns != 0 and not self.hurried:
            self.sleep(timeout_ns)
        self.reap()
        # The kernel makes 20 deferred completions per call (since 6.12 or so) and says that there are more.
        while self.count - self.position < BATCH_ENOUGH and plait_ring_wants_enter(ring):
            before: cython.uint = self.count
            self.enter()
            self.reap()
            if self.count == before:
                break
        told: cython.int = 0
        self.hurried = self.hurried and self.sending.end != 0
        if self.sending.end:
            told = self.tell_sends()
        return told + self.tell()

    def enter(self):
        self.enters = self.enters + 1
        return self.entered(plait_ring_enter(cython.address(self.ring), 0, 0))

    def sleep(self, timeout_ns):
        ring: cython.pointer(plait_ring) = cython.address(self.ring)
        result: cython.int
        self.enters = self.enters + 1
        # Set while this thread still has the interpreter: whoever queues work from now on sees it and wakes us, and the eventfd
        # remembers a wake that comes before we sleep.
        self.sleeping = True
        if plait_is_recorded(self.record):
            plait_record_idle(self.record)
        began_ns: cython.longlong = 0
        until_ns: cython.longlong = 0
        if self.spin_ns:
            began_ns = plait_now_ns()
            until_ns = self.spin_until(began_ns, timeout_ns)
        with cython.nogil:
            if until_ns > began_ns:
                timeout_ns = plait_ring_spin(ring, began_ns, until_ns, timeout_ns)
            result = plait_ring_enter(ring, 0 if timeout_ns == 0 else 1, timeout_ns)
        self.sleeping = False
        if self.spin_ns:
            self.slept_ns = plait_now_ns() - began_ns
        if plait_is_recorded(self.record):
            plait_record_busy(self.record)
        self.entered(result)
        # Always: a signal during submit-and-wait answers the number of submissions, not EINTR.
        PyErr_CheckSignals()
        return 0

    def entered(self, result):
        """Look at what io_uring_enter answered. Most refusals only mean: gather what is there, and come again."""
        if result >= 0:
            return 0
        number: cython.int = -result
        if (
            number == errno.ETIME  # the timeout is over
            or number == errno.EINTR
            or number == errno.EBUSY  # completions wait outside the full ring (before 5.19); reap() makes room
            or number == errno.EAGAIN  # no memory for a request just now; the entries stay queued
        ):
            return 0
        raise ring_error(number)

    def reap(self):
        """Take all completions out of the ring, behind those not told yet."""
        ring: cython.pointer(plait_ring) = cython.address(self.ring)
        if self.position == self.count:
            self.position = self.count = 0
        waiting: cython.uint = plait_ring_completions(ring)
        if waiting == 0:
            return 0
        if self.count + waiting > self.room:
            room: cython.uint = 2 * (self.count + waiting)
            batch: cython.pointer(io_uring_cqe) = cython.cast(
                cython.pointer(io_uring_cqe), realloc(self.batch, room * cython.sizeof(io_uring_cqe))
            )
            if batch == cython.NULL:
                raise MemoryError
            self.batch = batch
            self.room = room
        self.count += plait_ring_reap(
            ring, self.batch + self.count, self.room - self.count, cython.address(self.sending)
        )
        return 0

    def flush(self):
        ring: cython.pointer(plait_ring) = cython.address(self.ring)
        if self.is_open and (plait_ring_queued(ring) != 0 or plait_ring_wants_enter(ring)):
            self.enter()
        return 0

    def pending(self):
        ring: cython.pointer(plait_ring) = cython.address(self.ring)
        return self.is_open and (
            self.position < self.count
            or plait_ring_completions(ring) != 0
            or plait_ring_queued(ring) != 0
            or plait_ring_wants_enter(ring)
            or self.sending.end != 0
        )

    def wake(self):
        if self.wake_fd >= 0:
            plait_eventfd_write(self.wake_fd)
        return 0

    def entry(self):
        """The next free submission entry; a full queue is brought to the kernel first."""
        sqe: cython.pointer(io_uring_sqe) = plait_ring_next(cython.address(self.ring))
        if sqe == cython.NULL:
            self.enter()
            sqe = plait_ring_next(cython.address(self.ring))
        if sqe == cython.NULL:
            self.reap()
            self.enter()
            sqe = plait_ring_next(cython.address(self.ring))
        if sqe == cython.NULL:
            raise OSError(errno.EBUSY, "the kernel takes no more submissions: it is out of memory for requests")
        return sqe

    # Telling

    def tell_sends(self):
        """Tell the sends that the kernel has taken. They were done meanwhile, and those without a completion have left whole."""
        told: cython.int = 0
        result: cython.int
        if plait_ring_overflows(cython.address(self.ring)):
            return 0  # the completion of one may wait outside the ring
        # Whoever is told may close the engine (or fork): there are none left then.
        while self.sending.first < self.sending.end:
            operation: Operation = cython.cast(Operation, self.sending.list[self.sending.first].operation)
            if plait_ring_holds(cython.address(self.ring), operation.entry):
                return told
            result = self.sending.list[self.sending.first].result
            self.sending.first += 1
            operation.engine = None
            Py_DECREF(operation)  # taken by submit_send(); `operation` holds its own
            told += 1
            self.told = self.told + 1
            operation.complete(result, 0)
        self.sending.number += self.sending.end
        self.sending.first = self.sending.end = 0
        self.hurried = False
        return told

    def tell(self):
        """Tell the batch to its sources and operations, the place kept up to date, because any of them may raise."""
        told: cython.int = 0
        cqe: io_uring_cqe
        slot: cython.pointer(Slot)
        more: cython.bint
        # Whoever is told may close the engine (or fork): the batch is then empty.
        while self.position < self.count:
            cqe = self.batch[self.position]
            self.position = self.position + 1
            self.told = self.told + 1
            more = cqe.flags & IORING_CQE_F_MORE != 0
            if cqe.user_data >= OWN_KEYS:
                told += self.tell_own(cqe.user_data, cqe.res, more)
                continue
            slot = self.slots.find(cqe.user_data)
            if slot == cython.NULL:
                continue
            if slot.kind != SOURCE:
                told += self.tell_operation(cython.cast(cython.uint, cqe.user_data), cqe.res, cqe.flags)
            else:
                told += self.tell_source(cython.cast(cython.uint, cqe.user_data), cqe.res, more)
        return told

    def tell_source(self, index, result, more):
        if self.slots.table[index].owner == cython.NULL:  # disarmed; only its last completion matters
            if not more:
                self.slots.release(index)
            return 0
        source: Source = cython.cast(Source, self.slots.table[index].owner)
        again: cython.bint = result == -errno.ENOMEM or result == -errno.EAGAIN or result == -errno.ECANCELED
        if result < 0 and not again:
            # Most likely the descriptor was closed before it was disarmed. The owner finds out as soon as it reads.
            source.slot = NO_SLOT
            self.slots.release(index)
            source.ready(EPOLLIN | EPOLLERR | EPOLLHUP)
            return 1
        if not more:
            # A multishot poll ends when its completion did not fit into the ring, or for want of memory. Its slot goes on.
            plait_prepare_watch(self.entry(), source.fd, source.events, self.slots.key(index))
            if again:
                return 0
        source.ready(result)
        return 1

    def tell_operation(self, index, result, flags):
        operation: Operation = cython.cast(Operation, self.slots.table[index].owner)
        if not flags & IORING_CQE_F_MORE:
            if self.slots.table[index].kind == OPERATION:
                self.operations_in_flight -= 1
            self.slots.release(index)
            operation.engine = None
            Py_DECREF(operation)  # taken by prepare(); `operation` holds its own
        if not flags & IORING_CQE_F_BUFFER:
            operation.complete(result, flags)
            return 1
        try:
            operation.complete(result, flags)
        finally:
            # Unless whoever was told has closed the engine, or is the child of a fork.
            if self.buffers.entries != cython.NULL:
                plait_buffers_give(cython.address(self.buffers), flags >> IORING_CQE_BUFFER_SHIFT)
        return 1

    def tell_own(self, key, result, more):
        """Completions of the engine's own requests; how many sources were told because of them."""
        if key == WAKE and not more:
            self.wake_armed = False
            if result == -errno.EINVAL:
                raise EngineRefused(errno.EOPNOTSUPP, "this kernel's io_uring has no multishot poll (Linux 5.13)")
            if not self.closing:
                self.watch_wake()
        elif key == NESTED:
            self.nested_armed = False
            if not self.closing:
                return self.tell_nested()
        return 0

    def tell_nested(self):
        """Tell the users' descriptors that are ready. Those not told now, because one raised, are still ready next time."""
        told: cython.int = 0
        i: cython.int = 0
        slot: cython.pointer(Slot)
        source: Source
        self.look_nested()
        self.enters = self.enters + 1
        count: cython.int = plait_epoll_wait(self.nested, self.nested_batch, NESTED_BATCH, 0, False)
        try:
            while i < count:
                slot = self.slots.find(self.nested_batch[i].data.u64)
                i += 1
                if slot != cython.NULL:
                    source = cython.cast(Source, slot.owner)
                    told += 1
                    if source.telling == ONCE:
                        source.events = 0
                    source.ready(self.nested_batch[i - 1].events)
        finally:
            while i < count:
                self.tell_again(self.slots.find(self.nested_batch[i].data.u64))
                i += 1
        return told

    def tell_again(self, slot):
        """The kernel has told of it and would not do so again, but the source has not been told: it is armed once more."""
        if slot != cython.NULL and cython.cast(Source, slot.owner).telling != ALWAYS:
            self.rearm_level(cython.cast(Source, slot.owner), True)
        return 0


def ring_error(number: int) -> OSError:
    if number == errno.EEXIST:
        return OSError(
            number, "the ring belongs to another thread; an engine is closed and opened again to run in a new one"
        )
    if number == errno.EBADR:
        return OSError(number, "the kernel had no memory to keep completions and dropped some; raise the memory limit")
    return OSError(number, f"io_uring_enter: {os.strerror(number)}")
