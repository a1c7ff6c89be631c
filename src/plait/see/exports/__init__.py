"""A recording for the tools of others: Chrome's and Perfetto's trace viewers, speedscope, programs that read lines of JSON.

Colours are not exported: these viewers choose their own, by the name of a slice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from plait.see.exports import chrome, lines, perfetto, speedscope
from plait.see.model import Recording

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True)
class Format:
    """A way to write a recording: `parts` yields pieces of the file, so that a large one is never whole in memory."""

    parts: Callable[[Recording, bool], Iterator[bytes]]
    ending: str
    opened_by: str


FORMATS = {
    "perfetto": Format(perfetto.parts, ".pftrace", "ui.perfetto.dev, trace_processor"),
    "chrome": Format(chrome.parts, ".json", "ui.perfetto.dev, chrome://tracing"),
    "speedscope": Format(speedscope.parts, ".speedscope.json", "speedscope.app"),
    "jsonl": Format(lines.parts, ".jsonl", "your own programs, jq"),
}
