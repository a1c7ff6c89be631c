"""What sources are told: edges, levels, and nothing that is over."""

import os
import socket
import sys
from contextlib import ExitStack
from select import EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP

import pytest

from plait.engine.contract import CallbackSource

# Edges: the sources of transports.


def test_an_edge_is_told_once_per_change(waiter, pair):
    told = []
    waiter.watch(pair[0], told.append)
    assert 0 == waiter.engine.wait(0)
    pair[1].send(b"a")
    assert 1 == waiter.engine.wait(-1)
    assert 0 == waiter.engine.wait(0)
    assert [EPOLLIN] == told
    pair[1].send(b"b")
    assert 1 == waiter.engine.wait(-1)
    assert [EPOLLIN] * 2 == told


def test_what_was_ready_before_it_was_armed_is_told(waiter, pair):
    told = []
    pair[1].send(b"a")
    waiter.watch(pair[0], told.append, EPOLLIN | EPOLLOUT)
    assert 1 == waiter.engine.wait(-1)
    assert [EPOLLIN | EPOLLOUT] == told


def test_the_end_of_the_peer_is_an_edge(waiter, pair):
    told = []
    waiter.watch(pair[0], told.append)
    pair[1].shutdown(socket.SHUT_WR)
    waiter.until(lambda: told)
    assert told[-1] & EPOLLRDHUP
    pair[1].close()
    waiter.until(lambda: told[-1] & EPOLLHUP)


def test_room_to_write_is_an_edge(waiter, pair):
    told = []
    with pytest.raises(BlockingIOError):
        while True:
            pair[0].send(bytes(65536))
    waiter.watch(pair[0], told.append, EPOLLOUT)
    assert 0 == waiter.engine.wait(0)
    with pytest.raises(BlockingIOError):
        while True:
            pair[1].recv(1 << 20)
    waiter.until(lambda: told)
    assert EPOLLOUT == told[-1]


def test_data_between_a_read_and_the_next_wait_is_not_lost(waiter, pair):
    """The edge falls between the last recv and the wait, over and over."""
    got = []
    waiter.watch(pair[0], lambda events: got.append(pair[0].recv(100)))
    for number in range(1000):
        pair[1].send(b"%d" % number)
        assert 1 == waiter.engine.wait(-1)
    assert [b"%d" % number for number in range(1000)] == got


def test_many_sources_are_told_in_few_waits(waiter):
    """The kernel makes 20 completions per call of io_uring_enter."""
    told = []
    with ExitStack() as stack:
        pairs = [tuple(map(stack.enter_context, socket.socketpair())) for _ in range(200)]
        for number, (ours, _) in enumerate(pairs):
            waiter.watch(ours, lambda events, number=number: told.append(number))
        for _, theirs in pairs:
            theirs.send(b"a")
        assert 20 <= waiter.engine.wait(-1)
        enters = waiter.engine.enters
        waiter.until(lambda: len(told) == 200)
        assert 12 >= waiter.engine.enters - enters
        assert list(range(200)) == sorted(told)


def test_arm_changes_what_an_armed_edge_asks_for(waiter, pair):
    told = []
    source = waiter.watch(pair[0], told.append, EPOLLIN)
    waiter.engine.arm(source, EPOLLIN | EPOLLOUT, False)
    waiter.until(lambda: told)
    assert [EPOLLOUT] == told
    waiter.settle()
    waiter.engine.arm(source, EPOLLIN, False)
    pair[1].send(b"a")
    waiter.until(lambda: EPOLLIN in told)
    waiter.settle()
    assert [EPOLLOUT, EPOLLIN] == told
    assert 1 == len(waiter.engine.sources)


def test_a_source_may_change_from_edge_to_level_and_back(waiter, pair):
    told = []
    source = waiter.watch(pair[0], told.append, EPOLLIN)
    pair[1].send(b"a")
    waiter.engine.arm(source, EPOLLIN, True)
    waiter.until(lambda: len(told) == 3)
    waiter.engine.arm(source, EPOLLIN, False)
    waiter.until(lambda: len(told) == 4)
    waiter.settle()
    assert 4 == len(told)


# Levels: users' descriptors.


def test_a_level_is_told_in_every_wait_while_it_lasts(waiter, pair):
    told = []
    waiter.watch(pair[0], told.append, EPOLLIN, level=True)
    assert 0 == waiter.engine.wait(0)
    pair[1].send(b"a")
    assert [1, 1, 1] == [waiter.engine.wait(0) for _ in range(3)]
    assert 1 == waiter.engine.wait(-1)
    pair[0].recv(1)
    assert 0 == waiter.engine.wait(0)
    assert [EPOLLIN] * 4 == told


def test_arm_changes_what_a_level_asks_for(waiter, pair):
    told = []
    source = waiter.watch(pair[0], told.append, EPOLLIN, level=True)
    waiter.engine.arm(source, EPOLLOUT, True)
    assert 1 == waiter.engine.wait(-1)
    waiter.engine.arm(source, EPOLLIN, True)
    assert 0 == waiter.engine.wait(0)
    assert [EPOLLOUT] == told


