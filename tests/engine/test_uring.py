"""What only the ring has: operations, two queues that may be full, and plain rings of older kernels."""

import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT

import pytest

from plait.engine.contract import CallbackSource
from plait.engine.uring import BEST_FLAGS, PLAIN_FLAGS, UringEngine

READ, WRITE = 22, 23
JOIN_SECONDS = 10


@pytest.fixture(params=[BEST_FLAGS, PLAIN_FLAGS], ids=["best", "plain"])
def ring(request: pytest.FixtureRequest) -> Iterator[UringEngine]:
    engine = UringEngine(flags=request.param)
    engine.open()
    yield engine
    engine.close()


@pytest.fixture(params=[BEST_FLAGS, PLAIN_FLAGS], ids=["best", "plain"])
def tiny(request: pytest.FixtureRequest) -> Iterator[UringEngine]:
    """Two submissions and four completions."""
    engine = UringEngine(2, 4, flags=request.param)
    engine.open()
    yield engine
    engine.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


# Full queues.


def test_a_full_submission_queue_goes_on(tiny):
    told = []
    with ExitStack() as stack:
        socks = [stack.enter_context(sock) for _ in range(50) for sock in socket.socketpair()]
        sources = [CallbackSource(sock.fileno(), told.append) for sock in socks]
        for source in sources:
            tiny.arm(source, EPOLLOUT, False)
        while len(told) < 100:
            tiny.wait(-1)
        for source in sources:
            tiny.disarm(source)
        while tiny.pending():
            tiny.wait(0)
        assert 0 == tiny.in_flight
        assert [EPOLLOUT] * 100 == told


def test_a_full_completion_queue_loses_nothing(tiny):
    """Far more edges than it holds, again and again; polls that the overflow ended go on."""
    with ExitStack() as stack:
        pairs = [tuple(map(stack.enter_context, socket.socketpair())) for _ in range(300)]
        got = dict.fromkeys(range(300), 0)

        def read(number: int) -> None:
            try:
                got[number] += len(pairs[number][0].recv(100))
            except BlockingIOError:
                pass

        for number, (ours, _) in enumerate(pairs):
            ours.setblocking(False)
            tiny.arm(CallbackSource(ours.fileno(), lambda events, number=number: read(number)), EPOLLIN, False)
        for sent in range(1, 11):
            for _, theirs in pairs:
                theirs.send(b"a")
            while set(got.values()) != {sent}:
                tiny.wait(-1)
        while tiny.pending():
            tiny.wait(0)
        assert 300 == tiny.in_flight


def test_operations_beyond_both_queues_all_come_back(tiny):
    results = []
    for _ in range(1000):
        tiny.nop(results.append)
    while len(results) < 1000:
        tiny.wait(-1)
    assert [0] * 1000 == results
    assert 0 == tiny.operations_in_flight


def test_a_full_ring_is_closed(tiny):
    with ExitStack() as stack:
        for _ in range(50):
            ours, theirs = map(stack.enter_context, socket.socketpair())
            tiny.arm(CallbackSource(ours.fileno(), print), EPOLLIN, False)
            theirs.send(b"a")
        results = []
        for _ in range(50):
            tiny.nop(results.append)
        tiny.close()
        assert [0] * 50 == results
        assert 0 == tiny.in_flight


def test_the_ring_has_the_sizes_that_were_asked_for(tiny):
    assert (2, 4) == (tiny.entries, tiny.completions)
    assert "2 submissions, 4 completions" in tiny.features


def test_a_descriptor_closed_before_it_was_disarmed_is_told_as_broken(ring):
    """A mistake of the source's owner, who learns of it: without a word it would wait for ever."""
    told = []
    ours, theirs = socket.socketpair()
    source = CallbackSource(ours.fileno(), told.append)
    ring.arm(source, EPOLLIN, False)
    ours.close()
    ring.wait(-1)
    assert [EPOLLIN | EPOLLERR | EPOLLHUP] == told
    ring.disarm(source)
    assert (0, {}) == (ring.in_flight, ring.sources)
    theirs.close()


# Operations.


def test_an_operation_completes(ring, pipe):
    results = []
    buffer = bytearray(10)
    operation = ring.submit_raw(results.append, READ, pipe[0], buffer)
    assert ring.pending()
    ring.wait(0)
    assert [] == results
    assert 1 == ring.operations_in_flight
    with pytest.raises(BufferError):
        buffer.clear()
    os.write(pipe[1], b"abc")
    while operation.in_flight:
        ring.wait(-1)
    assert [3] == results
    assert b"abc" == buffer[:3]
    assert 0 == ring.operations_in_flight
    buffer.clear()


