"""Opening, closing, changing threads, forks, and running out of descriptors."""

import gc
import os
import resource
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from select import EPOLLIN, EPOLLOUT

import pytest

from plait.engine.contract import CallbackSource
from plait.engine.uring import PLAIN_FLAGS, UringEngine

JOIN_SECONDS = 10


def in_thread(work: Callable[[], object]) -> None:
    """Run it in a new thread to its end; its exception is raised here."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(JOIN_SECONDS)
    assert not thread.is_alive()
    if failed:
        raise failed[0]


def test_open_and_close_are_idempotent(closed):
    closed.close()
    closed.open()
    closed.open()
    closed.close()
    closed.close()
    assert not closed.is_open


def test_a_source_armed_before_the_engine_opens_is_told(closed, pair):
    for level in (False, True):
        told = []
        source = CallbackSource(pair[0].fileno(), told.append)
        closed.arm(source, EPOLLIN, level)
        closed.arm(source, EPOLLOUT, level)
        assert not closed.is_open
        closed.open()
        assert 1 == closed.wait(-1)
        assert [EPOLLOUT] == told
        closed.close()
        assert 1 == len(closed.sources)
        closed.disarm(source)
        assert 0 == len(closed.sources)


def test_a_users_descriptor_that_was_closed_meanwhile_keeps_nobody_from_opening(closed, pair):
    """Its number may even be the next one that the engine itself gets."""
    told = []
    source = CallbackSource(pair[0].fileno(), told.append)
    closed.arm(source, EPOLLOUT, True)
    pair[0].close()
    closed.open()
    assert 0 == closed.wait(0)
    closed.wake()
    assert 0 == closed.wait(-1)
    closed.disarm(source)
    closed.wake()
    assert 0 == closed.wait(-1)
    assert [] == told


def test_a_users_descriptor_that_became_a_file_meanwhile_keeps_nobody_from_opening(closed, pair):
    told = []
    source = CallbackSource(pair[0].fileno(), told.append)
    closed.arm(source, EPOLLOUT, True)
    with open(__file__) as regular:
        os.dup2(regular.fileno(), source.fd)
    closed.open()
    assert 0 == closed.wait(0)
    os.dup2(pair[1].fileno(), source.fd)
    closed.arm(source, EPOLLOUT, True)
    assert 1 == closed.wait(-1)
    closed.disarm(source)
    assert 1 == len(told)


def test_an_engine_moves_to_another_thread(waiter, pair):
    told = []
    waiter.watch(pair[0], lambda events: told.append(threading.get_ident()))
    pair[1].send(b"a")
    waiter.until(lambda: told)
    waiter.engine.close()
    there = []

    def run() -> None:
        there.append(threading.get_ident())
        waiter.engine.open()
        waiter.until(lambda: len(told) == 2)
        waiter.engine.close()

    in_thread(run)
    assert [threading.get_ident(), *there] == told
    waiter.engine.open()
    waiter.until(lambda: len(told) == 3)


def test_an_engine_is_opened_again_by_the_next_thread_without_being_closed(closed, pair):
    """A loop that runs in one thread after another. The next thread often has the identity of the one that ended."""
    told = []
    closed.arm(CallbackSource(pair[0].fileno(), told.append), EPOLLIN, False)

    def run() -> None:
        closed.open()
        heard = len(told)
        pair[1].send(b"a")
        while len(told) == heard:
            closed.wait(-1)
        closed.flush()

    for _ in range(20):
        in_thread(run)
    run()
    assert 21 <= len(told)


def test_an_engine_whose_thread_has_ended_is_closed_by_another(waiter, pair):
    """A loop of a background thread, closed by the main thread after its end. The peer sees the end, and nothing hangs."""
    waiter.engine.close()

    def run() -> None:
        waiter.engine.open()
        waiter.watch(pair[0], print)
        waiter.settle()

    in_thread(run)
    pair[0].close()
    waiter.engine.close()
    assert not waiter.engine.is_open
    pair[1].setblocking(True)
    assert b"" == pair[1].recv(1)


def test_an_engine_is_closed_by_another_thread_than_its_own(waiter, pair):
    waiter.watch(pair[0], print)
    waiter.settle()
    in_thread(waiter.engine.close)
    assert not waiter.engine.is_open
    waiter.engine.open()
    assert 0 == waiter.engine.wait(0)


def test_a_ring_refuses_other_threads_with_the_reason(pair):
    engine = UringEngine()
    engine.open()
    with pytest.raises(OSError, match="belongs to another thread"):
        in_thread(lambda: engine.wait(0))
    engine.close()


def test_a_source_may_close_the_engine(waiter, pair):
    told = []

    def close(events):
        told.append(events)
        waiter.engine.close()

    for sock in pair:
        waiter.watch(sock, close, EPOLLOUT)
    assert 1 == waiter.engine.wait(-1)
    assert 1 == len(told)


def test_an_engine_that_nobody_closed_is_collected(engine, closed):
    made = type(closed)()
    made.open()
    ours, theirs = socket.socketpair()
    source = CallbackSource(ours.fileno(), made.disarm)
    made.arm(source, EPOLLIN, False)
    made.flush()
    gone = weakref.ref(made)
    del made, source
    gc.collect()
    assert gone() is None
    ours.close()
    theirs.close()


def test_sources_pass_to_the_engine_that_runs_instead(closed, pair):
    told = []
    source = CallbackSource(pair[0].fileno(), told.append)
    closed.arm(source, EPOLLOUT, False)
    other = type(closed)()
    other.adopt(closed)
    assert {} == closed.sources
    other.open()
    with pytest.raises(RuntimeError):
        other.adopt(closed)
    assert 1 == other.wait(-1)
    other.disarm(source)
    other.close()
    assert 1 == len(told)


# Forks.


def test_a_forked_child_runs_an_engine_of_its_own(waiter, pair, in_child):
    told = []
    waiter.watch(pair[0], told.append)
    waiter.watch(pair[1], print, EPOLLIN, level=True)
    waiter.settle()

    def child() -> None:
        assert not waiter.engine.is_open
        assert waiter.engine.forgotten
        with pytest.raises(RuntimeError, match="forked"):
            waiter.engine.wait(0)
        fresh = type(waiter.engine)()
        fresh.open()
        ours, theirs = socket.socketpair()
        heard = []
        fresh.arm(CallbackSource(ours.fileno(), heard.append), EPOLLIN, False)
        theirs.send(b"a")
        assert 1 == fresh.wait(-1)
        fresh.wake()
        fresh.wait(-1)
        fresh.close()

    in_child(child)
    assert [] == told
    pair[1].send(b"a")
    waiter.until(lambda: told)
    assert not waiter.engine.forgotten


def test_a_forked_child_may_open_its_copy_anew(waiter, in_child):
    """A server that forks its workers after it has bound its sockets: each has a ring of its own on the same sources."""
    told = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        waiter.watch(server, told.append)
        waiter.settle()

        def child() -> None:
            waiter.engine.open()
            assert not waiter.engine.forgotten
            with socket.create_connection(server.getsockname()):
                waiter.until(lambda: told)
                server.accept()[0].close()
            waiter.engine.close()

        in_child(child)
        with socket.create_connection(server.getsockname()):
            waiter.until(lambda: told)


def test_a_child_that_closes_or_disarms_disturbs_nobody(waiter, pair, in_child):
    told = []
    sources = [waiter.watch(pair[0], told.append), waiter.watch(pair[1], told.append, EPOLLIN, level=True)]
    waiter.settle()

    def child() -> None:
        for source in sources:
            waiter.engine.disarm(source)
        waiter.engine.wake()
        waiter.engine.flush()
        waiter.engine.close()

    in_child(child)
    assert 0 == waiter.engine.wait(0)
    pair[0].send(b"a")
    pair[1].send(b"a")
    waiter.until(lambda: len(told) >= 2)


def test_a_child_forked_by_a_source_leaves_the_batch(waiter, pair):
    """The rest of the batch is the parent's to tell."""
    told = []
    children = []

    def fork(events):
        told.append(events)
        if not children:
            children.append(os.fork())

    for sock in pair:
        waiter.watch(sock, fork, EPOLLOUT)
    count = waiter.engine.wait(-1)
    if children == [0]:
        os._exit(0 if (count, len(told), waiter.engine.is_open) == (1, 1, False) else 1)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])
    waiter.until(lambda: len(told) == 2)


