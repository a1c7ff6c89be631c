"""Every call that opens descriptors is tried with none left, with one, with two, ... until it passes (RLIMIT_NOFILE).

A call that fails says so by OSError; it leaves nothing open and closes nothing of others, and the loop works on.
"""

import asyncio
import contextlib
import itertools
import resource
from collections.abc import Iterator

import pytest
from sweep.attempt import Attempt, Outcome, left_as_it_was, limited
from sweep.calls import calls

from plait.loop import Loop

import leaks

# What they do first would fail as well, and that is not what is asked: each of these opens what it needs in the call itself.
OPENING = [
    "create_connection",
    "create_connection_by_name",
    "create_connection_from_an_address",
    "create_connection_with_happy_eyeballs",
    "create_unix_connection",
    "create_server",
    "create_server_by_names",
    "create_unix_server",
    "create_datagram_endpoint",
    "create_datagram_endpoint_by_names",
    "sock_accept",
    "subprocess_exec",
    "create_subprocess_shell",
    "open_connection",
    "start_server",
]


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Exactly so many more can be opened."""
    taken = {fd for fd, _ in leaks.open_descriptors()}
    free = (number for number in itertools.count() if number not in taken)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, count, None)), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Scarce(Attempt):
    """An attempt that is not cancelled; instead the call finds so many descriptors left."""

    def __init__(self, left: int) -> None:
        super().__init__(0, "waiting", None)  # type: ignore[arg-type]
        self.left = left
        self.error: OSError | None = None

    async def __call__(self, call: object, then: object = None) -> Outcome:
        with descriptors_left(self.left):
            task = asyncio.ensure_future(call)  # type: ignore[call-overload]
            if callable(then):
                asyncio.get_running_loop().call_soon(then)
            await asyncio.wait([task])
        try:
            return Outcome(False, task.result())
        except OSError as error:
            self.error = error
            # For the case as if it had been cancelled: there is no result.
            return Outcome(True)


@pytest.mark.parametrize("name", OPENING)
def test_with_ever_more_descriptors_left(loop: Loop, name: str, caplog: pytest.LogCaptureFixture) -> None:
    loop.run_until_complete(limited(calls[name](Attempt(0, "waiting", None))))  # type: ignore[arg-type]
    left = 0
    while True:
        with left_as_it_was(loop):
            attempt = Scarce(left)
            loop.run_until_complete(limited(calls[name](attempt)))
        if attempt.error is None:
            break
        left += 1
    assert left > 0
