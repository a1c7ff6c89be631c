"""The TLS transport: records, flow control, buffers, TLS in TLS, contexts that do things their own way, errors of protocols."""

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import weakref

import pytest
from net.peers import Buffered, Echo, Noting, reset, serving

MIB = 1 << 20


@contextlib.asynccontextmanager
async def linked(contexts, factory=Noting, served=Noting, **options):
    """(client's protocol, server's protocol) of a TLS connection."""
    loop = asyncio.get_running_loop()
    server_context, client_context = contexts
    async with serving(served, ssl=server_context) as (address, made):
        transport, client = await loop.create_connection(
            factory, *address, ssl=client_context, server_hostname="localhost", **options
        )
        try:
            yield client, await made.get()
        finally:
            transport.abort()
            await client.until(client.lost.done)


class RawPeer:
    """A TLS client in memory on a plain socket, which sees the records."""

    def __init__(self, sock, context):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.records = []

    async def do(self, call, *arguments):
        loop = asyncio.get_running_loop()
        while True:
            try:
                result = call(*arguments)
            except ssl.SSLWantReadError:
                await self.flush()
                data = await loop.sock_recv(self.sock, 1 << 16)
                if not data:
                    raise EOFError from None
                self.note(data)
                self.incoming.write(data)
            else:
                await self.flush()
                return result

    async def flush(self):
        await asyncio.get_running_loop().sock_sendall(self.sock, self.outgoing.read())

    def note(self, data):
        """Whole records only, as small ones come over loopback."""
        while data:
            kind, _, size = struct.unpack(">BHH", data[:5])
            self.records.append((kind, size))
            data = data[5 + size :]


@contextlib.asynccontextmanager
async def raw_client(contexts, served=Noting):
    """(RawPeer after its handshake, server's protocol)."""
    loop = asyncio.get_running_loop()
    async with serving(served, ssl=contexts[0]) as (address, made):
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            peer = RawPeer(sock, contexts[1])
            await peer.do(peer.tls.do_handshake)
            yield peer, await made.get()


def test_small_writes_of_a_turn_are_one_record(run, contexts):
    async def main():
        async with raw_client(contexts) as (peer, server):
            server.transport.write(b"first")
            assert b"first" == await peer.do(peer.tls.read, 100)
            peer.records.clear()
            server.transport.write(b"head, ")
            server.transport.write(bytearray(b"body, "))
            server.transport.writelines([b"and ", memoryview(b"the "), b"", b"rest"])
            assert b"head, body, and the rest" == await peer.do(peer.tls.read, 100)
            assert [(23, 24 + 17)] == peer.records

    run(main())


@pytest.mark.parametrize("pieces", [[1] * 5000, [16 * 1024 - 1, 2, 16 * 1024], [100_000, 1, 70_000], [0, 1, 0]])
def test_pieces_of_any_size_arrive_in_order(run, contexts, pieces):
    async def main():
        async with linked(contexts, served=Echo) as (client, _):
            expected = bytearray()
            for number, size in enumerate(pieces):
                data = bytes([number % 251]) * size
                client.transport.write(data)
                expected += data
            assert expected == await client.received(len(expected))
            assert 0 == client.transport.get_write_buffer_size()

    run(main())


@pytest.mark.parametrize("cut", [1, 5, 100, 16 * 1024])
def test_much_at_once_behind_half_a_record_arrives_in_order_and_ends(run, contexts, cut):
    """OpenSSL holds the half already, so that more comes out than has just gone in."""

    async def main():
        loop = asyncio.get_running_loop()
        async with raw_client(contexts) as (peer, server):
            data = bytes(range(251)) * 4200
            peer.tls.write(b"first")
            sent = peer.outgoing.read()
            peer.tls.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.unwrap()
            rest = peer.outgoing.read()
            await loop.sock_sendall(peer.sock, sent + rest[:cut])
            assert b"first" == await server.received(5)
            await loop.sock_sendall(peer.sock, rest[cut:])
            assert b"first" + data == await server.received(5 + len(data))
            await server.until(lambda: "eof" in server.told)

    run(main())


