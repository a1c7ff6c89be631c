"""A user's descriptor that is watched: by add_reader() and add_writer(), with one handle for each direction, and by sock_*() calls that
wait for it once.

Handles are told in every turn while the descriptor is ready. Calls alone are told once each; then the descriptor stays registered, asking
for nothing, so that the next call's wait costs one call of the kernel. That one is always made: whatever the number stands for by
now, it is found out there, and a socket that was closed without a word has no watch of its own that could go wrong.
"""

import cython
from cython.cimports.plait.core.cpython import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from cython.cimports.plait.core.futures import Future, State
from cython.cimports.plait.core.recorder import recorder_of
from cython.cimports.plait.engine.record import PLAIT_BY_KERNEL, plait_record_pushes

READABLE = cython.declare(cython.uint, EPOLLIN | EPOLLHUP | EPOLLERR)
WRITABLE = cython.declare(cython.uint, EPOLLOUT | EPOLLHUP | EPOLLERR)


class Watch:
    """One descriptor."""

    def __cinit__(self, loop, fd):
        self.loop = loop
        self.fd = fd

    def ready(self, events):
        if self.loop.record != cython.NULL:
            plait_record_pushes(
                self.loop.record, PLAIT_BY_KERNEL, recorder_of(self.loop.record).descriptor_actor(self.fd)
            )
        receiver, sender = self.receiver, self.sender
        if events & READABLE:
            self.drained = False
        if receiver is not None and events & READABLE:
            self.receiver = None
            finish(receiver)
        if sender is not None and events & WRITABLE:
            self.sender = None
            finish(sender)
        if self.more is not None:
            self.tell_more(events)
        if self.reader is not None or self.writer is not None:
            if self.reader is not None and events & READABLE:
                self.loop.push(self.reader)
            if self.writer is not None and events & WRITABLE:
                self.loop.push(self.writer)
            if receiver is not None or sender is not None:
                self.update()
        elif self.wanted():
            self.update()
        return 0

    def tell_more(self, events):
        more: list = self.more
        self.more = None
        for future, wanted in more:
            if events & (READABLE if wanted == EPOLLIN else WRITABLE):
                finish(future)
            else:
                self.add(future, wanted)
        return 0

    # Calls that wait once.

    def wait(self, future, wanted):
        """Complete this future as soon as the descriptor is ready for `wanted`, EPOLLIN or EPOLLOUT. All who wait are told together."""
        self.add(future, wanted)
        try:
            self.update()
        except BaseException:
            self.give_up(future)
            raise
        return 0

    def add(self, future, wanted):
        if wanted == EPOLLIN and self.receiver is None:
            self.receiver = future
        elif wanted == EPOLLOUT and self.sender is None:
            self.sender = future
        else:
            if self.more is None:
                self.more = []
            self.more.append((future, wanted))
        return 0

    def give_up(self, future):
        """This one waits no more. The kernel may tell once more, and nobody is told then."""
        if self.receiver is future:
            self.receiver = None
        elif self.sender is future:
            self.sender = None
        elif self.more is not None:
            self.more = [entry for entry in self.more if entry[0] is not future] or None
        if self.reader is not None or self.writer is not None:
            self.update()
        return 0

    def idle(self):
        """Whether nobody waits for it."""
        return (
            self.reader is None
            and self.writer is None
            and self.receiver is None
            and self.sender is None
            and self.more is None
        )

    # What the engine is asked for.

    def wanted(self):
        wanted: cython.uint = 0
        if self.reader is not None or self.receiver is not None:
            wanted |= EPOLLIN
        if self.writer is not None or self.sender is not None:
            wanted |= EPOLLOUT
        if self.more is not None:
            for _, more in self.more:
                wanted |= cython.cast(cython.uint, more)
        return wanted

    def update(self):
        """Tell the engine what is wanted now. Raises OSError for what cannot be waited for (a regular file: EPERM)."""
        if self.loop.engine is None:
            return 0
        wanted: cython.uint = self.wanted()
        if wanted:
            self.once = self.reader is None and self.writer is None
            return self.loop.engine.arm(self, wanted, True)
        if self.engine is not None:
            return self.engine.disarm(self)
        return 0


@cython.cfunc
@cython.exceptval(-1)
def finish(future: Future) -> cython.int:
    if future.state == State.PENDING:
        return future.finish(None)
    return 0
