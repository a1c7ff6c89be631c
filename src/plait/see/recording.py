"""The file of a recording: how it is written, and how it is read into a Recording, also when it is cut off or damaged.

    file    = 16 bytes: 89 "PLAIT" 0D 0A, version (u16), 2 zeros, crc32 of these 12 bytes (u32); then blocks
    block   = 32 bytes of head, then the payload
    head    = "PLBK", kind (1 byte), 3 zeros, stored size (u32), number (u64), crc32 of the payload (u32), 4 zeros,
              crc32 of the 28 bytes before (u32); all little-endian
    payload of kind E = zlib of: size of the description (u32), description (JSON), events (shuffled, see decode.py)
    payload of kind Z = zlib of: description (JSON): the recording was ended in order

Each E block has one chunk of the recorder's ring and all that is needed to read it alone. Blocks that do not fit their checksums are
passed over; what follows is found again by the next "PLBK".

While it is recorded, the ring lives in a second file beside the first, with the ending `.live` (see core/recorder.py). It is removed at
the end. A process that was killed leaves it, and it is read together with the first; it can also be read alone.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from plait.core.recorder import Recorder
from plait.see.decode import Decoder, codes_in, shuffle, unshuffle
from plait.see.kinds import Waits
from plait.see.model import Recording, Slices

__all__ = ["RecordingError", "live_path", "pack", "read", "write_block", "write_head"]

MAGIC = b"\x89PLAIT\r\n"
VERSION = 1
HEAD = struct.Struct("<8sH2xI")
BLOCK = struct.Struct("<4sB3xIQI4xI")
BLOCK_MAGIC = b"PLBK"
EVENTS, END = ord("E"), ord("Z")
# More than any chunk has; a damaged head cannot ask for all memory.
PAYLOAD_MAX = 64 * 1024 * 1024
RAW_MAX = 256 * 1024 * 1024

# The mapping, see engine/record.h: plait_live and plait_chunk.
LIVE = struct.Struct("<8s8IQIIQQQQ")
LIVE_MAGIC = b"plaitlv\n"
LIVE_CHUNK = struct.Struct("<QQIIQ")
PAGE = 4096
EVENT = 32


class RecordingError(ValueError):
    """The file is no recording, or nothing in it can be read."""


def live_path(path: str | os.PathLike[str]) -> str:
    return os.fspath(path) + ".live"


# Writing.


def write_head(file: BinaryIO) -> None:
    start = HEAD.pack(MAGIC, VERSION, 0)[:-4]
    file.write(start + struct.pack("<I", zlib.crc32(start)))


def write_block(file: BinaryIO, kind: int, number: int, payload: bytes) -> None:
    start = BLOCK.pack(BLOCK_MAGIC, kind, len(payload), number, zlib.crc32(payload), 0)[:-4]
    file.write(start + struct.pack("<I", zlib.crc32(start)) + payload)


def pack(description: dict[str, Any], events: bytes = b"") -> bytes:
    text = json.dumps(description, separators=(",", ":")).encode()
    return zlib.compress(struct.pack("<I", len(text)) + text + shuffle(events), 1)


# Reading.


@dataclass
class Chunk:
    """A chunk of events with its description: meta, thread, position, first_slice, start_ns, wall, codes."""

    description: dict[str, Any]
    events: bytes


@dataclass
class Contents:
    """What could be read of a file."""

    chunks: list[Chunk] = field(default_factory=list)
    end: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)


def read(path: str | os.PathLike[str]) -> Recording:
    """Read a recording, or the `.live` file that a killed process left. What is damaged or cut off is drawn as gaps and told in
    `meta["problems"]`. RecordingError if it is no recording; OSError if it cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(len(LIVE_MAGIC))
    contents = Contents()
    if start == LIVE_MAGIC:
        read_live(path, contents)
    else:
        read_file(path, contents)
        if contents.end is None:
            if os.path.exists(live_path(path)):
                read_live(live_path(path), contents)
            else:
                contents.problems.append("the end is missing: the program was killed, or the file is not complete")
    return assemble(contents, os.fspath(path))


