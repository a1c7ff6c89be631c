"""A few threads for the calls that would block: all of them on epoll, on io_uring those that the ring lacks.

Queue and results are C under one mutex. A worker that carries out a system call needs no interpreter, neither before nor after, so that it
never waits for Python code that computes; only Python functions (file_call) take it. Workers write an eventfd when the first result is
there, and the loop takes all results that it then finds. Threads start when there is work and none is idle.
"""

import threading
import time
import weakref

import cython
from cython.cimports.cpython.ref import Py_DECREF, Py_INCREF
from cython.cimports.plait.engine.contract import Operation, Source
from cython.cimports.plait.engine.epoll import no_descriptor
from cython.cimports.plait.engine.kernel import EPOLLIN, close, plait_eventfd, plait_eventfd_write
from cython.cimports.plait.system.requests import (
    PLAIT_OP_CALL,
    plait_block_signals,
    plait_look_for,
    plait_perform,
    plait_request,
    pthread_cond_broadcast,
    pthread_cond_init,
    pthread_cond_signal,
    pthread_cond_wait,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_unlock,
)

from plait.standard import at_thread_shutdown

# Enough that a disk sees some requests at once; more would only switch.
THREADS_MAX = cython.declare(cython.uint, 16)
# After a call that moved so many bytes a worker looks for the next one for a while before it sleeps: who writes a large file piece by
# piece comes back within that time, and waking up would take a third as long as writing a piece does.
LARGE = cython.declare(cython.int, 256 * 1024)
LOOKING_NS = cython.declare(cython.longlong, 50_000)
# What close() gives calls that are under way. One that takes longer (a FIFO that nobody opens) keeps its thread until it ends.
CLOSE_SECONDS = 1.0


class Job(Operation):
    """An operation that a worker can carry out: the system call in `request`, or with PLAIT_OP_CALL what `call` does."""

    def call(self):
        return 0


