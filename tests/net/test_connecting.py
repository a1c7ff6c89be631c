"""Making connections: host names, Happy Eyeballs, refusals, and cancelling at every point."""

import asyncio
import os
import socket
import tempfile

import pytest
from net.peers import Noting, connected, serving


def silent_address():
    """A listening address whose backlog is full, so that connecting to it takes for ever; with what keeps it so."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    held = [server]
    while True:
        sock = socket.socket()
        sock.settimeout(0.2)
        held.append(sock)
        try:
            sock.connect(server.getsockname())
        except TimeoutError:
            return server.getsockname(), held


def test_a_refused_connection_says_by_whom(run):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
        with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1.*{address[1]}"):
            await asyncio.get_running_loop().create_connection(Noting, *address)

    run(main())


def test_happy_eyeballs_takes_the_address_that_answers(run, monkeypatch):
    """The first address never answers; the second one is tried after the delay and wins."""

    async def main():
        loop = asyncio.get_running_loop()
        (_, silent_port), held = await asyncio.to_thread(silent_address)
        async with serving() as (address, made):

            async def both(*args, **kwargs):
                entry = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
                return [(*entry, ("127.0.0.1", silent_port)), (*entry, address)]

            monkeypatch.setattr(loop, "getaddrinfo", both, raising=False)
            transport, client = await loop.create_connection(Noting, "two.test", 1, happy_eyeballs_delay=0.01)
            assert address == transport.get_extra_info("peername")
            await made.get()
            transport.close()
            await client.lost
        for sock in held:
            sock.close()

    run(main())


def test_names_are_resolved(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving(host="localhost") as (address, made):
            transport, client = await loop.create_connection(Noting, "localhost", address[1])
            await made.get()
            transport.close()
            await client.lost

    run(main())


@pytest.mark.parametrize("turns", range(8))
def test_a_connect_cancelled_at_any_point_leaves_nothing(run, turns):
    """The fixture counts descriptors and what the engine watches."""

    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (address, _):
            connecting = asyncio.create_task(loop.create_connection(Noting, *address))
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait([connecting])
            if not connecting.cancelled():
                transport, client = connecting.result()
                transport.abort()
                await client.lost

    run(main())


def test_a_cancelled_connect_does_not_close_the_next_user_of_its_descriptor(run):
    """uvloop issues 653 and 738: the number is another's as soon as the socket is closed."""

    async def main():
        loop = asyncio.get_running_loop()
        address, held = await asyncio.to_thread(silent_address)
        sock = socket.socket()
        sock.setblocking(False)
        fd = sock.fileno()
        connecting = asyncio.create_task(loop.sock_connect(sock, address))
        await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait([connecting])
        assert connecting.cancelled()
        sock.close()
        # The number now belongs to somebody else, who also waits to write.
        stranger, peer = socket.socketpair()
        assert fd in (stranger.fileno(), peer.fileno())
        with stranger, peer:
            for end in (stranger, peer):
                end.setblocking(False)
            receiving = asyncio.create_task(loop.sock_recv(peer, 10))
            await asyncio.sleep(0)
            await loop.sock_sendall(stranger, b"alive")
            assert b"alive" == await receiving
        for sock in held:
            sock.close()

    run(main())


def test_a_failed_create_connection_closes_only_its_own_sockets(run):
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(50):
            with socket.create_server(("127.0.0.1", 0)) as server:
                address = server.getsockname()
            bystander = os.open("/dev/null", os.O_RDONLY)
            try:
                with pytest.raises(OSError, match="Connect call failed"):
                    await loop.create_connection(Noting, *address)
                os.fstat(bystander)
            finally:
                os.close(bystander)

    run(main())


def test_a_protocol_factory_that_raises_gives_the_error_to_the_caller(run):
    async def main():
        loop = asyncio.get_running_loop()

        def factory():
            raise ValueError("no protocol")

        async with serving() as (address, _):
            ours = socket.create_connection(address)
            with ours, pytest.raises(ValueError, match="no protocol"):
                await loop.create_connection(factory, sock=ours)

    run(main())


def test_the_descriptor_of_a_transport_is_nobody_elses(run):
    """add_reader(), sock_recv() and a second transport on it are refused."""

    async def main():
        loop = asyncio.get_running_loop()
        async with connected(family="unix") as (protocol, _):
            fd = protocol.transport.get_extra_info("socket").fileno()
            message = f"File descriptor .* is used by transport <Stream fd={fd}"
            for call in (loop.add_reader, loop.add_writer):
                with pytest.raises(RuntimeError, match=message):
                    call(fd, print)
            for call in (loop.remove_reader, loop.remove_writer):
                with pytest.raises(RuntimeError, match=message):
                    call(fd)
            same = socket.socket(fileno=fd)
            same.setblocking(False)
            try:
                with pytest.raises(RuntimeError, match=message):
                    await loop.sock_recv(same, 10)
                with pytest.raises(RuntimeError, match=message):
                    loop._make_socket_transport(same, Noting())
            finally:
                same.detach()

    run(main())


def test_data_is_told_only_after_the_one_who_connected_has_gone_on(run):
    """The server's greeting is there first; still create_connection() returns before data_received() is called."""

    async def main():
        loop = asyncio.get_running_loop()

        class Greeting(Noting):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(b"greeting")

        async with serving(Greeting) as (address, _):
            for _ in range(20):
                sock = socket.create_connection(address)
                await loop.run_in_executor(None, sock.recv, 8, socket.MSG_PEEK)
                sock.setblocking(False)
                transport, client = await loop.create_connection(Noting, sock=sock)
                assert ["made"] == client.told
                assert b"greeting" == await client.received(8)
                transport.close()
                await client.lost

    run(main())


def test_a_unix_server_with_a_full_backlog_is_waited_for(run):
    """The kernel says EAGAIN and never tells when there is room; asyncio takes that for a connection."""

    async def main(folder):
        loop = asyncio.get_running_loop()
        path = f"{folder}/full"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen(0)
            server.setblocking(False)
            socks = [socket.socket(socket.AF_UNIX) for _ in range(5)]
            for sock in socks:
                sock.setblocking(False)
            connecting = [asyncio.create_task(loop.sock_connect(sock, path)) for sock in socks]
            accepted = [(await loop.sock_accept(server))[0] for _ in socks]
            await asyncio.gather(*connecting)
            for sock in [*socks, *accepted]:
                sock.close()

    with tempfile.TemporaryDirectory() as folder:
        run(main(folder))
