"""The engine may receive by itself (io_uring): what may happen to a stream while it does, and how it changes to bulk and back."""

import asyncio
import errno
import os
import socket
import threading
import warnings

import pytest
from net.peers import Buffered, Echo, Noting, connected, pair, read_exactly, reset, serving

import plait
from plait.loop import Loop


def receive_buffers(loop: Loop) -> bool:
    return any("buffers" in feature for feature in loop.engine.features)


async def turns(count=10):
    for _ in range(count):
        await asyncio.sleep(0)


def test_what_arrives_while_reading_is_paused_comes_in_order_after_it(run):
    async def main():
        async with connected() as (protocol, theirs):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(theirs, b"before ")
            await protocol.received(7)
            protocol.transport.pause_reading()
            for number in range(100):
                await loop.sock_sendall(theirs, b"%03d" % number)
                await asyncio.sleep(0)
            await turns()
            assert b"before " == protocol.data
            protocol.transport.resume_reading()
            await loop.sock_sendall(theirs, b" after")
            assert b"before " + b"".join(b"%03d" % i for i in range(100)) + b" after" == await protocol.received(313)

    run(main())


def test_a_protocol_that_pauses_at_each_piece_gets_one_for_each_resume(run):
    class Pausing(Noting):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async def main():
        async with connected(Pausing) as (protocol, theirs):
            loop = asyncio.get_running_loop()
            for number in range(50):
                await loop.sock_sendall(theirs, b"%02d" % number)
                await protocol.received(4 * number + 2)
                await loop.sock_sendall(theirs, b"++")
                await turns()
                assert 4 * number + 2 == len(protocol.data)
                protocol.transport.resume_reading()
                await protocol.received(4 * number + 4)
                protocol.transport.resume_reading()

    run(main())


@pytest.mark.parametrize("end", ["eof", "reset"])
def test_an_end_that_comes_while_reading_is_paused_is_told_after_what_came_before(run, end):
    async def main():
        async with connected() as (protocol, theirs):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(theirs, b"a")
            await protocol.received(1)
            protocol.transport.pause_reading()
            await loop.sock_sendall(theirs, b"b")
            await turns()
            if end == "eof":
                theirs.shutdown(socket.SHUT_WR)
            else:
                reset(theirs)
            await turns()
            assert ["made", "data"] == protocol.told
            protocol.transport.resume_reading()
            error = await protocol.lost
            if end == "eof":
                assert ["made", "data", "data", "eof", "lost"] == protocol.told
                assert error is None
            else:
                assert isinstance(error, ConnectionResetError)

    run(main())


def test_close_while_paused_with_bytes_kept_drops_them(run):
    async def main():
        async with connected() as (protocol, theirs):
            loop = asyncio.get_running_loop()
            protocol.transport.pause_reading()
            await loop.sock_sendall(theirs, b"never seen")
            await turns()
            protocol.transport.close()
            assert await protocol.lost is None
            assert ["made", "lost"] == protocol.told

    run(main())


def test_a_receive_never_takes_the_bytes_of_the_next_owner_of_the_descriptor(run):
    """A connection that is closed in the turn in which it was made: its descriptor's number is at once another's."""
    pairs = []

    class Closing(Noting):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.fd = transport.get_extra_info("socket").fileno()
            transport.abort()

        def connection_lost(self, error):
            super().connection_lost(error)
            asyncio.get_running_loop().call_soon(self.reuse)

        def reuse(self):
            for _ in range(4):
                with socket.create_server(("127.0.0.1", 0)) as server:
                    ours = socket.create_connection(server.getsockname())
                    theirs, _ = server.accept()
                    ours.sendall(b"mine")
                    theirs.sendall(b"mine")
                    pairs.append((ours, theirs))

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Closing) as (address, made):
            for _ in range(20):
                with socket.socket() as sock:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, address)
                    await (await made.get()).lost
                await turns(3)
            for sock in (sock for pair in pairs for sock in pair):
                assert b"mine" == sock.recv(100)
                sock.close()

    run(main())


@pytest.mark.parametrize("turn_backs", [0, 3])
def test_bulk_and_small_messages_in_turn_lose_nothing(run, turn_backs):
    """Full buffers in a row change a stream to bulk, many small messages change it back."""

    async def main():
        async with connected(Echo) as (protocol, theirs):
            loop = asyncio.get_running_loop()
            for _ in range(1 + turn_backs):
                bulk = os.urandom(700_000)
                echoed = asyncio.ensure_future(read_exactly(theirs, len(bulk)))
                await loop.sock_sendall(theirs, bulk)
                assert bulk == await echoed
                for number in range(100):
                    await loop.sock_sendall(theirs, b"%03d" % number)
                    assert b"%03d" % number == await read_exactly(theirs, 3)
            assert ["made"] == [word for word in protocol.told if word not in ("data", "pause", "resume")]

    run(main())


