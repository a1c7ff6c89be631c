"""A user's descriptor that is watched: by add_reader() and add_writer(), with one handle for each direction, and by sock_*() calls that
wait for it once.

Handles are told in every turn while the descriptor is ready. Calls alone are told once; then the descriptor stays registered, asking for
nothing, so that the next wait is one call of the kernel, which finds out by the way what the number stands for by now. A socket that is
received from again and again stays armed, edge-triggered, and its waits cost no call at all (15 % of a 1 KiB echo, since that call has
the kernel's lists of two cores meet). That is trusted for one wait after each event, if it told of no end, the socket object is the
same and nobody else watches. Only who puts another file under the number of a socket object that lives (os.dup2) could deceive it;
to ask the kernel which socket it is costs as much as to arm it.
"""

from weakref import ref

import cython
from cython.cimports.plait.core.cpython import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from cython.cimports.plait.core.futures import Future, State
from cython.cimports.plait.core.recorder import recorder_of
from cython.cimports.plait.engine.contract import ALWAYS, CHANGES, ONCE
from cython.cimports.plait.engine.record import PLAIT_BY_KERNEL, plait_is_recorded, plait_record_pushes

READABLE = cython.declare(cython.uint, EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)
WRITABLE = cython.declare(cython.uint, EPOLLOUT | EPOLLHUP | EPOLLERR)
END = cython.declare(cython.uint, EPOLLRDHUP | EPOLLHUP | EPOLLERR)
# So many waits make it likely that there will be more. Most sockets that are handed to another process after a look are gone by then.
MANY_WAITS = cython.declare(cython.int, 4)
# So many events in a row that nobody waited for.
MANY_STRAYS = cython.declare(cython.int, 4)


class Watch:
    """One descriptor."""

    def __cinit__(self, loop, fd):
        self.loop = loop
        self.fd = fd

    def ready(self, events):
        if plait_is_recorded(self.loop.record):
            plait_record_pushes(
                self.loop.record, PLAIT_BY_KERNEL, recorder_of(self.loop.record).descriptor_actor(self.fd)
            )
        receiver, sender = self.receiver, self.sender
        self.armed = self.telling == CHANGES and not events & END
        if events & READABLE:
            self.drained = False
            if receiver is not None:
                self.receiver = None
                finish(receiver)
        if sender is not None and events & WRITABLE:
            self.sender = None
            finish(sender)
        if self.more is not None:
            self.tell_more(events)
        if self.telling == ALWAYS:
            self.tell_handles(events)
            if receiver is not None or sender is not None:
                self.update()
        elif self.wanted():
            self.update()
        elif receiver is None and sender is None:
            self.told_nobody()
        else:
            self.strays = 0
        return 0

    def tell_handles(self, events):
        if self.reader is not None and events & READABLE:
            self.loop.push(self.reader)
        if self.writer is not None and events & WRITABLE:
            self.loop.push(self.writer)
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
        """Complete this future when the descriptor is ready for `wanted`, EPOLLIN or EPOLLOUT. All who wait are told together.

        Who waits for EPOLLIN has found nothing there, or has left nothing.
        """
        self.add(future, wanted)
        if self.armed and wanted == EPOLLIN and self.events & EPOLLIN:
            self.armed = False
            return 0
        if self.waits <= MANY_WAITS:
            self.waits += 1
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

    def told_nobody(self):
        """The task is busy, or there is none any more: then the kernel is to be silent until somebody waits again."""
        self.strays += 1
        if self.strays > MANY_STRAYS and self.telling == CHANGES:
            sock = self.owner()
            # Closed here and open elsewhere, the socket cannot be silenced; the number may be that of a transport.
            if sock is not None and sock.fileno() == self.fd:
                self.strays = self.waits = 0
                self.armed = False
                self.engine.disarm(self)
        return 0

    # Whose it is.

    def belongs_to(self, sock):
        """Whether this socket was the last that waited here."""
        return self.owner is not None and self.owner() is sock

    def give_to(self, sock):
        """Another socket waits: of what was known of the number, nothing holds any more."""
        self.owner = ref(sock)
        self.waits = self.strays = 0
        self.armed = self.drained = self.bulk = False

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
        self.armed = False
        wanted: cython.uint = self.wanted()
        if wanted:
            if self.reader is not None or self.writer is not None:
                self.telling = ALWAYS
            elif self.waits > MANY_WAITS:
                self.telling = CHANGES
                wanted |= EPOLLRDHUP
            else:
                self.telling = ONCE
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
