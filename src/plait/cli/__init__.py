"""The command `plait`: `run` a program on plait, look into one that runs (`dump`, `top`, `weave`), let the `doctor` say which engine
runs here, watch the `demo`.

Only the standard library is needed to start it; what a command needs beyond that is imported by the command itself.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

__all__ = ["main"]

WATCHDOG_MS = 50
ENGINES = ("auto", "uring", "epoll")

# A command takes what stands behind its name and returns the exit status.
Command = Callable[[list[str]], int]


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is one `--help` away."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; an error of the program that `plait run` runs passes through."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = OneLineParser(
        prog="plait",
        description="I/O-driven concurrency for Python: an asyncio event loop on io_uring and epoll.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n"
        + "\n".join(f"  {name:8}{summary}" for name, (summary, _) in COMMANDS.items())
        + "\n\n`plait COMMAND --help` says more about one.",
    )
    parser.add_argument("--version", action="store_true", help="print plait's version")
    parser.add_argument("command", metavar="COMMAND", nargs="?", choices=COMMANDS, help="one of those below")
    if not given:
        parser.print_help(sys.stderr)
        return 2
    # Only the first word is ours: what stands behind a command belongs to it, also words that look like our options.
    first = parser.parse_args(given[:1])
    if first.version:
        from importlib.metadata import version

        print(f"plait {version('plait')}")
        return 0
    command: str = first.command
    if command == "run":
        return run(given[1:])
    try:
        status = COMMANDS[command][1](given[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has had enough; what is left in the buffer goes nowhere, without a word at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def run(given: list[str]) -> int:
    """`plait run`: everything behind the program's name is the program's."""
    parser = OneLineParser(
        prog="plait run",
        usage="plait run [--engine auto|uring|epoll] [--debug] [--watchdog[=MS]] [--record FILE.plait | --flight FOLDER] "
        "(FILE | FOLDER | - | -m MODULE) [ARGUMENT ...]",
        description="Run an unmodified asyncio program on plait, whatever way it makes its loop. The rest is as with "
        "python: the same exit status, sys.argv, __main__ and Ctrl-C.",
    )
    parser.add_argument("--engine", choices=ENGINES, help="the engine to run on (default: PLAIT_ENGINE, else auto)")
    parser.add_argument("--debug", action="store_true", help="asyncio's debug mode, as PYTHONASYNCIODEBUG=1")
    parser.add_argument(
        "--watchdog",
        metavar="MS",
        type=milliseconds,
        help="report each slice that blocks the loop for more than MS milliseconds (default: 50), while it does",
    )
    recording = parser.add_mutually_exclusive_group()
    recording.add_argument("--record", metavar="FILE.plait", help="record the main thread's loop, for `plait view`")
    recording.add_argument(
        "--flight",
        metavar="FOLDER",
        help="keep the last 10 seconds in memory and write them there on SIGUSR2, on a slice over 0.5 s, on an exception "
        "that nobody handles, and when a task ends by a timeout",
    )
    parser.add_argument("-m", dest="module", metavar="MODULE", help="run a module, as python -m does")
    parser.add_argument(
        "program", nargs="?", metavar="FILE", help="a file, a folder or zip with a __main__.py, or - for stdin"
    )
    options_end = program_position(given)
    # Without a value it is no option that could take the program's name for one.
    ours = [f"--watchdog={WATCHDOG_MS}" if word == "--watchdog" else word for word in given[:options_end]]
    options = parser.parse_args(ours)
    rest = given[options_end:]
    if options.module is None and options.program is None:
        parser.error("no program given")
    from plait.cli import program

    program.prepare(engine=options.engine, debug=options.debug, watchdog_ms=options.watchdog)
    with program.recorded(options.record, options.flight, options.module or options.program, rest):
        if options.module is not None:
            return program.run_module(options.module, rest)
        return program.run_path(options.program, rest)


def milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds, 1 or more")
    return value


def program_position(given: list[str]) -> int:
    """How many of the words are ours: up to and with the program's name or the module's."""
    position = 0
    while position < len(given):
        word = given[position]
        position += 1
        if word == "-m":
            return position + 1
        if word.startswith("-m") or not word.startswith("-") or word == "-":
            return position
        if word in ("--engine", "--record", "--flight"):
            position += 1
    return position


def doctor(given: list[str]) -> int:
    parser = OneLineParser(
        prog="plait doctor",
        description="Say which engine runs here, what was refused, why, and how to change it. The exit status is 0 when "
        "a loop can run.",
    )
    parser.add_argument("--json", action="store_true", help="the same for programs")
    options = parser.parse_args(given)
    from plait import doctor as physician

    return physician.main(as_json=options.json)


def demo(given: list[str]) -> int:
    from plait.demo import main as demo_main

    return demo_main(given)


def dump(given: list[str]) -> int:
    from plait.cli import looking

    return looking.dump(OneLineParser(prog="plait dump"), given)


def top(given: list[str]) -> int:
    from plait.cli import looking

    return looking.top(OneLineParser(prog="plait top"), given)


def weave(given: list[str]) -> int:
    from plait.cli import looking

    return looking.weave(OneLineParser(prog="plait weave"), given)


def view(given: list[str]) -> int:
    from plait.cli import showing

    description = (
        "Show a recording: as a page in the browser, which is served on loopback until Ctrl-C, or in the terminal."
    )
    return showing.view(OneLineParser(prog="plait view", description=description), given)


def export(given: list[str]) -> int:
    from plait.cli import showing

    description = "Write a recording for the tools of others."
    return showing.export(OneLineParser(prog="plait export", description=description), given)


COMMANDS: dict[str, tuple[str, Command]] = {
    "run": ("run an asyncio program on plait, unmodified", run),
    "doctor": ("which engine runs here, what was refused and why", doctor),
    "dump": ("all tasks of a running program: who waits for whom, on what, where", dump),
    "top": ("a running program's tasks, waits and lag, live", top),
    "weave": ("a running program's thread as it is woven, live", weave),
    "demo": ("real files, web pages and a database: five ways to wait, side by side", demo),
    "view": ("show a recording: who ran when, who waited for what, who woke whom", view),
    "export": ("write a recording for Perfetto, Chrome, speedscope, or as lines of JSON", export),
}
