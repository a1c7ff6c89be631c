"""The recorder: what the loop writes down of itself while somebody wants to see it.

engine/record.h has the events and what is written on the hot path. Here is the rest: the memory, who is who, and what is waited for.

The memory is one mapping, of a file or of none: a head, a table of chunks, the codes, the ring of events. It is complete at any time,
so that a file tells the last moments of a process that was killed.

An *actor* is what runs slices: a task, a function that handles call, a transport; and a descriptor, which only wakes. It is
introduced by one event in every chunk in which it occurs, under a new number that names the one before, so that each chunk can be read
alone and nothing that a task had is kept for it. What introduces it also names a *code*: the number of a function or class, of which
there are few; those are described once, as JSON, in a table that only grows (codes.py).

A *site* is where a task waits: the code and instruction of the innermost frame that is not plumbing (asyncio's streams, anyio, ...). It
is taken while `await` yields the future, when the frames stand one above the other.
"""

import os
import sys
import threading
import time
import types
import weakref
from asyncio import Task as AsyncioTask
from asyncio import current_task
from inspect import CORO_CREATED, getcoroutinestate

import cython
from cython.cimports.cpython.buffer import PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.cimports.cpython.method import PyMethod_Check, PyMethod_GET_FUNCTION, PyMethod_GET_SELF
from cython.cimports.cpython.object import PyObject
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.plait.core.codes import Codes
from cython.cimports.plait.core.cpython import PyThread_get_thread_ident
from cython.cimports.plait.core.frames import (
    fstat,
    plait_current_frame,
    plait_find_words,
    plait_frame_code,
    plait_frame_place,
    plait_word,
    stat_result,
)
from cython.cimports.plait.core.ready import Runnable, Scheduler
from cython.cimports.plait.engine.record import (
    PLAIT_AGAIN,
    PLAIT_AWAITS_FUTURE,
    PLAIT_AWAITS_GROUP,
    PLAIT_AWAITS_OPERATION,
    PLAIT_AWAITS_TASK,
    PLAIT_BY_SLICE,
    PLAIT_CANCEL,
    PLAIT_CANCELLED,
    PLAIT_ERROR,
    PLAIT_MARK,
    PLAIT_NEW_ACTOR,
    PLAIT_NO_TIME,
    PLAIT_NOT_KNOWN,
    PLAIT_RAISED,
    PLAIT_RECORDER,
    PLAIT_RETURNED,
    PLAIT_TEXT,
    PLAIT_WAITS,
    plait_chunk,
    plait_clock_ns,
    plait_code,
    plait_counter,
    plait_counter_is_invariant,
    plait_event,
    plait_live,
    plait_new_pushed,
    plait_record,
    plait_record_begin,
    plait_record_calibrate,
    plait_record_code,
    plait_record_end,
    plait_record_first,
    plait_record_introduce,
    plait_record_keep_together,
    plait_record_kept,
    plait_record_knows,
    plait_record_loop_until,
    plait_record_now,
    plait_record_turn_chunk,
    plait_record_who,
    plait_record_written,
    plait_record_wrote,
)

from plait.core.describing import address_text, describe_descriptor, words_of
from plait.core.recorded import recorders
from plait.standard import is_group_future, tls_application, wrapped_task

MAGIC = b"plaitlv\n"
VERSION = 1
PAGE = cython.declare(cython.Py_ssize_t, 4096)
META_ROOM = cython.declare(cython.Py_ssize_t, 16 * 1024)
CODES_ROOM = 4 * 1024 * 1024
TEXT_MAX = cython.declare(cython.Py_ssize_t, 300)
TEXT_PART = cython.declare(cython.Py_ssize_t, 30)
EVENT_SIZE = cython.declare(cython.size_t, 32)
NEVER_NS = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFFF)
FRAMES_MAX = cython.declare(cython.int, 24)
IN_CHAIN = cython.declare(
    cython.int, 0x20 | 0x80 | 0x100 | 0x200
)  # CO_GENERATOR, CO_COROUTINE, CO_ITERABLE_..., CO_ASYNC_...
STABLE_CLOCKS = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page")