def test_all_levels_are_told_however_many(waiter):
    told = set()
    with ExitStack() as stack:
        for number in range(200):
            ours, _ = map(stack.enter_context, socket.socketpair())
            waiter.watch(ours, lambda events, number=number: told.add(number), EPOLLOUT, level=True)
        waiter.until(lambda: len(told) == 200)


def test_levels_do_not_keep_edges_from_being_told(waiter, pair):
    told = []
    waiter.watch(pair[0], lambda events: told.append("level"), EPOLLOUT, level=True)
    waiter.engine.wait(0)
    waiter.watch(pair[1], lambda events: told.append("edge"), EPOLLIN)
    pair[0].send(b"a")
    waiter.until(lambda: "edge" in told)


@pytest.mark.parametrize("level", [True, False])
@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("path", [__file__, "/tmp", "/dev/null"])
def test_what_cannot_be_waited_for_is_refused_at_once(closed, path, is_open, level):
    if is_open:
        closed.open()
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(PermissionError, match="cannot be waited for"):
            closed.arm(CallbackSource(fd, print), EPOLLIN, level)
    finally:
        os.close(fd)
    assert {} == closed.sources
    assert 0 == closed.in_flight


@pytest.mark.parametrize("level", [True, False])
def test_what_is_not_open_is_refused_at_once(waiter, level):
    with pytest.raises(OSError, match="descriptor 9999 is not open") as caught:
        waiter.engine.arm(waiter.source(9999, print), EPOLLIN, level)
    assert 9 == caught.value.errno
    assert {} == waiter.engine.sources


def test_terminals_and_pipes_can_be_waited_for(waiter):
    told = []
    main, terminal = os.openpty()
    reading, writing = os.pipe()
    try:
        sources = [waiter.watch(fd, told.append, EPOLLIN) for fd in (main, reading)]
        os.write(terminal, b"a")
        os.write(writing, b"a")
        waiter.until(lambda: len(told) == 2)
        for source in sources:
            waiter.engine.disarm(source)
    finally:
        for fd in (main, terminal, reading, writing):
            os.close(fd)


def test_a_user_may_close_a_descriptor_without_a_word(waiter, pair):
    """As with epoll: the peer sees the end at once, nobody is told, and disarming later is forgiven."""
    told = []
    source = waiter.watch(pair[0], told.append, EPOLLIN, level=True)
    waiter.settle()
    pair[0].close()
    assert b"" == pair[1].recv(1)
    assert 0 == waiter.engine.wait(0)
    waiter.engine.disarm(source)
    assert [] == told
    assert {} == waiter.engine.sources


def test_a_number_that_is_used_again_can_be_armed_again(waiter, pair):
    """The user closed the descriptor, opened another file under its number, and changes what is asked for."""
    told = []
    source = waiter.watch(pair[0], told.append, EPOLLIN, level=True)
    os.dup2(pair[1].fileno(), pair[0].fileno())  # both are now the other end, and the watched one is closed
    waiter.engine.arm(source, EPOLLOUT, True)
    assert 1 == waiter.engine.wait(-1)
    waiter.engine.disarm(source)
    assert 0 == waiter.engine.wait(0)
    assert [EPOLLOUT | EPOLLHUP] == told


def test_a_number_that_is_used_again_is_not_told_until_it_is_armed_again(waiter, pair):
    told = []
    waiter.watch(pair[0], told.append, EPOLLIN | EPOLLOUT, level=True)
    other, peer = socket.socketpair()
    with other, peer:
        os.dup2(other.fileno(), pair[0].fileno())
        waiter.settle()
    assert [] == told


# Disarming.


def test_a_disarmed_source_is_never_told(waiter, pair):
    told = []
    for level in (False, True):
        source = waiter.watch(pair[0], told.append, level=level)
        pair[1].send(b"a")
        waiter.engine.flush()  # the completion waits already
        waiter.engine.disarm(source)
        waiter.settle()
        pair[0].recv(1)
    assert [] == told


def test_disarm_twice_is_once(waiter, pair):
    source = waiter.watch(pair[0], print)
    waiter.engine.disarm(source)
    waiter.engine.disarm(source)
    assert {} == waiter.engine.sources


def test_late_news_of_a_closed_socket_do_not_reach_the_next_one_of_its_number(waiter, pair):
    told = []
    old = waiter.watch(pair[0], lambda events: told.append("old"), EPOLLIN)
    pair[1].send(b"a")
    waiter.engine.flush()
    waiter.engine.disarm(old)
    idle, peer = socket.socketpair()
    with idle, peer:
        os.dup2(idle.fileno(), pair[0].fileno())  # closes the old socket and takes its number
        new = waiter.watch(pair[0], lambda events: told.append("new"), EPOLLIN)
        waiter.settle()
        assert [] == told
        peer.send(b"b")
        waiter.until(lambda: told)
        assert ["new"] == told
        waiter.engine.disarm(new)


