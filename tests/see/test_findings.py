"""What is said about a recording, and above all what is not said."""

from collections.abc import Iterator
from typing import Any

import pytest

from plait.see.findings import Finding, find, show_ns
from plait.see.model import Gap, Mark, Outcome, Recording, WaitKind
from plait.see.summary import summarize

import recordings
from recordings import MS, US, Again, Done, Lock, Release, Simulation, Wait

Script = Iterator[tuple[int, Any]]


def said(recording: Recording) -> list[Finding]:
    return find(recording, summarize(recording))


def run(script: Script, until_ms: int = 1000, name: str = "work") -> Recording:
    simulation = Simulation()
    simulation.spawn(name, script, line=7)
    return simulation.run(until_ms * MS)


def test_an_ordinary_server_gets_no_warning() -> None:
    recording = recordings.web_server(4.0, rate=300, report_every=10**9)
    recording.gaps = []
    assert [] == [finding for finding in said(recording) if finding.level == "warning"]


def test_blocked_slices_of_a_function_are_one_finding_with_the_line_of_the_longest() -> None:
    def report() -> Script:
        yield 60 * MS, Wait(WaitKind.FILE, "x", MS, 12)
        yield 90 * MS, Wait(WaitKind.FILE, "x", MS, 13)
        yield 1 * MS, Done()

    [finding] = said(run(report(), name="report"))
    assert ("warning", "blocked", 2, 90 * MS) == (finding.level, finding.kind, finding.count, finding.duration_ns)
    assert "report blocks the thread: 2 times, longest 90.0 ms" == finding.text
    assert "/srv/shop/app.py:12 in report" == finding.place


def test_a_watchdogs_mark_gives_the_line_and_is_not_said_twice() -> None:
    def report() -> Script:
        yield 60 * MS, Done()

    recording = run(report())
    start = recording.slices.start_ns[0]
    place = "/srv/shop/pdf.py:99 in render"
    recording.marks = [
        Mark(start + 10 * MS, "another is never retrieved", "warning", place="/srv/shop/app.py:1 in other"),
        Mark(start + 50 * MS, "Task-1 blocks the thread: pdf.render: use a process", "warning", 0, 50 * MS, place),
        Mark(start + 70 * MS, "a cancel was swallowed", "warning", 0),
        Mark(start + 71 * MS, "deployed"),
    ]
    found = said(recording)
    expected = ["work blocks the thread: 60.0 ms", "another is never retrieved", "a cancel was swallowed", "deployed"]
    assert expected == [f.text for f in found]
    assert ["warning", "warning", "warning", "info"] == [f.level for f in found]
    assert place == found[0].place
    assert "Everybody else stands still meanwhile; pdf.render: use a process" == found[0].advice


def spin(slice_ns: int, count: int) -> Script:
    for _ in range(count):
        yield slice_ns, Again(31)
    yield 100, Done()


def test_a_spinning_task_may_lose_the_processor_now_and_then() -> None:
    def script(every: int) -> Script:
        for number in range(3000):
            yield (3 * MS if number % every == every - 1 else 10 * US), Again(31)
        yield 100, Done()

    [finding] = said(run(script(100)))
    assert "spin" == finding.kind
    assert [] == said(run(script(10)))