@pytest.mark.parametrize("size", [40_000, 1_000_000])
def test_what_came_whole_before_a_broken_record_is_told(run, contexts, size):
    async def main():
        loop = asyncio.get_running_loop()
        async with raw_client(contexts) as (peer, server):
            data = bytes(range(251)) * (size // 251)
            peer.tls.write(data)
            sent = bytearray(peer.outgoing.read())
            sent[-1] ^= 1
            await loop.sock_sendall(peer.sock, sent)
            await server.until(server.lost.done)
            assert data[: len(data) // 16384 * 16384] == server.data
            assert isinstance(server.lost.result(), ssl.SSLError)

    run(main())


def test_16_mib_there_and_back(run, contexts):
    async def main():
        async with linked(contexts, served=Echo) as (client, _):
            payload = bytes(range(256)) * (16 * MIB // 256)
            for start in range(0, len(payload), MIB):
                client.transport.write(memoryview(payload)[start : start + MIB])
            assert payload == await client.received(len(payload))

    run(main())


def test_a_buffer_may_be_changed_after_its_write(run, contexts):
    async def main():
        async with linked(contexts) as (client, server):
            for size in (10, 100_000):
                buffer = bytearray(b"x" * size)
                client.transport.write(buffer)
                buffer[:] = b"y" * size
                await server.until(lambda size=size: len(server.data) >= size)
                assert b"x" * size == bytes(server.data)
                server.data.clear()

    run(main())


@pytest.mark.parametrize("data", ["text", 5, None])
def test_only_bytes_can_be_written(run, contexts, data):
    async def main():
        async with linked(contexts) as (client, _):
            with pytest.raises(TypeError, match="expecting a bytes-like instance"):
                client.transport.write(data)
            assert not client.transport.can_write_eof()
            with pytest.raises(NotImplementedError, match="TLS closes both directions at once"):
                client.transport.write_eof()

    run(main())


def test_no_more_is_encrypted_than_the_stream_takes(run, contexts):
    async def main():
        async with linked(contexts) as (client, server):
            server.transport.pause_reading()
            server.transport.set_read_buffer_limits(1024)
            while "pause" not in client.told:
                client.transport.write(bytes(MIB))
                await asyncio.sleep(0)
            for _ in range(8):
                client.transport.write(bytes(MIB))
            stream = client.transport._ssl_protocol._transport
            assert stream.get_write_buffer_size() <= MIB
            waiting = client.transport.get_write_buffer_size()
            assert waiting >= 8 * MIB
            server.transport.resume_reading()
            await client.until(lambda: "resume" in client.told)
            assert client.transport.get_write_buffer_size() <= 128 * 1024

    run(main())


def test_the_limits_of_writing_can_be_set(run, contexts):
    async def main():
        async with linked(contexts) as (client, _):
            transport = client.transport
            assert (128 * 1024, 512 * 1024) == transport.get_write_buffer_limits()
            transport.set_write_buffer_limits(low=10)
            assert (10, 40) == transport.get_write_buffer_limits()
            transport.set_write_buffer_limits(high=40)
            assert (10, 40) == transport.get_write_buffer_limits()
            transport.set_read_buffer_limits(high=4096)
            assert (1024, 4096) == transport.get_read_buffer_limits()
            assert 0 == transport.get_read_buffer_size()
            for wrong in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
                with pytest.raises(ValueError, match="must be >="):
                    transport.set_write_buffer_limits(**wrong)

    run(main())


def test_a_limit_of_nothing_pauses_nobody_who_can_write(run, contexts):
    """asyncio compares with >=, and so pauses a writer whose bytes have all left; a drain() then waits for something else."""

    async def main():
        async with linked(contexts, served=Echo) as (client, _):
            client.transport.set_write_buffer_limits(high=0)
            client.transport.write(b"all of it leaves")
            assert b"all of it leaves" == await client.received(16)
            assert "pause" not in client.told

    run(main())


@pytest.mark.parametrize("size", [1, 7, 1000, 16 * 1024, 300_000])
def test_a_buffered_protocol_is_given_all_in_its_buffer(run, contexts, size):
    async def main():
        async with linked(contexts, factory=lambda: Buffered(size), served=Echo) as (client, _):
            payload = bytes(range(251)) * (40 if size == 1 else 2000)
            client.transport.write(payload)
            assert payload == await client.received(len(payload))

    run(main())


def test_an_empty_buffer_ends_the_connection(loop, run, contexts, caplog):
    async def main():
        async with linked(contexts, factory=lambda: Buffered(0)) as (client, server):
            server.transport.write(b"nowhere to put it")
            error = await client.lost
            assert "get_buffer() returned an empty buffer" == str(error)

    run(main())


def test_reading_paused_within_a_call_goes_on_where_it_was(run, contexts):
    class Pausing(Noting):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()
            assert not self.transport.is_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    async def main():
        async with linked(contexts, factory=Pausing) as (client, server):
            payload = bytes(range(256)) * 8192
            server.transport.write(payload)
            assert payload == await client.received(len(payload))

    run(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_protocol_may_end_it_while_it_is_told_of_data(run, contexts, end):
    class Ending(Noting):
        def data_received(self, data):
            super().data_received(data)
            if self.told.count("data") == 1:
                self.transport.write(b"goodbye")
                getattr(self.transport, end)()
                self.transport.write(b"too late")

    async def main():
        async with linked(contexts, factory=Ending) as (client, server):
            server.transport.write(b"hello")
            assert None is await client.lost
            await server.lost
            assert (b"goodbye" if end == "close" else b"") == bytes(server.data)
            assert client.transport.is_closing()
            assert ["made", "data"] == client.told[:2]
            assert 1 == client.told.count("lost")
            client.transport.close()
            client.transport.abort()
            assert client.transport.get_extra_info("cipher")
            assert client.transport.get_extra_info("peername")

    run(main())


def test_writes_after_the_end_are_dropped_and_then_warned_of(run, contexts, caplog):
    async def main():
        async with linked(contexts) as (client, _):
            client.transport.close()
            await client.lost
            for _ in range(6):
                client.transport.write(b"lost")
                client.transport.writelines([b"lost"])
            assert "SSL connection is closed" in caplog.text

    run(main())


@pytest.mark.parametrize("call", ["data_received", "connection_made", "eof_received"])
def test_an_error_of_the_protocol_is_reported_and_ends_the_connection(loop, run, contexts, call):
    reported = []
    loop.set_exception_handler(lambda _, context: reported.append(context))

    class Broken(Noting):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(b"before")
            if call == "data_received":
                raise ZeroDivisionError

        def connection_made(self, transport):
            super().connection_made(transport)
            if call == "connection_made":
                raise ZeroDivisionError

        def eof_received(self):
            raise ZeroDivisionError

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Broken, ssl=contexts[0]) as (address, made):
            _, client = await loop.create_connection(Noting, *address, ssl=contexts[1], server_hostname="localhost")
            if call != "connection_made":
                client.transport.write(b"data")
                await client.until(lambda: client.data == b"before")
                client.transport.close()
            await client.lost
            if call != "connection_made":
                server = await made.get()
                assert isinstance(await server.lost, ZeroDivisionError)
            assert any(isinstance(each["exception"], ZeroDivisionError) for each in reported)

    run(main())


def test_keeping_open_after_the_end_is_warned_of(run, contexts, caplog):
    class Keeping(Noting):
        def eof_received(self):
            super().eof_received()
            return True

    async def main():
        async with linked(contexts, factory=Keeping) as (client, server):
            server.transport.close()
            assert None is await client.lost
            assert ["made", "eof", "lost"] == client.told
            assert "has no effect when using ssl" in caplog.text

    run(main())


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_tls_in_tls(run, contexts, size):
    """start_tls() on a connection that is encrypted already, on both sides, as through a proxy."""
    server_context, client_context = contexts

    class Nesting(Echo):
        def data_received(self, data):
            if self.told == ["made"]:
                Noting.data_received(self, data)
                self.data.clear()
                self.transport.write(b"go on")
                self.nested = asyncio.create_task(self.nest())
            else:
                super().data_received(data)

        async def nest(self):
            loop = asyncio.get_running_loop()
            self.transport = await loop.start_tls(self.transport, self, server_context, server_side=True)
            self.transport.write(b"nested")  # before, an answer would go out by the outer one

    async def main():
        loop = asyncio.get_running_loop()
        async with linked(contexts, served=Nesting) as (client, server):
            client.transport.write(b"start")
            assert b"go on" == await client.received(5)
            client.data.clear()
            inner = await loop.start_tls(client.transport, client, client_context, server_hostname="localhost")
            assert inner is not client.transport
            assert b"nested" == await client.received(6)
            client.data.clear()
            payload = (bytes(range(251)) * (size // 251 + 1))[:size]
            inner.write(payload)
            assert payload == await client.received(size)
            await server.nested
            inner.close()
            assert None is await client.lost
            assert None is await server.lost

    run(main())


def test_a_client_that_was_quick_with_its_handshake_is_understood(run, contexts):
    """It came together with the last plain line, into the StreamReader."""
    server_context, client_context = contexts

    async def main():
        loop = asyncio.get_running_loop()
        answered = loop.create_future()

        async def answer(reader, writer):
            assert b"STARTTLS\n" == await reader.readline()
            await asyncio.sleep(0.01)  # the handshake arrives, too
            await writer.start_tls(server_context)
            writer.write(await reader.readexactly(6))
            await writer.drain()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            answered.set_result(None)

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, server.sockets[0].getsockname())
                peer = RawPeer(sock, client_context)
                with pytest.raises(ssl.SSLWantReadError):
                    peer.tls.do_handshake()
                await loop.sock_sendall(sock, b"STARTTLS\n" + peer.outgoing.read())
                peer.note = lambda data: None
                await peer.do(peer.tls.do_handshake)
                peer.tls.write(b"hidden")
                assert b"hidden" == await peer.do(peer.tls.read, 100)
            await answered

    run(main())


def test_a_context_with_an_ssl_object_of_its_own_is_asked_by_its_methods(run, contexts):
    """As truststore's, whose handshake verifies in its own way."""
    calls = []

    class Own(ssl.SSLObject):
        def do_handshake(self):
            calls.append("do_handshake")
            return super().do_handshake()

        def read(self, len=1024, buffer=None):
            calls.append("read")
            return super().read(len, buffer)

        def write(self, data):
            calls.append("write")
            return super().write(data)

    async def main():
        contexts[1].sslobject_class = Own
        try:
            async with linked(contexts, served=Echo) as (client, _):
                payload = bytes(1_000_000)
                client.transport.write(payload)
                assert payload == await client.received(len(payload))
                assert {"do_handshake", "read", "write"} == set(calls)
        finally:
            contexts[1].sslobject_class = ssl.SSLObject

    run(main())


def test_a_handshake_that_verification_refuses_tells_the_peer_why(run, contexts):
    """By an alert, which asyncio does not send."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            accepting = asyncio.create_task(loop.sock_accept(listener))
            connecting = asyncio.create_task(
                loop.create_connection(
                    Noting, *listener.getsockname(), ssl=ssl.create_default_context(), server_hostname="localhost"
                )
            )
            sock, _ = await accepting
            with sock:
                peer = RawPeer(sock, contexts[1])
                peer.note = lambda data: None
                peer.tls = contexts[0].wrap_bio(peer.incoming, peer.outgoing, server_side=True)
                with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"):
                    await peer.do(peer.tls.do_handshake)
                with pytest.raises(ssl.SSLCertVerificationError):
                    await connecting

    run(main())


@pytest.mark.parametrize("hello", [b"", b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"])
def test_a_server_that_goes_away_in_the_handshake_is_an_error(run, contexts, hello):
    async def main():
        loop = asyncio.get_running_loop()
        for end in (socket.socket.close, reset):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                listener.setblocking(False)
                accepting = asyncio.create_task(loop.sock_accept(listener))
                connecting = asyncio.create_task(
                    loop.create_connection(
                        Noting, *listener.getsockname(), ssl=contexts[1], server_hostname="localhost"
                    )
                )
                sock, _ = await accepting
                await loop.sock_recv(sock, 5)
                await loop.sock_sendall(sock, hello)
                end(sock)
                with pytest.raises((ConnectionError, ssl.SSLError)):
                    await connecting

    run(main())


def test_a_client_that_goes_away_in_the_handshake_harms_nobody(run, contexts):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Echo, ssl=contexts[0]) as (address, made):
            for end in (socket.socket.close, reset):
                for sent in (0, 3, 200):
                    sock = socket.socket()
                    sock.setblocking(False)
                    await loop.sock_connect(sock, address)
                    peer = RawPeer(sock, contexts[1])
                    with pytest.raises(ssl.SSLWantReadError):
                        peer.tls.do_handshake()
                    await loop.sock_sendall(sock, peer.outgoing.read()[:sent])
                    end(sock)
            transport, client = await loop.create_connection(
                Noting, *address, ssl=contexts[1], server_hostname="localhost"
            )
            transport.write(b"fine")
            assert b"fine" == await client.received(4)
            assert 1 == made.qsize()

    run(main())


def test_a_reset_in_the_midst_of_data_is_told(run, contexts):
    async def main():
        async with raw_client(contexts, Echo) as (peer, server):
            peer.tls.write(bytes(100_000))
            await peer.flush()
            await server.until(lambda: server.data)
            reset(peer.sock.dup())
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.sock.close()
            assert isinstance(await server.lost, (ConnectionError, type(None)))
            assert 1 == server.told.count("lost")

    run(main())


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
def test_a_time_out_of_nothing_is_refused(run, contexts, name):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving(ssl=contexts[0]) as (address, _):
            with pytest.raises(ValueError, match=f"{name} should be a positive number, got 0"):
                await loop.create_connection(
                    Noting, *address, ssl=contexts[1], server_hostname="localhost", **{name: 0}
                )

    run(main())


@pytest.mark.parametrize("turns", range(12))
def test_start_tls_that_is_cancelled_leaves_nothing(run, contexts, turns):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            connecting = asyncio.create_task(loop.create_connection(Noting, *listener.getsockname()))
            sock, _ = await loop.sock_accept(listener)
            with sock:
                transport, client = await connecting
                upgrading = asyncio.create_task(
                    loop.start_tls(transport, client, contexts[1], server_hostname="localhost")
                )
                for _ in range(turns):
                    await asyncio.sleep(0)
                upgrading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await upgrading
                transport.abort()
                await client.until(lambda: transport.is_closing())

    run(main())


def test_start_tls_refuses_what_it_cannot_use(run, contexts):
    async def main():
        loop = asyncio.get_running_loop()
        async with linked(contexts) as (client, _):
            with pytest.raises(TypeError, match=r"expected to be an instance of ssl\.SSLContext, got None"):
                await loop.start_tls(client.transport, client, None)
            with pytest.raises(TypeError, match="is not supported by start_tls"):
                await loop.start_tls(object(), client, contexts[1])

    run(main())


def test_a_connection_that_has_ended_is_freed_without_the_collector(run, contexts):
    async def main():
        gc.disable()
        try:
            async with serving(Echo, ssl=contexts[0]) as (address, made):
                transport, client = await asyncio.get_running_loop().create_connection(
                    Noting, *address, ssl=contexts[1], server_hostname="localhost"
                )
                transport.write(b"x")
                await client.received(1)
                transport.close()
                await client.lost
                gone = weakref.ref(transport)
                client.transport = None
                del transport
                await (await made.get()).lost
                assert gone() is None
        finally:
            gc.enable()

    run(main())


def test_one_that_was_closed_twice_keeps_nothing_of_tls(run, contexts):
    """A protocol that keeps its transport is a cycle with it, which is not to keep the SSLContext; what is called then does no harm."""

    async def main():
        async with linked(contexts) as (client, _):
            transport = client.transport
            assert contexts[1] is transport.get_extra_info("sslcontext")
            transport.close()
            assert contexts[1] is transport.get_extra_info("sslcontext")
            transport.close()
            await client.lost
            assert "gone" == transport.get_extra_info("sslcontext", "gone")
            for call in (transport.pause_reading, transport.resume_reading, transport.close, transport.abort):
                call()
            transport.write(b"to nobody")
            assert 0 == transport.get_write_buffer_size()
            assert repr(transport).startswith("<TLS closing on ")

    run(main())


def test_it_says_what_it_is(run, contexts):
    async def main():
        async with linked(contexts) as (client, _):
            transport = client.transport
            assert repr(transport).startswith("<TLS on <Stream fd=")
            assert client is transport.get_protocol()
            assert transport is transport._ssl_protocol
            assert "nothing" == transport.get_extra_info("no such thing", "nothing")
            transport.close()
            assert repr(transport).startswith("<TLS closing on ")

    run(main())


def test_debug_mode_takes_the_same_way(loop, run, contexts, caplog):
    loop.set_debug(True)
    caplog.set_level("DEBUG", "asyncio")

    async def main():
        async with linked(contexts, served=Echo) as (client, _):
            client.transport.write(b"hello")
            assert b"hello" == await client.received(5)
            client.transport.close()
            await client.lost

    run(main())
    assert "SSL handshake took" in caplog.text
    assert "starts SSL handshake" in caplog.text


def test_streams_over_tls_are_the_compiled_ones(run, contexts):
    server_context, client_context = contexts

    async def main():
        async def answer(reader, writer):
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_context) as server:
            reader, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname(), ssl=client_context, server_hostname="localhost"
            )
            assert "plait.net" in type(reader).__module__
            assert "plait.net" in type(writer).__module__
            for _ in range(3):
                writer.write(b"line\n")
                await writer.drain()
                assert b"LINE\n" == await reader.readline()
            writer.close()
            await writer.wait_closed()

    run(main())
