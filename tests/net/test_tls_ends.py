"""How a TLS connection ends, and what a peer that misbehaves gets: as with asyncio, to the letter."""

import asyncio
import contextlib
import ctypes
import socket
import ssl
import struct
import subprocess
import threading
from pathlib import Path

import pytest
import trustme
from net.peers import Echo, Noting, serving


class Contexts:
    """Server's and client's contexts of one authority."""

    def __init__(self):
        self.authority = trustme.CA()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.certificate = self.authority.issue_cert("localhost")
        self.certificate.configure_cert(self.server)
        self.client = ssl.create_default_context()
        self.authority.configure_trust(self.client)


@pytest.fixture(scope="module")
def contexts():
    return Contexts()


class Peer:
    """The other end, plain blocking code in a thread: `script(sock, tls)` after the handshake, on the bare socket and its TLS."""

    def __init__(self, context, script):
        self.context = context
        self.script = script
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = self.server.getsockname()
        self.error = None
        self.go = threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *exc_info):
        self.go.set()
        self.thread.join()
        self.server.close()
        assert self.error is None

    def run(self):
        try:
            sock, _ = self.server.accept()
            with sock:
                # A copy, so that the bare socket can be ended behind the back of TLS.
                with self.context.wrap_socket(sock.dup(), server_side=True) as tls:
                    self.script(self, sock, tls)
        except Exception as error:
            self.error = error


def told_at_the_end(loop, contexts, script, then=None, **options):
    """What a client's protocol was told, to the end, and the error of connection_lost."""

    async def main():
        with Peer(contexts.server, script) as peer:
            transport, client = await loop.create_connection(
                Noting, *peer.address, ssl=contexts.client, server_hostname="localhost", **options
            )
            if then is not None:
                then(peer, transport)
            error = await client.lost
            return client.told, bytes(client.data), type(error), str(error)

    return loop.run_until_complete(asyncio.wait_for(main(), 30))


def without_close_notify(peer, sock, tls):
    tls.sendall(b"the last words")
    sock.shutdown(socket.SHUT_RDWR)


def half_closed_without_close_notify(peer, sock, tls):
    tls.sendall(b"the last words")
    sock.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):
        while sock.recv(1000):
            pass


def with_close_notify(peer, sock, tls):
    tls.sendall(b"the last words")
    with contextlib.suppress(OSError):
        tls.unwrap()


def with_a_reset(peer, sock, tls):
    tls.sendall(b"the last words")
    peer.go.wait(30)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    tls.close()
    sock.close()


def in_the_middle_of_a_record(peer, sock, tls):
    tls.sendall(b"the last words")
    peer.go.wait(30)
    sock.sendall(b"\x17\x03\x03\x40\x00half a record")
    sock.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):
        while sock.recv(1000):
            pass


def with_something_else_than_tls(peer, sock, tls):
    tls.sendall(b"the last words")
    peer.go.wait(30)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with contextlib.suppress(OSError):
        while sock.recv(1000):
            pass


@pytest.fixture
def asyncios_loop():
    loop = asyncio.SelectorEventLoop()
    yield loop
    loop.close()


@pytest.mark.parametrize(
    "script",
    [
        without_close_notify,
        half_closed_without_close_notify,
        with_close_notify,
        with_a_reset,
        in_the_middle_of_a_record,
        with_something_else_than_tls,
    ],
)
def test_the_peers_end_is_told_as_by_asyncio(loop, asyncios_loop, contexts, script, caplog):
    def end_after_the_data(peer, transport):
        protocol = transport.get_protocol()
        asyncio.ensure_future(protocol.received(14)).add_done_callback(lambda _: peer.go.set())

    expected = told_at_the_end(asyncios_loop, contexts, script, end_after_the_data)
    assert b"the last words" == expected[1]
    assert expected == told_at_the_end(loop, contexts, script, end_after_the_data)


