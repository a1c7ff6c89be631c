"""A real terminal for the tests: tmux, of a given size, whose screen can be read and whose keys can be pressed."""

import os
import select
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import servers

WAIT_SECONDS = 30


class Terminal:
    """One pane of a tmux server of its own. What is drawn also comes out of a pipe, so that nobody has to look all the time."""

    def __init__(self, folder: Path) -> None:
        self.socket = str(folder / "tmux")
        self.pipe = folder / "drawn"
        self.drawn = -1
        self.program = servers.find_program("tmux", "tmux")

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            [self.program, "-S", self.socket, "-f", "/dev/null", *words],
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    def start(self, command: Sequence[str], columns: int, rows: int) -> None:
        os.mkfifo(self.pipe)
        self.drawn = os.open(self.pipe, os.O_RDWR | os.O_NONBLOCK)
        # The pane waits until its pipe is laid; at the end it says so to whoever waits for it.
        first = f"{self.program} -S {self.socket} wait-for begin; {shlex.join(command)}; echo status=$?; cat"
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "sh", "-c", first)
        self.tmux("pipe-pane", f"cat > {self.pipe}")
        self.tmux("wait-for", "-S", "begin")

    def wait_for(self, text: str) -> str:
        """Until the screen shows it; returns the screen."""
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in (screen := self.screen()):
            ready, _, _ = select.select([self.drawn], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} was not drawn:\n{screen}"
            os.read(self.drawn, 1 << 16)
        return screen

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)


@contextmanager
def terminal(command: Sequence[str], folder: Path, columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
    """Runs the command in it; when it ends, the screen shows status=N."""
    made = Terminal(folder)
    try:
        made.start(command, columns, rows)
        yield made
    finally:
        if made.drawn >= 0:
            made.tmux("kill-server")
            os.close(made.drawn)
