"""What some modules of the test suite need so that their tests reach the subject.

The suite writes many tests once and runs them for several implementations: a mixin, and a class that names the loop, the Task or the
Future. Here each such mixin gets one more class, for the subject. Everything else is left as it is.
"""

import asyncio
import unittest
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .subjects import Subject


def let_advance(loop: Any) -> None:
    """Give the loop TestLoop.advance_time(): what waits for a later time happens now. A few tests end so, with 10 s to go."""
    timers: list[tuple[asyncio.TimerHandle, Callable[[], None]]] = []
    call_later = loop.call_later

    def remember(delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        timer: asyncio.TimerHandle = call_later(delay, callback, *args, context=context)
        timers.append((timer, lambda: loop.call_soon(callback, *args, context=context)))
        return timer

    def advance_time(seconds: float) -> None:
        if loop.is_running():
            return  # in the middle of a test time passes by itself
        for timer, call_now in timers:
            if not timer.cancelled() and loop.time() < timer.when() <= loop.time() + seconds:
                timer.cancel()
                call_now()

    loop.call_later = remember
    loop.advance_time = advance_time


class RealClock:
    """Replaces the fake clock of the suite's TestLoop by a real loop: the tests' delays are a few tenths of a second.

    `assertAlmostEqual(seconds, loop.time())` becomes: a timer is never early, and not absurdly late.
    """

    late_s = 20.0

    def new_test_loop(self, generator: Any = None) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = self.subject.loop_class()  # type: ignore[attr-defined]
        self.set_event_loop(loop)  # type: ignore[attr-defined]
        self.began = loop.time()
        let_advance(loop)
        return loop

    def assertAlmostEqual(self, first: float, second: float, *args: Any, **kwargs: Any) -> None:
        if second < self.began:
            super().assertAlmostEqual(first, second, *args, **kwargs)  # type: ignore[misc]
            return
        elapsed = second - self.began
        # asyncio's own loop may be early by the resolution of its clock.
        assert first - 1e-6 <= elapsed <= first + self.late_s, f"{first} s expected, {elapsed} s passed"


def add(module: ModuleType, name: str, bases: tuple[type, ...], **members: Any) -> None:
    """Add a class of tests to the module."""
    setattr(module, name, type(name, bases, {"__module__": module.__name__, **members}))


def test_tasks(module: Any, subject: Subject) -> None:
    case = module.test_utils.TestCase
    real = (RealClock,)
    classes = {
        "Task": subject.task_class,
        "Future": subject.future_class,
        "subject": subject,
        "current_task": staticmethod(asyncio.current_task),
        "all_tasks": staticmethod(asyncio.all_tasks),
    }
    add(module, "SubjectTaskTests", (*real, module.BaseTaskTests, module.SetMethodsTest, case), **classes)
    # Of these only what is about subclasses; the rest has just been tested.
    hidden = {name: None for name in dir(module.BaseTaskTests) if name.startswith("test_")}
    add(module, "SubjectSubclassTests", (*real, module.BaseTaskTests, case), **classes, **hidden)
    module.add_subclass_tests(module.SubjectSubclassTests)

    def run_until_idle(self: Any, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(10):
            module.test_utils.run_briefly(loop)

    for name in ("FutureGatherTests", "CoroutineGatherTests"):
        bases = (*real, getattr(module, name))
        add(module, f"Subject{name}", bases, subject=subject, _run_loop=run_until_idle)
    add(module, "SubjectRunCoroutineThreadsafeTests", (*real, module.RunCoroutineThreadsafeTests), subject=subject)


def test_futures(module: Any, subject: Subject) -> None:
    case = module.test_utils.TestCase

    def new_future(self: Any) -> Any:
        return subject.future_class(loop=self.loop)

    shared = {"cls": subject.future_class, "subject": subject}
    add(module, "SubjectFutureTests", (RealClock, module.BaseFutureTests, case), **shared)
    bases = (RealClock, module.BaseFutureDoneCallbackTests, case)
    add(module, "SubjectDoneCallbackTests", bases, **shared, _new_future=new_future)


def test_futures2(module: Any, subject: Subject) -> None:
    # `cls(coroutine)` is how the suite makes a task there.
    make = staticmethod(lambda coroutine: asyncio.get_running_loop().create_task(coroutine))
    add(module, "SubjectFutureTests", (module.FutureTests, unittest.IsolatedAsyncioTestCase), cls=make)


def test_eager_task_factory(module: Any, subject: Subject) -> None:
    case = module.test_utils.TestCase
    add(module, "SubjectEagerTests", (module.EagerTaskFactoryLoopTests, case), Task=subject.task_class)


def test_base_events(module: Any, subject: Subject) -> None:
    """The tests of BaseEventLoop: they make the abstract class with mocks in place of what a real loop wakes by."""
    if subject.name == "asyncio":
        return

    def set_up(self: Any) -> None:
        module.test_utils.TestCase.setUp(self)
        self.loop = subject.loop_class()
        self.set_event_loop(self.loop)

    add(module, "SubjectBaseEventLoopTests", (module.BaseEventLoopTests,), setUp=set_up)


ADAPTERS: dict[str, Callable[[Any, Subject], None]] = {
    "test_base_events": test_base_events,
    "test_eager_task_factory": test_eager_task_factory,
    "test_futures": test_futures,
    "test_futures2": test_futures2,
    "test_tasks": test_tasks,
}


def adapt(module: ModuleType, subject: Subject) -> None:
    name = module.__name__.rpartition(".")[2]
    if name in ADAPTERS:
        ADAPTERS[name](module, subject)
