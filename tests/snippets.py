"""Runs a small program in an interpreter of its own, for what a test cannot do to the interpreter it runs in."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

SECONDS = 30

# First in every program: `ready()` lets the test go on, `plait` and `asyncio` are there.
PROLOGUE = """
import asyncio, os, signal, sys, threading, plait
def ready():
    print("ready", flush=True)
"""

# Two tasks that run it with the same locks in two orders are in deadlock.
TAKE = """
async def take(first, second, met):
    async with first:
        await met.wait()
        async with second:
            pass
"""


@dataclass(frozen=True)
class Ended:
    """What a program left: its output after "ready", its errors, its status."""

    output: str
    errors: str
    status: int


def run_program(code: str, then: Callable[[subprocess.Popen[str]], None] | None = None) -> Ended:
    """Run it to its end. `then(process)` is called when it has called ready()."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        # A group of its own, so that what it leaves running can be ended with it.
        start_new_session=True,
    )
    try:
        if then is not None:
            assert process.stdout is not None
            first = process.stdout.readline()
            if first == "ready\n":
                then(process)
        output, errors = process.communicate(timeout=SECONDS)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nothing is left
        process.communicate()
    return Ended(output, errors, process.returncode)


def sends(*numbers: int) -> Callable[[subprocess.Popen[str]], None]:
    """For `then`: send it these signals, in this order."""

    def then(process: subprocess.Popen[str]) -> None:
        for number in numbers:
            process.send_signal(number)

    return then
