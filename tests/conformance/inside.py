"""Runs the tests of one module in this process, and writes one line of JSON per event; started by __main__.

Arguments: module, file for the events. On stdin: the options as JSON.
"""

import faulthandler
import importlib
import json
import signal
import sys
import time
import traceback
import unittest
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from . import adapt, subjects
from .exclusions import Exclusions


def short_id(case: Any) -> str:
    """test_events.EPollEventLoopTests.test_call_soon"""
    return str(case.id()).removeprefix("test.test_asyncio.")


def cases_in(suite: Iterable[Any]) -> Iterator[Any]:
    for entry in suite:
        if isinstance(entry, unittest.TestSuite):
            yield from cases_in(entry)
        else:
            yield entry


class Events(unittest.TestResult):
    """Tells each event at once, so that nothing is lost when a test takes the process down."""

    def __init__(self, out: TextIO, limit_s: float) -> None:
        super().__init__()
        self.out = out
        self.limit_s = limit_s
        self.failed = False
        self.began = 0.0

    def tell(self, event: str, case: Any, text: str = "") -> None:
        name = case if isinstance(case, str) else short_id(case)
        took_s = round(time.monotonic() - self.began, 3)
        print(json.dumps({"event": event, "test": name, "text": text, "took_s": took_s}), file=self.out, flush=True)

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        faulthandler.dump_traceback_later(self.limit_s, exit=True)
        self.failed = False
        self.began = time.monotonic()
        self.tell("start", test)

    def stopTest(self, test: Any) -> None:
        # Also for what happens between two tests, and at the end of the process.
        faulthandler.dump_traceback_later(self.limit_s, exit=True)
        super().stopTest(test)

    def addSuccess(self, test: Any) -> None:
        if not self.failed:
            self.tell("passed", test)

    def addSkip(self, test: Any, reason: str) -> None:
        self.tell("skipped", test, reason)

    def fail(self, test: Any, error: Any) -> None:
        self.failed = True
        self.tell("failed", test, "".join(traceback.format_exception(*error)))

    def addError(self, test: Any, err: Any) -> None:
        self.fail(test, err)

    def addFailure(self, test: Any, err: Any) -> None:
        self.fail(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self.fail(test, err)

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self.tell("passed", test)

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.tell("failed", test, "passed, though the suite expects it to fail")


def main() -> None:
    name, events_path = sys.argv[1:]
    options = json.load(sys.stdin)
    # A background job of a shell has Ctrl-C ignored, and so would the tests that send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.enable()
    faulthandler.dump_traceback_later(options["limit_s"], exit=True)
    support = importlib.import_module("test.support")
    # Nothing outside this machine; the other resources are memory and processor time.
    support.use_resources = {"cpu": None, "walltime": None}  # type: ignore[attr-defined]
    subject = subjects.SUBJECTS[options["subject"]]()
    subjects.install(subject, options["debug"])
    module = importlib.import_module(f"test.test_asyncio.{name}")
    adapt.adapt(module, subject)

    exclusions = Exclusions.load()
    already = set(options["already"])
    chosen = unittest.TestSuite()
    with open(events_path, "a") as out:
        result = Events(out, options["limit_s"])
        for case in cases_in(unittest.defaultTestLoader.loadTestsFromModule(module)):
            test = short_id(case)
            if test in already or (options["only"] and options["only"] not in test):
                continue
            if (exclusions.reason(test, options["subject"]) is None) == options["excluded"]:
                result.tell("excluded", test)
                continue
            chosen.addTest(case)
        chosen.run(result)
        result.tell("end", name)


if __name__ == "__main__":
    main()
