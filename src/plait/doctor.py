"""`plait doctor`: which engine runs here, what was refused and why, and how to change it."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import resource
import sys
import sysconfig
import textwrap
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from plait.engine.choice import EngineReport, new_engine, surroundings
from plait.engine.errors import EngineUnavailable
from plait.running import new_event_loop

__all__ = ["examine", "main"]

WIDTH = 100
MARGIN = 27

# A server with fewer descriptors refuses clients long before it is busy.
DESCRIPTORS_FEW = 4096


def main(*, as_json: bool) -> int:
    """Print what was found; returns 0 when a loop runs here."""
    report, error = try_loop()
    if as_json:
        engine = report and {**report._asdict(), "refused": [each._asdict() for each in report.refused]}
        found = {"engine": engine, "error": error, **examine()}
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(describe(report, error, examine())))
    return 1 if report is None else 0


def try_loop() -> tuple[EngineReport | None, str | None]:
    """Run a loop for a moment, as a program here would, and take its word; or what keeps it from running."""
    try:
        new_engine()  # says best what is wrong with what was asked for
        loop = new_event_loop()
        try:
            loop.run_until_complete(asyncio.sleep(0))
            return loop.engine, None
        finally:
            loop.close()
    except (EngineUnavailable, ValueError, OSError) as error:
        return None, str(error)


def examine() -> dict[str, Any]:
    """What decides about the engine, and what one is asked for in a report of a bug."""
    here = surroundings()
    return {
        "plait": installed_version(),
        "python": platform.python_version(),
        "python_build": sysconfig.get_config_var("SOABI"),
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "executable": sys.executable,
        "kernel": here.kernel,
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "plait_engine_variable": os.environ.get("PLAIT_ENGINE"),
        "io_uring_disabled": here.disabled,
        "seccomp_filter": here.seccomp,
        "memlock_bytes_max": unlimited_as_none(resource.RLIMIT_MEMLOCK),
        "descriptors_max": unlimited_as_none(resource.RLIMIT_NOFILE),
    }


def installed_version() -> str | None:
    try:
        return version("plait")
    except PackageNotFoundError:
        return None  # runs from a folder that was never installed


def unlimited_as_none(limit: int) -> int | None:
    soft = resource.getrlimit(limit)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def describe(report: EngineReport | None, error: str | None, found: dict[str, Any]) -> list[str]:
    """The same for people, as lines."""
    lines = []

    def add(name: str, text: str) -> None:
        lines.extend(
            textwrap.wrap(
                text, WIDTH, initial_indent=f"{name:{MARGIN}}", subsequent_indent=" " * MARGIN, break_on_hyphens=False
            )
        )

    if report is None:
        add("engine", f"none. {error}")
    else:
        add("engine", f"{'io_uring' if report.name == 'uring' else report.name}: {report.reason}")
        add("can", ", ".join(report.features))
        add("files", report.files)
        for refusal in report.refused:
            add("refused", f"{refusal.engine}, {refusal.configuration}: {refusal.error}, {refusal.explanation}")
        if report.refused:
            add("to change it", report.refused[-1].fix)
        else:
            add("refused", "nothing")
    lines.append("")
    add("plait", found["plait"] or "not installed, runs from its folder")
    free_threaded = ", free-threaded: plait needs the build with the lock" if found["free_threaded"] else ""
    add("Python", f"{found['python']} ({found['python_build']}{free_threaded})")
    add("kernel", f"Linux {found['kernel']}, {found['machine']}, {found['cpus']} processors")
    add("PLAIT_ENGINE", found["plait_engine_variable"] or "not set: plait chooses")
    add("kernel.io_uring_disabled", IO_URING_DISABLED.get(found["io_uring_disabled"], str(found["io_uring_disabled"])))
    add("seccomp filter", "yes" if found["seccomp_filter"] else "none")
    add("locked memory", amount(found["memlock_bytes_max"], "bytes") + " (ulimit -l)")
    few = found["descriptors_max"] is not None and found["descriptors_max"] < DESCRIPTORS_FEW
    add("open files", amount(found["descriptors_max"], "") + " (ulimit -n" + (", few for a server)" if few else ")"))
    return lines


IO_URING_DISABLED = {0: "0: allowed to all", 1: "1: allowed to the privileged only", 2: "2: switched off"}


def amount(value: int | None, unit: str) -> str:
    return "unlimited" if value is None else f"{value:,} {unit}".rstrip()
