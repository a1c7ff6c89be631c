"""`plait weave`: the thread of a running program as it is woven, the last seconds of it, live. Needs rich (`plait[see]`)."""

import base64
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

from plait.see import terminal
from plait.see.client import Attached
from plait.see.model import Recording
from plait.see.recording import EVENTS, Contents, assemble, take_block
from plait.see.screen import Screen, wants_colour
from plait.see.tree import show

__all__ = ["run"]

SPANS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
FIRST_SPAN = 2.0
SLICES_MAX = 20_000  # drawing takes its time: of a busy loop the span is cut
BLOCKED_SECONDS = 0.05
HELP = "+ - zoom  space holds  ← → move  q quits"


class Weave:
    """The last seconds of a program, put together from what it tells."""

    def __init__(self) -> None:
        self.recorder = 0
        self.next = 0
        self.chunks: dict[int, bytes] = {}
        self.answer: dict[str, Any] = {}
        self.recording: Recording | None = None
        self.span = FIRST_SPAN
        self.held_ns = 0  # the right edge while it is held; 0: now
        self.stuck_since = 0.0
        self.pulse: list[int] = []

    def ask(self, attached: Attached) -> None:
        """Get what is new. Does nothing while the picture is held."""
        answer = attached.ask("weave", recorder=self.recorder, **{"from": self.next})
        self.answer = answer
        now = time.monotonic()
        moves = answer.get("asleep") or not answer.get("running") or answer.get("pulse") != self.pulse
        self.stuck_since = 0.0 if moves else self.stuck_since or now
        self.pulse = answer.get("pulse") or []
        if answer.get("recorder", 0) != self.recorder:
            self.recorder, self.chunks = answer.get("recorder", 0), {}
        for number, text in answer.get("chunks", ()):
            self.chunks[number] = base64.b64decode(text)
        self.next = answer.get("next", 0)
        self.forget()
        self.put_together()

    def forget(self) -> None:
        """Keep what a ring of the program's could hold, and no more."""
        while len(self.chunks) > 64:
            del self.chunks[min(self.chunks)]

    def put_together(self) -> None:
        contents = Contents()
        for number in sorted(self.chunks):
            take_block(EVENTS, self.chunks[number], contents)
        if contents.chunks:
            self.recording = assemble(contents, "the ring")
            self.recording.end_ns = max(self.recording.end_ns, self.answer.get("now_ns", 0))

    def window(self, recording: Recording) -> tuple[int, int]:
        """What is shown: at most SLICES_MAX slices of it."""
        end = self.held_ns or recording.end_ns
        start = end - int(self.span * 1e9)
        starts = recording.slices.start_ns
        low, high = bisect_left(starts, start), bisect_left(starts, end)
        if high - low > SLICES_MAX:
            start = starts[high - SLICES_MAX]
        return start, end

    def key(self, key: str) -> bool:
        """Whether to go on."""
        if key in ("q", "Q", "\x1b", "\x03"):
            return False
        place = min(range(len(SPANS)), key=lambda index: abs(SPANS[index] - self.span))
        if key in ("+", "=", "\x1b[A"):
            self.span = SPANS[max(0, place - 1)]
        elif key in ("-", "_", "\x1b[B"):
            self.span = SPANS[min(len(SPANS) - 1, place + 1)]
        elif self.recording is not None:
            step = int(self.span * 1e9 / 4)
            if key == " ":
                self.held_ns = 0 if self.held_ns else self.recording.end_ns
            elif key == "\x1b[D":
                self.held_ns = (self.held_ns or self.recording.end_ns) - step
            elif key == "\x1b[C" and self.held_ns:
                self.held_ns += step
                if self.held_ns >= self.recording.end_ns:
                    self.held_ns = 0
        return True


def run(pid: int, every: float, once: bool, write: Callable[[str], object]) -> None:
    """Show it until q is pressed or the process ends. `once` writes one picture instead, of the first span."""
    weave = Weave()
    with Attached(pid) as attached:
        weave.ask(attached)
        if once:
            time.sleep(every)
            weave.ask(attached)
            columns, rows = Screen().size()
            write("\n".join(picture(weave, columns, rows, wants_colour())) + "\n")
            return
        with Screen() as screen:
            while True:
                columns, rows = screen.size()
                screen.draw(picture(weave, columns, rows, screen.colour))
                if not weave.key(screen.key(every)):
                    return
                if not weave.held_ns:
                    weave.ask(attached)


def picture(weave: Weave, columns: int, rows: int, colour: bool) -> list[str]:
    """Painted rows: the head, the lanes, the legend."""
    lines = [head(weave, columns)]
    answer = weave.answer
    stuck = time.monotonic() - weave.stuck_since if weave.stuck_since else 0.0
    if stuck >= BLOCKED_SECONDS:
        lines.append(
            Text(
                f"BLOCKED for {stuck:.1f} s at least, by {show(answer['stack'][-1])}" if answer["stack"] else "BLOCKED",
                "bold red",
            )
        )
    recording = weave.recording
    if recording is None or not len(recording.slices):
        lines.append(Text(nothing_yet(answer), "dim"))
    else:
        start, end = weave.window(recording)
        legend = terminal.legend([recording], columns)
        below = list(legend.split("\n"))
        room = rows - len(lines) - len(below) - 4
        woven = terminal.weave(recording, columns, start, end, lanes_max=max(1, room))
        lines += [Text(), *woven.split("\n")[: rows - len(lines) - len(below) - 2], Text(), *below]
    console = Console(
        width=columns,
        force_terminal=colour,
        color_system="auto" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    with console.capture() as captured:
        for line in lines[:rows]:
            console.print(line, no_wrap=True, overflow="crop", crop=True)
    return captured.get().splitlines()


def nothing_yet(answer: dict[str, Any]) -> str:
    if answer.get("loop") is None:
        return "no loop of plait is open in this process"
    if not answer.get("running"):
        return "the loop does not run"
    return "nothing has run yet since you look: the loop waits, or is in one slice all the time"


def head(weave: Weave, columns: int) -> Text:
    answer = weave.answer
    left = f"plait weave {answer['pid']}  "
    span = f"{weave.span:g} s" if weave.span >= 1 else f"{weave.span * 1e3:g} ms"
    right = f"{'HELD' if weave.held_ns else 'live'}, {span}  {HELP}"
    room = max(0, columns - len(left) - len(right) - 2)
    program = " ".join(answer["program"]).rpartition("/")[2] or "python"
    return Text.assemble((left, "bold"), program[:room].ljust(room), "  ", (right, "dim"))