#: Kinds of actors, as plait.see.model.ActorKind; a descriptor runs no slices and is none there.
TASK, CALLBACK, PROTOCOL, LOOP, DESCRIPTOR = 0, 1, 2, 3, 4
KIND_TASK = cython.declare(cython.uint, 0)
KIND_CALLBACK = cython.declare(cython.uint, 1)
KIND_PROTOCOL = cython.declare(cython.uint, 2)
KIND_DESCRIPTOR = cython.declare(cython.uint, 4)

wakeup_function = cython.declare(object, None)


@cython.cfunc
def recorder_of(record: cython.pointer(plait_record)) -> Recorder:
    return cython.cast(Recorder, cython.cast(cython.pointer(PyObject), record.owner))


@cython.cfunc
def set_wakeup(function) -> cython.int:
    """The method by which a task of ours is called back; a handle that calls it runs that task's slice."""
    global wakeup_function
    wakeup_function = function
    return 0


def counter_is_the_clocks():
    """Whether the processor's counter may be used in place of the clock: half the price, where the kernel does the same."""
    if not plait_counter_is_invariant():
        return False
    try:
        with open("/sys/devices/system/clocksource/clocksource0/current_clocksource") as file:
            return file.read().strip() in STABLE_CLOCKS
    except OSError:
        return False


# The counter's speed is measured from here on: the longer the time, the better.
IMPORT_COUNTER = cython.declare(cython.ulonglong, plait_counter())
IMPORT_NS = cython.declare(cython.ulonglong, plait_clock_ns())


def check_build():
    """RuntimeError in a build that leaves the recorder out (record.h)."""
    if not PLAIT_RECORDER:
        raise RuntimeError("this plait cannot record: it was compiled with -DPLAIT_RECORDER=0; build it without that")


