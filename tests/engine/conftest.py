"""Engines without a loop: the test is the one that waits."""

import os
import socket
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from select import EPOLLIN, EPOLLRDHUP

import pytest

from plait.engine.contract import CallbackSource, Engine
from plait.engine.epoll import EpollEngine
from plait.engine.uring import UringEngine

SAFETY_NET_NS = 10_000_000_000


class Waiter:
    """An engine with what tests do to it again and again."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def source(self, sock: socket.socket | int, callback: Callable[[int], object]) -> CallbackSource:
        return CallbackSource(sock if isinstance(sock, int) else sock.fileno(), callback)

    def watch(
        self,
        sock: socket.socket | int,
        callback: Callable[[int], object],
        events: int = EPOLLIN | EPOLLRDHUP,
        level: bool = False,
    ) -> CallbackSource:
        """Arm a source and have the kernel know of it. It is not told anything yet."""
        source = self.source(sock, callback)
        self.engine.arm(source, events, level)
        self.engine.flush()
        return source

    def until(self, happened: Callable[[], object]) -> None:
        """Wait until something has happened, which one of the sources brings about."""
        give_up_ns = time.monotonic_ns() + SAFETY_NET_NS
        while not happened():
            assert time.monotonic_ns() < give_up_ns, "it never happened"
            self.engine.wait(SAFETY_NET_NS)

    def settle(self) -> None:
        """Let the kernel finish what was disarmed, without telling anybody that is not ready now."""
        for _ in range(3):
            self.engine.wait(0)


def new_engine(name: str) -> Engine:
    return UringEngine() if name == "uring" else EpollEngine()


@pytest.fixture
def closed(engine: str) -> Iterator[Engine]:
    """Each engine, not opened yet."""
    made = new_engine(engine)
    yield made
    made.close()


@pytest.fixture
def waiter(closed: Engine) -> Waiter:
    """Each engine, open in the test's thread."""
    closed.open()
    return Waiter(closed)


def run_in_child(work: Callable[[], object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of forks beside threads
        pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def in_child() -> Callable[[Callable[[], object]], None]:
    """`in_child(work)` runs it in a forked child, which must end well."""
    return run_in_child


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets that do not block."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs
