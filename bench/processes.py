"""Processes that are measured or that measure: started on their core, heard by line, stopped for sure."""

import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import machine
from bench.programs import ROOT

START_SECONDS = 60.0


class ProcessError(Exception):
    """A process ended, said nothing in time or said something wrong; the text has its last words."""


class Process:
    """A child that answers in lines. Its standard error is kept for the message if it fails."""

    def __init__(self, command: Sequence[str | Path], *cores: int, environment: dict[str, str] | None = None) -> None:
        self._name = " ".join(Path(part).name if i == 0 else str(part) for i, part in enumerate(command))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._heard = b""
        with machine.pinned(*cores):
            self._child = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env=os.environ | (environment or {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
        self.pid = self._child.pid

    def ask(self, line: str, seconds: float) -> str:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(line.encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise ProcessError(self.last_words("ended")) from None
        return self.hear(seconds)

    def hear(self, seconds: float = START_SECONDS) -> str:
        """The next line. Raises ProcessError if none comes in time or ever."""
        assert self._child.stdout is not None
        output = self._child.stdout.fileno()
        poll = select.poll()  # not select(): a descriptor may be above 1023
        poll.register(output, select.POLLIN)
        until = time.monotonic() + seconds
        while b"\n" not in self._heard:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise ProcessError(self.last_words(f"said nothing for {seconds:.0f} s"))
            chunk = os.read(output, 65536)
            if not chunk:
                self._child.wait(START_SECONDS)
                raise ProcessError(self.last_words(f"ended with status {self._child.returncode}"))
            self._heard += chunk
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def stop(self) -> None:
        self._child.kill()
        self._child.communicate()
        self._errors.close()

    def last_words(self, what: str) -> str:
        """`what` happened, and the exception or the last line of the child's standard error."""
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        raised = [line for line in words if re.match(r"[\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
        return f"{self._name}: {what}" + (f": {(raised or words)[-1]}" if words else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def workload(module: str, *arguments: str) -> list[str]:
    """The command line of a program of bench.workloads, run by this Python."""
    return [sys.executable, "-m", f"bench.workloads.{module}", *arguments]