def read_file(path: str | os.PathLike[str], contents: Contents) -> None:
    with open(path, "rb") as file:
        data = file.read()
    version = VERSION
    if len(data) < HEAD.size or not data.startswith(MAGIC) or HEAD.unpack_from(data)[2] != zlib.crc32(data[:12]):
        if MAGIC.startswith(data[: len(MAGIC)]) and len(data) < HEAD.size:
            raise RecordingError(f"{os.fspath(path)} is empty or cut off in its first bytes: nothing was recorded")
        if BLOCK_MAGIC not in data:
            raise RecordingError(f"{os.fspath(path)} is not a recording of plait")
        contents.problems.append("the first bytes are damaged")
    else:
        version = HEAD.unpack_from(data)[1]
    if version != VERSION:
        contents.problems.append(f"its format is version {version}, and this plait reads version {VERSION}")
    for kind, payload in blocks(data, contents.problems):
        take_block(kind, payload, contents)


def blocks(data: bytes, problems: list[str]) -> Iterator[tuple[int, bytes]]:
    """Kind and payload of every block whose checksums are right."""
    position = HEAD.size
    while position < len(data):
        found = data.find(BLOCK_MAGIC, position)
        if found != position:
            problems.append(f"{(found if found >= 0 else len(data)) - position} bytes are damaged at {position}")
            if found < 0:
                return
        position = found
        if len(data) - position < BLOCK.size:
            problems.append("the last block is cut off")
            return
        _, kind, size, _, crc, head_crc = BLOCK.unpack_from(data, position)
        if head_crc != zlib.crc32(data[position : position + BLOCK.size - 4]) or size > PAYLOAD_MAX:
            position += 1
            problems.append(f"a block is damaged at {found}")
            position = next_block(data, position)
            continue
        start = position + BLOCK.size
        payload = data[start : start + size]
        if len(payload) < size:
            problems.append("the last block is cut off")
            return
        if crc != zlib.crc32(payload):
            problems.append(f"a block is damaged at {found}")
        else:
            yield kind, payload
        position = start + size


def next_block(data: bytes, position: int) -> int:
    found = data.find(BLOCK_MAGIC, position)
    return found if found >= 0 else len(data)


def take_block(kind: int, payload: bytes, contents: Contents) -> None:
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(payload, RAW_MAX)
        size = struct.unpack_from("<I", raw)[0]
        description = json.loads(raw[4 : 4 + size])
        events = raw[4 + size :]
        if kind == EVENTS:
            if not isinstance(description["position"], int) or not isinstance(description["first_slice"], int):
                raise ValueError
            contents.chunks.append(Chunk(description, unshuffle(events)))
        elif kind == END:
            contents.end = description
    except (zlib.error, struct.error, ValueError, KeyError, TypeError) as error:
        contents.problems.append(f"a block cannot be read: {error}")


