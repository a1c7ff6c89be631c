"""What the tests are run on, and how asyncio is told to use it."""

import asyncio
import unittest
from asyncio import unix_events
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Subject:
    """A loop with the tasks and futures that belong to it. `loop_class` is called as SelectorEventLoop is: with a selector or nothing."""

    name: str
    loop_class: Callable[..., asyncio.AbstractEventLoop]
    task_class: type
    future_class: type


def asyncio_subject() -> Subject:
    """asyncio itself: shows that the runner is complete, and that what fails on plait does not fail anyway."""
    return Subject("asyncio", asyncio.SelectorEventLoop, asyncio.Task, asyncio.Future)


def plait_subject() -> Subject:
    from plait.core.futures import Future
    from plait.core.tasks import Task
    from plait.loop import Loop

    class ConformanceLoop(Loop):
        """The selector that some tests hand over is asyncio's affair; PLAIT_ENGINE chooses the engine."""

        def __init__(self, selector: Any = None) -> None:
            if selector is not None:
                selector.close()
            super().__init__()

    return Subject("plait", ConformanceLoop, Task, Future)


SUBJECTS = {"plait": plait_subject, "asyncio": asyncio_subject}


def install(subject: Subject, debug: bool) -> None:
    """From now on everything in asyncio that makes a loop makes the subject's, in debug mode only if `debug`."""
    for module in (asyncio, unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, subject.loop_class)
    # 3.11-3.13: _UnixDefaultEventLoopPolicy; 3.14 moved the name behind deprecation warnings.
    for name in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        policy = getattr(unix_events, name, None)
        if policy is not None:
            policy._loop_factory = subject.loop_class

    def set_up_runner(case: Any) -> None:
        # The standard library always runs these in debug mode, in which plait's tasks are the standard library's.
        case._asyncioRunner = asyncio.Runner(debug=debug, loop_factory=getattr(case, "loop_factory", None))

    unittest.IsolatedAsyncioTestCase._setupAsyncioRunner = set_up_runner  # type: ignore[attr-defined]
