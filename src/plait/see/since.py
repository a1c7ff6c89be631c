"""Since when tasks wait, for the dump of a program that is recorded: from the events that its ring still has."""

import base64
from typing import Any

from plait.see.client import Attached
from plait.see.recording import EVENTS, Contents, assemble, take_block

__all__ = ["tell_since"]


def tell_since(snapshot: dict[str, Any], attached: Attached) -> None:
    """Give each waiting task of the recorded loop its `since_s`, as far as it is known. Names that two tasks have are left out."""
    loops = [loop for loop in snapshot["loops"] if loop["recorded"]]
    if not loops or loops[0] is not snapshot["loops"][0]:  # the ring of the first is what is given out
        return
    told = attached.ask("weave")
    contents = Contents()
    for _, chunk in told["chunks"]:
        take_block(EVENTS, base64.b64decode(chunk), contents)
    if not contents.chunks:
        return
    recording = assemble(contents, "the ring")
    since: dict[str, list[int]] = {}
    for pending in recording.pending:
        since.setdefault(recording.actors[pending.actor].name, []).append(pending.since_ns)
    for task in loops[0]["tasks"]:
        found = since.get(task["name"], ())
        if task["state"] == "waits" and len(found) == 1:
            task["since_s"] = round((told["now_ns"] - found[0]) / 1e9, 3)