def read_live(path: str | os.PathLike[str], contents: Contents) -> None:
    """The ring that a killed process left, after those of its chunks that are in the file already."""
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < LIVE.size or not data.startswith(LIVE_MAGIC):
        if not contents.chunks:
            raise RecordingError(f"{os.fspath(path)} is not a recording of plait, or was cut off in its first bytes")
        contents.problems.append("the .live file beside it is damaged")
        return
    (_, version, event_size, chunk_events, chunk_count, head_size, meta_size, codes_room, _pid) = LIVE.unpack_from(
        data
    )[:9]
    written, codes_used, closed, end_ns, wall_ns, wall_at_ns, _slices = LIVE.unpack_from(data)[9:]
    meta_start = head_size
    codes_start = meta_start + LIVE_META_ROOM
    events_start = codes_start + codes_room
    sane = version == VERSION and event_size == EVENT and 0 < chunk_events <= 1 << 26 and 0 < chunk_count <= 1 << 16
    if not sane or PAGE + chunk_count * LIVE_CHUNK.size > head_size or events_start > len(data):
        problem = f"{os.fspath(path)} is damaged in its head, or of another version of plait"
        if not contents.chunks:
            raise RecordingError(problem)
        contents.problems.append(problem)
        return
    meta = known_of(data[meta_start : meta_start + min(meta_size, LIVE_META_ROOM)], META)
    codes = {}
    lines = data[codes_start : codes_start + min(codes_used, codes_room)].split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        codes[str(number)] = known_of(line, CODE)
    contents.problems.append("the program was killed while it was recorded: this is what its memory had")
    done = max((c.description["position"] + len(c.events) // EVENT for c in contents.chunks), default=0)
    first = max(0, written - chunk_events * chunk_count)
    first = -(-first // chunk_events) * chunk_events
    ring = chunk_events * chunk_count
    for position in range(first, written, chunk_events):
        count = min(chunk_events, written - position)
        place = position // chunk_events % chunk_count
        at, first_slice, _actor, _, start_ns = LIVE_CHUNK.unpack_from(data, PAGE + place * LIVE_CHUNK.size)
        if position < done or at != position or first_slice > position:  # each slice is an event
            continue
        start = events_start + position % ring * EVENT
        description = {
            "meta": meta,
            "position": position,
            "first_slice": first_slice,
            "start_ns": start_ns,
            "wall": [wall_ns, wall_at_ns],
            "codes": codes,
        }
        contents.chunks.append(Chunk(description, data[start : start + count * EVENT]))
    if closed and end_ns:
        contents.end = {"end_ns": end_ns}


LIVE_META_ROOM = 16 * 1024


# What the JSON in a .live file may say, which no checksum guards: the types of its fields, with what is held in a list.
META: dict[str, type] = {"pid": int}
CODE: dict[str, type] = {"q": str, "m": str, "p": str, "l": int, "t": list}


def known_of(text: bytes, types: dict[str, type]) -> dict[str, Any]:
    """A description; nothing is known where it was damaged."""
    try:
        known = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(known, dict):
        return {}
    lines = known.get("t", [])
    if not all(isinstance(value, types.get(key, str)) for key, value in known.items()) or len(lines) % 2:
        return {}
    return known if all(isinstance(line, int) for line in lines) else {}


def assemble(contents: Contents, name: str) -> Recording:
    """One Recording of all chunks, in the order of their positions."""
    chunks = sorted(contents.chunks, key=lambda chunk: int(chunk.description["position"]))
    if not chunks:
        reason = "; ".join(contents.problems) or "it is empty"
        raise RecordingError(f"{name} has no events that can be read: {reason}")
    codes: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for number, known in chunk.description.get("codes", {}).items():
            codes[int(number)] = known
    waits = Waits(codes)
    decoder = Decoder(codes, waits.classify)
    for chunk in chunks:
        decoder.chunk(chunk.events, chunk.description["first_slice"], chunk.description["position"])
    if decoder.damaged:
        contents.problems.append(f"{decoder.damaged} events are damaged")
    last = chunks[-1].description
    end_ns = max(decoder.last_ns, (contents.end or {}).get("end_ns", 0))
    start_ns = chunks[0].description.get("start_ns") or decoder.first_ns
    start_ns = min(start_ns, decoder.first_ns) if decoder.first_ns else start_ns
    return build(decoder, waits, last, start_ns, end_ns, contents.problems)


def build(
    decoder: Decoder, waits: Waits, description: dict[str, Any], start_ns: int, end_ns: int, problems: list[str]
) -> Recording:
    decoder.finish(end_ns)
    columns = decoder.columns
    slices = Slices(**{name: columns[name] for name in Slices.__dataclass_fields__})
    meta = dict(description.get("meta") or {})
    if problems:
        meta["problems"] = "; ".join(problems)
    wall_ns, wall_at_ns = description.get("wall") or (0, 0)
    return Recording(
        meta=meta,
        start_ns=start_ns,
        end_ns=end_ns,
        wall_start=max(0, wall_ns + start_ns - wall_at_ns) / 1e9,
        actors=decoder.actors,
        targets=waits.targets,
        slices=slices,
        pending=decoder.pending,
        marks=decoder.marks,
        gaps=decoder.gaps,
        thread=meta.pop("thread", "MainThread"),
    )


def describe_chunk(recorder: Recorder, meta: dict[str, Any], number: int) -> tuple[dict[str, Any], bytes] | None:
    """The description and events of a chunk of a recorder's ring, or None if the ring has lost it."""
    found = recorder.chunk(number)
    if found is None:
        return None
    events, first_slice, start_ns = found
    return {
        "meta": meta,
        "position": number * recorder.chunk_events,
        "first_slice": first_slice,
        "start_ns": start_ns,
        "wall": list(recorder.wall),
        "codes": {number: json.loads(recorder.code(number)) for number in sorted(codes_in(events))},
    }, events
