"""From the recorder's events to the columns of a Recording. Compiled, for there are millions of them.

What a slice waited for is put together here: where its task was suspended (the site), what was awaited, and what woke it: the
waker's own cause is followed back to the descriptor, timer, thread or signal from which it came.
"""

from array import array
from bisect import bisect_right

import cython
from cython.cimports.libc.stdlib import free, realloc
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.plait.engine.record import (
    PLAIT_ACTOR,
    PLAIT_BY_KERNEL,
    PLAIT_BY_NOBODY,
    PLAIT_BY_SLICE,
    PLAIT_CANCEL,
    PLAIT_ERROR,
    PLAIT_LONG_DELAY,
    PLAIT_LONG_DURATION,
    PLAIT_LONG_SHIFT,
    PLAIT_MARK,
    PLAIT_NOT_KNOWN,
    PLAIT_RETURNED,
    PLAIT_SLICE,
    PLAIT_TEXT,
    PLAIT_WAITS,
    plait_event,
)

from plait.see.model import Actor, ActorKind, Gap, Mark, Outcome, Pending, WaitKind

TASK = cython.declare(cython.uint, 0)
CALLBACK = cython.declare(cython.uint, 1)
PROTOCOL = cython.declare(cython.uint, 2)
LOOP = cython.declare(cython.uint, 3)
DESCRIPTOR = cython.declare(cython.uint, 4)
# Causes beyond those of plait.see.model.WakerKind: what a chain of slices comes from.
CAUSE_TASK = cython.declare(cython.uchar, 6)  # a task that goes on
CAUSE_END = cython.declare(cython.uchar, 7)  # a task that ended
EVENT = cython.declare(cython.Py_ssize_t, 32)
# No time of this machine is later (146 years); what is has been damaged.
LATEST_NS = cython.declare(cython.ulonglong, 1 << 62)
ACTOR_KINDS = cython.declare(cython.uint, 5)
OUTCOMES = cython.declare(cython.uint, 5)

COLUMNS = {
    "start_ns": "q",
    "duration_ns": "q",
    "delay_ns": "q",
    "actor": "I",
    "outcome": "B",
    "waker_kind": "B",
    "wait_kind": "B",
    "cause": "B",
    "waker": "i",
    "wait_target": "i",
    "line": "i",
    "cause_source": "i",
}


class Source:
    """Something that the kernel tells of."""

    __slots__ = ("code", "fd", "text")

    def __init__(self, fd, code, text):
        self.fd = fd
        self.code = code
        self.text = text


