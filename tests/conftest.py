"""What all tests share: both engines, a loop, real servers, and the proof that a test leaves nothing behind."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import hypothesis
import pytest

import plait
from plait.loop import Loop
from plait.running import EngineName
from plait.see import attach

import leaks
import servers

T = TypeVar("T")

# Taken out of the environment: each test of a loop names its engine itself.
ENGINES: list[EngineName] = ["uring", "epoll"]
if (chosen := os.environ.pop("PLAIT_ENGINE", "both")) != "both":
    ENGINES = [name for name in ENGINES if name == chosen]
    assert ENGINES, f"PLAIT_ENGINE={chosen}: the tests run on uring, on epoll, or on both"
RUN_SECONDS = 30
# A shell starts what is in its background with Ctrl-C and Ctrl-\ ignored, and programs that are started inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
# The socket by which this process can be looked at is kept from the first loop on: no test shall count it as its own.
attach.begin()
# The same examples in every run: a test that finds something new belongs to a developer, not to CI.
hypothesis.settings.register_profile("same", derandomize=True, database=None)
hypothesis.settings.load_profile("same")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> EngineName:
    """Runs the test on each engine; programs that the test starts get it by PLAIT_ENGINE.

    An engine that cannot run here fails the test: both are promised wherever the tests run.
    """
    monkeypatch.setenv("PLAIT_ENGINE", request.param)
    name: EngineName = request.param
    return name


@pytest.fixture
def loop(engine: EngineName) -> Iterator[Loop]:
    """A new loop on each engine. At the end nothing may be left in it, and it is closed."""
    loop = plait.new_event_loop(engine=engine)
    try:
        yield loop
        if not loop.is_closed():
            loop.run_until_complete(settle(loop))
            left = leaks.in_loop(loop)
            assert not left, "the test left in its loop:\n" + "\n".join(left)
    finally:
        loop.close()


async def settle(loop: Loop) -> None:
    """What close() and cancel() promised for the next turns happens; then the ends that asyncio.run also brings."""
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
    for _ in range(10):
        await asyncio.sleep(0)
    # A cancelled request is over when the kernel has said so.
    for _ in range(1000):
        if not leaks.completions_owed(loop):
            break
        await asyncio.sleep(0.001)


@pytest.fixture
def run(loop: Loop) -> Callable[[Coroutine[Any, Any, T]], T]:
    """`run(coroutine)` runs it on `loop` and returns its result; TimeoutError after RUN_SECONDS."""

    async def limited(coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(RUN_SECONDS):
                return await coroutine
        except BaseException:
            # The test fails by this exception, not by what it could not end any more.
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            raise

    return lambda coroutine: loop.run_until_complete(limited(coroutine))


class ErrorRecords(logging.Handler):
    """Keeps what asyncio and plait log as errors: tasks destroyed while pending, exceptions never retrieved."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(scope="session", autouse=True)
def hypothesis_begun() -> None:
    """At its first example it looks who refers to its random numbers: from Python 3.14 on none that is frozen is seen."""
    hypothesis.given(hypothesis.strategies.none())(lambda _: None)()


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """What lives when a module begins is not looked at by the collection that follows each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test after which descriptors, threads or children are left, or errors were logged that nobody read.

    Warnings of objects that were never closed and exceptions that nobody could raise come out in the collection and
    fail the test as well, for warnings are errors. A test that expects a logged error uses `caplog`; one beside which a
    fixture of its module works in other threads is marked `beside_others`, as what is open then is not its own.
    """
    if request.node.get_closest_marker("beside_others"):
        yield
        return
    before = leaks.take()
    errors = ErrorRecords()
    for name in ("asyncio", "plait"):
        logging.getLogger(name).addHandler(errors)
    yield
    gc.collect()
    for name in ("asyncio", "plait"):
        logging.getLogger(name).removeHandler(errors)
    left = leaks.differences(before)
    if "caplog" not in request.fixturenames:
        left += [f"logged: {line}" for line in errors.lines]
    assert not left, "the test left behind:\n" + "\n".join(left)


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Server]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[servers.Server]:
    with servers.redis() as server:
        yield server


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[servers.Server]:
    with servers.mosquitto() as server:
        yield server


@pytest.fixture(scope="session")
def nats() -> Iterator[servers.Server]:
    with servers.nats() as server:
        yield server


@pytest.fixture(scope="session")
def nginx() -> Iterator[servers.Server]:
    with servers.nginx() as server:
        yield server


@pytest.fixture
def unused_port() -> int:
    """A TCP port of 127.0.0.1 on which nobody listens."""
    return servers.free_port()
