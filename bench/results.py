"""What a run found, with everything that is needed to judge it; saved as JSON and read again."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.rows import PARTS, ROWS, Part, Row
from bench.stats import Sample, Spread, ratio

FORMAT = 1


@dataclass
class Results:
    """`samples[row][subject]` has one entry per round, None where the sample failed."""

    base: str
    subjects: list[str]
    machine: dict[str, str]
    quick: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    samples: dict[str, dict[str, list[Sample | None]]] = field(default_factory=dict)

    def add(self, row: str, subject: str, sample: Sample | None) -> None:
        self.samples.setdefault(row, {}).setdefault(subject, []).append(sample)

    def rows(self) -> list[Row]:
        return [row for row in ROWS if row.name in self.samples]

    def part(self, part: Part) -> list[Row]:
        return [row for row in self.rows() if row.kind in PARTS[part]]

    def of(self, row: str, subject: str) -> Sequence[Sample | None]:
        return self.samples.get(row, {}).get(subject, [])

    def ratio(self, row: str, subject: str, base: str | None = None) -> Spread | None:
        """How many times cheaper than the base, None if one of them was not measured."""
        return ratio(self.of(row, base or self.base), self.of(row, subject))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {"format": FORMAT} | asdict(self)
        content["ratios"] = {
            row.name: {s: asdict(found) for s in self.subjects if (found := self.ratio(row.name, s))}
            for row in self.rows()
        }
        path.write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Results":
        content = json.loads(path.read_text())
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"{path} is not a result of this bench (format {FORMAT})")
        content.pop("ratios")
        content["samples"] = {
            row: {s: [x and Sample(**x) for x in found] for s, found in by_subject.items()}
            for row, by_subject in content["samples"].items()
        }
        return cls(**content)
