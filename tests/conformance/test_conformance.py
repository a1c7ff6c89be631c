"""CPython's own tests of asyncio pass on plait. Here on one engine; `make conformance` runs both."""

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.conformance.__main__ import Outcome, missing_suite, modules_of_suite, parse, run_module
from tests.conformance.exclusions import Exclusions


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Outcome]]]:
    """What becomes of each module that is asked for; two at a time, as most of them wait for most of their time."""
    options = parse(["--engine", "uring"])
    chosen = [
        item.callspec.params["module"] for item in request.session.items if item.name.startswith("test_standard_")
    ]
    with ThreadPoolExecutor(2) as pool:
        yield {module: pool.submit(run_module, module, options) for module in chosen}


def test_this_python_came_with_its_tests() -> None:
    assert missing_suite() is None


@pytest.mark.timeout(240)
@pytest.mark.beside_others
@pytest.mark.parametrize("module", [] if missing_suite() else modules_of_suite())
def test_standard_tests_pass(outcomes: dict[str, Future[Outcome]], module: str) -> None:
    outcome = outcomes[module].result()
    assert not outcome.failed, "\n".join(f"=== {test}\n{text}" for test, text in outcome.failed.items())
    assert outcome.seen


def test_every_exclusion_has_a_reason() -> None:
    """Exclusions.load() refuses a line without one; none is listed twice."""
    patterns = [line.pattern for line in Exclusions.load().lines if line.here]
    assert sorted(set(patterns)) == sorted(patterns)
