"""`plait view` and `plait export`: a recording as a page, in the terminal, or for the tools of others."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from plait.cli import OneLineParser
    from plait.see.model import Recording

__all__ = ["export", "view"]

NEEDS_RICH = "--terminal needs rich, which the plain plait does not bring: pip install 'plait[see]'"


class Refused(Exception):
    """What was asked for cannot be done; the text is the one line that the user sees."""


def view(parser: OneLineParser, given: list[str]) -> int:
    add = parser.add_argument
    add("recording", metavar="FILE", type=Path, help="what `plait run --record` or plait.record() wrote")
    add("--html", type=Path, metavar="PAGE", help="write the page into this file, and nothing more")
    add("--serve", action="store_true", help="serve the page on 127.0.0.1, but open no browser")
    add("--port", type=int, default=0, help="serve it there (default: a free one)")
    add("--terminal", action="store_true", help="show lanes and summary here instead of a page")
    add(
        "--blocked",
        type=milliseconds,
        default=50.0,
        metavar="MS",
        help="slices of this length are shown as blocking the thread (default: %(default)g)",
    )
    options = parser.parse_args(given)
    if (options.html and (options.serve or options.terminal)) or (options.serve and options.terminal):
        parser.error("--html, --serve and --terminal are three ways to show it: ask for one")
    try:
        recording = read(options.recording)
        blocked_ns = round(options.blocked * 1e6)
        if options.terminal:
            return in_terminal(recording, blocked_ns)
        from plait.see.page import page

        text = page(recording, blocked_ns)
        if options.html:
            write(options.html, iter([text.encode()]))
            print(f"{options.html} ({len(text) / 1e6:.1f} MB): one page that needs no network")
            return 0
        return serve(text, options.port, alone=options.serve)
    except Refused as refusal:
        print(f"plait view: {refusal}", file=sys.stderr)
        return 1


def export(parser: OneLineParser, given: list[str]) -> int:
    from plait.see.exports import FORMATS

    add = parser.add_argument
    add("recording", metavar="FILE", type=Path, help="what `plait run --record` or plait.record() wrote")
    opened = "; ".join(f"{name} for {form.opened_by}" for name, form in FORMATS.items())
    add("--format", choices=FORMATS, default="perfetto", help=f"{opened} (default: %(default)s)")
    add("-o", "--output", type=Path, metavar="FILE", help="write it there; - is standard output (default: beside FILE)")
    add("--flows", action="store_true", help="also the arrows from waker to woken, where the format has some")
    options = parser.parse_args(given)
    form = FORMATS[options.format]
    try:
        parts = form.parts(read(options.recording), options.flows)
        if options.output == Path("-"):
            copy(parts, sys.stdout.buffer)
            return 0
        output = options.output or options.recording.with_suffix(form.ending)
        size = write(output, parts)
        print(f"{output} ({size / 1e6:.1f} MB): open it with {form.opened_by}")
        return 0
    except Refused as refusal:
        print(f"plait export: {refusal}", file=sys.stderr)
        return 1


def milliseconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1e9:
        raise ArgumentTypeError(f"must be milliseconds over 0, not {text}")
    return number


def read(path: Path) -> Recording:
    from plait.see.recording import read as read_file

    try:
        return read_file(path)
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise Refused(str(error)) from None


def in_terminal(recording: Recording, blocked_ns: int) -> int:
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        raise Refused(NEEDS_RICH) from None
    from plait.see.terminal import show

    show(recording, Console(highlight=False), blocked_ns)
    return 0


def serve(text: str, port: int, *, alone: bool) -> int:
    """Until Ctrl-C."""
    from plait.see.web import PageServer, has_browser, open_browser

    try:
        server = PageServer(text, port)
    except (OSError, OverflowError) as error:
        raise Refused(f"cannot serve on 127.0.0.1:{port}: {getattr(error, 'strerror', None) or error}") from None
    with server:
        try:
            print(f"{server.url}\nCtrl-C ends it.", flush=True)
            if not alone and not (has_browser() and open_browser(server.url)):
                print(
                    "No browser could be opened here: open the address, or write a page with --html FILE.", flush=True
                )
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def write(path: Path, parts: Iterator[bytes]) -> int:
    """The file's size. It appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            size = copy(parts, file)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Refused(f"cannot write {path}: {error.strerror}") from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return size


def copy(parts: Iterator[bytes], file: BinaryIO) -> int:
    return sum(file.write(part) for part in parts)