class Decoder:
    """Feed it chunks in order with `chunk`, then call `finish`."""

    def __cinit__(self, codes, classify):
        self.codes = codes
        self.classify = classify
        self.actors, self.sources, self.marks, self.gaps, self.pending = [], [], [], [], []
        self.index_of, self.source_of, self.callbacks, self.lines, self.waits = {}, {}, {}, {}, {}
        self.starts, self.parents, self.cancels = [], [], []
        self.wait_fors = {}
        self.first_ns = self.last_ns = self.damaged = 0
        self.columns = {name: array(code) for name, code in COLUMNS.items()}
        self.new_actor(Actor(ActorKind.LOOP, "loop"), LOOP, 0)
        self.index_of[0] = 0

    def __dealloc__(self):
        free(self.known)

    def chunk(self, data: bytes, first_slice, position):
        """Take the events of one chunk. `position` is the number of its first event."""
        events: cython.pointer(plait_event) = cython.cast(cython.pointer(plait_event), cython.cast(cython.p_char, data))
        count: cython.Py_ssize_t = len(data) // EVENT
        number: cython.ulonglong = first_slice
        lost: cython.ulonglong = position - self.next_position
        i: cython.Py_ssize_t = 0
        self.make_room(count)
        self.starts.append((first_slice, self.count))
        if position > self.next_position and count:
            self.gap(lost, events[0].start_ns)
        self.next_position = position + count
        while i < count:
            event: cython.pointer(plait_event) = events + i
            kind: cython.uint = event.type & 15
            i += 1
            if kind == PLAIT_SLICE:
                if self.is_sane(events, i - 1, count):
                    self.slice(event, number)
                else:
                    self.skipped(number)
                number += 1
            elif kind != PLAIT_TEXT and (event.start_ns > LATEST_NS or event.type >> 4 >= ACTOR_KINDS):
                self.damaged += 1
            elif kind in (PLAIT_ACTOR, PLAIT_MARK, PLAIT_CANCEL, PLAIT_ERROR):
                text: bytes = b""
                while i < count and events[i].type == PLAIT_TEXT:
                    text += cython.cast(cython.p_char, events + i)[: min(events[i].flags, 30)]
                    i += 1
                words: str = text.decode("utf-8", "replace")
                if kind == PLAIT_ACTOR:
                    self.meet(event, words, number)
                elif kind == PLAIT_MARK:
                    self.mark(event.start_ns, event.duration, event.actor, event.at, words)
                elif event.actor not in self.index_of:
                    continue
                elif kind == PLAIT_CANCEL:
                    by = slice_before(number, event.waker) if event.flags == PLAIT_BY_SLICE else -1
                    self.cancels.append((event.start_ns, self.index_of[event.actor], by, words))
                else:
                    self.actors[self.index_of[event.actor]].error = words

    def is_sane(self, events, i, count):
        """Whether a slice begins after the one before it and ends before the next, as all do that were not damaged."""
        event: cython.pointer(plait_event) = events + i
        if event.type >> 4 >= OUTCOMES or event.start_ns > LATEST_NS or event.start_ns < self.last_ns:
            return False
        end: cython.ulonglong = LATEST_NS
        for j in range(i + 1, count):
            if events[j].type & 15 == PLAIT_SLICE:
                end = events[j].start_ns
                break
        duration: cython.ulonglong = event.duration
        if event.flags & PLAIT_LONG_DURATION:
            # It was cut to units, and the next may begin within the last of them.
            duration <<= PLAIT_LONG_SHIFT
        return event.start_ns + duration <= end

    def skipped(self, number):
        """A slice that was damaged: those behind it keep their numbers."""
        self.damaged += 1
        self.starts.append((number + 1, self.count))
        return 0

    def gap(self, lost, until_ns):
        self.gaps.append(
            Gap(self.last_ns or until_ns, until_ns, lost, "the ring was full before its events were taken")
        )

    def mark(self, time_ns, duration_us, actor, warning, words):
        text, _, place = words.partition("\0")
        index = self.index_of.get(actor, -1) if actor else -1
        level = "warning" if warning else "info"
        self.marks.append(Mark(time_ns, text, level, index, 1000 * duration_us, place))

    def make_room(self, more):
        if self.count + more <= self.room:
            return 0
        # Views of the arrays keep them from growing.
        self.start_ns = self.duration_ns = self.delay_ns = None
        self.actor = None
        self.outcome = self.waker_kind = self.wait_kind = self.cause = None
        self.waker = self.wait_target = self.line = self.cause_source = None
        room: cython.Py_ssize_t = max(2 * self.room, self.count + more)
        for column in self.columns.values():
            column.frombytes(bytes((room - len(column)) * column.itemsize))
        self.room = room
        self.start_ns, self.duration_ns = self.columns["start_ns"], self.columns["duration_ns"]
        self.delay_ns, self.actor = self.columns["delay_ns"], self.columns["actor"]
        self.outcome, self.waker_kind = self.columns["outcome"], self.columns["waker_kind"]
        self.wait_kind, self.cause = self.columns["wait_kind"], self.columns["cause"]
        self.waker, self.wait_target = self.columns["waker"], self.columns["wait_target"]
        self.line, self.cause_source = self.columns["line"], self.columns["cause_source"]
        return 0

    def new_actor(self, actor, kind, code):
        """Its index."""
        index: cython.Py_ssize_t = len(self.actors)
        if index >= self.known_room:
            room: cython.Py_ssize_t = max(1024, 2 * index)
            known = cython.cast(cython.pointer(Known), realloc(self.known, room * cython.sizeof(Known)))
            if known == cython.NULL:
                raise MemoryError
            self.known, self.known_room = known, room
        memset(cython.address(self.known[index]), 0, cython.sizeof(Known))
        self.known[index].kind = kind
        self.known[index].code = code
        self.known[index].source = self.known[index].told_source = -1
        self.actors.append(actor)
        return index

    def meet(self, event, text, number):
        """An actor is introduced: a new one, or one under a new number."""
        kind: cython.uint = event.type >> 4
        code: cython.uint = event.site
        index: cython.int = -1
        if kind == DESCRIPTOR:
            self.source_of[event.actor] = len(self.sources)
            self.sources.append(Source(event.duration, code, text))
            return 0
        if event.delay:
            index = self.index_of.get(event.delay, -1)
        if index < 0 and kind == CALLBACK:
            index = self.callbacks.get(code, -1)
        if index < 0:
            index = self.new_actor(None, kind, code)
            self.actors[index] = self.actor_of(kind, code, event.duration, text)
            if event.delay == 0 and kind == TASK:
                self.actors[index].created_ns = event.start_ns
            if kind == CALLBACK:
                self.callbacks[code] = index
            elif event.flags == PLAIT_BY_SLICE and (kind != TASK or event.start_ns):
                self.parents.append((index, slice_before(number, event.waker)))
        elif kind == TASK and text:
            self.actors[index].name = text
        self.index_of[event.actor] = index
        if kind == PROTOCOL:
            if self.known[index].source < 0 or self.known[index].code != code:  # or another protocol took it over
                self.known[index].source = len(self.sources)
                self.sources.append(Source(event.duration, code, text))
            if self.known[index].code != code:
                self.known[index].code = code
                met = self.actor_of(kind, code, event.duration, text)
                self.actors[index].name, self.actors[index].function = met.name, met.function
            self.source_of[event.actor] = self.known[index].source
        return 0

    def actor_of(self, kind, code, number, text):
        known = self.codes.get(code, {})
        function = known.get("q", "")
        if function and known.get("m"):
            function = f"{known['m']}.{function}"
        if kind == TASK:
            name = text or f"Task-{number}"
        elif kind == PROTOCOL:
            rest = text.partition("\t")[2]
            name = f"{known.get('q', 'stream')} {rest.partition(chr(9))[0]}".rstrip()
        else:
            name = known.get("q", "callback")
        return Actor(ActorKind(kind), name, function, known.get("p", ""), known.get("l", 0))

    def slice(self, event, number):
        index: cython.Py_ssize_t = self.count
        found = self.index_of.get(event.actor)
        if found is None:
            found = self.new_actor(Actor(ActorKind.TASK, f"unknown-{event.actor}"), TASK, 0)
            self.index_of[event.actor] = found
        actor: cython.uint = found
        duration: cython.longlong = event.duration
        if event.flags & PLAIT_LONG_DURATION:
            duration <<= PLAIT_LONG_SHIFT
        delay: cython.longlong = event.delay
        if event.flags & PLAIT_LONG_DELAY:
            delay <<= PLAIT_LONG_SHIFT
        elif event.delay == PLAIT_NOT_KNOWN:
            delay = -1
        start: cython.longlong = event.start_ns
        if self.first_ns == 0:
            self.first_ns = start
        self.start_ns[index] = start
        self.duration_ns[index] = duration
        self.delay_ns[index] = delay
        self.actor[index] = actor
        self.outcome[index] = min(event.type >> 4, 4)
        waker_kind: cython.uchar = min(event.flags & 7, 5)
        waker: cython.Py_ssize_t = -1
        if waker_kind == PLAIT_BY_SLICE:
            waker = self.index_of_slice(slice_before(number, event.waker))
            if waker < 0 or waker >= index:
                waker = -1
        self.waker_kind[index] = waker_kind
        self.waker[index] = waker
        known: cython.pointer(Known) = cython.address(self.known[actor])
        self.line[index] = self.line_of(known.code, event.at) if event.at else 0
        self.learn_wait(event, index, waker, actor)
        known.begun = True
        known.site = event.site
        known.awaited = event.flags >> 3 & 7
        known.outcome = self.outcome[index]
        known.end_ns = start + duration
        if known.end_ns > self.last_ns:
            self.last_ns = known.end_ns
        if known.outcome >= PLAIT_RETURNED and (known.kind == TASK or known.kind == PROTOCOL):
            ended = self.actors[actor]
            ended.ended_ns = known.end_ns
            ended.outcome = Outcome(known.outcome)
        self.count += 1
        return 0

    def index_of_slice(self, number):
        """Where the slice of that number stands in the columns, or -1 if it was lost."""
        if number < 0:
            return -1
        first, index = self.starts[-1]
        if number < first:
            place = bisect_right(self.starts, (number, 1 << 62)) - 1
            if place < 0:
                return -1
            first, index = self.starts[place]
            if index + number - first >= self.starts[place + 1][1]:
                return -1
        return index + number - first

    def learn_wait(self, event, index, waker, actor):
        """What the slice waited for, and what its own wakes come from."""
        known: cython.pointer(Known) = cython.address(self.known[actor])
        cause: cython.uchar = self.waker_kind[index]
        source: cython.int = -1
        other: cython.pointer(Known)
        if cause == PLAIT_BY_KERNEL:
            source = self.source_of.get(event.waker, -1) if event.waker else -1
        elif cause == PLAIT_BY_SLICE and waker >= 0:
            other = cython.address(self.known[self.actor[waker]])
            if other.kind == TASK:
                cause = CAUSE_END if self.outcome[waker] >= PLAIT_RETURNED else CAUSE_TASK
            else:
                cause = self.cause[waker]
                source = self.cause_source[waker]
        elif cause == PLAIT_BY_SLICE:
            cause = CAUSE_TASK
        if known.kind == PROTOCOL and source < 0 and cause != PLAIT_BY_NOBODY:
            source = known.source
        self.cause[index] = cause
        self.cause_source[index] = source
        self.wait_target[index] = -1
        site: cython.uint = 0
        if known.kind == LOOP or (known.kind == TASK and not (known.begun and known.outcome == PLAIT_WAITS)):
            return 0
        if known.kind == TASK:
            site = known.site
            if source >= 0:
                known.told_site, known.told_source = site, source
            elif site and site == known.told_site and cause != CAUSE_END:
                source = known.told_source
        elif self.waker_kind[index] == PLAIT_BY_SLICE and (known.kind != CALLBACK or cause >= CAUSE_TASK):
            return 0
        elif known.kind == CALLBACK and source < 0:
            site = known.code << 16
        if known.kind == TASK and waker >= 0 and self.is_wait_for(site >> 16):
            # Up to 3.11 it waits for a task of its own, whose last wait is what the caller waited for.
            if self.known[self.actor[waker]].kind == CALLBACK and self.waker[waker] >= 0:
                waker = self.waker[waker]
            if self.known[self.actor[waker]].kind == TASK and self.wait_target[waker] >= 0:
                self.wait_kind[index] = self.wait_kind[waker]
                self.wait_target[index] = self.wait_target[waker]
                return 0
        key = (site >> 16, (known.awaited or 1) if known.kind == TASK else 0, cause, source)
        answer = self.waits.get(key)
        if answer is None:
            answer = self.classify(key[0], key[1], cause, None if source < 0 else self.sources[source])
            self.waits[key] = answer
        kind, target = answer
        self.wait_kind[index] = kind
        self.wait_target[index] = target
        return 0

    def is_wait_for(self, code):
        found = self.wait_fors.get(code)
        if found is None:
            known = self.codes.get(code, {})
            found = self.wait_fors[code] = known.get("q") == "wait_for" and known.get("m") == "asyncio.tasks"
        return found

    def line_of(self, code, at):
        """The line of a code unit, which is counted from 1."""
        key = code << 16 | at
        line = self.lines.get(key)
        if line is None:
            table = self.codes.get(code, {}).get("t", [])
            place = bisect_right(table[::2], at - 1) - 1
            line = table[2 * place + 1] if place >= 0 else 0
            self.lines[key] = line
        return line

    def finish(self, end_ns):
        """Gather what had not ended, and cut the columns to their length."""
        self.start_ns = self.duration_ns = self.delay_ns = None
        i: cython.Py_ssize_t
        for index, number in self.parents:
            i = self.index_of_slice(number) if self.starts else -1
            if 0 <= i < self.count and self.actor[i] != index:
                self.actors[index].parent = self.actor[i]
        for time_ns, index, number, words in self.cancels:
            i = self.index_of_slice(number) if self.starts and number >= 0 else -1
            who = f" by {self.actors[self.actor[i]].name}" if 0 <= i < self.count else ""
            self.marks.append(Mark(time_ns, f"asked to cancel{who}" + (f": {words}" if words else ""), "cancel", index))
        self.marks.sort(key=mark_time)
        for i in range(1, len(self.actors)):
            known: cython.pointer(Known) = cython.address(self.known[i])
            if known.kind != TASK or known.outcome >= PLAIT_RETURNED:
                continue
            kind, target = 0, -1
            if known.begun and known.outcome == PLAIT_WAITS:
                source = None
                if known.site and known.site == known.told_site and known.told_source >= 0:
                    source = self.sources[known.told_source]
                kind, target = self.classify(known.site >> 16, known.awaited, PLAIT_BY_NOBODY, source)
            since = known.end_ns if known.begun else self.actors[i].created_ns
            self.pending.append(Pending(i, since, WaitKind(kind), target))
        self.actor = None
        self.outcome = self.waker_kind = self.wait_kind = self.cause = None
        self.waker = self.wait_target = self.line = self.cause_source = None
        for column in self.columns.values():
            del column[self.count :]


