"""What other tools read: in their own words where they have a definition, and the same numbers as our summary."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2

from plait.see.exports import FORMATS
from plait.see.model import ActorKind, Mark, Outcome, Recording, WaitKind, WakerKind
from plait.see.summary import summarize, waited

import recordings


@pytest.fixture(scope="module")
def recording() -> Recording:
    made = recordings.web_server()
    middle = (made.start_ns + made.end_ns) // 2
    made.marks = [Mark(middle, "deployed"), Mark(middle, "a cancel was swallowed", "warning", actor=3)]
    return made


def written(recording: Recording, name: str, *, flows: bool = False) -> bytes:
    return b"".join(FORMATS[name].parts(recording, flows))


EMPTY = Recording({}, 5, 5, 0.0, [], [], recordings.Slices())


@pytest.mark.parametrize("name", FORMATS)
def test_a_recording_of_nothing_is_a_valid_file(name: str) -> None:
    content = written(EMPTY, name)
    if name != "perfetto":
        for line in content.splitlines() if name == "jsonl" else [content]:
            json.loads(line)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_comes_in_pieces_of_bounded_size(recording: Recording, name: str) -> None:
    assert all(len(part) < 1 << 20 for part in FORMATS[name].parts(recording, True))


def test_chrome_has_a_complete_event_for_every_slice_and_wait(recording: Recording) -> None:
    trace = json.loads(written(recording, "chrome"))
    summary = summarize(recording)
    events = trace["traceEvents"]
    by_category: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_category.setdefault(event.get("cat", event["ph"]), []).append(event)
    for category in ("slice", "task"):
        assert len(recording.slices) == len(by_category[category])
        assert summary.busy_ns == round(sum(event["dur"] for event in by_category[category]) * 1000)
    waits = [wait for wait in waited(recording) if wait > 0]
    assert (len(waits), sum(waits)) == (
        len(by_category["wait"]),
        round(sum(e["dur"] for e in by_category["wait"]) * 1000),
    )
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert "MainThread" == names[1]
    assert len(recording.actors) + 1 == len(names)
    assert {"deployed", "a cancel was swallowed"} == {event["name"] for event in events if event["ph"] == "i"}
    assert [] == [event for event in events if event["ph"] in "sf"]


def test_chrome_draws_an_arrow_for_every_known_waker(recording: Recording) -> None:
    events = json.loads(written(recording, "chrome", flows=True))["traceEvents"]
    starts = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = {event["id"]: event for event in events if event["ph"] == "f"}
    woken = {index for index, waker in enumerate(recording.slices.waker) if waker >= 0}
    assert woken == set(starts) == set(ends)
    assert all(starts[index]["ts"] <= ends[index]["ts"] for index in woken)


def packets(content: bytes) -> list[Any]:
    """Read with Perfetto's own definitions of its messages."""
    trace = perfetto_trace_pb2.Trace()
    trace.ParseFromString(content)
    return list(trace.packet)


def test_perfetto_reads_every_packet(recording: Recording) -> None:
    found = packets(written(recording, "perfetto", flows=True))
    events = [packet.track_event for packet in found if packet.HasField("track_event")]
    begins = [event for event in events if event.type == 1]
    ends = [event for event in events if event.type == 2]
    assert len(begins) == len(ends)
    assert 2 == len([event for event in events if event.type == 3])
    names: dict[int, str] = {}
    for packet in found:
        for name in packet.interned_data.event_names:
            assert name.iid not in names
            names[name.iid] = name.name.decode() if isinstance(name.name, bytes) else name.name
    assert all(event.name_iid in names for event in begins)
    tracks = {packet.track_descriptor.uuid for packet in found if packet.HasField("track_descriptor")}
    assert {event.track_uuid for event in events} <= tracks
    assert 1 == sum(packet.HasField("clock_snapshot") for packet in found)


