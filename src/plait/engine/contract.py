"""What an engine is: something that waits, and tells what happened.

An engine lives in one thread. `open` acquires its kernel objects in the thread that is going to wait; `close` gives them
back; between the two, sources may be armed and disarmed. Arming on a closed engine is allowed: the source is remembered and armed
by `open`, so that a loop can be prepared in one thread and run in another.

`wait(timeout_ns)` is the only call that sleeps: -1 for ever, 0 never, else at most so many nanoseconds (never less because
of rounding). It submits what is queued, gathers what happened and calls `ready` of each source, then returns how many it told.
When a `ready` raises, `wait` raises at once and keeps the events not yet told for the next call. A source disarmed by
another source's `ready` in the same batch is not told any more. Python's signal checks run after every sleep.

`pending()` answers, without a system call where the engine can, whether a `wait(0)` could bring anything.
`wake()` may be called by any thread and any signal handler, and makes a sleeping `wait` return.
`forget()` is for the child of a fork: it touches no memory shared with the kernel and only closes descriptors.

Edge-triggered sources (`level` false) belong to transports, which own their descriptors and disarm before they close: the source is told
once per change and must then read or write until the kernel says EAGAIN (or gives less than asked, unless EPOLLRDHUP, EPOLLHUP or
EPOLLERR is in the events). Level-triggered sources watch a user's descriptor and are told in every wait while it is ready; the
engine holds no reference to the user's open file, so that closing it without a word behaves as with epoll.

Events are the bits of epoll(7) on both engines.
"""


class Operation:
    """One submission to the ring. It is held by the engine until its last completion, and holds its own buffers."""

    def complete(self, result, flags):
        """Called once per completion, in the loop's thread: `result` is the call's return value or -errno."""
        return 0


class Source:
    """A descriptor that is waited for. Subclasses implement `ready`."""

    def ready(self, events):
        """Called by `Engine.wait` with the events that hold now, in the loop's thread."""
        return 0


class Engine:
    """Base of the engines: keeps the set of armed sources; see the module's text for the contract."""

    def __init__(self):
        self.sources = {}

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

    def pending(self):
        return True

    def wake(self):
        return 0
