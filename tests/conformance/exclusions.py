"""Reads not_applicable.txt: tests that say nothing about a loop of one's own."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

PATH = Path(__file__).with_name("not_applicable.txt")
LINE = re.compile(r"(?P<pattern>\S+)(?:\s+\[(?P<versions>[<>=]+)(?P<minor>3\.\d+)\])?\s\s+(?P<reason>\S.+)")
COMPARE = {"<": lambda a, b: a < b, ">=": lambda a, b: a >= b, "==": lambda a, b: a == b}


@dataclass(frozen=True)
class Exclusion:
    pattern: str
    reason: str
    here: bool  # on this Python


@dataclass(frozen=True)
class Exclusions:
    lines: list[Exclusion]

    @classmethod
    def load(cls) -> Exclusions:
        """ValueError names the line that has no reason or is not understood."""
        lines = []
        for number, text in enumerate(PATH.read_text().splitlines(), 1):
            if not text.strip() or text.startswith("#"):
                continue
            found = LINE.fullmatch(text.strip())
            if found is None:
                raise ValueError(f"{PATH.name}:{number}: expected `pattern [>=3.N]  reason`, got {text!r}")
            here = True
            if found["versions"]:
                wanted = tuple(int(part) for part in found["minor"].split("."))
                here = COMPARE[found["versions"]](sys.version_info[:2], wanted)
            lines.append(Exclusion(found["pattern"], found["reason"], here))
        return cls(lines)

    def reason(self, test: str, subject: str) -> str | None:
        """Why this test does not apply, or None. asyncio itself is measured by everything but its many selectors."""
        for line in self.lines:
            if line.here and fnmatchcase(test, line.pattern) and (subject != "asyncio" or "selector" in line.reason):
                return line.reason
        return None