def test_speedscope_opens_and_closes_every_frame_in_order(recording: Recording) -> None:
    found = json.loads(written(recording, "speedscope"))
    frames = found["shared"]["frames"]
    thread, waits = found["profiles"]
    stack: list[int] = []
    ran = now = opened = 0
    for event in thread["events"]:
        assert event["at"] >= now
        now = event["at"]
        assert 0 <= event["frame"] < len(frames)
        if event["type"] == "O":
            if not stack:
                opened = now
            stack.append(event["frame"])
        else:
            assert stack.pop() == event["frame"]
            ran += 0 if stack else now - opened
    assert [] == stack
    assert summarize(recording).busy_ns == ran
    assert now <= thread["endValue"]
    assert sum(wait for wait in waited(recording) if wait > 0) == sum(waits["weights"]) == waits["endValue"]
    assert {"database", "web", "timer"} <= {frames[sample[0]]["name"] for sample in waits["samples"]}


def test_lines_hold_all_that_the_recording_holds(recording: Recording) -> None:
    """Built again from its lines, it is the same."""
    lines = [json.loads(line) for line in written(recording, "jsonl").splitlines()]
    by_type: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_type.setdefault(line["type"], []).append(line)
    [head] = by_type["recording"]
    assert recording.meta == head["meta"]
    assert [actor.name for actor in recording.actors] == [line["name"] for line in by_type["actor"]]
    columns = recording.slices
    back: dict[str, Callable[[dict[str, Any]], int]] = {
        "start_ns": lambda line: line["start_ns"] + recording.start_ns,
        "duration_ns": lambda line: line["duration_ns"],
        "actor": lambda line: line["actor"],
        "outcome": lambda line: Outcome[line["outcome"].upper()],
        "delay_ns": lambda line: -1 if line["delay_ns"] is None else line["delay_ns"],
        "waker_kind": lambda line: WakerKind[line["waker"].upper()],
        "waker": lambda line: -1 if line["waker_slice"] is None else line["waker_slice"],
        "wait_kind": lambda line: WaitKind[line["wait"].upper()],
        "wait_target": lambda line: -1 if line["target"] is None else line["target"],
        "line": lambda line: line["line"] or 0,
    }
    assert set(vars(columns)) == set(back)
    for name, value in back.items():
        assert list(getattr(columns, name)) == [value(line) for line in by_type["slice"]]
    assert [len(recording.pending), 2, 1] == [len(by_type[kind]) for kind in ("pending", "mark", "gap")]


def test_opentelemetry_gets_a_span_for_every_task(recording: Recording) -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace.status import StatusCode

    from plait.see import otel

    exporter = InMemorySpanExporter()
    tasks = [actor for actor in recording.actors if actor.kind == ActorKind.TASK]
    assert len(tasks) == otel.export(recording, exporter)
    spans = exporter.get_finished_spans()
    assert [actor.name for actor in tasks] == [span.attributes["plait.task"] for span in spans]
    assert summarize(recording).busy_ns >= sum(span.attributes["plait.busy_ns"] for span in spans) > 0
    contexts = [span.context.span_id for span in spans]
    assert len(tasks) == len(set(contexts))
    for span, actor in zip(spans, tasks, strict=True):
        assert span.start_time <= span.end_time
        assert (actor.outcome == Outcome.RAISED) == (span.status.status_code is StatusCode.ERROR)
        if span.parent is not None:
            assert span.parent.span_id in contexts
            assert span.parent.trace_id == span.context.trace_id
    # The tests' server begins at 1.7e9 seconds since the epoch.
    assert 1_700_000_000 * 10**9 <= spans[0].start_time < 1_700_000_001 * 10**9
    again = InMemorySpanExporter()
    otel.export(recording, again)
    assert contexts == [span.context.span_id for span in again.get_finished_spans()]


def test_a_failing_exporter_is_an_error(recording: Recording) -> None:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    from plait.see import otel

    class Failing(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.FAILURE

    with pytest.raises(RuntimeError, match="Failing failed to export"):
        otel.export(recording, Failing())


def test_text_from_programs_does_not_break_a_format() -> None:
    """Names may hold anything: quotes, line ends, lone surrogates from undecodable file names, very long words."""
    awkward = ['"]}', "a\nb", os.fsdecode(b"\xff"), "x" * 100_000, "</script><b>", ""]
    for text in awkward:
        made = recordings.web_server(0.05)
        made.actors[0].name = made.actors[1].function = made.targets[0].text = text
        made.meta["program"] = text
        for name in FORMATS:
            content = written(made, name, flows=True)
            if name == "perfetto":
                packets(content)
            else:
                for line in content.splitlines() if name == "jsonl" else [content]:
                    json.loads(line)
