"""Datagram endpoints: asyncio's own transport on our readers and writers."""

import asyncio
import socket

from net.peers import Noting


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.queue = asyncio.Queue()
        self.errors = asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.queue.put_nowait((data, address))

    def error_received(self, error):
        self.errors.put_nowait(error)

    def connection_lost(self, error):
        self.lost.set_result(error)


def test_datagrams_go_both_ways(run):
    async def main():
        loop = asyncio.get_running_loop()
        here, first = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
        there, second = await loop.create_datagram_endpoint(Datagrams, remote_addr=here.get_extra_info("sockname"))
        assert isinstance(here, asyncio.DatagramTransport)
        there.sendto(b"question")
        data, address = await first.queue.get()
        assert (b"question", there.get_extra_info("sockname")) == (data, address)
        here.sendto(b"answer", address)
        assert b"answer" == (await second.queue.get())[0]
        assert f"<DatagramTransport fd={here._sock_fd} bufsize=0>" == repr(here)
        for transport, protocol in ((here, first), (there, second)):
            transport.close()
            assert None is await protocol.lost
        assert f"<DatagramTransport closed fd={here._sock_fd} bufsize=0>" == repr(here)

    run(main())


def test_an_error_is_told_and_the_endpoint_stays_open(run):
    """Nobody listens: the kernel answers ECONNREFUSED."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as nobody:
            nobody.bind(("127.0.0.1", 0))
            address = nobody.getsockname()
        transport, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        transport.sendto(b"hello?")
        assert isinstance(await protocol.errors.get(), ConnectionRefusedError)
        assert not transport.is_closing()
        with socket.socket(type=socket.SOCK_DGRAM) as somebody:
            somebody.bind(address)
            somebody.setblocking(False)
            transport.sendto(b"again")
            assert b"again" == await loop.sock_recv(somebody, 100)
        transport.close()
        await protocol.lost

    run(main())


def test_unix_datagrams(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
        with theirs:
            theirs.setblocking(False)
            transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=ours)
            theirs.send(b"in")
            assert b"in" == (await protocol.queue.get())[0]
            transport.close()
            await protocol.lost

    run(main())


def test_the_descriptor_is_free_for_a_stream_afterwards(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
        fd = transport.get_extra_info("socket").fileno()
        transport.close()
        await protocol.lost
        ours, theirs = socket.socketpair()
        with theirs:
            assert fd in (ours.fileno(), theirs.fileno())
            stream, client = await loop.create_unix_connection(Noting, sock=ours)
            theirs.send(b"x")
            await client.received(1)
            stream.close()
            await client.lost

    run(main())
