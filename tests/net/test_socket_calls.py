"""What sock_*() return: coroutines to all who ask, and what becomes of a socket that is received from again and again."""

import asyncio
import errno
import gc
import os
import socket
import threading

import pytest
from net.peers import Noting, pair, read_exactly

import plait

# More than a watch needs to stay armed.
MANY = 20


@pytest.fixture(params=["tcp", "unix"])
def ends(request):
    ours, theirs = pair(request.param, small=False)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


async def wear_in(sock, peer):
    """Have it received from so often, each time after a wait, that it stays armed."""
    loop = asyncio.get_running_loop()
    for number in range(MANY):
        receiving = asyncio.create_task(loop.sock_recv(sock, 100))
        await asyncio.sleep(0)
        peer.send(b"%d" % number)
        assert b"%d" % number == await receiving


# A coroutine without a frame.


def test_nothing_happens_before_it_is_awaited(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        sending = loop.sock_sendall(ours, b"late")
        receiving = loop.sock_recv(theirs, 10)
        await turns()
        with pytest.raises(BlockingIOError):
            theirs.recv(10)
        await sending
        assert b"late" == await receiving

    run(main())


def test_one_that_is_never_awaited_is_warned_of(loop, ends):
    ours, _ = ends
    with pytest.warns(RuntimeWarning, match=r"coroutine 'Loop\.sock_recv' was never awaited"):
        loop.sock_recv(ours, 10)
    closed = loop.sock_recv(ours, 10)
    closed.close()
    del closed
    gc.collect()


def test_asyncio_takes_it_for_a_coroutine(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        calls = loop.sock_recv(ours, 1), loop.sock_recv(ours, 1), loop.sock_recv(ours, 1), loop.sock_recv(ours, 1)
        assert all(asyncio.iscoroutine(call) for call in calls)
        theirs.send(b"abcd")
        task = asyncio.create_task(calls[0])
        assert "Loop.sock_recv()" in repr(task)
        assert [] == task.get_stack()
        assert b"a" == await task
        assert b"b" == await asyncio.wait_for(calls[1], 10)
        assert [b"c", None] == await asyncio.gather(calls[2], loop.sock_sendall(theirs, b"e"))
        assert b"d" == await asyncio.shield(asyncio.ensure_future(calls[3]))
        async with asyncio.TaskGroup() as group:
            last = group.create_task(loop.sock_recv(ours, 10), name="last")
        assert b"e" == last.result()

    run(main())


def test_it_is_awaited_once(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        call = loop.sock_recv(ours, 10)
        first = asyncio.create_task(call)
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="being awaited already"):
            await call
        theirs.send(b"x")
        assert b"x" == await first
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await call
        with pytest.raises(RuntimeError, match="cannot reuse"):
            call.throw(ValueError("late"))
        call.close()

    run(main())


def test_driven_by_hand(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        call = loop.sock_recv(ours, 10)
        future = call.send(None)
        assert asyncio.isfuture(future)
        assert future is call.cr_await
        with pytest.raises(ValueError, match="thrown"):
            call.throw(ValueError("thrown"))
        never_begun = loop.sock_recv(ours, 10)
        with pytest.raises(ValueError, match="thrown"):
            never_begun.throw(ValueError, "thrown")
        theirs.send(b"now")
        with pytest.raises(StopIteration) as stopped:
            loop.sock_recv(ours, 10).send(None)
        assert b"now" == stopped.value.value
        waiting = loop.sock_recv(ours, 10)
        waiting.send(None)
        waiting.close()

    run(main())


def test_debug_mode_runs_it_in_a_standard_task(run, loop, ends):
    ours, theirs = ends
    loop.set_debug(True)

    async def main():
        receiving = asyncio.create_task(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        await loop.sock_sendall(theirs, b"debug")
        assert b"debug" == await receiving

    run(main())


# Arguments and errors: the socket's own.


def test_errors_are_those_of_the_socket(run, ends):
    ours, _ = ends

    async def main():
        loop = asyncio.get_running_loop()
        for call, error in (
            (loop.sock_recv(ours, "ten"), TypeError),
            (loop.sock_recv(ours, -1), ValueError),
            (loop.sock_recv(ours, 2**70), OverflowError),
            (loop.sock_recv_into(ours, b"read-only"), TypeError),
            (loop.sock_sendall(ours, "text"), TypeError),
            (loop.sock_sendall(ours, 5), TypeError),
        ):
            with pytest.raises(error):
                await call
        assert b"" == await loop.sock_recv(ours, 0)
        assert 0 == await loop.sock_recv_into(ours, bytearray())
        ours.close()
        for call in (loop.sock_recv(ours, 1), loop.sock_recv_into(ours, bytearray(1)), loop.sock_sendall(ours, b"x")):
            with pytest.raises(OSError, match="Bad file descriptor") as closed:
                await call
            assert errno.EBADF == closed.value.errno

    run(main())


def test_a_reset_is_told(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair("tcp", small=False)
        with ours:
            ours.setblocking(False)
            await wear_in(ours, theirs)
            receiving = asyncio.create_task(loop.sock_recv(ours, 10))
            await asyncio.sleep(0)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            theirs.close()
            with pytest.raises(ConnectionResetError):
                await receiving

    run(main())


def test_a_socket_of_another_class_is_called_by_its_methods(run):
    class Counting(socket.socket):
        calls = 0

        def recv(self, *arguments):
            self.calls += 1
            return super().recv(*arguments)

        def send(self, *arguments):
            self.calls += 1
            return super().send(arguments[0][:1])

    async def main():
        loop = asyncio.get_running_loop()
        first, second = socket.socketpair()
        with Counting(fileno=first.detach()) as ours, second:
            ours.setblocking(False)
            second.setblocking(False)
            receiving = asyncio.create_task(loop.sock_recv(ours, 10))
            await asyncio.sleep(0)
            second.send(b"own")
            assert b"own" == await receiving
            assert 2 == ours.calls
            await loop.sock_sendall(ours, b"slow")
            assert 6 == ours.calls
            assert b"slow" == await loop.sock_recv(second, 10)

    run(main())


@pytest.mark.parametrize("asked", [1, 1000, 40_000, 100_000, 1 << 20, 1 << 24])
def test_all_bytes_come_in_order_whatever_is_asked_for(run, ends, asked):
    ours, theirs = ends
    payload = os.urandom(3_000 if asked == 1 else 2_000_000)

    async def main():
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(loop.sock_sendall(theirs, payload))
        got = bytearray()
        while len(got) < len(payload):
            part = await loop.sock_recv(ours, asked)
            assert type(part) is bytes
            assert 0 < len(part) <= asked
            got += part
        assert payload == got
        await sending

    run(main())


def test_datagrams_are_kept_apart_and_cut(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
        with ours, theirs:
            ours.setblocking(False)
            await wear_in(ours, theirs)
            for datagram in (b"one", b"two", b"three"):
                theirs.send(datagram)
            assert [b"one", b"tw", b"three"] == [await loop.sock_recv(ours, size) for size in (10, 2, 1 << 20)]

    run(main())


# A socket that stays armed.


def test_the_end_that_comes_with_the_last_bytes_is_told(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        await wear_in(ours, theirs)
        receiving = asyncio.create_task(loop.sock_recv(ours, 100))
        await asyncio.sleep(0)
        theirs.send(b"last")
        theirs.close()
        assert b"last" == await receiving
        assert b"" == await loop.sock_recv(ours, 100)
        assert b"" == await loop.sock_recv(ours, 100)

    run(main())


def test_the_end_that_comes_between_two_receives_is_told(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        await wear_in(ours, theirs)
        theirs.close()
        await turns()
        assert b"" == await loop.sock_recv(ours, 100)

    run(main())


@pytest.mark.parametrize("later", [0, 1, 2, 3])
def test_a_cancelled_receive_has_taken_nothing(run, ends, later):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        await wear_in(ours, theirs)
        for _ in range(MANY):
            receiving = asyncio.create_task(loop.sock_recv(ours, 100))
            await asyncio.sleep(0)
            theirs.send(b"kept")
            await turns(later)
            receiving.cancel()
            await asyncio.wait([receiving])
            assert b"kept" == (await loop.sock_recv(ours, 100) if receiving.cancelled() else receiving.result())

    run(main())


def test_what_the_program_receives_itself_is_not_missed(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        await wear_in(ours, theirs)
        theirs.send(b"by hand")
        await turns()
        assert b"by hand" == ours.recv(100)
        receiving = asyncio.create_task(loop.sock_recv(ours, 100))
        await turns()
        assert not receiving.done()
        theirs.send(b"by the loop")
        assert b"by the loop" == await receiving

    run(main())


def test_its_number_may_be_another_sockets_at_once(run):
    async def main():
        numbers = set()
        for _ in range(5):
            ours, theirs = socket.socketpair()
            numbers.add(ours.fileno())
            ours.setblocking(False)
            await wear_in(ours, theirs)
            ours.close()
            theirs.close()
            del ours, theirs  # the next may be at the same address, too
        assert 1 == len(numbers)

    run(main())


def test_the_peer_sees_the_end_of_a_socket_that_is_closed_without_a_word(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        await wear_in(ours, theirs)
        receiving = asyncio.create_task(loop.sock_recv(ours, 100))
        await asyncio.sleep(0)
        ours.close()
        assert b"" == await loop.sock_recv(theirs, 100)
        receiving.cancel()
        await asyncio.wait([receiving])

    run(main())


def test_a_duplicate_outlives_the_original(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        await wear_in(ours, theirs)
        with ours.dup() as copy:
            copy.setblocking(False)
            ours.close()
            stranger, other = socket.socketpair()  # has the number
            with stranger, other:
                stranger.setblocking(False)
                theirs.send(b"to the copy")
                assert b"to the copy" == await loop.sock_recv(copy, 100)
                await wear_in(stranger, other)
                await wear_in(copy, theirs)

    run(main())


def test_who_is_never_received_from_again_is_not_watched_for_ever(run, loop):
    """Unix sockets tell of each message; TCP is silent by itself as long as something is there to be read."""

    async def main():
        ours, theirs = socket.socketpair()
        bell, ringer = socket.socketpair()
        with ours, theirs, bell, ringer:
            ours.setblocking(False)
            bell.setblocking(False)
            await wear_in(ours, theirs)
            for _ in range(MANY):
                heard = asyncio.create_task(loop.sock_recv(bell, 10))
                await asyncio.sleep(0)
                theirs.send(b"nobody")
                ringer.send(b"x")
                await heard
            assert ours.fileno() not in [source.fd for source in loop._get_engine().sources.values()]
            assert b"nobody" * MANY == await read_exactly(ours, 6 * MANY)

    run(main())


def test_a_transport_takes_it_over(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        await wear_in(ours, theirs)
        make = loop.create_unix_connection if ours.family == socket.AF_UNIX else loop.create_connection
        transport, protocol = await make(Noting, sock=ours)
        theirs.send(b"to the protocol")
        assert b"to the protocol" == await protocol.received(15)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(ours, 10)
        transport.close()
        await protocol.lost

    run(main())


def test_another_loop_goes_on_with_it(engine, ends):
    ours, theirs = ends
    with asyncio.Runner(loop_factory=lambda: plait.new_event_loop(engine)) as first:
        first.run(wear_in(ours, theirs))
        with asyncio.Runner(loop_factory=lambda: plait.new_event_loop(engine)) as second:
            second.run(wear_in(ours, theirs))
        first.run(wear_in(ours, theirs))


def test_its_loop_goes_on_in_another_thread(loop, ends):
    ours, theirs = ends
    loop.run_until_complete(wear_in(ours, theirs))
    waiting = loop.create_task(loop.sock_recv(ours, 100))
    loop.run_until_complete(turns())
    failed = []

    def go_on():
        try:
            theirs.send(b"moved")
            assert b"moved" == loop.run_until_complete(waiting)
            loop.run_until_complete(wear_in(ours, theirs))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=go_on)
    thread.start()
    thread.join()
    assert [] == failed
    loop.run_until_complete(wear_in(ours, theirs))


# Several who watch one socket.


def test_all_who_wait_get_their_share(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(MANY):
            receiving = [asyncio.create_task(loop.sock_recv(ours, 1)) for _ in range(3)]
            await asyncio.sleep(0)
            theirs.send(b"a")
            await asyncio.wait(receiving, return_when=asyncio.FIRST_COMPLETED)
            theirs.send(b"bc")
            assert [b"a", b"b", b"c"] == await asyncio.gather(*receiving)

    run(main())


def test_a_reader_and_a_receive_are_both_told(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        await wear_in(ours, theirs)
        receiving = asyncio.create_task(loop.sock_recv(ours, 1))
        await asyncio.sleep(0)
        told = asyncio.Event()
        loop.add_reader(ours, told.set)
        theirs.send(b"ab")
        assert b"a" == await receiving
        await told.wait()
        receiving = asyncio.create_task(loop.sock_recv(ours, 10))
        assert b"b" == await receiving
        receiving = asyncio.create_task(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        assert loop.remove_reader(ours)
        assert not loop.remove_reader(ours)
        theirs.send(b"c")
        assert b"c" == await receiving
        await wear_in(ours, theirs)

    run(main())


def test_receiving_and_waiting_for_room_at_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair("tcp", small=True)
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            await wear_in(ours, theirs)
            payload = os.urandom(1_000_000)
            sending = asyncio.create_task(loop.sock_sendall(ours, payload))
            receiving = asyncio.create_task(loop.sock_recv(ours, 100))
            await turns()
            theirs.send(b"meanwhile")
            assert b"meanwhile" == await receiving
            assert not sending.done()
            assert payload == await read_exactly(theirs, len(payload))
            await sending
            await wear_in(ours, theirs)

    run(main())


def test_many_accept_from_one_socket(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            accepting = [asyncio.create_task(loop.sock_accept(server)) for _ in range(5)]
            await asyncio.sleep(0)
            accepting.pop(1).cancel()
            clients = [socket.create_connection(server.getsockname()) for _ in accepting]
            accepted = await asyncio.gather(*accepting)
            assert sorted(client.getsockname() for client in clients) == sorted(address for _, address in accepted)
            for sock in (*clients, *(connection for connection, _ in accepted)):
                sock.close()

    run(main())
