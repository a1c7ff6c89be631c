"""Servers: accepting, running out of descriptors, closing with connections open, Unix paths."""

import asyncio
import os
import resource
import socket
import stat
import sys
import tempfile

import pytest
from net.peers import Noting, read_all, reset, serving

CONNECTIONS = 100_000


@pytest.mark.timeout(300)
def test_a_hundred_thousand_short_connections_leak_nothing(loop):
    """Descriptors are counted by the fixture that every test has."""
    answered = 0

    class Answering(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            nonlocal answered
            answered += 1
            self.transport.write(data)
            self.transport.close()

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=512)
        address = server.sockets[0].getsockname()
        left = CONNECTIONS

        async def client():
            nonlocal left
            while left:
                left -= 1
                with socket.socket() as sock:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, address)
                    await loop.sock_sendall(sock, b"x")
                    assert b"x" == await loop.sock_recv(sock, 10)
                    assert b"" == await loop.sock_recv(sock, 10)

        await asyncio.gather(*(client() for _ in range(50)))
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    assert CONNECTIONS == answered


def test_more_connections_than_one_turn_accepts_are_all_served(run):
    async def main():
        loop = asyncio.get_running_loop()
        listening = socket.create_server(("127.0.0.1", 0), backlog=200)
        socks = [socket.create_connection(listening.getsockname()) for _ in range(100)]
        made = []

        class Counting(Noting):
            def connection_made(self, transport):
                super().connection_made(transport)
                made.append(self)

        server = await loop.create_server(Counting, sock=listening, backlog=7)
        for sock in socks:
            sock.close()
        while len(made) < 100:
            await asyncio.sleep(0)
        for protocol in made:
            await protocol.lost
        server.close()
        await server.wait_closed()

    run(main())


def test_connections_that_reset_at_once_are_no_news(run, caplog):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (address, made):
            for _ in range(20):
                sock = socket.socket()
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
                reset(sock)
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
                await loop.sock_sendall(sock, b"real")
                while True:
                    server = await made.get()
                    await server.until(lambda server=server: server.data or server.lost.done())
                    if server.data:
                        break

    run(main())
    assert [] == caplog.records


def test_a_server_out_of_descriptors_says_so_once_and_goes_on(run, loop, monkeypatch):
    """EMFILE: accepting rests for a while, again and again, and everyone who waits is served once descriptors are back."""
    monkeypatch.setattr("plait.net.listener.ACCEPT_RETRY_SECONDS", 0.01)

    async def main():
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        refusals = asyncio.Semaphore(0)
        call_later = loop.call_later

        def counted(delay, callback, *args):
            refusals.release()
            return call_later(delay, callback, *args)

        async with serving() as (address, made):
            socks = [socket.socket() for _ in range(3)]
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            highest = max(int(name) for name in os.listdir("/proc/self/fd"))
            holding = []
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
                try:
                    while True:
                        holding.append(os.dup(0))
                except OSError:
                    pass
                for sock in socks:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, address)
                monkeypatch.setattr(loop, "call_later", counted)
                for _ in range(3):
                    await refusals.acquire()
                assert ["socket.accept() out of system resource"] == [r["message"] for r in reports]
                assert address == reports[0]["socket"].getsockname()
                assert made.empty()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
                for fd in holding:
                    os.close(fd)
            for _ in socks:
                await made.get()
            for sock in socks:
                sock.close()
        assert 1 == len(reports)

    run(main())


def test_a_server_that_is_closed_while_it_waits_for_descriptors_stays_closed(run, loop):
    async def main():
        said = asyncio.Event()
        loop.set_exception_handler(lambda loop, context: said.set())
        server = await loop.create_server(Noting, "127.0.0.1", 0)
        with socket.socket() as sock:
            sock.setblocking(False)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            holding = []
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, before[1]))
                try:
                    while True:
                        holding.append(os.dup(0))
                except OSError:
                    pass
                await loop.sock_connect(sock, server.sockets[0].getsockname())
                await said.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
                for fd in holding:
                    os.close(fd)
            server.close()
            await server.wait_closed()
        # The fixture finds the timer if it is still there.

    run(main())


def test_a_factory_that_raises_is_reported_and_its_connection_closed(run, loop):
    async def main():
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        error = ValueError("no protocol today")

        def factory():
            raise error

        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, server.sockets[0].getsockname())
            assert b"" == await read_all(sock)
        server.close()
        await server.wait_closed()
        assert [("Error on transport creation for incoming connection", error)] == [
            (r["message"], r["exception"]) for r in reports
        ]

    run(main())


@pytest.mark.parametrize("exit_type", [SystemExit, KeyboardInterrupt])
def test_exits_in_a_factory_end_the_run_and_the_server_goes_on(loop, exit_type):
    made = []

    def factory():
        made.append(Noting())
        if len(made) == 1:
            raise exit_type("asked")
        return made[-1]

    server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0))
    address = server.sockets[0].getsockname()
    with socket.create_connection(address) as first, socket.create_connection(address) as second:
        with pytest.raises(exit_type, match="asked"):
            loop.run_forever()
        first.settimeout(10)
        assert b"" == first.recv(1)
        second.send(b"served")

        async def served():
            while len(made) < 2:
                await asyncio.sleep(0)
            return await made[1].received(6)

        assert b"served" == loop.run_until_complete(served())
        made[1].transport.close()
        loop.run_until_complete(made[1].lost)
    server.close()
    loop.run_until_complete(server.wait_closed())


