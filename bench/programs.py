"""The C programs (load generator and floors), built on the spot."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = Path(__file__).resolve().parent / "c"
OUT = ROOT / "build" / "bench"
LIBRARIES = {name: ["-lssl", "-lcrypto"] for name in ("echo_tls", "loadtls")}


class BuildError(Exception):
    """A C program could not be built; the text says why and what to do."""


def program(name: str) -> Path:
    """The built program, compiled anew if a source is newer. Raises BuildError."""
    target = OUT / name
    newest = max(path.stat().st_mtime_ns for path in [SOURCES / f"{name}.c", *SOURCES.glob("*.h")])
    if target.exists() and target.stat().st_mtime_ns > newest:
        return target
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        raise BuildError("no C compiler is found; the load generator and the floors need one (Debian: apt install gcc)")
    OUT.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(f".{os.getpid()}")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(SOURCES / f"{name}.c")]
    command += LIBRARIES.get(name, [])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "openssl/" in done.stderr and "No such file" in done.stderr:
        raise BuildError(f"{name} needs OpenSSL's headers, which are not found (Debian: apt install libssl-dev)")
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    fresh.replace(target)  # atomic: another run may be starting the old one
    return target


def openssl() -> str:
    """The version that the floor of the rows of TLS has. Raises BuildError."""
    return subprocess.run([program("echo_tls"), "version"], capture_output=True, text=True, check=True).stdout.strip()
