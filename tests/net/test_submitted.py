"""Small answers leave by a submission to the engine (io_uring), not by a call: what may happen while it is on its way."""

import asyncio
import socket

import pytest
from net.peers import Echo, Noting, pair, read_all, read_exactly, serving

import plait
from plait.engine.uring import UringEngine


class Answering(Noting):
    """Answers in data_received, and then does something to its transport in the same breath."""

    then = "close"

    def data_received(self, data):
        super().data_received(data)
        self.transport.write(b"answer")
        getattr(self.transport, self.then)()


async def client(address):
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address)
    return sock


@pytest.mark.parametrize("then", ["close", "write_eof"])
def test_an_answer_leaves_before_the_end_that_follows_it(run, then):
    class Ending(Answering):
        pass

    Ending.then = then

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Ending) as (address, made):
            with await client(address) as sock:
                await loop.sock_sendall(sock, b"x")
                assert b"answer" == await read_all(sock)
            assert await (await made.get()).lost is None

    run(main())


def test_an_answer_on_its_way_never_reaches_the_next_owner_of_the_descriptor(run):
    """The submission names a number; abort() and what closes the socket must not let another connection inherit it."""
    pairs = []

    class Aborting(Answering):
        then = "abort"

        def connection_lost(self, error):
            super().connection_lost(error)
            self.fd = self.transport.get_extra_info("socket").fileno()
            # After the transport has closed its descriptor, in the same turn as far as possible.
            asyncio.get_running_loop().call_soon(self.reuse)

        def reuse(self):
            pairs.extend(socket.socketpair() for _ in range(4))

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Aborting) as (address, made):
            with await client(address) as sock:
                await loop.sock_sendall(sock, b"x")
                assert (await read_all(sock)) in (b"", b"answer")
            protocol = await made.get()
            await protocol.lost
            for _ in range(5):
                await asyncio.sleep(0)
            assert protocol.fd in [sock.fileno() for pair in pairs for sock in pair]
            socks = [sock for pair in pairs for sock in pair]
            for sock in socks:
                sock.setblocking(False)
                with pytest.raises(BlockingIOError):
                    sock.recv(100)
            for sock in socks:
                sock.close()

    run(main())


def test_answers_that_follow_each_other_keep_their_order(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Echo) as (address, _):
            with await client(address) as sock:
                sent = b"".join(b"%06d" % i for i in range(3000))
                for at in range(0, len(sent), 6):
                    await loop.sock_sendall(sock, sent[at : at + 6])
                got = b""
                while len(got) < len(sent):
                    got += await loop.sock_recv(sock, 100_000)
                assert sent == got

    run(main())


def test_an_answer_to_a_peer_that_is_gone_ends_the_connection(run):
    class Late(Noting):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.write_until_lost()

        def write_until_lost(self):
            if not self.lost.done():
                self.transport.write(b"x")
                asyncio.get_running_loop().call_soon(self.write_until_lost)

    async def main():
        async with serving(Late) as (address, made):
            sock = await client(address)
            protocol = await made.get()
            sock.close()
            error = await protocol.lost
            assert error is None or isinstance(error, ConnectionError)

    run(main())


def test_what_was_written_before_a_stop_leaves(loop):
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    async def connect():
        transport, _ = await loop.connect_accepted_socket(lambda: Noting(), ours)
        return transport

    transport = loop.run_until_complete(connect())
    loop.call_soon(transport.write, b"before the stop")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert b"before the stop" == theirs.recv(100)
    transport.close()
    loop.call_soon(loop.stop)
    loop.run_forever()
    theirs.close()


@pytest.mark.parametrize("then", ["close", "write_eof", "write"])
def test_what_follows_an_answer_on_its_way_is_not_slept_over(loop, then):
    """A stop brings the answer to the kernel, and nobody has been told that it left. Nothing else wakes the loop afterwards."""
    ours, theirs = pair("tcp", False)
    theirs.setblocking(False)

    async def connect():
        return await loop.connect_accepted_socket(Noting, ours)

    transport, protocol = loop.run_until_complete(connect())
    loop.call_soon(transport.write, b"answer")
    loop.call_soon(loop.stop)
    loop.run_forever()
    if then == "write":
        transport.write(b", more")
        assert b"answer, more" == loop.run_until_complete(read_exactly(theirs, 12))
        transport.close()
    else:
        getattr(transport, then)()
        assert b"answer" == loop.run_until_complete(read_all(theirs))
    theirs.close()
    loop.run_until_complete(protocol.lost)


def test_a_message_and_its_answer_take_one_wait(run):
    """That an answer has left is no reason to wake up."""
    count = 200

    def talk(address):
        with socket.create_connection(address) as sock:
            for _ in range(count):
                sock.sendall(b"x" * 100)
                assert b"x" * 100 == sock.recv(100, socket.MSG_WAITALL)

    async def main():
        engine = asyncio.get_running_loop()._get_engine()
        async with serving(Echo) as (address, made):
            before = engine.enters
            await asyncio.to_thread(talk, address)
            assert engine.enters - before < 1.5 * count
            await (await made.get()).lost

    run(main())


def test_answers_that_leave_in_part_go_on_where_they_stopped(engine):
    """So many at once that what the kernel says of them does not fit into the ring; where it says nothing, all has left."""
    loop = plait.new_event_loop(engine=engine)
    if engine == "uring":
        loop._set_engine(UringEngine(4, 8))
    texts = [bytes([number]) * 60_000 for number in range(60)]
    pairs = [pair("tcp", small=True) for _ in texts]

    async def connect():
        return [await loop.connect_accepted_socket(Noting, ours) for ours, _ in pairs]

    async def read_slowly():
        return [await read_exactly(theirs, 60_000) for _, theirs in pairs]

    connections = loop.run_until_complete(connect())
    for (transport, _), (_, theirs), text in zip(connections, pairs, texts, strict=True):
        theirs.setblocking(False)
        loop.call_soon(transport.write, text)
    assert texts == loop.run_until_complete(read_slowly())
    for transport, protocol in connections:
        transport.close()
        assert loop.run_until_complete(protocol.lost) is None
    for _, theirs in pairs:
        theirs.close()
    loop.close()
