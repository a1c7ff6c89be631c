"""A recording in the terminal, cell by cell."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from plait.see import colours, terminal
from plait.see.model import Gap, Recording, WaitKind

import recordings
from recordings import MS, Done, Simulation, Wait


@pytest.fixture(autouse=True)
def dark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLORFGBG", raising=False)


def known() -> Recording:
    """100 ms: "reads" runs 20 ms, waits 30 ms for a database, runs 50 ms."""

    def reads() -> Iterator[tuple[int, Any]]:
        yield 20 * MS, Wait(WaitKind.DATABASE, "postgresql", 30 * MS)
        yield 50 * MS, Done()

    simulation = Simulation()
    simulation.spawn("reads", reads(), "reads")
    return simulation.run(100 * MS)


def lines(text: Any) -> list[str]:
    return [line.rstrip() for line in str(text).split("\n")]


def test_each_cell_shows_what_went_on_in_its_time() -> None:
    """Twenty cells of 5 ms: four run, six wait, ten run."""
    recording = known()
    time, top, bottom, lane = lines(terminal.weave(recording, terminal.NAME_WIDTH + 21, blocked_ns=1000 * MS))
    assert "time" == time.split()[0]
    name = " " * terminal.NAME_WIDTH + " "
    assert f"{name}████      ██████████" == top
    assert f"{'MainThread':{terminal.NAME_WIDTH}} ████      ██████████" == bottom
    assert f"{'reads':{terminal.NAME_WIDTH}} ████━━━━━━██████████" == lane


def test_the_height_of_a_cell_is_the_share_that_the_thread_ran() -> None:
    """Ten cells of 10 ms, in the second half of which is a slice of 5 ms."""

    def half() -> Iterator[tuple[int, Any]]:
        for _ in range(10):
            yield 5 * MS, Wait(WaitKind.TIMER, "sleep", 5 * MS)
        yield 1, Done()

    simulation = Simulation()
    simulation.spawn("half", half(), "half")
    recording = simulation.run(100 * MS)
    _, top, bottom, _ = lines(terminal.weave(recording, terminal.NAME_WIDTH + 11))
    assert "" == top.strip()
    assert "█" * 10 == bottom.split()[1]


def test_a_part_can_be_shown() -> None:
    recording = known()
    start = recording.start_ns + 15 * MS
    shown = terminal.weave(recording, terminal.NAME_WIDTH + 11, start, start + 10 * MS, blocked_ns=1000 * MS)
    assert f"{'reads':{terminal.NAME_WIDTH}} █████━━━━━" == lines(shown)[3]


def test_what_blocks_is_red_and_a_gap_is_hatched() -> None:
    recording = known()
    start = recording.start_ns
    recording.gaps = [Gap(start + 31 * MS, start + 39 * MS, 1, "full")]
    shown = terminal.weave(recording, terminal.NAME_WIDTH + 21)
    bottom = shown.split("\n")[2]
    assert f"{'MainThread':{terminal.NAME_WIDTH}} ████  {terminal.LOST * 2}  ██████████" == bottom.plain.rstrip()
    styles = {bottom.plain[span.start]: str(span.style) for span in bottom.spans}
    red = [span for span in bottom.spans if colours.BLOCKED.dark in str(span.style)]
    assert 10 == sum(span.end - span.start for span in red)
    assert "dim" == styles[terminal.LOST]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        terminal.show(recordings.web_server(1.0, rate=400), console)
    assert all(len(line) <= width for line in captured.get().splitlines())
    assert "\x1b" not in captured.get()


def test_many_tasks_are_shown_by_some_and_the_rest_is_counted() -> None:
    recording = recordings.web_server(2.0)
    shown = lines(terminal.weave(recording, 100))
    assert len(shown) <= 3 + terminal.LANES_MAX + 1
    assert shown[-1].endswith(" more")
    for name in ("main", "metrics", "cache", "Listener", "checkout x", "product x"):
        assert any(line.startswith(name) for line in shown)


@pytest.mark.parametrize("lanes", [1, 2, 5, 9, 40])
def test_there_are_no_more_lanes_than_asked_for(lanes: int) -> None:
    shown = lines(terminal.weave(recordings.web_server(1.0), 100, lanes_max=lanes))
    assert 3 < len(shown) <= 3 + lanes + 1


def test_the_whole_picture_has_summary_and_findings() -> None:
    console = Console(width=120, file=io.StringIO())
    with console.capture() as captured:
        terminal.show(recordings.web_server(2.0), console)
    text = captured.get()
    assert text.startswith("app.py  2.")
    assert "report blocks the thread: " in text
    for word in ("waited for", "who ran", "database", "checkout", "1,234 events are missing"):
        assert word in text


def test_the_background_of_the_terminal_chooses_the_shade(monkeypatch: pytest.MonkeyPatch) -> None:
    for told, expected in (("15;0", "dark"), ("0;15", "light"), ("0;default;7", "light"), ("", "dark")):
        monkeypatch.setenv("COLORFGBG", told)
        assert getattr(colours.BLOCKED, expected) == colours.terminal_shade(colours.BLOCKED)


def test_an_empty_recording_is_no_error() -> None:
    console = Console(width=80, file=io.StringIO())
    terminal.show(Recording({}, 5, 5, 0.0, [], [], recordings.Slices()), console)
