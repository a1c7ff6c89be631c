"""The traffic of file operations: how many are on their way, who carries each out, how they end.

An operation ends in `complete`, exactly once, in the loop's thread, whether the ring did it or a worker; only then is the memory given
back that was lent to the kernel. A future that is cancelled lets its task go on at once; the operation is asked to end early, and what
it did after all is undone where that means something (an opened file is closed) or dropped.
"""

import errno
import os
from collections import deque

import cython
from cython.cimports.plait.core.futures import OperationFuture
from cython.cimports.plait.engine.contract import Engine, Operation
from cython.cimports.plait.engine.kernel import close
from cython.cimports.plait.engine.slots import OPERATION
from cython.cimports.plait.engine.uring import UringEngine, io_uring_sqe
from cython.cimports.plait.system.pool import Pool
from cython.cimports.plait.system.requests import (
    IORING_OP_READ,
    IORING_OP_READV,
    IORING_OP_WRITE,
    IORING_OP_WRITEV,
    IOSQE_ASYNC,
    S_IFMT,
    S_IFREG,
    plait_look_at,
    plait_only_copies,
    plait_read_cached,
    statx_result,
)

from plait.system.mounts import is_fuse

# So many operations are with the kernel and the workers at a time; those beyond wait for their turn, in order.
IN_FLIGHT_MAX = cython.declare(cython.uint, 1024)
# What a turn may read from the page cache on the spot: for so long do the others wait.
CACHED_CALLS_MAX = cython.declare(cython.Py_ssize_t, 32)
CACHED_BYTES_MAX = cython.declare(cython.Py_ssize_t, 512 * 1024)
# Reads for which the page cache is not asked after one that was not there; doubled from 1 each time.
PAUSE_MAX = cython.declare(cython.uint, 64)
MOVED = "the loop was moved to another thread while this operation was in flight, so that its end cannot be known"
strerror = cython.declare(object, os.strerror)
# Minor number of an unnamed device -> is_fuse(). It is not asked again when the number was unmounted and given to another.
_fuse = cython.declare(dict, {})


