"""The engine on epoll(7): it runs everywhere.

Transports' sources are registered once, edge-triggered, for as long as they live; users' descriptors level-triggered.
"""

import errno
import os
import resource

import cython
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.plait.engine.contract import CHANGES, ONCE, Engine, Source
from cython.cimports.plait.engine.kernel import (
    EPOLL_CTL_DEL,
    EPOLLET,
    EPOLLIN,
    EPOLLONESHOT,
    PyErr_CheckSignals,
    close,
    epoll_event,
    plait_epoll_create,
    plait_epoll_ctl,
    plait_epoll_exact,
    plait_epoll_set,
    plait_epoll_wait,
    plait_eventfd,
    plait_eventfd_write,
    plait_now_ns,
    plait_pollable,
)
from cython.cimports.plait.engine.record import plait_is_recorded, plait_record_busy, plait_record_idle
from cython.cimports.plait.engine.slots import SOURCE, Slot, Slots

BATCH = cython.declare(cython.int, 512)
# The number under which the wake descriptor is registered; no slot has this index.
WAKE = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFFF)
# A busy loop asks the kernel in each turn (80 ns) until so many looks in a row brought nothing, and then only every 20 us,
# which is far below what a packet needs and far above what a turn needs.
IDLE_LOOKS = cython.declare(cython.int, 64)
LOOK_EVERY_NS = cython.declare(cython.longlong, 20_000)


