"""Follow log files as they grow, also across their rotation, and pick out lines: `tail -F | grep` for many files at once.

    python examples/follow.py --match 'ERROR|WARN' /var/log/app/*.log
    python examples/follow.py --last 10 --through 'jq .message' service.json

A pipeline of tasks: one follower per file, a queue that holds them back when the end of the line is slow, and one printer, which
hands the lines to another program with `--through`. The kernel tells of every change (inotify), so that nothing is asked in vain.
Ctrl-C ends it with a count per file.
"""

import argparse
import asyncio
import ctypes
import os
import re
import signal
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

import plait

LINES_WAITING_MAX = 1000
READ_BYTES = 64 * 1024
LAST_BYTES_MAX = 1024 * 1024

# From <sys/inotify.h>: what happens in a folder that can concern one of its files.
IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100
EVENT = struct.Struct("iIII")


class Changes:
    """Wakes those who follow a file whenever something changes in its folder, by inotify."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.check(self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self.events: dict[int, list[asyncio.Event]] = defaultdict(list)
        asyncio.get_running_loop().add_reader(self.descriptor, self.read)

    def check(self, result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    def watch(self, folder: Path) -> asyncio.Event:
        """An event that is set whenever a file in this folder may have changed."""
        event = asyncio.Event()
        mask = IN_MODIFY | IN_MOVED_TO | IN_CREATE
        watch = self.check(self.libc.inotify_add_watch(self.descriptor, os.fsencode(folder), mask))
        self.events[watch].append(event)
        return event

    def read(self) -> None:
        data = os.read(self.descriptor, READ_BYTES)
        while data:
            watch, _, _, name_length = EVENT.unpack_from(data)
            data = data[EVENT.size + name_length :]
            for event in self.events[watch]:
                event.set()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.descriptor)
        os.close(self.descriptor)


async def follow(path: Path, changes: Changes, last: int) -> AsyncGenerator[bytes, None]:
    """The last lines of a file and then each new one, for ever; a new file of that name is read from its start."""
    changed = changes.watch(path.parent)
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
    path: Path, changes: Changes, last: int, pattern: re.Pattern[str], out: "asyncio.Queue[tuple[Path, str]]"
) -> None:
    async with aclosing(follow(path, changes, last)) as lines:
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
    changes = Changes()
    lines: asyncio.Queue[tuple[Path, str]] = asyncio.Queue(LINES_WAITING_MAX)
    counts: Counter[Path] = Counter(dict.fromkeys(paths, 0))
    showing = asyncio.create_task(show(lines, len(paths) > 1, through, counts))
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, showing.cancel)
    picking = [asyncio.create_task(pick(path, changes, last, pattern, lines)) for path in paths]
    try:
        await asyncio.wait([showing, *picking], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in picking:
            task.cancel()
        showing.cancel()
        results = await asyncio.gather(showing, *picking, return_exceptions=True)
        changes.close()
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