class Traffic(Runnable):
    """The file operations of one loop, bounded and counted."""

    def __cinit__(self, loop: Scheduler):
        self.loop = loop
        self.waiting = deque()
        self.later = deque()
        self.left = []
        self.calls_left = CACHED_CALLS_MAX
        self.bytes_left = CACHED_BYTES_MAX

    # Life.

    def begin_run(self):
        """The engine is open: what was asked for before can begin."""
        if self.left:
            self.give_up_left()
        self.launch_waiting()

    def end_run(self):
        """Note what the ring still has. If the loop runs in another thread next, nobody can ask this ring any more."""
        engine: Engine = self.loop.engine
        if self.in_flight == 0 or type(engine) is not UringEngine:
            return
        ring: UringEngine = cython.cast(UringEngine, engine)
        slot: cython.uint
        self.left_thread = ring.thread
        for slot in range(ring.slots.size):
            if ring.slots.table[slot].kind == OPERATION:
                operation = cython.cast(Operation, ring.slots.table[slot].owner)
                if isinstance(operation, FileOperation):
                    self.left.append(operation)

    def give_up_left(self):
        """Operations that a ring in another thread has fail, as their end will not be heard. Their memory stays lent for ever."""
        engine: Engine = self.loop.engine
        operation: FileOperation
        left: list = self.left
        self.left = []
        if type(engine) is UringEngine and cython.cast(UringEngine, engine).thread == self.left_thread:
            return 0
        for operation in left:
            if operation.place != ON_RING:
                continue
            self.in_flight -= 1
            operation.place = NOWHERE
            future = operation.future
            if future is not None:
                operation.end(future)
                future.finish_failed(OSError(errno.ECANCELED, MOVED))
        return 0

    def close(self):
        """The loop closes. Nobody is told any more, opened files are closed, what is queued to be written or closed is carried out."""
        operation: FileOperation
        self.closed = True
        if self.pool is not None:
            self.pool.close()
        for closes in (self.lingering or {}).values():
            self.waiting.extend(filter(None, closes))
        self.waiting.extend(self.later)
        self.later.clear()
        while self.waiting:
            operation = self.waiting.popleft()
            operation.place = NOWHERE
            if isinstance(operation, CloseOperation):
                close(operation.request.entry.fd)
            operation.release()

    def forget(self):
        """In the child of a fork: threads and completions are the parent's."""
        if self.pool is not None and self.pool.engine is not None:
            self.pool.engine.disarm(self.pool)
        self.pool = None
        self.in_flight = 0
        self.waiting.clear()
        self.later.clear()
        self.lingering = None

    def run(self):
        """At the end of a turn that read from the page cache on the spot, or in one that goes on with those put off."""
        operation: FileOperation
        self.queued = True  # what is read below counts for the next turn
        self.calls_left = CACHED_CALLS_MAX
        self.bytes_left = CACHED_BYTES_MAX
        while self.later and self.calls_left > 0 and self.bytes_left > 0:
            operation = self.later.popleft()
            operation.place = NOWHERE
            if operation.future is None:
                operation.release()
                continue
            try:
                operation.have_turn()
            except BaseException as error:
                operation.fail(error)
        self.queued = False
        if self.calls_left < CACHED_CALLS_MAX:
            self.come_again()
        return 0

    def come_again(self):
        """In the next turn, behind those who are ready by now."""
        if not self.queued:
            self.queued = True
            self.loop.push(self)
        return 0

    def must_wait(self, size):
        """Whether this turn has no room for a read from the page cache, which is tried as a rule."""
        if self.pause > 0 or not self.loop.thread or self.closed:
            return False
        return self.calls_left <= 0 or self.bytes_left < size or bool(self.later)

    def put_off(self, operation):
        """Read when a turn has room for it: those before it come first."""
        self.loop.check_thread()
        operation.place = WAITING
        self.later.append(operation)
        self.come_again()
        return self.future_of(operation)

    def start(self, operation):
        """Have it carried out; the future of its result."""
        loop = self.loop
        loop.check_thread()
        if self.closed:
            operation.release()
            raise RuntimeError("Event loop is closed")
        future: OperationFuture = self.future_of(operation)
        self.resume(operation)
        return future

    def future_of(self, operation):
        future: OperationFuture = OperationFuture.__new__(OperationFuture)
        future.setup(self.loop)
        future.operation = operation
        operation.future = future
        return future

    def resume(self, operation):
        """Hand it on, or have it wait for its turn."""
        loop = self.loop
        if self.in_flight >= IN_FLIGHT_MAX or self.waiting or loop.engine is None or not loop.engine.is_open:
            operation.place = WAITING
            self.waiting.append(operation)
        else:
            self.launch(operation)
        return 0

    def launch(self, operation):
        engine: Engine = self.loop.engine
        ring: UringEngine
        entry: cython.pointer(io_uring_sqe)
        key: cython.ulonglong
        if type(engine) is UringEngine:
            ring = cython.cast(UringEngine, engine)
            if ring.supports(operation.request.entry.opcode) and not plait_only_copies(
                cython.address(operation.request.entry)
            ):
                entry = ring.prepare(operation)
                key = entry.user_data
                entry[0] = operation.request.entry
                entry.user_data = key
                if waits_for_server(entry):
                    entry.flags |= IOSQE_ASYNC
                operation.place = ON_RING
                self.in_flight += 1
                self.on_ring += 1
                return 0
        if self.pool is None:
            self.pool = Pool()
        self.pool.put(operation, engine)
        operation.place = WITH_WORKERS
        self.in_flight += 1
        self.by_workers += 1
        return 0

    def launch_waiting(self):
        """Those that waited for their turn."""
        operation: FileOperation
        engine: Engine = self.loop.engine
        while self.waiting and self.in_flight < IN_FLIGHT_MAX and engine.is_open and not self.closed:
            operation = self.waiting.popleft()
            if operation.future is None and not isinstance(operation, CloseOperation):
                operation.place = NOWHERE
                operation.release()
                continue
            try:
                self.launch(operation)
            except BaseException as error:
                operation.fail(error)
        return 0

    def try_cached(self, fd, data, size, offset):
        """Read from the page cache on the spot; a count, or -EAGAIN when that is not possible, is not worth a try, or not this task's turn.

        Bounded for each turn, so that a task which always finds its data cached does not keep the others from theirs. Where the cache
        has little, the tries become rare.
        """
        if self.pause > 0:
            self.pause -= 1
            return -errno.EAGAIN
        if self.calls_left <= 0 or self.bytes_left < size or not self.loop.thread:
            return -errno.EAGAIN
        result: cython.long = plait_read_cached(fd, data, size, offset)
        if result < 0:
            self.misses = min(2 * self.misses + 1, PAUSE_MAX)
            self.pause = self.misses
            return result
        self.misses = 0
        self.count_call(result)
        return result

    def count_call(self, size):
        """One more was done on the spot."""
        self.calls_left -= 1
        self.bytes_left -= size
        if not self.queued:
            self.loop.defer(self)
        return 0

    def close_later(self, operation, fd):
        """A worker has an abandoned operation on it, which must not meet another file under the number."""
        operation.place = WAITING
        self.lingering[fd].append(operation)
        return self.future_of(operation)

    def linger(self, fd):
        """An operation that nobody waits for any more is still with a worker."""
        if self.lingering is None:
            self.lingering = {}
        self.lingering.setdefault(fd, []).append(None)
        return 0

    def lingered(self, fd):
        """It has come to its end: closes that waited for the last of them follow."""
        waiting: list = self.lingering[fd]
        waiting.remove(None)
        if None not in waiting:
            del self.lingering[fd]
            self.waiting.extend(waiting)
        return 0

    def done(self, value):
        """The future of what is there already."""
        future: OperationFuture = OperationFuture.__new__(OperationFuture)
        future.setup(self.loop)
        future.finish(value)
        self.at_once += 1
        return future