def test_an_operation_that_fails_says_so(ring):
    results = []
    ring.submit_raw(results.append, READ, 9999, bytearray(1))
    ring.submit_raw(results.append, 250)
    while len(results) < 2:
        ring.wait(-1)
    assert [-errno.EBADF, -errno.EINVAL] == results


def test_a_cancelled_operation_still_completes(ring, pipe):
    results = []
    operation = ring.submit_raw(results.append, READ, pipe[0], bytearray(1))
    ring.flush()
    ring.cancel_raw(operation)
    while operation.in_flight:
        ring.wait(-1)
    assert [-errno.ECANCELED] == results
    ring.cancel_raw(operation)
    os.write(pipe[1], b"a")
    assert b"a" == os.read(pipe[0], 1)


def test_an_operation_is_held_until_it_completes(ring):
    results = []
    operation = ring.nop(results.append)
    held = sys.getrefcount(operation)
    while operation.in_flight:
        ring.wait(-1)
    assert held - 1 == sys.getrefcount(operation)


def test_nobody_else_holds_an_operation(ring, pipe):
    results = []
    ring.submit_raw(results.append, READ, pipe[0], bytearray(5))
    ring.flush()
    os.write(pipe[1], b"hello")
    while not results:
        ring.wait(-1)
    assert [5] == results


def test_closing_waits_for_the_last_completions(ring, pipe):
    results = []
    operations = [ring.submit_raw(results.append, READ, pipe[0], bytearray(1)) for _ in range(3)]
    ring.flush()
    ring.submit_raw(results.append, READ, pipe[0], bytearray(1))  # not even submitted
    ring.close()
    assert [-errno.ECANCELED] * 4 == results
    assert not any(operation.in_flight for operation in operations)
    assert (0, 0) == (ring.operations_in_flight, ring.in_flight)


def test_closing_goes_on_when_an_operation_raises(ring, pipe, monkeypatch):
    reports = []
    monkeypatch.setattr(sys, "unraisablehook", reports.append)

    def fail(result):
        raise LookupError(result)

    for _ in range(3):
        ring.submit_raw(fail, READ, pipe[0], bytearray(1))
    ring.close()
    assert [LookupError] * 3 == [report.exc_type for report in reports]
    assert 0 == ring.operations_in_flight
    reports.clear()


def test_an_exception_of_an_operation_keeps_the_rest(ring):
    results = []

    def fail(result):
        raise LookupError

    ring.nop(results.append)
    ring.nop(fail)
    ring.nop(results.append)
    with pytest.raises(LookupError):
        ring.wait(-1)
    ring.wait(-1)
    assert [0, 0] == results
    assert 0 == ring.operations_in_flight


def test_a_closed_ring_takes_no_operation(ring):
    ring.close()
    with pytest.raises(RuntimeError, match="not open"):
        ring.nop(print)


def test_another_thread_that_closes_keeps_the_buffers_and_warns():
    """The kernel refuses it the ring, so that it cannot wait for the completions."""
    engine = UringEngine()
    ready, done = threading.Event(), threading.Event()
    reading, writing = os.pipe()

    def run() -> None:
        engine.open()
        engine.submit_raw(print, READ, reading, bytearray(1))
        engine.flush()
        ready.set()
        done.wait(JOIN_SECONDS)

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(JOIN_SECONDS)
    with pytest.warns(ResourceWarning, match="1 operations were in flight"):
        engine.close()
    done.set()
    thread.join(JOIN_SECONDS)
    os.close(reading)
    os.close(writing)


# Plain rings.


def test_a_plain_ring_watches_edges_and_levels(ring):
    told = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        edge = CallbackSource(ours.fileno(), lambda events: told.append("edge"))
        level = CallbackSource(theirs.fileno(), lambda events: told.append("level"))
        ring.arm(edge, EPOLLIN, False)
        ring.arm(level, EPOLLOUT, True)
        theirs.send(b"a")
        while len(told) < 4:
            ring.wait(-1)
        assert 1 == told.count("edge")
        ring.disarm(edge)
        ring.disarm(level)
        while ring.pending():
            ring.wait(0)
        assert 0 == ring.in_flight
