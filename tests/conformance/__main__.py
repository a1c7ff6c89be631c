"""Run CPython's own tests of asyncio on plait, one process per module."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Modules of the suite that have nothing to do with a loop of one's own, or are for other systems.
NOT_OURS = {
    "test_proactor_events": "Windows' proactor",
    "test_selector_events": "the inside of asyncio's selector loop, on mocks",
    "test_tools": "reads another process's memory; plait's tasks are found by asyncio.all_tasks",
    "test_windows_events": "Windows",
    "test_windows_utils": "Windows",
}


@dataclass
class Outcome:
    """What became of the tests of one module."""

    module: str
    passed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    excluded: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    ended: bool = False
    running: str | None = None
    took_s: dict[str, float] = field(default_factory=dict)

    def take(self, event: dict[str, Any]) -> None:
        name, test, text = event["event"], event["test"], event["text"]
        self.running = test if name == "start" else None
        if name in ("passed", "failed"):
            self.took_s[test] = event["took_s"]
        if name == "passed":
            self.passed.append(test)
        elif name == "skipped":
            self.skipped[test] = text
        elif name == "excluded":
            self.excluded.append(test)
        elif name == "failed":
            self.failed[test] = self.failed.get(test, "") + text
        elif name == "end":
            self.ended = True

    @property
    def seen(self) -> list[str]:
        return [*self.passed, *self.skipped, *self.excluded, *self.failed]

    def line(self) -> str:
        word = f"{len(self.failed)} FAILED" if self.failed else "ok"
        return (
            f"  {self.module:26}{word:>10}  {len(self.passed):4} passed {len(self.skipped):4} skipped"
            f" {len(self.excluded):4} not applicable {self.seconds:6.1f} s"
        )


def missing_suite() -> str | None:
    """Where to get the test package, if this Python came without it."""
    if find_spec("test") is not None and find_spec("test.test_asyncio") is not None:
        return None
    return (
        f"{sys.executable} has no test package; on Debian: apt-get install "
        f"libpython{sys.version_info.major}.{sys.version_info.minor}-testsuite, elsewhere use a Python built from source"
    )


def modules_of_suite() -> list[str]:
    """Those of this Python that apply."""
    spec = find_spec("test.test_asyncio")
    assert spec is not None
    assert spec.origin is not None
    return sorted(path.stem for path in Path(spec.origin).parent.glob("test_*.py") if path.stem not in NOT_OURS)


def run_module(module: str, options: argparse.Namespace) -> Outcome:
    """All tests of a module. When one takes the process down, or hangs, it has failed, and a new process goes on behind it."""
    outcome = Outcome(module)
    began = time.monotonic()
    environment = dict(os.environ)
    paths = [str(ROOT), *(str(Path(p).resolve()) for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p)]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    if options.engine:
        environment["PLAIT_ENGINE"] = options.engine
    while not outcome.ended:
        outcome.running = None
        with tempfile.TemporaryDirectory() as folder:
            events = Path(folder, "events")
            work = Path(folder, "work")
            work.mkdir()
            settings: dict[str, Any] = {
                "subject": options.subject,
                "debug": options.debug,
                "only": options.only,
                "excluded": options.excluded,
                "limit_s": options.limit,
                "already": outcome.seen,
            }
            child = subprocess.run(
                [sys.executable, "-m", "tests.conformance.inside", module, str(events)],
                input=json.dumps(settings),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                cwd=work,
                env=environment,
            )
            for line in events.read_text().splitlines() if events.exists() else ():
                outcome.take(json.loads(line))
        if child.returncode != 0 or not outcome.ended:
            where = "at the end" if outcome.ended else "between tests"
            culprit = outcome.running or f"{module} ({where})"
            outcome.failed[culprit] = f"{child.stdout[-6000:]}\nthe process ended with status {child.returncode}"
            outcome.ended = outcome.running is None
    outcome.seconds = time.monotonic() - began
    return outcome


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("modules", nargs="*", help="test_events, test_tasks, ... (default: all that apply)")
    parser.add_argument("--engine", choices=["uring", "epoll"], help="default: as PLAIT_ENGINE or plait chooses")
    parser.add_argument(
        "--subject", choices=["plait", "asyncio"], default="plait", help="asyncio: check the runner itself"
    )
    parser.add_argument("-k", dest="only", default="", help="only tests whose name contains this")
    parser.add_argument("--debug", action="store_true", help="in asyncio's debug mode, as the suite itself runs")
    parser.add_argument(
        "--excluded", action="store_true", help="run what not_applicable.txt excludes, and nothing else"
    )
    parser.add_argument("--limit", type=float, default=60, help="seconds that one test may take (default: %(default)g)")
    parser.add_argument("--jobs", type=int, default=2, help="modules at a time (default: %(default)d)")
    parser.add_argument("--durations", type=int, default=0, metavar="N", help="show the N slowest tests")
    parser.add_argument("-q", dest="quiet", action="store_true", help="no tracebacks")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    missing = missing_suite()
    if missing is not None:
        sys.exit(missing)
    known = modules_of_suite()
    unknown = set(options.modules) - set(known)
    if unknown:
        sys.exit(
            f"not in this Python's suite, or not applicable: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"CPython {version}'s tests of asyncio on {options.subject} {options.engine or ''}", flush=True)
    outcomes = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda module: run_module(module, options), options.modules or known):
            print(outcome.line(), flush=True)
            outcomes.append(outcome)
    failed = {test: text for outcome in outcomes for test, text in outcome.failed.items()}
    for test, text in failed.items():
        last = text.strip().rpartition("\n")[2]
        print(f"FAILED {test}: {last}" if options.quiet else f"\n=== FAILED {test}\n{text}")
    took_s = {test: seconds for outcome in outcomes for test, seconds in outcome.took_s.items()}
    for test in sorted(took_s, key=lambda name: -took_s[name])[: options.durations]:
        print(f"{took_s[test]:8.2f} s  {test}")
    passed = sum(len(outcome.passed) for outcome in outcomes)
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