class FileOperation(Job):
    """Completes with None."""

    def begin(self, files, opcode, fd):
        self.files = files
        self.request.entry.opcode = opcode
        self.request.entry.fd = fd
        return 0

    def value(self, result):
        """What the future gets."""
        return None

    def error(self, code):
        return OSError(code, strerror(code))

    def too_late(self, result):
        """Nobody waits for what it did."""
        return 0

    def release(self):
        """Give back the memory that was lent to the kernel; called when it has done with it, and from __dealloc__ at the latest."""
        return 0

    def have_turn(self):
        """Of those that can be put off."""
        return 0

    def complete(self, result, flags):
        """The end, told by the ring or by the pool."""
        files = self.files
        future = self.future
        self.landed()
        if result == -errno.EINTR and future is not None and not files.closed:
            return self.again()  # a signal came between; as with os functions, nobody hears of it
        try:
            if future is None or files.closed:
                if result >= 0:
                    self.too_late(result)
            elif result < 0:
                self.end(future)
                future.finish_failed(self.error(-result))
            else:
                value = self.value(result)
                self.end(future)
                future.finish(value)
        except BaseException as error:
            self.fail(error)
        finally:
            self.release()
            if files.waiting:
                files.launch_waiting()
        return 0

    def landed(self):
        """The kernel and the workers have done with it. First of all in every `complete`."""
        self.files.in_flight -= 1
        self.place = NOWHERE
        if self.lingers:
            self.lingers = False
            self.files.lingered(self.request.entry.fd)
        return 0

    def again(self):
        """Have the kernel do it once more."""
        try:
            self.files.launch(self)
        except BaseException as error:
            self.fail(error)
        return 0

    def end(self, future):
        """They do not hold each other any more."""
        self.future = None
        future.operation = None
        return 0

    def fail(self, error):
        future = self.future
        if future is not None:
            self.end(future)
            future.finish_failed(error)
        self.place = NOWHERE
        self.release()
        return 0

    def abandon(self):
        """The future was cancelled. The kernel is asked to end it; its completion comes in any case."""
        self.future = None
        if self.place == ON_RING and self.engine is not None:
            cython.cast(UringEngine, self.engine).cancel(self)
        elif self.place == WITH_WORKERS:
            if self.files.pool.withdraw(self):
                self.complete(-errno.ECANCELED, 0)
            elif self.request.entry.fd >= 0:
                self.lingers = True
                self.files.linger(self.request.entry.fd)
        return 0


class CloseOperation(FileOperation):
    """A close is never taken back: without it the descriptor would be lost."""

    def abandon(self):
        self.future = None
        return 0

    def complete(self, result, flags):
        if result == -errno.ECANCELED:  # by the engine, which closes
            result = 0
            close(self.request.entry.fd)
        return FileOperation.complete(self, result, flags)


@cython.cfunc
@cython.exceptval(-1, check=True)
def waits_for_server(entry: cython.pointer(io_uring_sqe)) -> cython.bint:
    """Whether it reads or writes a file that a program serves, so that a kernel thread must do it: see mounts.py."""
    found = cython.declare(statx_result)
    opcode: cython.uchar = entry.opcode
    if (
        opcode != IORING_OP_READ
        and opcode != IORING_OP_WRITE
        and opcode != IORING_OP_READV
        and opcode != IORING_OP_WRITEV
    ):
        return False
    if entry.flags & IOSQE_ASYNC or plait_look_at(entry.fd, cython.address(found)) < 0:
        return False
    # Disks have numbers of their own; programs, memory and the network do not.
    if found.stx_dev_major != 0 or found.stx_mode & S_IFMT != S_IFREG:
        return False
    known = _fuse.get(found.stx_dev_minor)
    if known is None:
        known = _fuse[found.stx_dev_minor] = is_fuse(0, found.stx_dev_minor)
    return known