def mark_time(mark):
    return mark.time_ns


@cython.cfunc
@cython.exceptval(check=False)
def slice_before(number: cython.ulonglong, low: cython.uint) -> cython.longlong:
    """The number of the slice before this one that ends in these bits; -1: there is none."""
    distance: cython.uint = cython.cast(cython.uint, number) - low
    return -1 if distance > number else cython.cast(cython.longlong, number - distance)


# Bytes that compress: the times as differences, then all first bytes of the events, all second ones, ...


def shuffle(data: bytes):
    """For `unshuffle`."""
    count: cython.Py_ssize_t = len(data) // EVENT
    result = bytearray(count * EVENT)
    work = bytearray(data)
    source: cython.pointer(cython.uchar) = work
    target: cython.pointer(cython.uchar) = result
    before: cython.ulonglong = 0
    now: cython.ulonglong
    i: cython.Py_ssize_t
    j: cython.Py_ssize_t
    with cython.nogil:
        for i in range(count):
            memcpy(cython.address(now), source + i * EVENT, 8)
            before = now - before
            memcpy(source + i * EVENT, cython.address(before), 8)
            before = now
        for j in range(EVENT):
            for i in range(count):
                target[j * count + i] = source[i * EVENT + j]
    return bytes(result)


def unshuffle(data: bytes):
    count: cython.Py_ssize_t = len(data) // EVENT
    result = bytearray(count * EVENT)
    source: cython.pointer(cython.uchar) = data
    target: cython.pointer(cython.uchar) = result
    before: cython.ulonglong = 0
    now: cython.ulonglong
    i: cython.Py_ssize_t
    j: cython.Py_ssize_t
    with cython.nogil:
        for j in range(EVENT):
            for i in range(count):
                target[i * EVENT + j] = source[j * count + i]
        for i in range(count):
            memcpy(cython.address(now), target + i * EVENT, 8)
            before = before + now
            memcpy(target + i * EVENT, cython.address(before), 8)
    return bytes(result)


def codes_in(data: bytes):
    """The numbers of all functions and classes that the events name."""
    events: cython.pointer(plait_event) = cython.cast(cython.pointer(plait_event), cython.cast(cython.p_char, data))
    found: set = set()
    i: cython.Py_ssize_t
    last: cython.uint = 0
    for i in range(len(data) // EVENT):
        kind: cython.uint = events[i].type & 15
        code: cython.uint = 0
        if kind == PLAIT_SLICE:
            code = events[i].site >> 16
        elif kind == PLAIT_ACTOR:
            code = events[i].site
        if code != 0 and code != last:
            found.add(code)
            last = code
    return found
