"""Perfetto's own engine reads our exports, answers queries about them, and agrees with our summary to the nanosecond."""

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome

from plait.see.exports import FORMATS
from plait.see.model import Mark, Recording
from plait.see.summary import summarize, waited

import recordings
import trace_processor
from recordings import MS

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def recording() -> Recording:
    made = recordings.web_server()
    made.marks = [Mark(made.start_ns + 700 * MS, "deployed")]
    return made


@pytest.fixture(params=["perfetto", "chrome"])
def loaded(
    request: pytest.FixtureRequest, browser: Chrome, recording: Recording
) -> Iterator[trace_processor.TraceProcessor]:
    trace = b"".join(FORMATS[request.param].parts(recording, True))
    with trace_processor.engine(browser):
        yield trace_processor.TraceProcessor(browser, trace)


def test_it_agrees_with_our_summary(loaded: trace_processor.TraceProcessor, recording: Recording) -> None:
    summary = summarize(recording)
    columns = recording.slices
    found = {
        row["category"]: (row["n"], row["ns"])
        for row in loaded.query("select category, count(*) as n, sum(dur) as ns from slice group by category")
    }
    waits = [wait for wait in waited(recording) if wait > 0]
    assert (len(columns), summary.busy_ns) == found["slice"] == found["task"]
    assert (len(waits), sum(waits)) == found["wait"]
    assert (1, summary.unknown_ns) == found["gap"]
    # Nothing was dropped, unreadable or out of order.
    assert [] == loaded.query("select name, value from stats where value > 0 and severity in ('error', 'data_loss')")
    by_function = {
        row["name"]: (row["n"], row["ns"], row["longest"])
        for row in loaded.query(
            "select name, count(*) as n, sum(dur) as ns, max(dur) as longest from slice where category = 'task' group by name"
        )
    }
    assert {top.name: (top.slices, top.busy_ns, top.longest_ns) for top in summary.top} == by_function
    assert [{"name": "deployed"}] == loaded.query("select name from slice where category in ('mark', 'info')")


def test_the_thread_has_a_track_and_each_task_has_one(
    loaded: trace_processor.TraceProcessor, recording: Recording
) -> None:
    [thread] = loaded.query(
        "select count(*) as n from slice join thread_track on slice.track_id = thread_track.id join thread using (utid) "
        "where thread.name = 'MainThread' and category = 'slice'"
    )
    assert len(recording.slices) == thread["n"]
    [tracks] = loaded.query("select count(distinct track_id) as n from slice where category = 'task'")
    assert len(set(recording.slices.actor)) == tracks["n"]
    # On a task's track nothing overlaps: what it waits for ends where it is ready, before it runs.
    assert [{"n": 0}] == loaded.query("select count(*) as n from slice where depth > 0 and dur > 0")


def test_an_arrow_leads_from_each_waker(loaded: trace_processor.TraceProcessor, recording: Recording) -> None:
    [flows] = loaded.query("select count(*) as n from flow")
    assert sum(waker >= 0 for waker in recording.slices.waker) == flows["n"]
