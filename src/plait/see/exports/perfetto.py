"""Perfetto's own format: a track for the thread, and one for each task with its slices and waits.

Protobuf written by hand, because only some twenty fields of it are needed: docs of the messages are in Perfetto's repository under
protos/perfetto/trace (trace_packet.proto, track_event/*.proto, interned_data.proto). Names are interned: each stands once in the file.
"""

from collections import defaultdict
from collections.abc import Iterator
from struct import Struct

from plait.see.exports.tracks import group_title, steps, title, wait_title
from plait.see.model import ActorKind, Outcome, Recording, WakerKind

__all__ = ["parts"]

VARINT, FIXED64, BYTES = 0, 1, 2
FIXED = Struct("<Q").pack

# Fields of TracePacket.
CLOCK_SNAPSHOT, TIMESTAMP, SEQUENCE, TRACK_EVENT, INTERNED, FLAGS, DESCRIPTOR = 6, 8, 10, 11, 12, 13, 60
STATE_CLEARED, STATE_NEEDED = 1, 2  # of FLAGS
# Fields of TrackEvent.
CATEGORY, ANNOTATION, KIND, NAME, TRACK, FLOW, FLOW_END = 3, 4, 9, 10, 11, 47, 48
BEGIN, END, INSTANT = 1, 2, 3  # of KIND
REALTIME, MONOTONIC, BOOTTIME = 1, 3, 6  # built-in clocks

PROCESS_TRACK, THREAD_TRACK, GROUP_TRACKS, TASK_TRACKS = 1, 2, 1 << 32, 1 << 40
CATEGORIES = ("slice", "task", "wait", "gap", "mark")
ANNOTATIONS = ("ready delay ns", "outcome", "code", "woken by")
PIECE_BYTES = 1 << 18


def varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def whole(field: int, number: int) -> bytes:
    return varint(field << 3 | VARINT) + varint(number)


def fixed(field: int, number: int) -> bytes:
    return varint(field << 3 | FIXED64) + FIXED(number)


def block(field: int, content: bytes) -> bytes:
    return varint(field << 3 | BYTES) + varint(len(content)) + content


def text(field: int, content: str) -> bytes:
    return block(field, content.encode("utf-8", "replace"))


class Names:
    """Interned names of one kind: a number for each, and the messages that introduce the new ones."""

    def __init__(self, field: int) -> None:
        self.field = field
        self.numbers: dict[str, int] = {}
        self.new: list[bytes] = []

    def __call__(self, name: str) -> int:
        number = self.numbers.get(name)
        if number is None:
            number = self.numbers[name] = len(self.numbers) + 1
            self.new.append(block(self.field, whole(1, number) + text(2, name)))
        return number