@pytest.mark.parametrize("queued", [0, 10_000_000])
def test_a_peer_that_never_answers_the_close_is_dropped(loop, asyncios_loop, contexts, queued, caplog):
    """The shutdown time-out: also while there is more to send than it takes."""

    def deaf(peer, sock, tls):
        peer.go.wait(30)

    def close(peer, transport):
        transport.write(bytes(queued))
        transport.close()
        transport.get_protocol().lost.add_done_callback(lambda _: peer.go.set())

    expected = told_at_the_end(asyncios_loop, contexts, deaf, close, ssl_shutdown_timeout=0.05)
    assert (["made", "lost"], b"", TimeoutError, "SSL shutdown timed out") == expected
    told, *rest = told_at_the_end(loop, contexts, deaf, close, ssl_shutdown_timeout=0.05)
    # asyncio encrypts everything at once and pauses nobody before the second large write.
    assert list(expected) == [[word for word in told if word not in ("pause", "resume")], *rest]


def test_a_client_that_never_begins_its_handshake_is_dropped_by_the_server(run, contexts):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving(ssl=contexts.server, ssl_handshake_timeout=0.05) as (address, made):
            with socket.socket() as silent:
                silent.setblocking(False)
                await loop.sock_connect(silent, address)
                assert b"" == await loop.sock_recv(silent, 100)
            assert made.empty()

    run(main())


def test_a_client_that_trickles_its_handshake_is_served(run, contexts):
    """Byte by byte, and each record of data in pieces."""

    async def main():
        loop = asyncio.get_running_loop()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = contexts.client.wrap_bio(incoming, outgoing, server_hostname="localhost")

        async def trickle(sock):
            for byte in outgoing.read():
                await loop.sock_sendall(sock, bytes([byte]))

        async def until_done(sock, step):
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    await trickle(sock)
                    incoming.write(await loop.sock_recv(sock, 1 << 16))
                else:
                    await trickle(sock)
                    return result

        async with serving(Echo, ssl=contexts.server) as (address, made):
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await until_done(sock, tls.do_handshake)
                for number in range(20):
                    tls.write(b"piece %d" % number)
                    assert b"piece %d" % number == await until_done(sock, lambda: tls.read(100))
            protocol = await made.get()
            await protocol.lost

    run(main())


def test_a_paused_reader_takes_no_more_than_its_buffers(run, contexts):
    """What a fast peer sends meanwhile stays in the kernel and with the peer."""

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(ssl=contexts.server) as (address, made):
            transport, client = await loop.create_connection(
                Noting, *address, ssl=contexts.client, server_hostname="localhost"
            )
            server = await made.get()
            server.transport.pause_reading()
            client.transport.set_write_buffer_limits(0)
            written = 0
            while "pause" not in client.told:
                transport.write(bytes(1 << 16))
                written += 1 << 16
                await asyncio.sleep(0)
            bare = server.transport._ssl_protocol
            low, high = bare._incoming_low_water, bare._incoming_high_water
            assert bare._incoming.pending <= high + bare.max_size
            assert low < high
            server.transport.resume_reading()
            await server.received(written)
            transport.abort()
            await client.lost
            await server.lost

    run(main())