class Recorder(Codes):
    """A ring of events and the loop that writes them. Everything is called under the interpreter lock."""

    def __cinit__(self, size, path=None, meta=None, codes_room=CODES_ROOM):
        """`size` in bytes, rounded up to a power of two. `path` is a new file for the mapping, or None."""
        check_build()
        events: cython.size_t = 1024
        while events * EVENT_SIZE < size:
            events *= 2
        chunk_events: cython.size_t = max(256, events // 64)
        chunk_count: cython.size_t = events // chunk_events
        self.codes_start = PAGE + -(-chunk_count * cython.sizeof(plait_chunk) // PAGE) * PAGE + META_ROOM
        self.events_start = self.codes_start + codes_room
        total = self.events_start + events * EVENT_SIZE
        self.mapping = new_mapping(total, path)
        PyObject_GetBuffer(self.mapping, cython.address(self.view), PyBUF_WRITABLE)
        start: cython.p_char = cython.cast(cython.p_char, self.view.buf)
        record: cython.pointer(plait_record) = cython.address(self.record)
        record.live = cython.cast(cython.pointer(plait_live), start)
        record.chunks = cython.cast(cython.pointer(plait_chunk), start + PAGE)
        record.events = cython.cast(cython.pointer(plait_event), start + self.events_start)
        # Touched now, so that no page is made while the loop is watched.
        memset(record.events, 0, events * EVENT_SIZE)
        record.mask = events - 1
        record.chunk_events = chunk_events
        record.chunk_count = chunk_count
        self.slow_ns = None
        record.signal_at = NEVER_NS
        record.signal_fd = -1
        record.owner = cython.cast(cython.p_void, self)
        record.next_actor = 1
        self.meta = {} if meta is None else meta
        self.write_head(codes_room)
        record.codes_mask = 1023
        record.codes = cython.cast(cython.pointer(plait_code), calloc(1024, cython.sizeof(plait_code)))
        if record.codes == cython.NULL:
            raise MemoryError
        self.held = [None]
        self.codes = [""]
        self.foreign_tasks = weakref.WeakKeyDictionary()
        self.descriptors = {}
        self.find_frames()
        recorders.add(self)

    def __dealloc__(self):
        if self.view.buf != cython.NULL:
            PyBuffer_Release(cython.address(self.view))
        free(self.record.pushed)
        free(self.record.codes)

    def write_meta(self):
        import json

        text: bytes = json.dumps(self.meta).encode()[:META_ROOM]
        start: cython.p_char = cython.cast(cython.p_char, self.view.buf)
        memcpy(start + self.codes_start - META_ROOM, cython.cast(cython.p_char, text), len(text))
        self.record.live.meta_size = len(text)
        return 0

    def write_head(self, codes_room):
        record: cython.pointer(plait_record) = cython.address(self.record)
        live: cython.pointer(plait_live) = record.live
        self.write_meta()
        live.version = VERSION
        live.event_size = EVENT_SIZE
        live.chunk_events = record.chunk_events
        live.chunk_count = record.chunk_count
        live.head_size = self.codes_start - META_ROOM
        live.codes_room = codes_room
        live.pid = os.getpid()
        self.tell_wall_clock()
        magic: bytes = MAGIC
        memcpy(live.magic, cython.cast(cython.p_char, magic), 8)  # last: the head is complete
        return 0

    def tell_wall_clock(self):
        self.record.live.wall_at_ns = plait_clock_ns()
        self.record.live.wall_ns = time.time_ns()
        return 0

    def find_frames(self):
        """Look where this interpreter keeps its frames; what is not found is not recorded."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        record.frame_code = record.frame_previous = record.frame_place = -1
        record.coroutine_code = record.coroutine_place = -1
        if sys.version_info >= (3, 16):
            return 0
        namespace: dict = {}
        exec(KNOWN_FRAMES, namespace)
        found: list = []
        inner = namespace["inner"](self._look, found)
        found.append(inner)
        outer = namespace["outer"](self._note_caller, inner)
        try:
            outer.send(None)
        except StopIteration:
            pass
        return 0

    def _note_caller(self):
        self.caller = cython.cast(cython.size_t, plait_current_frame())

    def _look(self, found):
        inner = found[0]
        plait_find_words(
            cython.address(self.record),
            inner.cr_code,
            inner,
            cython.cast(cython.pp_void, cython.cast(cython.size_t, self.caller)),
        )

    # The loop that is recorded.

    def attach(self, loop: Scheduler):
        """Record this loop from now on, also in the middle of a slice. RuntimeError if another recorder has it."""
        if loop.recorder is not None:
            raise RuntimeError("this loop is recorded already: one recording at a time has its events")
        record: cython.pointer(plait_record) = cython.address(self.record)
        pushed = plait_new_pushed(loop.mask + 1)
        if pushed == cython.NULL:
            raise MemoryError
        free(record.pushed)
        record.pushed = pushed
        self.begin_clock()
        if record.next == cython.NULL:
            plait_record_turn_chunk(record)
        if loop.thread == PyThread_get_thread_ident():
            task = current_task(loop)
            if task is not None:
                self.begin_slice_of(task)
        self.loop = loop
        self.thread = threading.current_thread().name
        loop.recorder = self
        loop.record = record
        if loop.engine is not None:
            loop.engine.record = record
            if "engine" not in self.meta:
                self.meta["engine"] = loop.engine.name
                self.write_meta()
        return self

    def begin_clock(self):
        record: cython.pointer(plait_record) = cython.address(self.record)
        record.counter_scale = 0
        now_ns: cython.ulonglong = plait_clock_ns()
        if counter_is_the_clocks():
            # Over 2 ms the speed is known to some 20 ppm, and better after each sleep.
            while now_ns - IMPORT_NS < 2_000_000:
                now_ns = plait_clock_ns()
            record.first_counter = IMPORT_COUNTER
            record.first_ns = IMPORT_NS
            record.counter_base = plait_counter()
            record.ns_base = now_ns
            record.counter_scale = 1
            plait_record_calibrate(record)
        record.boundary_ns = max(record.boundary_ns, plait_record_now(record))
        record.woke_ns = record.boundary_ns
        return 0

    def begin_slice_of(self, task):
        """A slice of this task runs while the recording begins."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        plait_record_begin(record, PLAIT_NO_TIME, 0, 0)
        if isinstance(task, Runnable):
            record.actor = cython.cast(Runnable, task).identify(record)
        else:
            record.actor = self.foreign_task_actor(task)

    def detach(self):
        """Record no more. The slice that runs ends here."""
        loop = self.loop
        record: cython.pointer(plait_record) = cython.address(self.record)
        if loop is None:
            return
        if record.running:
            record.outcome = PLAIT_AGAIN
            plait_record_end(record)
        elif loop.thread != 0:
            plait_record_loop_until(record, plait_record_now(record))
        self.loop = None
        if loop.record == record:
            loop.record = cython.NULL
            loop.recorder = None
            if loop.engine is not None:
                loop.engine.record = cython.NULL
        self.tell_wall_clock()
        record.live.end_ns = plait_record_now(record)
        if self.on_end is not None:
            self.on_end(loop)

    def _forget(self):
        """In the child of a fork."""
        loop = self.loop
        self.loop = None
        self.on_event = None
        if loop is not None:
            loop.record = cython.NULL
            loop.recorder = None
            if loop.engine is not None:
                loop.engine.record = cython.NULL

    # Who is who.

    def introduce(self, previous, kind, code, number, text):
        """Give an actor a number in this chunk."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        name: bytes = b"" if text is None else text.encode("utf-8", "replace")[:TEXT_MAX]
        plait_record_keep_together(record, 1 + (len(name) + TEXT_PART - 1) // TEXT_PART)
        actor: cython.uint = plait_record_introduce(record, previous, kind, code, number)
        if name:
            self.write_text(name)
        return actor

    def write_text(self, text):
        """The text of the event before, within its chunk."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        start: cython.p_char = text
        left: cython.Py_ssize_t = len(text)
        size: cython.Py_ssize_t
        while left > 0:
            size = min(left, TEXT_PART)
            event: cython.pointer(plait_event) = record.next
            memset(event, 0, EVENT_SIZE)
            memcpy(event, start, size)
            event.type = PLAIT_TEXT
            event.flags = size
            plait_record_wrote(record)
            start += size
            left -= size
        return 0

    def callback_actor(self, callback):
        """The actor of a function that handles call: one for each function. A step of a task is the task's."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        runnable: Runnable
        if PyMethod_Check(callback) and cython.cast(object, PyMethod_GET_FUNCTION(callback)) is wakeup_function:
            self.subject = cython.cast(object, PyMethod_GET_SELF(callback))
            runnable = self.subject
            return runnable.identify(record)
        elif type(callback) is types.BuiltinFunctionType:
            if isinstance(callback.__self__, AsyncioTask):
                self.subject = wrapped_task(callback)
        elif type(callback) is not types.FunctionType and type(callback).__name__ == "TaskStepMethWrapper":
            self.subject = wrapped_task(callback)
        if self.subject is not None:
            return self.foreign_task_actor(self.subject)
        code = self.code_of_callback(callback)
        if code == cython.NULL:
            return self.introduce(0, KIND_CALLBACK, 0, 0, None)
        if code.actor == 0 or not plait_record_knows(record, code.actor):
            code.actor = self.introduce(code.actor, KIND_CALLBACK, code.number, 0, None)
        return code.actor

    def foreign_task_actor(self, task):
        record: cython.pointer(plait_record) = cython.address(self.record)
        actor: cython.uint = self.foreign_tasks.get(task, 0)
        if actor == 0 or not plait_record_knows(record, actor):
            coroutine = task.get_coro()
            code: cython.uint = 0 if coroutine is None else self.code_of_coroutine(coroutine)
            if (
                actor == 0
                and isinstance(coroutine, types.CoroutineType)
                and getcoroutinestate(coroutine) == CORO_CREATED
            ):
                actor = PLAIT_NEW_ACTOR
            actor = self.introduce(actor, KIND_TASK, code, 0, str(task.get_name()))
            self.foreign_tasks[task] = actor
        return actor

    def foreign_outcome(self, task):
        """How the slice of a task of the standard library, or of somebody else, ended."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        if not task.done():
            waiter = getattr(task, "_fut_waiter", None)
            record.outcome = PLAIT_AGAIN if waiter is None else PLAIT_WAITS
            if waiter is not None:
                record.awaited = awaited_kind(waiter)
        elif task.cancelled():
            record.outcome = PLAIT_CANCELLED
        else:
            # task.exception() would mark it as retrieved.
            error = getattr(task, "_exception", None)
            record.outcome = PLAIT_RETURNED if error is None else PLAIT_RAISED
            if error is not None:
                self.task_ended(record.actor, error)
        return 0

    def descriptor_actor(self, fd):
        """The actor that stands for a user's descriptor. One that was closed and opened again is another."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        status = cython.declare(stat_result)
        inode: cython.ulonglong = 0
        if fstat(fd, cython.address(status)) == 0:
            inode = status.st_ino
        known = self.descriptors.get(fd)
        actor: cython.uint = 0
        if known is not None and known[0] == inode:
            actor = known[1]
        if actor == 0 or not plait_record_knows(record, actor):
            actor = self.introduce(actor, KIND_DESCRIPTOR, 0, fd, describe_descriptor(fd))
            self.descriptors[fd] = (inode, actor)
        return actor

    def protocol_actor(self, previous, fd, protocol, serving, peer, local):
        """The actor of a stream: `previous` is the number that it had, if any."""
        application = tls_application(protocol)
        code: cython.uint = 0 if application is None else self.code_of_class(type(application))
        side = "server" if serving else "client"
        tls = "tls" if application is not protocol else ""
        text = "\t".join((side, address_text(peer), address_text(local), tls))
        return self.introduce(previous, KIND_PROTOCOL, code, fd, text)

    def cancel_asked(self, actor, message):
        """Keep who asked a task to cancel, and why, in one line."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        text: bytes = (
            b"" if message is None else words_of(message).replace("\n", " ").encode("utf-8", "replace")[:TEXT_MAX]
        )
        plait_record_keep_together(record, 1 + (len(text) + TEXT_PART - 1) // TEXT_PART)
        event: cython.pointer(plait_event) = record.next
        memset(event, 0, EVENT_SIZE)
        event.start_ns = plait_record_now(record)
        event.actor = actor
        event.type = PLAIT_CANCEL
        plait_record_who(record, event)
        plait_record_wrote(record)
        return self.write_text(text)

    def task_ended(self, actor, error):
        """Keep an exception that ended a task, in one line."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        words = words_of(error)
        kind = type(error).__qualname__
        text: bytes = (f"{kind}: {words}" if words else kind).replace("\n", " ").encode("utf-8", "replace")[:TEXT_MAX]
        plait_record_keep_together(record, 1 + (len(text) + TEXT_PART - 1) // TEXT_PART)
        event: cython.pointer(plait_event) = record.next
        memset(event, 0, EVENT_SIZE)
        event.start_ns = record.boundary_ns
        event.actor = actor
        event.type = PLAIT_ERROR
        plait_record_wrote(record)
        self.write_text(text)
        if isinstance(error, TimeoutError):
            self._event("timeout")
        return 0

    # What is waited for.

    def awaits(self):
        """An await is about to yield a future: remember where. Called with the frames of the whole chain standing."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        if record.frame_code < 0:
            return 0
        frame: cython.pp_void = plait_current_frame()
        innermost: cython.uint = 0
        depth: cython.int
        for depth in range(FRAMES_MAX):
            code = plait_frame_code(record, frame)
            if code == cython.NULL or (depth and not code.co_flags & IN_CHAIN):
                break
            known = plait_record_code(record, code)
            if known == cython.NULL:
                self.new_code_here(cython.cast(object, cython.cast(cython.pointer(PyObject), code)))
                known = plait_record_code(record, code)
                if known == cython.NULL:  # there are too many
                    break
            site: cython.uint = cython.cast(cython.uint, known.number) << 16 | plait_frame_place(record, frame, code)
            if not known.passed_over:
                record.site = site
                return 0
            if depth == 0:
                innermost = site
            frame = cython.cast(cython.pp_void, plait_word(frame, record.frame_previous))
            if frame == cython.NULL:
                break
        record.site = innermost
        return 0

    def new_code_here(self, code):
        """A code seen for the first time, one of those that run."""
        frame = sys._getframe(0)
        while frame is not None and frame.f_code is not code:
            frame = frame.f_back
        return self.new_code(code, code, "" if frame is None else str(frame.f_globals.get("__name__", "")))

    def awaits_foreign(self, coroutine, future):
        """The same for a future that is not ours, of which we hear only when it has been yielded."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        record.awaited = awaited_kind(future)
        innermost: cython.uint = 0
        depth: cython.int = 0
        chain: list = []
        while coroutine is not None and depth < FRAMES_MAX:
            depth += 1
            frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
            if frame is None:
                break
            chain.append(frame)
            coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
        for frame in reversed(chain):
            code = frame.f_code
            if self.number_of(cython.cast(cython.p_void, code)) == 0:
                self.new_code(code, code, str(frame.f_globals.get("__name__", "")))
            known = plait_record_code(record, cython.cast(cython.p_void, code))
            if known == cython.NULL:
                break
            place: cython.int = frame.f_lasti // 2 + 1
            site: cython.uint = cython.cast(cython.uint, known.number) << 16 | (place if 0 < place < 0xFFFF else 0)
            if not known.passed_over:
                record.site = site
                return 0
            if innermost == 0:
                innermost = site
        record.site = innermost
        return 0

    # A slice inside another: the first step of an eager task.

    def begin_inside(self, interrupted):
        record: cython.pointer(plait_record) = cython.address(self.record)
        interrupted.running = record.running
        interrupted.actor = record.actor
        interrupted.at = record.at
        if record.running:
            record.outcome = PLAIT_AGAIN
            plait_record_end(record)
        else:
            plait_record_loop_until(record, plait_record_now(record))
        plait_record_begin(record, record.boundary_ns, PLAIT_BY_SLICE, cython.cast(cython.uint, record.slices) - 1)
        return 0

    def end_inside(self, interrupted):
        record: cython.pointer(plait_record) = cython.address(self.record)
        plait_record_end(record)
        if interrupted.running:
            plait_record_begin(record, record.boundary_ns, PLAIT_BY_SLICE, cython.cast(cython.uint, record.slices) - 1)
            record.actor = interrupted.actor
            record.at = interrupted.at
        return 0

    def _event(self, reason):
        """Something happened that may be worth a look: "slow", "error" or "timeout"."""
        if self.on_event is not None:
            self.on_event(reason)

    # What the program and those who watch it say.

    def mark(self, text, level="info", duration_ns=0, place="", at_ns=0):
        """Write a mark of the slice that runs, if no `place` is given. `level` is "info" or "warning". Any thread may."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        if record.events == cython.NULL:
            return  # closed, while another thread was about to call this
        words: bytes = f"{text}\x00{place}".encode("utf-8", "replace")[: 2 * TEXT_MAX]
        plait_record_keep_together(record, 1 + (len(words) + TEXT_PART - 1) // TEXT_PART)
        event: cython.pointer(plait_event) = record.next
        memset(event, 0, EVENT_SIZE)
        event.start_ns = at_ns or plait_record_now(record)
        event.actor = record.actor if record.running and not place and not at_ns else 0
        event.duration = min(duration_ns // 1000, 0xFFFFFFFF)  # microseconds
        event.at = level == "warning"
        event.type = PLAIT_MARK
        plait_record_wrote(record)
        self.write_text(words)

    # For those who keep and show what was written.

    @property
    def chunk_events(self):
        return self.record.chunk_events

    @property
    def chunk_count(self):
        return self.record.chunk_count

    @property
    def written(self):
        """Events since the beginning, also those that the ring has lost."""
        return plait_record_written(cython.address(self.record))

    @property
    def slices(self):
        return self.record.slices

    @property
    def now_ns(self):
        return plait_record_now(cython.address(self.record))

    @property
    def slow_ns(self):
        return self.record.slow_ns

    @slow_ns.setter
    def slow_ns(self, value):
        self.record.slow_ns = NEVER_NS if value is None else value
        self.record.rare_ns = min(self.record.slow_ns, PLAIT_NOT_KNOWN)

    @property
    def wall(self):
        """CLOCK_REALTIME and CLOCK_MONOTONIC of one moment, in nanoseconds."""
        return self.record.live.wall_ns, self.record.live.wall_at_ns

    def signal(self, fd, events):
        """Write to this eventfd, once, when so many events stand in the ring that nobody has taken."""
        self.record.signal_fd = fd
        self.record.signal_at = events

    def chunk(self, number):
        """(events as bytes, number of its first slice, when it begins) of the chunk, or None if the ring has lost it."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        if (count := plait_record_kept(record, number)) == 0:
            return None
        chunk: plait_chunk = record.chunks[number % record.chunk_count]
        start: cython.p_char = cython.cast(cython.p_char, plait_record_first(record, number))
        return start[: count * EVENT_SIZE], chunk.first_slice, chunk.start_ns

    def began_ns(self, number):
        """When the chunk began, or None if the ring has lost it."""
        record: cython.pointer(plait_record) = cython.address(self.record)
        if plait_record_kept(record, number) == 0:
            return None
        return record.chunks[number % record.chunk_count].start_ns

    def code(self, number):
        """What is known of a function or class, as JSON."""
        return self.codes[number]

    def finish(self):
        """The last word in the mapping: nothing more will be written."""
        self.record.live.closed = 1

    def close(self):
        """Give the memory back. The recorder is of no use afterwards."""
        self.detach()
        if self.view.buf != cython.NULL:
            self.record.live = cython.NULL
            self.record.events = cython.NULL
            PyBuffer_Release(cython.address(self.view))
            self.view.buf = cython.NULL
            self.mapping.close()


KNOWN_FRAMES = """
async def inner(look, found):
    look(found)
async def outer(note, inner):
    note()
    await inner
"""


def new_mapping(size, path):
    import mmap  # as json: for those who record alone

    if path is None:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        # A full disk is told of now, and not by a SIGBUS later.
        os.posix_fallocate(fd, 0, size)
        return mmap.mmap(fd, size, flags=mmap.MAP_SHARED)
    finally:
        os.close(fd)


@cython.cfunc
@cython.exceptval(check=False)
def awaited_kind(future) -> cython.uchar:
    if isinstance(future, AsyncioTask):
        return PLAIT_AWAITS_TASK
    if type(future).__name__ == "OperationFuture":
        return PLAIT_AWAITS_OPERATION
    return PLAIT_AWAITS_GROUP if is_group_future(future) else PLAIT_AWAITS_FUTURE