def test_a_task_that_only_asks_again_spins() -> None:
    [finding] = said(run(spin(60 * US // 2, 3000)))
    assert ("warning", "spin") == (finding.level, finding.kind)
    assert "work spins: it woke itself 3,000 times in 90.9 ms" == finding.text


@pytest.mark.parametrize(
    "script",
    [spin(200 * US, 3000), spin(20 * US, 900), spin(1 * US, 2000)],
    ids=["it works between its yields", "only some hundred", "a short while"],
)
def test_yielding_is_no_spinning(script: Script) -> None:
    assert [] == said(run(script))


def answers(*waits: tuple[WaitKind, str, int, int]) -> Script:
    for kind, text, ns, line in waits:
        yield 20 * US, Wait(kind, text, ns, line)
    yield 20 * US, Done()


def test_answers_from_different_places_could_be_together() -> None:
    script = answers(
        (WaitKind.DATABASE, "postgresql", 30 * MS, 10), (WaitKind.WEB, "a:443", 40 * MS, 11), (WaitKind.FILE, "b", 20 * MS, 12)
    )  # fmt: skip
    [finding] = said(run(script))
    assert ("hint", "together", 50 * MS) == (finding.level, finding.kind, finding.duration_ns)
    assert "work waits for 3 answers one after the other; together would save up to 50.0 ms" == finding.text
    assert finding.advice.startswith("postgresql, a:443, b: unless one needs the other's answer")


def test_queries_from_one_line_could_be_together() -> None:
    queries = [(WaitKind.DATABASE, "postgresql", 10 * MS, 10)] * 9
    [finding] = said(run(answers(*queries)))
    assert ("together", 80 * MS) == (finding.kind, finding.duration_ns)
    assert "one query for all" in finding.advice
    # A web server's handler has all its queries from one line of the server's.
    served = run(answers(*queries))
    for actor in served.actors:
        actor.file = "/srv/venv/lib/python3.12/site-packages/server/protocol.py"
    assert [] == said(served)


@pytest.mark.parametrize(
    "waits",
    [
        [(WaitKind.NETWORK, "peer", 30 * MS, 10)] * 20,
        [(WaitKind.NETWORK, "peer", 30 * MS, 10), (WaitKind.DATABASE, "postgresql", 30 * MS, 12)] * 10,
        [(WaitKind.DATABASE, "postgresql", 30 * MS, line) for line in range(10, 20)],
        [(WaitKind.DATABASE, "postgresql", 30 * MS, 10)] * 6,
        [(WaitKind.WEB, "a", 30 * MS, 1), (WaitKind.TIMER, "sleep", 500 * MS, 2), (WaitKind.WEB, "b", 30 * MS, 3),
         (WaitKind.TIMER, "sleep", 500 * MS, 4), (WaitKind.WEB, "c", 30 * MS, 5)],
        [(WaitKind.WEB, "a", 3 * MS, 1), (WaitKind.WEB, "b", 3 * MS, 2), (WaitKind.WEB, "c", 3 * MS, 3)],
        [(WaitKind.DNS, "a", 30 * MS, 1), (WaitKind.WEB, "a:443", 30 * MS, 1)],
        [(WaitKind.NETWORK, "peer", 30 * MS, 1), (WaitKind.DATABASE, "postgresql ::1:5432", 30 * MS, 2),
         (WaitKind.DATABASE, "postgresql", 30 * MS, 3)],
    ],
    ids=["a stream that is read", "a stream that is answered", "queries that build on each other", "a transaction", "with pauses between",
         "nothing to gain", "a name and its address", "a database and its connection"],
)  # fmt: skip
def test_a_conversation_is_no_row_of_answers(waits: list[tuple[WaitKind, str, int, int]]) -> None:
    assert [] == said(run(answers(*waits), 20_000))


def test_more_calls_than_threads_saturate_the_executor() -> None:
    def many(at_once: int) -> Recording:
        simulation = Simulation()
        for _ in range(at_once):
            simulation.spawn("call", answers((WaitKind.THREAD, "run_in_executor", 100 * MS, 3)))
        return simulation.run(200 * MS)

    [finding] = said(many(80))
    assert ("warning", "executor") == (finding.level, finding.kind)
    assert "up to 80 calls at once for 40 threads" in finding.text
    assert [] == said(many(32))
    recording = many(20)
    recording.meta["executor_workers"] = 4
    assert ["executor"] == [f.kind for f in said(recording)]


def fan(children: int, *, locked: bool) -> Recording:
    simulation = Simulation()

    def child() -> Script:
        if locked:
            yield 1 * US, Lock("Semaphore")
        yield 1 * US, Wait(WaitKind.WEB, "a:443", 3 * MS, 5)
        if locked:
            yield 1 * US, Release("Semaphore")
        yield 1 * US, Done()

    def main() -> Script:
        for _ in range(children):
            simulation.spawn("child", child())
        yield 1 * MS, Done()

    simulation.spawn("main", main(), "main")
    return simulation.run(20_000 * MS)


def test_thousands_of_children_at_once_are_a_fan_out() -> None:
    [finding] = said(fan(1500, locked=False))
    assert ("hint", "fan-out", 1500) == (finding.level, finding.kind, finding.count)
    assert "main had 1,500 tasks at once" == finding.text


@pytest.mark.parametrize(("children", "locked"), [(900, False), (1500, True)])
def test_children_that_are_few_or_held_back_are_none(children: int, locked: bool) -> None:
    assert [] == said(fan(children, locked=locked))


def test_a_thread_that_is_always_busy_is_what_all_wait_for() -> None:
    simulation = Simulation()

    def busy() -> Script:
        for _ in range(20):
            yield 5 * MS, Again(4)
        yield 1, Done()

    for _ in range(10):
        simulation.spawn("busy", busy())
    [finding] = said(simulation.run(1000 * MS))
    assert "saturated" == finding.kind
    assert finding.text.startswith("the thread is busy for 100% of the time")


def test_what_is_missing_is_told() -> None:
    recording = run(answers())
    recording.gaps = [Gap(recording.start_ns, recording.start_ns + 3 * MS, 12, "the ring was full")]
    [finding] = said(recording)
    assert ("info", "12 events are missing for 3.00 ms: the ring was full") == (finding.level, finding.text)


def test_a_damaged_file_is_told() -> None:
    recording = run(answers())
    recording.meta["problems"] = "the last block is cut off"
    assert ["not all of the file could be read: the last block is cut off"] == [f.text for f in said(recording)]


def test_raised_and_cancelled_ends_are_no_findings_of_their_own() -> None:
    def ends(outcome: Outcome) -> Script:
        yield 10 * US, Done(outcome, "ValueError: x")

    assert [] == said(run(ends(Outcome.RAISED))) == said(run(ends(Outcome.CANCELLED)))


@pytest.mark.parametrize(
    ("ns", "shown"),
    [(0, "0 ns"), (999, "999 ns"), (1_000, "1.00 us"), (12_345, "12.3 us"), (999_999, "1.00 ms"), (45 * MS, "45.0 ms"),
     (123_456_789, "123 ms"), (1_200_000_000, "1.20 s"), (4_000_000_000_000, "4,000 s")],
)  # fmt: skip
def test_durations_are_short_and_have_a_unit(ns: int, shown: str) -> None:
    assert shown == show_ns(ns)