def test_a_fork_while_another_thread_waits(closed, in_child):
    opened = threading.Event()
    failed = []

    def wait() -> None:
        closed.open()
        opened.set()
        closed.wait(-1)
        failed.append(closed.is_open)
        closed.close()

    thread = threading.Thread(target=wait)
    thread.start()
    assert opened.wait(JOIN_SECONDS)

    def child() -> None:
        closed.wake()
        closed.close()
        fresh = type(closed)()
        fresh.open()
        fresh.wait(1)
        fresh.close()

    in_child(child)
    closed.wake()
    thread.join(JOIN_SECONDS)
    assert not thread.is_alive()
    assert [True] == failed


# Descriptors.


def test_without_descriptors_opening_fails_cleanly_and_says_the_limit(closed):
    """At each of the descriptors that opening needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    try:
        for spare in (0, 1):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + spare, hard))
            with pytest.raises(OSError, match=f"the limit of open files is {lowest_free + spare}") as caught:
                closed.open()
            assert 24 == caught.value.errno
            assert not closed.is_open
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    closed.open()
    assert 0 == closed.wait(0)


def test_without_descriptors_a_user_cannot_be_watched_on_the_ring_but_later(pair):
    engine = UringEngine()
    engine.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    source = CallbackSource(pair[0].fileno(), print)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        with pytest.raises(OSError, match="the limit of open files"):
            engine.arm(source, EPOLLIN, True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {} == engine.sources
    engine.arm(source, EPOLLIN, True)
    engine.close()


@pytest.mark.parametrize("flags", [PLAIN_FLAGS, None])
def test_rings_come_and_go(flags):
    for _ in range(200):
        engine = UringEngine() if flags is None else UringEngine(flags=flags)
        engine.open()
        engine.wake()
        engine.wait(-1)
        engine.close()


def test_engines_are_not_kept(closed):
    before = sys.getrefcount(closed)
    closed.open()
    closed.wait(0)
    closed.close()
    assert before == sys.getrefcount(closed)
