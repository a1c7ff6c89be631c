"""What an engine is: something that waits, and tells what happened.

An engine lives in one thread. `open` acquires its kernel objects in the thread that is going to wait, and moves an engine that is
open in another thread; `close` gives them back; between the two, sources may be armed and disarmed. Arming on a closed engine is
allowed: the source is remembered and armed by `open`, so that a loop can be prepared in one thread and run in another.

`wait(timeout_ns)` is the only call that sleeps: -1 for ever, 0 never, else at most so many nanoseconds (never less because
of rounding; it may return early with nothing told, so the caller looks at its own clock). It submits what is queued, gathers
what happened and calls `ready` of each source, then returns how many it told. When a `ready` raises, `wait` raises at once and
keeps the events not yet told for the next call. A source disarmed by another source's `ready` in the same batch is not told
any more. Python's signal checks run after every sleep.

With `spin_ns`, a wait that would sleep looks for so long at most before it does: what comes meanwhile needs no wake-up, at the
price of a busy core. It does so only while things come that quickly, which the wait before has shown.

`pending()` answers, without a system call where the engine can, whether a `wait(0)` could bring anything.
`wake()` may be called by any thread and any signal handler, and makes a sleeping `wait` return.
`flush()` brings what is queued to the kernel without sleeping and without telling anybody. A disarmed descriptor that was
closed is really released by the next `wait` or `flush`; so whoever stops waiting calls it (a loop that stops), and whoever
needs the address at once (a listening socket that is closed).
`forget()` is for the child of a fork: it touches no memory shared with the kernel and only closes descriptors. It is called by
itself in every forked child; the engine is then closed, and `open` makes it one of the child's own.

Edge-triggered sources (`level` false) belong to transports, which own their descriptors and disarm before they close: the source is told
once per change and must then read or write until the kernel says EAGAIN (or gives less than asked, unless EPOLLRDHUP, EPOLLHUP or
EPOLLERR is in the events). It may be told once too often. Level-triggered sources watch a user's descriptor and are told in
every wait while it is ready; the engine holds no reference to the user's open file, so that closing it without a word behaves as
with epoll. Their owner may want less, by `telling`: ONCE, and after it was told the source stays registered, asking for nothing
(`events` is 0), until it is armed again; CHANGES, and it is told of edges only. To arm it once more is one call of the kernel that
tells the state
of now in any case, and finds out whether the number stands for another file meanwhile.
`arm` on an armed source changes what it asks for. It raises PermissionError for what cannot be waited
for (regular files, directories, /dev/null) and OSError (EBADF) for what is not open; `disarm` forgives both.

Events are the bits of epoll(7) on both engines.
"""

import os
import weakref

import cython

# What a wake-up may take on a busy virtual machine, beyond what was waited for.
WAKE_NS = cython.declare(cython.longlong, 100_000)


class Operation:
    """One submission to the ring. It is held by the engine until its last completion, and holds its own buffers."""

    def complete(self, result, flags):
        """Called once per completion, in the loop's thread: `result` is the call's return value or -errno."""
        return 0

    def abandon(self):
        """Called when nobody waits for the result any more; the last completion still comes."""
        return 0


class Source:
    """A descriptor that is waited for. Subclasses implement `ready`."""

    def ready(self, events):
        """Called by `Engine.wait` with the events that hold now, in the loop's thread."""
        return 0


class CallbackSource(Source):
    """Tells a Python callable, with the events as its only argument."""

    def __init__(self, fd, callback):
        self.fd = fd
        self.callback = callback

    def ready(self, events):
        self.callback(events)
        return 0


class Engine:
    """Base of the engines: keeps the set of armed sources; see the module's text for the contract."""

    def __cinit__(self):
        self.sources = {}
        _engines.add(self)

    def open(self):
        raise NotImplementedError

    def close(self):
        raise NotImplementedError

    def forget(self):
        raise NotImplementedError

    def arm(self, source, events, level):
        raise NotImplementedError

    def disarm(self, source):
        raise NotImplementedError

    def wait(self, timeout_ns):
        raise NotImplementedError

    def flush(self):
        return 0

    def pending(self):
        return True

    def wake(self):
        return 0

    def adopt(self, other):
        """Take over the sources of another engine, which is closed: this one runs in its place."""
        if other.is_open or self.is_open:
            raise RuntimeError("an engine takes over the sources of a closed one before it is opened")
        source: Source
        for item in other.sources.values():
            source = cython.cast(Source, item)
            source.engine = self
        self.spin_ns = other.spin_ns
        self.sources.update(other.sources)
        other.sources.clear()
        return 0

    def submit_send(self, operation, fd, data, size):
        """Send with the next submission, only where `sends` is true: never waits, completes with send(2)'s count or -errno.

        The operation keeps `data` alive. The descriptor must not be closed before the submission: `flush` makes sure of that.
        A sleep does not end because all of it has left, which is told after the sleep; who waits for that sets `hurried`.
        """
        raise NotImplementedError

    def submit_receive(self, operation, fd):
        """Receive on a stream socket until it ends, fails or is cancelled, only where `receives` is true.

        Each completion has recv(2)'s count or -errno; `received` gives its bytes until `complete` returns. The last one finds
        `operation.engine` None: 0 at the end of the stream, -ENOBUFS when too much came at once, -ECANCELED also when the
        engine was closed. The descriptor must not be closed before `submitted` is true.
        """
        raise NotImplementedError

    def received(self, flags):
        return cython.NULL

    def overflowed(self, result, flags):
        """Whether a completion of a receive filled its buffer, and there is more in the socket."""
        return False

    def cancel(self, operation):
        """Ask the kernel to end it early. Its last completion comes in any case, as -ECANCELED or with what it did after all."""
        raise NotImplementedError

    def submitted(self, operation):
        """Whether the kernel has the operation: what its descriptor's number stands for no longer matters."""
        return True

    def spin_until(self, now_ns, timeout_ns):
        """Up to when a sleep that begins now, with `spin_ns`, looks first."""
        if self.slept_ns > self.spin_ns + WAKE_NS:
            return now_ns
        return now_ns + (self.spin_ns if timeout_ns < 0 else min(self.spin_ns, timeout_ns))

    def check_open(self):
        if self.is_open:
            return 0
        if self.forgotten:
            raise RuntimeError(
                "this event loop was running when the process was forked, and the child has only a dead copy of it; "
                "run a new one in the child: asyncio.run(...) or plait.run(...)"
            )
        raise RuntimeError("the engine is not open; the thread that waits calls open() first")

    def remember(self, source, events, level):
        """Book an armed source. The dictionary holds it; the slot tables only borrow."""
        source.events = events
        source.level = level
        if source.engine is self:
            return 0
        source.engine = self
        self.sources[cython.cast(cython.size_t, cython.cast(cython.p_void, source))] = source
        return 0

    def drop(self, source):
        """Take an armed source out of the books; false if it is not armed here."""
        if source.engine is not self:
            return False
        source.engine = None
        self.sources.pop(cython.cast(cython.size_t, cython.cast(cython.p_void, source)), None)
        return True


_engines = weakref.WeakSet()


def _forget_all():
    """In the child of a fork: no engine of the parent may be touched by it."""
    engine: Engine
    for item in list(_engines):
        engine = cython.cast(Engine, item)
        engine.forget()


os.register_at_fork(after_in_child=_forget_all)