class Pool(Source):
    """The workers of one loop. Source of the eventfd by which they tell that something is done."""

    def __cinit__(self):
        self.fd = -1
        self.threads = []
        pthread_mutex_init(cython.address(self.mutex), cython.NULL)
        pthread_cond_init(cython.address(self.work), cython.NULL)

    def __init__(self):
        self.fd = plait_eventfd()
        if self.fd < 0:
            raise no_descriptor(-self.fd, "eventfd")
        _pools.add(self)

    def __dealloc__(self):
        # No thread is left: each holds the pool.
        if self.fd >= 0:
            close(self.fd)

    def put(self, job, engine):
        """Hand it to a worker. The pool holds the job until it has told it."""
        pthread_mutex_lock(cython.address(self.mutex))
        short: cython.bint = self.queued >= self.idle
        pthread_mutex_unlock(cython.address(self.mutex))
        if short and cython.cast(cython.uint, len(self.threads)) < THREADS_MAX:
            self.start_thread()
        if self.engine is None:
            engine.arm(self, EPOLLIN, False)  # until close(): arming it for each call cost a tenth of writing 1 MiB
        Py_INCREF(job)  # given back by tell(), or by withdraw()
        self.outstanding += 1
        job.request.owner = cython.cast(cython.p_void, job)
        job.request.following = cython.NULL
        pthread_mutex_lock(cython.address(self.mutex))
        if self.last == cython.NULL:
            self.first = cython.address(job.request)
        else:
            self.last.following = cython.address(job.request)
        self.last = cython.address(job.request)
        self.queued += 1
        if self.queued > self.looking:
            pthread_cond_signal(cython.address(self.work))
        pthread_mutex_unlock(cython.address(self.mutex))
        return 0

    def start_thread(self):
        thread = threading.Thread(target=self.work_on, name=f"plait-files-{len(self.threads) + 1}", daemon=False)
        try:
            thread.start()
        except RuntimeError:
            # No thread can be had just now (a limit, or the interpreter ends): those that there are do the work.
            if not self.threads:
                raise
            return 0
        self.threads.append(thread)
        return 0

    def withdraw(self, job):
        """Take it out of the queue; false if a worker has it already. It is not told then."""
        before: cython.pointer(plait_request) = cython.NULL
        found: cython.bint = False
        pthread_mutex_lock(cython.address(self.mutex))
        request: cython.pointer(plait_request) = self.first
        while request != cython.NULL and request != cython.address(job.request):
            before = request
            request = request.following
        if request != cython.NULL:
            found = True
            if before == cython.NULL:
                self.first = request.following
            else:
                before.following = request.following
            if self.last == request:
                self.last = before
            self.queued -= 1
        pthread_mutex_unlock(cython.address(self.mutex))
        if found:
            self.outstanding -= 1
            Py_DECREF(job)  # taken by put(); the caller holds its own
        return found

    # In the workers.

    def work_on(self):
        request: cython.pointer(plait_request)
        large: cython.bint = False
        with cython.nogil:
            plait_block_signals()
            while True:
                request = self.take(large)
                if request == cython.NULL:
                    break
                if request.entry.opcode == PLAIT_OP_CALL:
                    with cython.gil:
                        cython.cast(Job, request.owner).call()
                    request.result = 0
                else:
                    request.result = plait_perform(cython.address(request.entry))
                large = request.result >= LARGE
                self.give(request)
        if self.closed:
            # Left behind by close(): nobody else will tell what this thread was busy with.
            self.tell_last()

    def take(self, looks):
        """The next request, or NULL when it is time to end. `looks`: before it sleeps, for a while."""
        request: cython.pointer(plait_request)
        pthread_mutex_lock(cython.address(self.mutex))
        while self.first == cython.NULL and not self.stopping:
            self.idle = self.idle + 1  # Cython holds += to need the interpreter
            if looks:
                looks = False
                self.looking = self.looking + 1
                pthread_mutex_unlock(cython.address(self.mutex))
                plait_look_for(cython.cast(cython.pointer(cython.p_void), cython.address(self.first)), LOOKING_NS)
                pthread_mutex_lock(cython.address(self.mutex))
                self.looking = self.looking - 1
            else:
                pthread_cond_wait(cython.address(self.work), cython.address(self.mutex))
            self.idle = self.idle - 1
        request = self.first
        if request != cython.NULL:
            self.first = request.following
            if self.first == cython.NULL:
                self.last = cython.NULL
            self.queued = self.queued - 1
        pthread_mutex_unlock(cython.address(self.mutex))
        return request

    def give(self, request):
        first: cython.bint
        request.following = cython.NULL
        pthread_mutex_lock(cython.address(self.mutex))
        first = self.first_done == cython.NULL
        if first:
            self.first_done = request
        else:
            self.last_done.following = request
        self.last_done = request
        # Under the mutex: once it is told, the loop may close the descriptor.
        if first:
            plait_eventfd_write(self.fd)
        pthread_mutex_unlock(cython.address(self.mutex))

    # In the loop's thread.

    def ready(self, events):
        try:
            self.tell()
        except BaseException:
            plait_eventfd_write(self.fd)  # the others are told in the next turn
            raise
        return 0

    def tell(self):
        request: cython.pointer(plait_request) = self.next_done()
        job: Job
        while request != cython.NULL:
            job = cython.cast(Job, request.owner)
            Py_DECREF(job)  # taken by put(); `job` holds its own
            self.outstanding -= 1
            job.complete(request.result, 0)
            request = self.next_done()
        return 0

    def next_done(self):
        pthread_mutex_lock(cython.address(self.mutex))
        request: cython.pointer(plait_request) = self.first_done
        if request != cython.NULL:
            self.first_done = request.following
        pthread_mutex_unlock(cython.address(self.mutex))
        return request

    def close(self):
        """Carry out what is queued, and end the threads; idempotent. A call that does not end keeps its thread, and ends with it."""
        _pools.discard(self)
        pthread_mutex_lock(cython.address(self.mutex))
        self.stopping = True
        pthread_cond_broadcast(cython.address(self.work))
        pthread_mutex_unlock(cython.address(self.mutex))
        threads, self.threads = self.threads, []
        until = time.monotonic() + CLOSE_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if self.engine is not None:
            self.engine.disarm(self)
        self.closed = True
        self.tell_last()

    def tell_last(self):
        """After close(): when no call is under way any more, the descriptor goes, too."""
        self.tell()
        if self.outstanding == 0 and self.fd >= 0:
            close(self.fd)
            self.fd = -1
        return 0


_pools = weakref.WeakSet()


def _close_all():
    """The interpreter ends with a loop that was never closed: its threads must not keep it from that."""
    for pool in list(_pools):
        pool.close()


at_thread_shutdown(_close_all)
