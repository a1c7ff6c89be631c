"""What went wrong in other loops, by the names of their issues; 653 and 738 of uvloop stand in test_connecting and in tests/sweep."""

import asyncio
import os
import pty
import socket
import ssl
import tempfile

import pytest
import trustme
from net.peers import Noting, pair, serving


@pytest.mark.parametrize("call", ["sock_recv", "sock_accept", "sock_sendall"])
def test_uvloop_100_a_socket_closed_under_a_waiting_call(run, call):
    """It took the process down. As with asyncio nobody is told, and the call can be cancelled."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair("unix", small=True)
        if call == "sock_accept":
            ours.close()
            ours = socket.create_server(("127.0.0.1", 0))
        ours.setblocking(False)
        arguments = {"sock_recv": (10,), "sock_accept": (), "sock_sendall": (bytes(1_000_000),)}[call]
        waiting = asyncio.create_task(getattr(loop, call)(ours, *arguments))
        await asyncio.sleep(0)
        ours.close()
        # The number is another's at once.
        stranger, other = socket.socketpair()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        for sock in (stranger, other):
            sock.setblocking(False)
        receiving = asyncio.create_task(loop.sock_recv(stranger, 10))
        await asyncio.sleep(0)
        await loop.sock_sendall(other, b"alive")
        assert b"alive" == await receiving
        for sock in (stranger, other, theirs):
            sock.close()

    run(main())


def test_uvloop_378_many_connects_at_once(run):
    """The second time the loop span on invalid states."""

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0), backlog=500) as server:
                socks = [socket.socket() for _ in range(500)]
                for sock in socks:
                    sock.setblocking(False)
                await asyncio.gather(*(loop.sock_connect(sock, server.getsockname()) for sock in socks))
                for sock in socks:
                    sock.close()

    run(main())


def test_uvloop_28_a_path_that_became_anothers_is_left_alone(run):
    """It was removed with the server, whatever stood there by then."""

    async def main(folder):
        loop = asyncio.get_running_loop()
        path = f"{folder}/socket"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            os.unlink(path)
            with open(path, "w") as other:
                other.write("somebody else's")
            server = await loop.create_unix_server(Noting, sock=sock)
            server.close()
            await server.wait_closed()
        assert os.path.exists(path)

    with tempfile.TemporaryDirectory() as folder:
        run(main(folder))


def test_uvloop_471_a_tls_client_that_closes_while_much_is_coming(run):
    """It hung till the shutdown timed out."""
    authority = trustme.CA()
    served, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(served)
    authority.configure_trust(trusting)

    class Endless(Noting):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.resume_writing()

        def resume_writing(self):
            for _ in range(100):
                self.transport.write(bytes(100_000))

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Endless, ssl=served) as (address, made):
            options = {"ssl": trusting, "server_hostname": "localhost", "ssl_shutdown_timeout": 10_000}
            transport, client = await loop.create_connection(Noting, *address, **options)
            await client.received(1_000_000)
            transport.close()
            await client.lost
            await (await made.get()).lost

    run(main())


def test_uvloop_338_a_datagram_to_port_0_is_an_error_that_closes_nothing(run):
    async def main():
        loop = asyncio.get_running_loop()
        errors = asyncio.Queue()

        class Told(asyncio.DatagramProtocol):
            def error_received(self, error):
                errors.put_nowait(error)

            def connection_lost(self, error):
                errors.put_nowait(error)

        transport, _ = await loop.create_datagram_endpoint(Told, ("127.0.0.1", 0))
        transport.sendto(b"nowhere", ("127.0.0.1", 0))
        assert isinstance(await errors.get(), OSError)
        assert not transport.is_closing()
        transport.sendto(b"to itself", transport.get_extra_info("sockname"))
        transport.close()
        transport.sendto(b"after the close", ("127.0.0.1", 9))
        assert None is await errors.get()

    run(main())


def test_uvloop_319_an_address_beside_a_connected_socket(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as there:
            there.bind(("127.0.0.1", 0))
            there.setblocking(False)
            here = socket.socket(type=socket.SOCK_DGRAM)
            here.setblocking(False)
            here.connect(there.getsockname())
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=here)
            transport.sendto(b"one")
            transport.sendto(b"two", there.getsockname())
            assert [b"one", b"two"] == [await loop.sock_recv(there, 10) for _ in range(2)]
            transport.close()
            await asyncio.sleep(0)

    run(main())


def test_uvloop_262_two_transports_on_one_terminal(run):
    """FileExistsError, as with sys.stdout twice."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pty.openpty()
        with open(ours, "rb", 0) as screen, open(theirs, "wb", 0) as terminal:
            for word in (b"one", b"two"):
                with open(os.dup(theirs), "wb", 0) as copy:
                    transport, protocol = await loop.connect_write_pipe(Noting, copy)
                    again, other = await loop.connect_write_pipe(Noting, os.fdopen(os.dup(theirs), "wb", 0))
                    transport.write(word)
                    again.write(word.upper())
                    for each, told in ((transport, protocol), (again, other)):
                        each.close()
                        await told.lost
            shown = b""
            while len(shown) < 12:
                shown += screen.read(100)
            assert b"oneONEtwoTWO" == shown
            assert not terminal.closed

    run(main())


def test_uvloop_80_a_fifo_whose_writers_are_gone_is_closed(run, tmp_path):
    """Read to its end, the transport closes itself and its descriptor, which the fixture counts."""
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(20):
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            _, protocol = await loop.connect_read_pipe(Noting, os.fdopen(reader, "rb", 0))
            os.close(os.open(path, os.O_WRONLY))
            assert None is await protocol.lost

    run(main())


def test_uvloop_40_descriptors_of_others_stay_inheritable(run):
    """Making a loop marked the standard streams close-on-exec."""

    async def main():
        before = [os.get_inheritable(fd) for fd in range(3)]
        fd = os.dup(1)
        os.set_inheritable(fd, True)
        try:
            process = await asyncio.create_subprocess_exec("true")
            assert 0 == await process.wait()
            assert os.get_inheritable(fd)
        finally:
            os.close(fd)
        assert before == [os.get_inheritable(fd) for fd in range(3)]

    run(main())
