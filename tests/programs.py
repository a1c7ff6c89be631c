"""The test's own programs: Python in a subprocess, on the engine that PLAIT_ENGINE names."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import servers

PROGRAM_SECONDS = 60


def python(*arguments: str, cwd: Path | None = None, status: int = 0) -> str:
    """Runs python with the arguments to its end, and returns what it printed; AssertionError for another exit status."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PROGRAM_SECONDS,
    )
    assert status == done.returncode, f"status {done.returncode}, and it printed:\n{done.stdout}"
    return done.stdout


@contextmanager
def python_server(*arguments: str, folder: Path, unix_path: str = "") -> Iterator[servers.Server]:
    """Runs a server in python, the arguments with PORT replaced, until the block ends; waits until it accepts."""

    def command(port: int) -> list[str]:
        words = [argument.replace("PORT", str(port)) for argument in arguments]
        return servers.bound_to_us([sys.executable, *words])

    def ready(port: int) -> bool:
        return servers.accepts(unix_path or ("127.0.0.1", port))

    with servers.running(command, folder, unix_path, ready) as server:
        yield server
