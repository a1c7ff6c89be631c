"""What docs/asyncio.md says of plait is so, on both engines, and nothing in it is missing."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.interface.__main__ import answers_of, committed
from tests.interface.probes import probes


def test_the_table_has_every_probe_and_plait_does_it_all() -> None:
    """Where the Python that made the table was too old for a row, the row says since when there is such a thing."""
    rows = committed()
    assert [probe.name for probe in probes] == list(rows)
    good = {"yes", *(f"Python 3.{minor}" for minor in (12, 13, 14))}
    assert {name: answer for name, answer in rows.items() if answer not in good} == {}


@pytest.mark.timeout(180)
@pytest.mark.beside_others
def test_plait_does_what_the_table_says(engine: str) -> None:
    """In a process of its own, as the probes know nothing of whose loop it is."""
    expected = [
        "yes" if sys.version_info >= probe.since else f"Python {probe.since[0]}.{probe.since[1]}" for probe in probes
    ]
    assert dict(zip((probe.name for probe in probes), expected, strict=True)) == dict(
        zip((probe.name for probe in probes), answers_of(f"plait {engine}"), strict=True)
    )
