"""Interleaved rounds: A B C, B C A, ...: what the machine does to one it does to all."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from bench.drivers import Drivers
from bench.loops import Subject
from bench.machine import Turn
from bench.processes import ProcessError
from bench.programs import BuildError
from bench.results import Results
from bench.rows import Row
from bench.stats import Sample

ATTEMPTS = 4
HEAVY_ROUNDS = 3

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what comes now."""


def rows_of_round(rows: Sequence[Row], number: int) -> list[Row]:
    return [row for row in rows if number < HEAVY_ROUNDS or not row.heavy]


def subjects_of(row: Row, subjects: Sequence[Subject], number: int) -> list[Subject]:
    """Who is measured for a row, in this round's order. The floors know some rows only; libraries know files only."""
    fit = [
        s
        for s in subjects
        if (s.name in row.floors if s.is_floor else row.kind == "file" if s.files_only else True)
        and (row.recorded is not None or not s.recorded_only)
    ]
    shift = number % len(fit) if fit else 0
    return fit[shift:] + fit[:shift]


def calmest(take: Callable[[], Sample]) -> Sample:
    """A sample that others' load did not disturb, or the best of some attempts."""
    best = take()
    for attempt in range(1, ATTEMPTS):
        if not best.disturbed:
            break
        time.sleep(0.2 * attempt)  # whatever it is, it may have passed by then
        best = min(best, take(), key=lambda sample: sample.waited)
    return best


def measure(
    rows: Sequence[Row], subjects: Sequence[Subject], rounds: int, drivers: Drivers, results: Results, show: Progress
) -> None:
    """Fill `results`. A subject whose sample fails is left out of that row from then on, and the failure noted."""
    plan = [
        (number, row, subject)
        for number in range(rounds)
        for row in rows_of_round(rows, number)
        for subject in subjects_of(row, subjects, number)
    ]
    failed: set[tuple[str, str]] = set()
    turn = Turn()
    try:
        for step, (number, row, subject) in enumerate(plan):
            show(step, len(plan), f"round {number + 1} of {rounds}: {row.name} {subject.name}")
            if (row.name, subject.name) in failed:
                results.add(row.name, subject.name, None)
                continue
            turn.take()
            try:
                sample = calmest(partial(drivers.sample, row, subject))
                results.add(row.name, subject.name, sample)
            except (ProcessError, BuildError, RuntimeError) as error:
                failed.add((row.name, subject.name))
                # What a peer cannot do is no failure of the run.
                said = results.failures if subject.is_ours else results.notes
                said.append(f"FAILED {row.name}, {subject.name}: {error}")
                results.add(row.name, subject.name, None)
        show(len(plan), len(plan), "done")
    finally:
        turn.give()
