"""A recording as OpenTelemetry spans: one for each task, with its waits as events. Needs the extra `plait[otel]`.

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from plait.see import otel, recording

otel.export(recording.read("out.plait"), OTLPSpanExporter())
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from plait.see.exports.tracks import group_title, steps, wait_title
from plait.see.model import ActorKind, Outcome, Recording, WaitKind

__all__ = ["export", "spans"]

SPANS_AT_ONCE = 512
# Collectors refuse spans with very many events; the rest is counted.
EVENTS_MAX = 128


def export(recording: Recording, exporter: SpanExporter) -> int:
    """Hand all spans to the exporter, and return how many. RuntimeError when it fails; it is not shut down."""
    count = 0
    batch: list[ReadableSpan] = []
    for span in spans(recording):
        batch.append(span)
        if len(batch) == SPANS_AT_ONCE:
            count += send(exporter, batch)
            batch = []
    return count + (send(exporter, batch) if batch else 0)


def send(exporter: SpanExporter, batch: list[ReadableSpan]) -> int:
    if exporter.export(batch) is not SpanExportResult.SUCCESS:
        raise RuntimeError(f"{type(exporter).__name__} failed to export {len(batch)} spans; its log says why")
    return len(batch)


def spans(recording: Recording) -> Iterator[ReadableSpan]:
    """A span for each task. A task without a parent in the recording begins a trace of its own."""
    shift = int(recording.wall_start * 1e9) - recording.start_ns
    resource = Resource.create(
        {
            "service.name": str(recording.meta.get("program", "plait")),
            **{f"plait.{name}": value for name, value in recording.meta.items() if name != "program"},
        }
    )
    scope = InstrumentationScope("plait", str(recording.meta.get("plait", "")))
    contexts = Contexts(recording)
    busy, counts, waits = gather(recording)
    for index, actor in enumerate(recording.actors):
        if actor.kind != ActorKind.TASK:
            continue
        attributes: dict[str, str | int] = {
            "plait.task": actor.name,
            "plait.slices": counts[index],
            "plait.busy_ns": busy[index],
        }
        totals: dict[int, int] = defaultdict(int)
        for start, end, kind, _ in waits[index]:
            totals[kind] += end - start
        attributes |= {f"plait.waited_ns.{WaitKind(kind).name.lower()}": total for kind, total in totals.items()}
        if actor.file:
            attributes |= {"code.file.path": actor.file, "code.line.number": actor.line}
        events = [
            Event(text, {"plait.waited_ns": end - start}, start + shift)
            for start, end, _, text in waits[index][:EVENTS_MAX]
        ]
        if len(waits[index]) > EVENTS_MAX:
            attributes["plait.waits_left_out"] = len(waits[index]) - EVENTS_MAX
        yield ReadableSpan(
            name=group_title(recording, index),
            context=contexts(index),
            parent=contexts(actor.parent) if contexts.is_task(actor.parent) else None,
            resource=resource,
            attributes=attributes,
            events=events,
            kind=SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR, actor.error) if actor.outcome == Outcome.RAISED else Status(),
            start_time=(actor.created_ns or recording.start_ns) + shift,
            end_time=(actor.ended_ns or recording.end_ns) + shift,
            instrumentation_scope=scope,
        )


class Contexts:
    """The identity of each task's span; drawn from the recording, so that a second export gives the same spans."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.random = random.Random(f"{recording.meta} {recording.wall_start} {recording.start_ns}")
        self.known: dict[int, SpanContext] = {}

    def is_task(self, index: int) -> bool:
        return index >= 0 and self.recording.actors[index].kind == ActorKind.TASK

    def __call__(self, index: int) -> SpanContext:
        missing = []
        while index not in self.known:
            missing.append(index)
            if not self.is_task(self.recording.actors[index].parent):
                break
            index = self.recording.actors[index].parent
        trace = self.known[index].trace_id if index in self.known else self.random.getrandbits(127) + 1
        for one in reversed(missing):
            self.known[one] = SpanContext(trace, self.random.getrandbits(63) + 1, False, TraceFlags(TraceFlags.SAMPLED))
        return self.known[missing[0] if missing else index]


def gather(recording: Recording) -> tuple[dict[int, int], dict[int, int], dict[int, list[tuple[int, int, int, str]]]]:
    """For each actor its running time, its slices, and its waits: start, end, kind, text."""
    busy: dict[int, int] = defaultdict(int)
    counts: dict[int, int] = defaultdict(int)
    waits: dict[int, list[tuple[int, int, int, str]]] = defaultdict(list)
    columns = recording.slices
    for step in steps(recording):
        busy[step.actor] += step.end_ns - step.start_ns
        counts[step.actor] += 1
        if step.wait_start_ns >= 0:
            kind, target = columns.wait_kind[step.slice], columns.wait_target[step.slice]
            waits[step.actor].append((step.wait_start_ns, step.wait_end_ns, kind, wait_title(recording, kind, target)))
    return busy, counts, waits