def test_a_closed_server_refuses_at_once(run):
    """Nothing in the engine holds the socket: the very next connect() is refused."""

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Noting, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        server.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        await server.wait_closed()

    run(main())


def test_a_server_closed_by_its_first_connection_takes_no_second(run):
    async def main():
        loop = asyncio.get_running_loop()
        made = []

        class Closing(Noting):
            def connection_made(self, transport):
                super().connection_made(transport)
                made.append(self)
                server.close()

        listening = socket.create_server(("127.0.0.1", 0))
        address = listening.getsockname()
        server = await loop.create_server(Closing, sock=listening, start_serving=False)
        with socket.create_connection(address) as first, socket.create_connection(address):
            await server.start_serving()
            first.send(b"x")
            while not made:
                await asyncio.sleep(0)
            await made[0].received(1)
            made[0].transport.close()
            await made[0].lost
            await server.wait_closed()
        assert 1 == len(made)

    run(main())


def test_several_sockets_and_reuse_port_serve_together(run):
    async def main():
        loop = asyncio.get_running_loop()
        first = await loop.create_server(Noting, ["127.0.0.1", "::1"], 0, reuse_port=True)
        port = first.sockets[0].getsockname()[1]
        second = await loop.create_server(Noting, "127.0.0.1", port, reuse_port=True)
        for sock in (*first.sockets, *second.sockets):
            transport, client = await loop.create_connection(Noting, *sock.getsockname()[:2])
            transport.close()
            await client.lost
        for server in (first, second):
            server.close()
            await server.wait_closed()

    run(main())


def test_serve_forever_ends_when_it_is_cancelled(run):
    async def main():
        server = await asyncio.get_running_loop().create_server(Noting, "127.0.0.1", 0)
        serving = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        serving.cancel()
        await asyncio.wait([serving])
        assert serving.cancelled()
        assert not server.is_serving()

    run(main())


if sys.version_info >= (3, 13):

    @pytest.mark.parametrize("call", ["close_clients", "abort_clients"])
    def test_a_server_can_close_all_its_connections(run, call):
        async def main():
            loop = asyncio.get_running_loop()
            made = []

            def factory():
                made.append(Noting())
                return made[-1]

            server = await loop.create_server(factory, "127.0.0.1", 0)
            clients = [await loop.create_connection(Noting, *server.sockets[0].getsockname()) for _ in range(5)]
            while len(made) < 5:
                await asyncio.sleep(0)
            server.close()
            getattr(server, call)()
            await server.wait_closed()
            assert [None] * 5 == [await protocol.lost for protocol in made]
            for _, client in clients:
                await client.lost

        run(main())


def test_wait_closed_waits_for_the_last_connection(run):
    """As asyncio from 3.12.1 on; before that it returned at once."""

    async def main():
        loop = asyncio.get_running_loop()
        made = asyncio.Queue()

        class Served(Noting):
            def connection_made(self, transport):
                super().connection_made(transport)
                made.put_nowait(self)

        server = await loop.create_server(Served, "127.0.0.1", 0)
        transport, client = await loop.create_connection(Noting, *server.sockets[0].getsockname())
        served = await made.get()
        server.close()
        waiting = asyncio.create_task(server.wait_closed())
        await asyncio.sleep(0)
        if sys.version_info >= (3, 12, 1):
            assert not waiting.done()
        transport.close()
        await waiting
        await client.lost
        await served.lost

    run(main())


def test_a_unix_server_serves_replaces_a_stale_path_and_cleans_up(run):
    async def main(folder):
        loop = asyncio.get_running_loop()
        path = f"{folder}/socket"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        server = await loop.create_unix_server(Noting, path)
        transport, client = await loop.create_unix_connection(Noting, path)
        transport.write(b"x")
        transport.close()
        assert None is await client.lost
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        server.close()
        await server.wait_closed()
        # From 3.13 on asyncio removes the path of a server.
        assert (sys.version_info < (3, 13)) == os.path.exists(path)

    with tempfile.TemporaryDirectory() as folder:
        run(main(folder))


if sys.version_info >= (3, 13):

    def test_a_unix_server_leaves_a_path_that_is_another_ones_by_now(run):
        async def main(folder):
            loop = asyncio.get_running_loop()
            path = f"{folder}/socket"
            first = await loop.create_unix_server(Noting, path)
            second = await loop.create_unix_server(Noting, path)
            first.close()
            assert os.path.exists(path)
            second.close()
            assert not os.path.exists(path)

        with tempfile.TemporaryDirectory() as folder:
            run(main(folder))


def test_connections_accepted_elsewhere_can_be_taken_over(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            transport, client = await loop.create_connection(Noting, *server.getsockname())
            sock, _ = server.accept()
            accepted, protocol = await loop.connect_accepted_socket(Noting, sock)
            transport.write(b"over")
            await protocol.received(4)
            accepted.close()
            await protocol.lost
            await client.lost

    run(main())
