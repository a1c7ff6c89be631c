"""`plait dump`, `plait top`, `plait weave`: look into a process that runs on plait."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

__all__ = ["dump", "top", "weave"]

NO_ANSWER = 1


def attaching(look: Callable[[], None], name: str) -> int:
    """Call it; a process that cannot be looked at is one line and the status 1."""
    from plait.see.client import CannotAttach

    try:
        look()
    except CannotAttach as error:
        print(f"plait {name}: {error}", file=sys.stderr)
        return NO_ANSWER
    except KeyboardInterrupt:
        return 130
    return 0


def pid_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pid", metavar="PID", type=a_pid, help="the process's number")


def a_pid(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 0 < number < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a process")
    return number


def dump(parser: argparse.ArgumentParser, given: list[str]) -> int:
    parser.description = (
        "Print all tasks of a running program as a tree: who waits for whom and on what, with stacks; deadlocks and what "
        "blocks the loop are named. The program needs no change, and is not stopped."
    )
    pid_argument(parser)
    parser.add_argument("--all", action="store_true", help="each task by itself, with all its frames")
    parser.add_argument("--json", action="store_true", help="the same for programs")
    options = parser.parse_args(given)

    def look() -> None:
        from plait.see.client import Attached
        from plait.see.screen import paint, wants_colour
        from plait.see.tree import render

        with Attached(options.pid) as attached:
            snapshot = attached.ask("dump")
            if any(loop["recorded"] for loop in snapshot["loops"]):
                from plait.see.since import tell_since

                tell_since(snapshot, attached)
        if options.json:
            print(json.dumps(snapshot, indent=1))
            return
        colour = wants_colour()
        for line in render(snapshot, options.all):
            print(paint(line, colour))

    return attaching(look, "dump")


def top(parser: argparse.ArgumentParser, given: list[str]) -> int:
    parser.description = (
        "Watch a running program: its tasks by what they wait for and where, how much its loop computes, and how long a "
        "callback waits for its turn (lag). The program needs no change. q quits."
    )
    pid_argument(parser)
    parser.add_argument("--every", metavar="SECONDS", type=an_interval, default=1.0, help="how often (default: 1)")
    parser.add_argument("--once", action="store_true", help="print one view and leave")
    options = parser.parse_args(given)

    def look() -> None:
        from plait.see import top as view

        view.run(options.pid, options.every, options.once or not sys.stdout.isatty(), sys.stdout.write)

    return attaching(look, "top")


def weave(parser: argparse.ArgumentParser, given: list[str]) -> int:
    parser.description = (
        "Watch a running program being woven: its thread as a lane of coloured slices, a lane for each task with what it waits "
        "for, the last seconds of it. The program needs no change; it is recorded while you look."
    )
    pid_argument(parser)
    parser.add_argument("--every", metavar="SECONDS", type=an_interval, default=0.5, help="how often (default: 0.5)")
    parser.add_argument("--once", action="store_true", help="print one picture and leave")
    options = parser.parse_args(given)

    def look() -> None:
        from plait.see.client import CannotAttach

        try:
            from plait.see import weave as view
        except ModuleNotFoundError as error:
            if error.name != "rich":
                raise
            raise CannotAttach(
                "this picture needs rich, which the plain plait does not bring: pip install 'plait[see]'"
            ) from None

        view.run(options.pid, options.every, options.once or not sys.stdout.isatty(), sys.stdout.write)

    return attaching(look, "weave")


def an_interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0.05 and 3600 seconds")
    return seconds
