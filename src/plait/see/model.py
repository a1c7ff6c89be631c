"""What a recording says: who ran when, what each waited for, and who woke whom. All who show a recording read this, and nothing else.

Times are nanoseconds of CLOCK_MONOTONIC. Slices stand in columns (arrays of one number each), because there are millions of them.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

__all__ = [
    "BLOCKS",
    "DEADLOCK",
    "Actor",
    "ActorKind",
    "Gap",
    "Mark",
    "Outcome",
    "Pending",
    "Recording",
    "Slices",
    "Target",
    "WaitKind",
    "WakerKind",
]


# In the text of a watchdog's mark, between the task and the advice.
BLOCKS = "blocks the thread: "
# The text of its mark of a slice that was long only because the thread, ready to run, stood without a processor so long.
STARVED = "the thread had no processor: others had it, or the process was stopped"
# The text of a mark of tasks that wait for each other begins so; then how many, and after ": " who waits for what.
DEADLOCK = "deadlock: "


class ActorKind(IntEnum):
    """Who can run a slice."""

    TASK = 0  # a coroutine
    CALLBACK = 1  # a handle: call_soon, call_later, add_reader; one actor for each function
    PROTOCOL = 2  # a transport that tells its protocol of bytes or of a new connection
    LOOP = 3  # the loop's own work between the slices of others


class WaitKind(IntEnum):
    """What an actor waits for, as far as it can be known when it is woken."""

    NONE = 0  # it was ready at once: its first slice, or sleep(0)
    DATABASE = 1
    WEB = 2
    NETWORK = 3  # another socket
    FILE = 4
    DNS = 5
    PROCESS = 6
    TIMER = 7
    LOCK = 8  # a lock, an event, a semaphore, a condition, a queue
    TASK = 9  # another task's end, or a gather() or TaskGroup over some
    THREAD = 10  # an executor, or call_soon_threadsafe from another thread
    SIGNAL = 11
    DEVICE = 12  # a pipe, a terminal, a descriptor watched by add_reader
    FUTURE = 13  # a future that nothing more is known of


class WakerKind(IntEnum):
    """Who made a slice ready."""

    NONE = 0  # not known: the recording began in between
    SLICE = 1  # another slice, Slices.waker tells which
    KERNEL = 2  # a descriptor, or an operation of the ring
    TIMER = 3
    THREAD = 4
    SIGNAL = 5


class Outcome(IntEnum):
    """How a slice ended."""

    WAITS = 0
    AGAIN = 1  # ready again at once: sleep(0)
    RETURNED = 2
    RAISED = 3
    CANCELLED = 4


@dataclass
class Actor:
    """Something that runs slices. `file` and `line` are where its function is defined; empty and 0 where that is not known."""

    kind: ActorKind
    name: str  # of the task ("Task-7"), or of the function
    function: str = ""  # the qualified name of the coroutine function or of the callback
    file: str = ""
    line: int = 0
    created_ns: int = 0
    ended_ns: int = 0  # 0: it had not ended
    outcome: Outcome | None = None  # of its last slice, if it ended
    parent: int = -1  # the actor that created it, or -1
    error: str = ""  # the exception, in one line, if it ended with one


@dataclass
class Target:
    """What is waited for: "postgresql 127.0.0.1:5432", "read data.csv", "sleep", "Lock"."""

    kind: WaitKind
    text: str
    fd: int = -1


@dataclass
class Slices:
    """One entry in every column for each slice, ordered by start; they never overlap (an eager first slice cuts the one around it)."""

    start_ns: "array[int]" = field(default_factory=lambda: array("q"))
    duration_ns: "array[int]" = field(default_factory=lambda: array("q"))
    actor: "array[int]" = field(default_factory=lambda: array("I"))
    outcome: "array[int]" = field(default_factory=lambda: array("B"))
    delay_ns: "array[int]" = field(default_factory=lambda: array("q"))  # from ready to running; -1: not known
    waker_kind: "array[int]" = field(default_factory=lambda: array("B"))
    waker: "array[int]" = field(default_factory=lambda: array("i"))  # index of the slice that woke it, or -1
    wait_kind: "array[int]" = field(default_factory=lambda: array("B"))  # what it waited for before this slice
    wait_target: "array[int]" = field(default_factory=lambda: array("i"))  # index into targets, or -1
    line: "array[int]" = field(default_factory=lambda: array("i"))  # of the actor's code where it went on; 0: not known

    def __len__(self) -> int:
        return len(self.start_ns)


@dataclass
class Gap:
    """Events that were dropped, because the ring was full or the file is damaged."""

    start_ns: int
    end_ns: int
    lost: int  # how many events, 0: not known
    reason: str


@dataclass
class Mark:
    """A point that the program named, or something that the recorder saw: a blocked loop, a task that was asked to cancel."""

    time_ns: int
    text: str
    level: str = "info"  # "info", "warning" or "cancel"
    actor: int = -1
    duration_ns: int = 0
    place: str = ""  # "file:line in function", if known


@dataclass
class Pending:
    """What an actor that had not ended was waiting for when the recording ended."""

    actor: int
    since_ns: int
    kind: WaitKind
    target: int = -1


@dataclass
class Recording:
    """A whole recording in memory. `meta` has strings and numbers only: "program", "python", "plait", "engine", "pid", "host"."""

    meta: dict[str, Any]
    start_ns: int
    end_ns: int
    wall_start: float  # seconds since the epoch at start_ns
    actors: Sequence[Actor]
    targets: Sequence[Target]
    slices: Slices
    pending: Sequence[Pending] = ()
    marks: Sequence[Mark] = ()
    gaps: Sequence[Gap] = ()
    thread: str = "MainThread"  # the loop's
