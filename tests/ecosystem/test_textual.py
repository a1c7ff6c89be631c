"""A Textual application: in a terminal of its own, and under its pilot."""

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from typing import Any

from textual.app import App, ComposeResult
from textual.widgets import Button, Input, Label

Run = Callable[[Any], Any]

PROGRAM = """
import asyncio
import plait
from textual.app import App
from textual.widgets import Label

class Counting(App):
    count = 0

    def compose(self):
        yield Label("0", id="count")

    def on_mount(self):
        self.set_interval(0.001, self.tick)

    def tick(self):
        self.count += 1
        if self.count == 50:
            self.query_one("#count").update("counted")

    async def on_key(self, event):
        process = await asyncio.create_subprocess_exec("echo", event.key, stdout=asyncio.subprocess.PIPE)
        self.exit((await process.communicate())[0].decode())

app = Counting()
loop = plait.new_event_loop()
print(app.run(loop=loop).strip(), type(loop).__module__, loop.engine.name)
loop.close()
"""


def test_in_a_terminal(engine: str) -> None:
    """It draws, its timers tick, a key reaches it, and the terminal is given back."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        before = termios.tcgetattr(theirs)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm"},
        )
        shown = b""
        while b"counted" not in shown:
            shown += os.read(ours, 1 << 16)
        os.write(ours, b"k")
        result = f"k plait.loop {engine}".encode()
        while result not in shown:
            shown += os.read(ours, 1 << 16)
        assert 0 == process.wait()
        assert before == termios.tcgetattr(theirs)
    finally:
        os.close(ours)
        os.close(theirs)


class Form(App[str]):
    """A field and a button, which looks something up off the loop."""

    def compose(self) -> ComposeResult:
        yield Input(id="name")
        yield Button("Go", id="go")
        yield Label("", id="answer")

    async def on_button_pressed(self) -> None:
        name = self.query_one("#name", Input).value
        self.query_one("#answer", Label).update(await asyncio.to_thread(str.upper, name))
        self.set_timer(0.001, lambda: self.exit(name.upper()))


def test_under_its_pilot(run: Run) -> None:
    async def main() -> str | None:
        application = Form()
        async with application.run_test() as pilot:
            await pilot.click("#name")
            await pilot.press(*"plait")
            await pilot.click("#go")
            await pilot.wait_for_scheduled_animations()
            while application.return_value is None:
                await asyncio.sleep(0.001)
        return application.return_value

    assert "PLAIT" == run(main())