class Writer:
    """Packets of one sequence."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.names = Names(2)
        self.values = Names(29)  # of annotations
        self.written = bytearray()

    def packet(self, content: bytes, flags: int = STATE_NEEDED) -> None:
        packet = whole(SEQUENCE, 1) + whole(FLAGS, flags) + content
        self.written += block(1, packet)

    def event(self, time_ns: int, track: int, kind: int, rest: bytes = b"") -> None:
        content = whole(TIMESTAMP, time_ns)
        if self.names.new or self.values.new:
            content += block(INTERNED, b"".join(self.names.new + self.values.new))
            self.names.new.clear()
            self.values.new.clear()
        self.packet(content + block(TRACK_EVENT, whole(KIND, kind) + whole(TRACK, track) + rest))

    def named(self, category: str, name: str) -> bytes:
        return whole(CATEGORY, CATEGORIES.index(category) + 1) + whole(NAME, self.names(name))

    def span(self, category: str, name: str, track: int, start_ns: int, end_ns: int, rest: bytes = b"") -> None:
        self.event(start_ns, track, BEGIN, self.named(category, name) + rest)
        self.event(end_ns, track, END)

    def header(self) -> None:
        recording = self.recording
        wall_ns = int(recording.wall_start * 1e9)
        clocks = [(MONOTONIC, recording.start_ns), (BOOTTIME, recording.start_ns), (REALTIME, wall_ns)]
        snapshot = b"".join(block(1, whole(1, clock) + whole(2, time)) for clock, time in clocks)
        self.packet(block(CLOCK_SNAPSHOT, snapshot + whole(2, MONOTONIC)), STATE_CLEARED | STATE_NEEDED)
        interned = [block(1, whole(1, i) + text(2, name)) for i, name in enumerate(CATEGORIES, 1)]
        interned += [block(3, whole(1, i) + text(2, name)) for i, name in enumerate(ANNOTATIONS, 1)]
        self.packet(block(INTERNED, b"".join(interned)))
        pid = int(recording.meta.get("pid") or 1)
        program = str(recording.meta.get("program", "plait"))
        process = whole(1, pid) + text(6, program)
        self.packet(block(DESCRIPTOR, whole(1, PROCESS_TRACK) + block(3, process)))
        thread = whole(1, pid) + whole(2, pid) + text(5, recording.thread)
        self.packet(block(DESCRIPTOR, whole(1, THREAD_TRACK) + whole(5, PROCESS_TRACK) + block(4, thread)))
        groups: dict[str, int] = {}
        for index, actor in enumerate(recording.actors):
            name = group_title(recording, index) if actor.kind == ActorKind.TASK else actor.kind.name.lower()
            group = groups.get(name)
            if group is None:
                group = groups[name] = GROUP_TRACKS + len(groups)
                self.track(group, PROCESS_TRACK, name, len(groups))
            self.track(TASK_TRACKS + index, group, title(recording, index), index)

    def track(self, track: int, parent: int, name: str, rank: int) -> None:
        # Children by rank (3), and never merged with others of their name (2): two tasks may have the same.
        order = whole(11, 3) + whole(12, rank) + whole(15, 2)
        self.packet(block(DESCRIPTOR, whole(1, track) + text(2, name) + whole(5, parent) + order))

    def annotations(self, index: int) -> bytes:
        columns = self.recording.slices
        actor = self.recording.actors[columns.actor[index]]
        waker = columns.waker[index]
        by = (
            title(self.recording, columns.actor[waker])
            if waker >= 0
            else WakerKind(columns.waker_kind[index]).name.lower()
        )
        told = [whole(1, 2) + whole(17, self.values(Outcome(columns.outcome[index]).name.lower()))]
        if columns.delay_ns[index] >= 0:
            told.append(whole(1, 1) + whole(3, columns.delay_ns[index]))
        if actor.file:
            told.append(whole(1, 3) + whole(17, self.values(f"{actor.file}:{columns.line[index] or actor.line}")))
        told.append(whole(1, 4) + whole(17, self.values(by)))
        return b"".join(block(ANNOTATION, one) for one in told)


def parts(recording: Recording, flows: bool) -> Iterator[bytes]:
    """The file in pieces; `flows` adds an arrow from each waker to whom it woke."""
    writer = Writer(recording)
    writer.header()
    columns = recording.slices
    titles = [title(recording, actor) for actor in range(len(recording.actors))]
    groups = [group_title(recording, actor) for actor in range(len(recording.actors))]
    woken: dict[int, list[int]] = defaultdict(list)
    for index, waker in enumerate(columns.waker if flows else ()):
        woken[waker].append(index)
    for index, actor, wait_start, wait_end, start, end in steps(recording):
        track = TASK_TRACKS + actor
        if wait_start >= 0:
            name = wait_title(recording, columns.wait_kind[index], columns.wait_target[index])
            writer.span("wait", name, track, wait_start, wait_end)
        writer.span("slice", titles[actor], THREAD_TRACK, start, end, writer.annotations(index))
        # A flow has the number of the slice that it ends in.
        arrows = b"".join(fixed(FLOW, other + 1) for other in woken.get(index, ()))
        if flows and columns.waker[index] >= 0:
            arrows += fixed(FLOW_END, index + 1)
        writer.span("task", groups[actor], track, start, end, arrows)
        if len(writer.written) >= PIECE_BYTES:
            yield bytes(writer.written)
            writer.written.clear()
    for mark in recording.marks:
        where = THREAD_TRACK if mark.actor < 0 else TASK_TRACKS + mark.actor
        writer.event(mark.time_ns, where, INSTANT, writer.named("mark", mark.text))
    for gap in recording.gaps:
        writer.span("gap", f"not recorded: {gap.reason}", THREAD_TRACK, gap.start_ns, gap.end_ns)
    yield bytes(writer.written)
