"""Cancelling a call at one chosen await, and the proof that nothing of it is left and nothing of others is gone."""

import asyncio
import contextlib
import gc
import os
import socket
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from plait.loop import Loop

import leaks

# When the cancellation meets the call: while it waits, or when what it waits for has come and it has not yet gone on.
Moment = Literal["waiting", "arrived"]
CASE_SECONDS = 30
SETTLE_SECONDS = 10
NEWCOMERS = 4


@dataclass(frozen=True)
class Outcome:
    """How the call ended: with a value, or cancelled, or refused by the system."""

    cancelled: bool
    value: Any = None
    error: OSError | None = None

    @property
    def none(self) -> bool:
        """There is no value."""
        return self.cancelled or self.error is not None


class Strangers:
    """Other parts of the program: they open descriptors at the worst time, and so get the numbers that the call gave back."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []
        self.inodes: dict[int, int] = {}

    def come(self) -> None:
        ours, theirs = socket.socketpair()
        self.pairs.append((ours.detach(), theirs.detach()))
        self.inodes.update({fd: os.fstat(fd).st_ino for fd in self.pairs[-1]})

    def check(self) -> None:
        """They are open, lead where they led, and nobody has put anything into them or taken it out."""
        for fd, inode in self.inodes.items():
            assert inode == os.fstat(fd).st_ino, f"descriptor {fd} is another's"
            assert os.get_blocking(fd)
        for ours, theirs in self.pairs:
            os.write(ours, b"to whom it may concern")
            assert b"to whom it may concern" == os.read(theirs, 100)

    def leave(self) -> None:
        for fd in self.inodes:
            os.close(fd)


class Attempt:
    """One try: `await attempt(call)` runs the call in a task of its own and cancels it at its await number `at`, from 1."""

    def __init__(self, at: int, moment: Moment, strangers: Strangers) -> None:
        self.at = at
        self.moment = moment
        self.strangers = strangers
        self.awaits = 0
        self.struck = False

    async def __call__(self, call: Awaitable[Any], then: Callable[[], object] | None = None) -> Outcome:
        """How the call ended. `then` is called when it first waits, and brings what it waits for."""
        loop = asyncio.get_running_loop()

        async def watched() -> Any:
            return await self.watch(call, task, then)

        task: asyncio.Task[Any] = loop.create_task(watched())
        try:
            await asyncio.wait([task])
        except BaseException:
            task.cancel()
            raise
        if self.struck:
            for _ in range(NEWCOMERS):
                self.strangers.come()
                await asyncio.sleep(0)
        return Outcome(True) if task.cancelled() else Outcome(False, task.result())

    @types.coroutine
    def watch(self, call: Awaitable[Any], task: "asyncio.Task[Any]", then: Callable[[], object] | None) -> Any:
        iterator: Any = call.__await__()
        step, argument = iterator.send, None
        while True:
            try:
                future = step(argument)
            except StopIteration as stop:
                return stop.value
            self.awaits += 1
            if self.awaits == 1 and then is not None:
                asyncio.get_running_loop().call_soon(then)
            if self.awaits == self.at:
                self.strike(task, future)
            try:
                yield future
                step, argument = iterator.send, None
            except BaseException as error:
                step, argument = iterator.throw, error

    def strike(self, task: "asyncio.Task[Any]", future: "asyncio.Future[Any] | None") -> None:
        self.struck = True
        if future is not None and self.moment == "arrived":
            # Called before the task itself is told, which adds itself only now.
            future.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()


Case = Callable[[Attempt], Coroutine[Any, Any, None]]


def cancelled_everywhere(loop: Loop, case: Case, moment: Moment) -> int:
    """Run the case again and again, its call cancelled one await later each time, until it passes; how many awaits it has."""
    # Once without, which also opens what the loop keeps.
    loop.run_until_complete(limited(case(Attempt(0, moment, Strangers()))))
    at = 1
    while True:
        with left_as_it_was(loop) as strangers:
            attempt = Attempt(at, moment, strangers)
            loop.run_until_complete(limited(case(attempt)))
        if not attempt.struck:
            return at - 1
        at += 1


async def limited(case: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(CASE_SECONDS):
        await case


@contextlib.contextmanager
def left_as_it_was(loop: Loop) -> Iterator[Strangers]:
    """At the end the loop holds nothing, no descriptor is left, and none of others is gone."""
    strangers = Strangers()
    before = leaks.open_descriptors()
    try:
        yield strangers
        gc.collect()
        nothing_left(loop)
        strangers.check()
    finally:
        strangers.leave()
    after = leaks.open_descriptors()
    assert not after - before, f"left open: {[leaks.describe(*entry) for entry in sorted(after - before)]}"
    assert not before - after, f"closed, though not its own: {sorted(before - after)}"


def nothing_left(loop: Loop) -> None:
    """Run the loop until it holds nothing; AssertionError with what it holds if that does not come."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while left := leaks.in_loop(loop):
        assert time.monotonic() < deadline, "the call left in its loop:\n" + "\n".join(left)
        loop.run_until_complete(asyncio.sleep(0.001))