def test_a_source_that_is_armed_again_hears_nothing_of_its_former_life(waiter, pair):
    told = []
    source = waiter.watch(pair[0], told.append, EPOLLOUT)
    waiter.engine.flush()
    for _ in range(10):
        waiter.engine.disarm(source)
        waiter.engine.arm(source, EPOLLIN, False)
    waiter.settle()
    assert [] == told
    pair[1].send(b"a")
    waiter.until(lambda: told)
    waiter.settle()
    assert [EPOLLIN] == told


@pytest.mark.parametrize("level", [True, False])
def test_a_source_disarmed_by_another_in_the_same_batch_is_not_told(waiter, pair, level):
    told = []
    sources = []

    def disarm_the_other(events):
        told.append(events)
        for source in sources:
            waiter.engine.disarm(source)
        sources.clear()

    sources += [waiter.watch(sock, disarm_the_other, EPOLLOUT, level=level) for sock in pair]
    assert 1 == waiter.engine.wait(-1)
    waiter.settle()
    assert [EPOLLOUT] == told


@pytest.mark.parametrize("level", [True, False])
def test_a_source_may_disarm_itself_and_go(waiter, pair, level):
    """Nothing else holds it, so that it dies while it is being told."""
    told = []
    pair[1].send(b"a")

    def disarm_myself(events):
        told.append(events)
        for source in list(waiter.engine.sources.values()):
            waiter.engine.disarm(source)

    waiter.watch(pair[0], disarm_myself, EPOLLIN, level=level)
    assert 1 == waiter.engine.wait(-1)
    waiter.settle()
    assert [EPOLLIN] == told


def test_an_exception_keeps_the_rest_for_the_next_wait(waiter):
    told = []

    def fail_first(events):
        told.append(events)
        if len(told) == 1:
            raise LookupError("the first")

    with ExitStack() as stack:
        for _ in range(5):
            ours, theirs = map(stack.enter_context, socket.socketpair())
            waiter.watch(ours, fail_first, EPOLLIN)
            theirs.send(b"a")
        with pytest.raises(LookupError, match="the first"):
            waiter.engine.wait(-1)
        assert 1 == len(told)
        assert waiter.engine.pending()
        waiter.until(lambda: len(told) == 5)
        waiter.settle()
        assert 5 == len(told)


def test_an_exception_of_one_level_does_not_starve_the_others(waiter):
    told = []

    def fail(events):
        raise LookupError

    with ExitStack() as stack:
        for number in range(6):
            ours, _ = map(stack.enter_context, socket.socketpair())
            waiter.watch(ours, fail if number % 2 else told.append, EPOLLOUT, level=True)
        for _ in range(20):
            try:
                waiter.engine.wait(-1)
            except LookupError:
                pass
        assert len(told) >= 3


def test_sources_are_let_go(waiter, pair):
    """The engine holds a source while it is armed, and not a moment longer."""
    for level in (False, True):
        source = waiter.source(pair[0], print)
        before = sys.getrefcount(source)
        waiter.engine.arm(source, EPOLLIN, level)
        assert before < sys.getrefcount(source)
        waiter.engine.flush()
        pair[1].send(b"a")
        waiter.engine.disarm(source)
        assert before == sys.getrefcount(source)
        waiter.settle()
        assert before == sys.getrefcount(source)
    assert {} == waiter.engine.sources
    assert 0 == waiter.engine.in_flight


def test_a_source_belongs_to_one_engine(waiter, pair, closed):
    other = type(closed)()
    source = waiter.watch(pair[0], print)
    with pytest.raises(RuntimeError, match="armed on another engine"):
        other.arm(source, EPOLLIN, False)
    other.disarm(source)
    assert 1 == len(waiter.engine.sources)


# Closing what was watched.


def test_the_peer_sees_the_end_as_soon_as_the_next_wait(waiter, pair):
    source = waiter.watch(pair[0], print)
    waiter.settle()
    waiter.engine.disarm(source)
    pair[0].close()
    waiter.engine.wait(0)
    assert b"" == pair[1].recv(1)


def test_the_peer_sees_the_end_after_a_flush(waiter, pair):
    """A loop that stops does not wait again, and has nobody told."""
    source = waiter.watch(pair[0], print)
    waiter.settle()
    pair[1].send(b"a")
    waiter.engine.disarm(source)
    pair[0].close()
    waiter.engine.flush()
    with pytest.raises(ConnectionResetError):
        pair[1].recv(1)


def test_the_peer_sees_the_end_when_it_was_closed_before_the_kernel_knew_of_it(waiter, pair):
    source = waiter.source(pair[0], print)
    waiter.engine.arm(source, EPOLLIN, False)
    waiter.engine.disarm(source)
    pair[0].close()
    waiter.engine.wait(0)
    assert b"" == pair[1].recv(1)


def test_an_address_is_free_again_after_a_flush(waiter):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        source = waiter.watch(server, print)
        waiter.settle()
        waiter.engine.disarm(source)
        waiter.engine.flush()
    socket.create_server(address).close()


def test_the_peer_sees_the_end_when_the_engine_was_closed(waiter, pair):
    waiter.watch(pair[0], print)
    waiter.settle()
    pair[0].close()
    waiter.engine.close()
    assert b"" == pair[1].recv(1)
