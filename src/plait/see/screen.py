"""Text on a terminal: styles, a screen of one's own, keys. No dependency: a program in trouble is looked at where it runs."""

import os
import select
import shutil
import sys
import termios
import tty
from collections.abc import Iterable, Sequence
from types import TracebackType

__all__ = ["Line", "Screen", "cut", "paint", "wants_colour", "width_of"]

Line = Sequence[tuple[str, str]]  # pieces of (text, style)

# Words of a style, as rich names them; others are colours in hexadecimal.
CODES = {
    "bold": "1",
    "dim": "2",
    "reverse": "7",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "white": "37",
}


def wants_colour(stream: object = None) -> bool:
    """Whether a stream is a terminal that shows colours; NO_COLOR and FORCE_COLOR have their usual meaning."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    isatty = getattr(sys.stdout if stream is None else stream, "isatty", None)
    return bool(isatty and isatty()) and os.environ.get("TERM") != "dumb"


def code(style: str) -> str:
    words = [colour_code(word) if word.startswith("#") else CODES.get(word, "") for word in style.split()]
    return ";".join(word for word in words if word)


def colour_code(colour: str) -> str:
    """As the terminal has it: exactly, or the nearest of its 256 colours."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return f"38;2;{red};{green};{blue}"
    cube = [max(0, round((part - 55) / 40)) if part > 75 else int(part > 47) for part in (red, green, blue)]
    return f"38;5;{16 + 36 * cube[0] + 6 * cube[1] + cube[2]}"


def paint(line: Line, colour: bool) -> str:
    parts = []
    for text, style in line:
        clean = text.translate(UNPRINTABLE)
        codes = code(style) if colour and style else ""
        parts.append(f"\x1b[{codes}m{clean}\x1b[0m" if codes else clean)
    return "".join(parts)


# A task's name is anybody's text: no escape sequence in it reaches the terminal.
UNPRINTABLE = dict.fromkeys((*range(32), *range(127, 160)), "�")


def width_of(line: Line) -> int:
    return sum(len(text) for text, _ in line)


def cut(line: Line, width: int) -> list[tuple[str, str]]:
    """At most `width` wide; what was cut off is marked."""
    kept: list[tuple[str, str]] = []
    left = width
    for text, style in line:
        if len(text) > left or (len(text) == left and width_of(line) > width):
            kept.append((text[: max(0, left - 1)] + "…", style))
            return kept
        kept.append((text, style))
        left -= len(text)
    return kept


class Screen:
    """The whole terminal while the block lasts, given back as it was. Keys come one by one, without Enter."""

    def __init__(self) -> None:
        self.input = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else -1
        self.mode: list[object] | None = None
        self.colour = wants_colour()
        self.typed = ""

    def __enter__(self) -> "Screen":
        if self.input >= 0:
            self.mode = termios.tcgetattr(self.input)
            tty.setcbreak(self.input)
        self.write("\x1b[?1049h\x1b[?25l")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.write("\x1b[?25h\x1b[?1049l")
        if self.mode is not None:
            termios.tcsetattr(self.input, termios.TCSADRAIN, self.mode)  # type: ignore[arg-type]

    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        size = shutil.get_terminal_size((80, 24))
        return size.columns, size.lines

    def show(self, lines: Iterable[Line]) -> None:
        """Draw over what is there, without a flicker."""
        columns, rows = self.size()
        self.draw(paint(cut(line, columns), self.colour) for line in list(lines)[:rows])

    def draw(self, rows: Iterable[str]) -> None:
        """Rows that are painted and cut already."""
        self.write("\x1b[H" + "\r\n".join(f"{row}\x1b[K" for row in rows) + "\x1b[J")

    def key(self, seconds: float) -> str:
        """The next key, or an empty string when none was pressed in time; of an arrow the whole sequence."""
        if self.input < 0:
            select.select([], [], [], seconds)
            return ""
        if not self.typed:
            if not select.select([self.input], [], [], seconds)[0]:
                return ""
            self.typed = os.read(self.input, 64).decode(errors="replace")
        length = 3 if self.typed.startswith("\x1b[") else 1
        key, self.typed = self.typed[:length], self.typed[length:]
        return key

    def write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
