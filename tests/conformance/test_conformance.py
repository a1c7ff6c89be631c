"""CPython's own tests of asyncio pass on plait. Here on one engine; `make conformance` runs both."""

import faulthandler
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.conformance.__main__ import Outcome, missing_suite, modules_of_suite, parse, run_module
from tests.conformance.exclusions import Exclusions


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> dict[str, Outcome]:
    """What becomes of each module that is asked for; two at a time, as most of them wait for most of their time."""
    # The safety net of a single test is too short for all of them; each of theirs has one of its own.
    faulthandler.cancel_dump_traceback_later()
    options = parse(["--engine", "uring"])
    items: list[Any] = [item for item in request.session.items if item.name.startswith("test_standard_tests_pass")]
    chosen: list[str] = [item.callspec.params["module"] for item in items]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(chosen, pool.map(lambda module: run_module(module, options), chosen), strict=True))


def test_this_python_came_with_its_tests() -> None:
    assert missing_suite() is None


@pytest.mark.timeout(240)
@pytest.mark.beside_others
@pytest.mark.parametrize("module", [] if missing_suite() else modules_of_suite())
def test_standard_tests_pass(outcomes: dict[str, Outcome], module: str) -> None:
    outcome = outcomes[module]
    assert not outcome.failed, "\n".join(f"=== {test}\n{text}" for test, text in outcome.failed.items())
    assert outcome.seen


def test_every_exclusion_has_a_reason() -> None:
    """Exclusions.load() refuses a line without one; none is listed twice."""
    patterns = [line.pattern for line in Exclusions.load().lines if line.here]
    assert sorted(set(patterns)) == sorted(patterns)
