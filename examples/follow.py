"""Follow log files as they grow, also across their rotation, and pick out lines: `tail -F | grep` for many files at once.

    python examples/follow.py --match 'ERROR|WARN' /var/log/app/*.log
    python examples/follow.py --last 10 --through 'jq .message' service.json

A pipeline of tasks: one follower per file, a queue that holds them back when the end of the line is slow, and one printer, which
hands the lines to another program with `--through`. The kernel tells of every change (plait.watch), so that nothing is asked in vain.
Ctrl-C ends it with a count per file.
"""

import argparse
import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import BinaryIO

import plait
from plait.files import ChangeKind, Watch

LINES_WAITING_MAX = 1000
READ_BYTES = 64 * 1024
LAST_BYTES_MAX = 1024 * 1024

# What can concern a file that is followed.
KINDS = {ChangeKind.CREATED, ChangeKind.MODIFIED, ChangeKind.MOVED}


async def tell(changes: Watch, changed: list[asyncio.Event]) -> None:
    """Wake those who follow a file of this folder whenever one may have changed: theirs may have another name by now."""
    async for _ in changes:
        for event in changed:
            event.set()


async def follow(path: Path, changed: asyncio.Event, last: int) -> AsyncGenerator[bytes, None]:
    """The last lines of a file and then each new one, for ever; a new file of that name is read from its start."""
    file = open_if_there(path)
    rest = b""
    try:
        if file is not None:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_BYTES_MAX))
            *lines, rest = file.read().split(b"\n")
            for line in lines[max(0, len(lines) - last) :]:
                yield line
        while True:
            changed.clear()
            file = file or open_if_there(path)
            while file is not None:
                data = file.read(READ_BYTES)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    yield line
                if not data and not replaced(file.fileno(), path, file.tell()):
                    break
                if not data:
                    file.close()
                    file, rest = open_if_there(path), b""
            await changed.wait()
    finally:
        if file is not None:
            file.close()


def open_if_there(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def replaced(descriptor: int, path: Path, position: int) -> bool:
    """Whether the name stands for another file by now, or the file was cut."""
    ours = os.fstat(descriptor)
    try:
        named = path.stat()
    except FileNotFoundError:
        return False  # rotated away, and not made anew yet: its writer may still add to it
    return not os.path.samestat(ours, named) or ours.st_size < position


async def pick(
    path: Path, changed: asyncio.Event, last: int, pattern: re.Pattern[str], out: "asyncio.Queue[tuple[Path, str]]"
) -> None:
    async with aclosing(follow(path, changed, last)) as lines:
        async for line in lines:
            text = line.decode(errors="replace")
            if pattern.search(text):
                await out.put((path, text))


async def show(
    lines: "asyncio.Queue[tuple[Path, str]]", many: bool, through: str | None, counts: Counter[Path]
) -> None:
    """Print the lines, or write them to a program that does; returns when that program ends."""
    if through is None:
        while True:
            path, line = await lines.get()
            counts[path] += 1
            print(f"{path.name}: {line}" if many else line, flush=True)
    program = await asyncio.create_subprocess_shell(through, stdin=asyncio.subprocess.PIPE)
    assert program.stdin is not None
    try:
        while True:
            path, line = await lines.get()
            counts[path] += 1
            program.stdin.write(f"{line}\n".encode())
            await program.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # as `head` does, it has had enough
    finally:
        program.stdin.close()
        await program.wait()


async def run(paths: list[Path], pattern: re.Pattern[str], last: int, through: str | None) -> Counter[Path]:
    lines: asyncio.Queue[tuple[Path, str]] = asyncio.Queue(LINES_WAITING_MAX)
    counts: Counter[Path] = Counter(dict.fromkeys(paths, 0))
    changed = {path: asyncio.Event() for path in paths}
    async with AsyncExitStack() as stack:
        telling = []
        for folder in {path.parent for path in paths}:
            await plait.Path(folder).stat()  # a watch would wait for it to be made
            changes = await stack.enter_async_context(plait.watch(folder, kinds=KINDS))
            here = [event for path, event in changed.items() if path.parent == folder]
            telling.append(asyncio.create_task(tell(changes, here)))
        showing = asyncio.create_task(show(lines, len(paths) > 1, through, counts))
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, showing.cancel)
        picking = [asyncio.create_task(pick(path, changed[path], last, pattern, lines)) for path in paths]
        try:
            await asyncio.wait([showing, *picking], return_when=asyncio.FIRST_COMPLETED)
        finally:
            working = [showing, *picking, *telling]
            for task in working:
                task.cancel()
            results = await asyncio.gather(*working, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description="Follow log files as they grow, and pick out lines.")
    parser.add_argument("--match", default="", metavar="REGEX", help="only lines in which this is found")
    parser.add_argument(
        "--last", type=int, default=0, metavar="N", help="begin with the last N lines of each file, of its last MiB"
    )
    parser.add_argument("--through", metavar="COMMAND", help="write the lines to this command instead of stdout")
    parser.add_argument("file", nargs="+", type=Path, help="need not exist yet, but its folder must")
    options = parser.parse_args()
    paths = [path.absolute() for path in options.file]
    try:
        counts = plait.run(run(paths, re.compile(options.match), max(0, options.last), options.through))
    except (OSError, re.error) as error:
        parser.error(str(error))
    for path, count in counts.items():
        print(f"{count} lines from {path.name}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