@pytest.mark.parametrize(("message", "is_bulk"), [(16 * 1024, False), (100_000, True)])
def test_messages_that_just_fill_a_buffer_are_not_taken_for_bulk(run, loop, message, is_bulk):
    """What comes as bulk comes in larger pieces than a buffer of the engine has room for, where it has any."""
    pieces = []

    class Measuring(Noting):
        def data_received(self, data):
            pieces.append(len(data))
            super().data_received(data)

    async def main():
        async with connected(Measuring) as (protocol, theirs):
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            for number in range(1, 11):
                await loop.sock_sendall(theirs, bytes(message))
                await protocol.received(number * message)
            del pieces[:]
            await loop.sock_sendall(theirs, bytes(40_000))
            await protocol.received(10 * message + 40_000)

    run(main())
    if receive_buffers(loop):
        assert is_bulk == (max(pieces) > 16 * 1024)
    else:
        assert max(pieces) > 16 * 1024


def test_more_connections_than_buffers_speaking_at_once_are_all_heard(run):
    async def main():
        async with serving(Echo, backlog=500) as (address, made):
            socks = [socket.create_connection(address) for _ in range(300)]
            protocols = [await made.get() for _ in socks]
            for rounds in range(3):
                for sock in socks:
                    sock.sendall(b"x" * 20_000)
                for protocol in protocols:
                    await protocol.received(20_000 * (rounds + 1))
                for sock in socks:
                    sock.setblocking(False)
                    assert b"x" * 20_000 == await read_exactly(sock, 20_000)
                    sock.setblocking(True)
            for sock in socks:
                sock.close()
            for protocol in protocols:
                await protocol.lost

    run(main())


def test_a_protocol_with_a_buffer_takes_over_without_losing_a_byte(run):
    class Handing(Noting):
        """Gives its transport away at the first byte, as STARTTLS does."""

        def data_received(self, data):
            super().data_received(data)
            self.next = Buffered(size=7)
            self.next.transport = self.transport
            self.next.lost = self.lost
            self.transport.set_protocol(self.next)

    async def main():
        async with connected(Handing) as (protocol, theirs):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(theirs, b"first")
            await protocol.received(5)
            text = b"".join(b"%04d" % i for i in range(500))
            for at in range(0, len(text), 50):
                await loop.sock_sendall(theirs, text[at : at + 50])
                await asyncio.sleep(0)
            assert text == await protocol.next.received(len(text))
            protocol.transport.abort()
            await protocol.lost
            protocol.waiters.clear()

    run(main())


def test_a_full_peer_is_waited_for_while_the_engine_receives(run):
    async def main():
        async with connected(small=True) as (protocol, theirs):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(theirs, b"hello")
            await protocol.received(5)
            protocol.transport.write(b"y" * 2_000_000)
            await loop.sock_sendall(theirs, b"still here")
            assert b"hellostill here" == await protocol.received(15)
            assert b"y" * 2_000_000 == await read_exactly(theirs, 2_000_000)
            assert "resume" in protocol.told

    run(main())


def test_a_loop_that_goes_on_in_another_thread_takes_its_streams_along(loop):
    """The engine is closed and opened again; what arrives in between is not lost."""

    async def connect():
        ours, theirs = pair("tcp", small=False)
        _, protocol = await loop.create_connection(Echo, sock=ours)
        theirs.sendall(b"one ")
        await protocol.received(4)
        return protocol, theirs

    protocol, theirs = loop.run_until_complete(connect())
    theirs.sendall(b"two ")

    def elsewhere():
        loop.run_until_complete(protocol.received(8))
        theirs.sendall(b"three ")
        loop.run_until_complete(protocol.received(14))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    theirs.sendall(b"four")
    assert b"one two three four" == loop.run_until_complete(protocol.received(18))
    assert b"one two three four" == theirs.recv(100, socket.MSG_WAITALL | socket.MSG_DONTWAIT)
    protocol.transport.close()
    loop.run_until_complete(protocol.lost)
    theirs.close()


def test_a_loop_closed_by_another_thread_leaves_its_idle_streams_quietly(engine):
    """They are no operations in flight that anybody would have to wait for."""
    loop = plait.new_event_loop(engine=engine)
    ours, theirs = pair("tcp", small=False)
    transport, protocol = loop.run_until_complete(loop.create_connection(Noting, sock=ours))
    theirs.sendall(b"a")
    loop.run_until_complete(protocol.received(1))
    thread = threading.Thread(target=loop.close)
    thread.start()
    thread.join()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        transport.__del__()
    theirs.close()


def test_a_forked_child_leaves_the_parents_receives_alone(run):
    async def main():
        async with connected() as (protocol, theirs):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(theirs, b"a")
            await protocol.received(1)
            with warnings.catch_warnings():
                # The executor that accepted has a thread. Python 3.12 warns of that, and 3.15 raises when the child is there.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            await loop.sock_sendall(theirs, b"b")
            assert b"ab" == await protocol.received(2)

    run(main())


def test_the_engine_tells_how_streams_are_received(loop, engine):
    loop.run_until_complete(asyncio.sleep(0))
    assert (engine == "uring") == receive_buffers(loop)


def test_a_reset_is_told_as_such(run):
    async def main():
        async with connected() as (protocol, theirs):
            reset(theirs)
            error = await protocol.lost
            assert errno.ECONNRESET == error.errno

    run(main())