@pytest.mark.parametrize("letter", [b"K", b"k"], ids=["asking for an answer", "without"])
def test_a_flood_of_key_updates_is_bounded(run, contexts, tmp_path, letter):
    """TLS 1.3 lets a peer renew the keys as often as it likes, and ask for the same; the commands are those of openssl s_client."""
    contexts.authority.cert_pem.write_to_path(tmp_path / "authority")
    times = 2000

    async def main():
        async with serving(Echo, ssl=contexts.server) as (address, made):
            client = await asyncio.create_subprocess_exec(
                *(
                    "openssl",
                    "s_client",
                    "-connect",
                    f"{address[0]}:{address[1]}",
                    "-CAfile",
                    str(tmp_path / "authority"),
                ),
                *("-tls1_3", "-servername", "localhost", "-verify_return_error"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            server = await made.get()
            sizes = set()
            for number in range(times):
                client.stdin.write(letter + b"\n")
                while b"KEYUPDATE" not in await client.stderr.readline():
                    pass
                if number % 100 == 99:
                    sizes.add(memory())
            client.stdin.write(b"the last line\n")
            assert b"the last line\n" == await server.received(14)
            client.stdin.close()
            await server.lost
            assert b"the last line" in (await client.communicate())[0]
            assert max(sizes) - min(sizes) < 4 << 20

    run(main())


def test_a_client_that_renegotiates_is_refused_and_the_server_goes_on(run, contexts, tmp_path):
    """TLS 1.2, where a client could make a server work as often as it liked."""
    contexts.authority.cert_pem.write_to_path(tmp_path / "authority")

    async def main():
        async with serving(Echo, ssl=contexts.server) as (address, made):
            for _ in range(3):
                client = await asyncio.create_subprocess_exec(
                    *("openssl", "s_client", "-connect", f"{address[0]}:{address[1]}", "-tls1_2"),
                    *("-CAfile", str(tmp_path / "authority"), "-servername", "localhost", "-verify_return_error"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
                server = await made.get()
                client.stdin.write(b"R\n")
                while b"RENEGOTIATING" not in await client.stderr.readline():
                    pass
                # Refused, it ends by itself.
                assert b"no renegotiation" in (await client.stderr.read()).replace(b"_", b" ")
                assert 1 == await client.wait()
                await server.lost
                assert b"" == server.data

    run(main())


def memory():
    """Bytes of memory that this process has; where the address sanitizer keeps back what was freed, what is not free."""
    allocated = getattr(ctypes.CDLL(None), "__sanitizer_get_current_allocated_bytes", None)
    if allocated is not None:
        allocated.restype = ctypes.c_size_t
        return allocated()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_certificates_and_the_agreed_protocol_can_be_asked_for(run, contexts):
    """Both sides show certificates and speak ALPN."""
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    contexts.certificate.configure_cert(served)
    contexts.authority.configure_trust(served)
    served.verify_mode = ssl.CERT_REQUIRED
    served.set_alpn_protocols(["h2", "http/1.1"])
    showing = ssl.create_default_context()
    contexts.authority.configure_trust(showing)
    contexts.authority.issue_cert("someone@plait.test").configure_cert(showing)
    showing.set_alpn_protocols(["http/1.1", "h2"])

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Echo, ssl=served) as (address, made):
            transport, client = await loop.create_connection(Noting, *address, ssl=showing, server_hostname="localhost")
            transport.write(b"x")
            await client.received(1)
            other = (await made.get()).transport
            assert (("DNS", "localhost"),) == transport.get_extra_info("peercert")["subjectAltName"]
            assert (("email", "someone@plait.test"),) == other.get_extra_info("peercert")["subjectAltName"]
            for each, context in ((transport, showing), (other, served)):
                assert "h2" == each.get_extra_info("ssl_object").selected_alpn_protocol()
                assert "TLSv1.3" == each.get_extra_info("ssl_object").version()
                assert each.get_extra_info("sslcontext") is context
                assert 3 == len(each.get_extra_info("cipher"))
                assert None is each.get_extra_info("compression")
                assert each.get_extra_info("socket").getsockname() == each.get_extra_info("sockname")
                assert isinstance(each, asyncio.Transport)
                each.noted_by_a_library = 1
                assert each._ssl_protocol._sslcontext is context
            assert transport.get_extra_info("peername") == other.get_extra_info("sockname")
            transport.close()
            await client.lost

    run(main())


def test_a_server_tells_its_context_and_no_sockets_after_the_close(run, contexts):
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Noting, "127.0.0.1", 0, ssl=contexts.server)
        assert server._ssl_context is contexts.server
        assert 1 == len(server.sockets)
        assert server.is_serving()
        server.close()
        assert () == server.sockets
        assert not server.is_serving()
        await server.wait_closed()

    run(main())
