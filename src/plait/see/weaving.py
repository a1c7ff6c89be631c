"""What `plait weave` asks for: the last events of a loop's recorder, which is begun when somebody looks and ended when nobody does."""

import base64
import os
import sys
import time
import weakref
from typing import Any

from plait.core import recorded
from plait.core import recorder as core
from plait.see import side, snapshot
from plait.see.recorders import new_meta
from plait.see.recording import describe_chunk, pack

__all__ = ["end_all", "end_unwanted", "take"]

RING_SIZE = 8 * 1024 * 1024  # bytes: a quarter of a million events, a few seconds of a busy server
# Chunks in one answer: a client that was away for long begins anew.
CHUNKS_MAX = 64
UNWANTED_SECONDS = 3.0


class Weaving:
    """A recorder that was begun for a client."""

    def __init__(self, loop: Any) -> None:
        self.loop = weakref.ref(loop)
        self.recorder: core.Recorder | None = core.Recorder(RING_SIZE, None, new_meta("", None, None))
        self.asked = time.monotonic()
        loop.call_soon_threadsafe(self.begin)

    def begin(self) -> None:
        """In the loop's thread."""
        loop = self.loop()
        if loop is not None and loop.recorder is None and self.recorder is not None:
            recorded.begin(self.recorder, loop, 0)

    def end(self) -> None:
        """The loop lets go of it when it comes by; what holds the memory goes with the last reference."""
        recorder, self.recorder = self.recorder, None
        loop = self.loop()
        if loop is None or recorder is None:
            return
        try:
            loop.call_soon_threadsafe(recorded.end, recorder)
        except RuntimeError:
            pass  # closed by now


weavings: dict[int, Weaving] = {}


def take(question: dict[str, Any]) -> dict[str, Any]:
    """The chunks of the first running loop's ring from number `from` on, packed as in a file; and what the loop does now."""
    loop = next(iter(snapshot.loops_of_process()), None)
    if loop is None:
        return {"program": list(sys.argv), "pid": os.getpid(), "loop": None}
    turns, head, told, asleep, _, _, thread = side.pulse(loop)
    answer: dict[str, Any] = {
        "program": list(sys.argv),
        "pid": os.getpid(),
        "loop": snapshot.engine_of(loop),
        "pulse": [turns, head, told],
        "asleep": bool(asleep),
        "running": bool(thread),
        "stack": snapshot.thread_stack(thread)[-4:] if thread and not asleep else [],
        "now_ns": time.monotonic_ns(),
        "chunks": [],
    }
    recorder = loop.recorder
    if recorder is None:
        if thread:
            begin(loop)
        return answer
    if id(loop) in weavings:
        weavings[id(loop)].asked = time.monotonic()
    answer.update(chunks_of(recorder, question.get("recorder"), question.get("from"), loop))
    return answer


def begin(loop: Any) -> None:
    weaving = weavings.get(id(loop))
    if weaving is None or weaving.loop() is not loop:
        weavings[id(loop)] = Weaving(loop)
    else:
        weaving.asked = time.monotonic()


def chunks_of(recorder: Any, known: Any, first: Any, loop: Any) -> dict[str, Any]:
    """`first` is a chunk of the recorder that the client knows, else it begins with the ring's oldest that is worth it."""
    per_chunk = recorder.chunk_events
    until = -(-recorder.written // per_chunk)
    start = first if isinstance(first, int) and known == id(recorder) else 0
    meta = {**new_meta(recorder.thread, None, None), "engine": snapshot.engine_of(loop)}
    chunks = []
    for number in range(max(0, start, until - min(CHUNKS_MAX, recorder.chunk_count)), until):
        found = describe_chunk(recorder, meta, number)
        if found is not None:
            chunks.append([number, base64.b64encode(pack(*found)).decode()])
    # The last one is not full yet, and is asked for again.
    return {
        "recorder": id(recorder),
        "next": recorder.written // per_chunk,
        "chunks": chunks,
        "now_ns": recorder.now_ns,
    }


def end_unwanted() -> None:
    """Those that nobody has asked for in a while."""
    now = time.monotonic()
    for key, weaving in list(weavings.items()):
        if now - weaving.asked > UNWANTED_SECONDS:
            del weavings[key]
            weaving.end()


def end_all() -> None:
    for weaving in weavings.values():
        weaving.end()
    weavings.clear()