class EpollEngine(Engine):
    """See contract.py."""

    def __cinit__(self):
        self.name = "epoll"
        self.epoll = self.wake_fd = -1
        self.slots = Slots()
        self.batch = cython.cast(cython.pointer(epoll_event), calloc(BATCH, cython.sizeof(epoll_event)))
        if self.batch == cython.NULL:
            raise MemoryError

    def __dealloc__(self):
        # Only what is C: the collector may have taken the slots already.
        self.close_descriptors()
        free(self.batch)

    @property
    def features(self):
        """What the kernel gives beyond plain epoll; known once the engine was open."""
        return ("timeouts to the nanosecond (epoll_pwait2)",) if self.exact else ()

    @property
    def in_flight(self):
        """Completions that the kernel still owes: always none here."""
        return 0

    @property
    def operations_in_flight(self):
        return 0

    def open(self):
        if self.is_open:
            return 0
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
        if source.level and source.events == 0:
            self.drop(source)
            return 0
        try:
            self.register(source, False)
        except OSError as error:
            if error.errno != errno.EBADF and error.errno != errno.EPERM:
                raise
            # The user has closed it since, and may have opened a file under its number: never told.
        return 0

    def acquire(self):
        self.epoll = plait_epoll_create()
        if self.epoll < 0:
            raise no_descriptor(-self.epoll, "epoll instance")
        self.wake_fd = plait_eventfd()
        if self.wake_fd < 0:
            raise no_descriptor(-self.wake_fd, "eventfd")
        result: cython.int = plait_epoll_set(self.epoll, self.wake_fd, EPOLLIN | EPOLLET, WAKE, False)
        if result < 0:
            raise no_descriptor(-result, "epoll registration")
        self.exact = plait_epoll_exact(self.epoll)
        self.position = self.count = self.idle = 0
        return 0

    def close(self):
        self.release()
        return 0

    def forget(self):
        # Closing is right here: a child's copies of the descriptors are its own, while any epoll_ctl would act on the instance
        # that it shares with its parent.
        if self.is_open:
            self.release()
            self.forgotten = True
        return 0

    def close_descriptors(self):
        if self.epoll >= 0:
            close(self.epoll)
        if self.wake_fd >= 0:
            close(self.wake_fd)
        self.epoll = self.wake_fd = -1
        return 0

    def release(self):
        self.close_descriptors()
        self.is_open = False
        self.sleeping = False
        self.position = self.count = 0
        i: cython.uint
        for i in range(self.slots.size):
            if self.slots.table[i].kind == SOURCE:
                self.slots.release(i)
        return 0

    def arm(self, source, events, level):
        if source.engine is not None and source.engine is not self:
            raise RuntimeError("the source is armed on another engine; disarm it there first")
        known: cython.bint = source.engine is self
        if not self.is_open:
            result: cython.int = plait_pollable(source.fd)
            if result < 0:
                raise cannot_wait_for(source.fd, -result)
            self.remember(source, events, level)
            return 0
        self.remember(source, events, level)
        try:
            self.register(source, known)
        except OSError:
            self.disarm(source)
            raise
        return 0

    def register(self, source, known):
        if not known:
            source.slot = self.slots.take(cython.cast(cython.p_void, source), SOURCE)
        if self.owns(source.fd):
            raise cannot_wait_for(source.fd, errno.EBADF)
        result: cython.int = plait_epoll_set(
            self.epoll, source.fd, source.events | epoll_flags(source), self.slots.key(source.slot), known
        )
        if result < 0:
            raise cannot_wait_for(source.fd, -result)
        return 0

    def owns(self, fd):
        """Closed by its user, a number may have become one of ours, which must not be changed in his name."""
        return fd == self.epoll or fd == self.wake_fd

    def disarm(self, source):
        if self.drop(source) and self.is_open:
            if not self.owns(source.fd):
                # Fails if a user has closed the descriptor already, which has unregistered it.
                plait_epoll_ctl(self.epoll, EPOLL_CTL_DEL, source.fd, 0, 0)
            self.slots.release(source.slot)
        return 0

    def wait(self, timeout_ns):
        self.check_open()
        if self.position == self.count:
            self.enters += 1
            if timeout_ns == 0:
                self.looked(plait_epoll_wait(self.epoll, self.batch, BATCH, 0, self.exact))
                self.idle = self.idle + 1 if self.count == 0 else 0
                if self.idle >= IDLE_LOOKS:
                    self.looked_ns = plait_now_ns()
            else:
                self.sleep(timeout_ns)
                self.idle = 0
        return self.tell()

    def sleep(self, timeout_ns):
        count: cython.int
        # Set while this thread still has the interpreter: whoever queues work from now on sees it and wakes us, and the eventfd
        # remembers a wake that comes before we sleep.
        self.sleeping = True
        if plait_is_recorded(self.record):
            plait_record_idle(self.record)
        began_ns: cython.longlong = 0
        until_ns: cython.longlong = 0
        now_ns: cython.longlong = 0
        if self.spin_ns:
            now_ns = began_ns = plait_now_ns()
            until_ns = self.spin_until(began_ns, timeout_ns)
        with cython.nogil:
            count = 0
            while now_ns < until_ns and count == 0:
                count = plait_epoll_wait(self.epoll, self.batch, BATCH, 0, self.exact)
                now_ns = plait_now_ns()
            if count == 0:
                if timeout_ns > 0:
                    timeout_ns = max(timeout_ns - (now_ns - began_ns), 0)
                count = plait_epoll_wait(self.epoll, self.batch, BATCH, timeout_ns, self.exact)
        self.sleeping = False
        if self.spin_ns:
            self.slept_ns = plait_now_ns() - began_ns
        if plait_is_recorded(self.record):
            plait_record_busy(self.record)
        self.looked(count)
        PyErr_CheckSignals()
        return 0

    def looked(self, count):
        """Take what epoll_wait answered for the batch.

        EINTR is no signal for sure: the kernel also interrupts a thread to take down a ring that the thread has closed.
        """
        self.position = 0
        self.count = count if count > 0 else 0
        if count < 0 and count != -errno.EINTR:
            raise OSError(-count, f"epoll_wait: {os.strerror(-count)}")
        return 0

    def tell(self):
        """Tell the batch to its sources, the place kept up to date, because any of them may raise."""
        told: cython.int = 0
        slot: cython.pointer(Slot)
        source: Source
        events: cython.uint
        # A source may close the engine (or fork): the batch is then empty.
        while self.position < self.count:
            events = self.batch[self.position].events
            slot = self.slots.find(self.batch[self.position].data.u64)
            self.position += 1
            self.told += 1
            if slot != cython.NULL:
                source = cython.cast(Source, slot.owner)
                told += 1
                if source.telling == ONCE:
                    source.events = 0
                source.ready(events)
        return told

    def pending(self):
        return self.position < self.count or self.idle < IDLE_LOOKS or plait_now_ns() - self.looked_ns >= LOOK_EVERY_NS

    def wake(self):
        if self.wake_fd >= 0:
            plait_eventfd_write(self.wake_fd)
        return 0


def epoll_flags(source):
    """How epoll is to tell of it."""
    if not source.level or source.telling == CHANGES:
        return EPOLLET
    return EPOLLONESHOT if source.telling == ONCE else 0


def cannot_wait_for(fd, errno):
    """Why arming failed, as the OSError subclass that belongs to the number."""
    return OSError(errno, _why_not(fd, errno))


def _why_not(fd: int, number: int) -> str:
    if number == errno.EPERM:
        return (
            f"descriptor {fd} cannot be waited for: it is a regular file, a directory or another thing that is always "
            "ready; read and write it directly or through the file API"
        )
    if number == errno.EBADF:
        return f"descriptor {fd} is not open"
    if number == errno.ENOSPC:
        return (
            f"descriptor {fd} cannot be watched: this user's limit of epoll watches is reached; "
            "raise sysctl fs.epoll.max_user_watches"
        )
    return f"descriptor {fd} cannot be watched: {os.strerror(number)}"


def no_descriptor(errno, what):
    return OSError(errno, _no_room(errno, what))


def _no_room(number: int, what: str) -> str:
    if number == errno.EMFILE:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"no descriptor left for {what}: the limit of open files is {limit}; raise it (ulimit -n, LimitNOFILE=)"
    return f"the kernel gives no {what}: {os.strerror(number)}"
