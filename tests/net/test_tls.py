"""TLS with asyncio's own protocol on our streams."""

import asyncio
import gc
import ssl
import weakref

import pytest
from net.peers import Echo, Noting, connected, read_all, serving


@pytest.mark.parametrize("size", [1, 16 * 1024, 3_000_000])
def test_an_echo_over_tls(run, contexts, size):
    served, client_context = contexts

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Echo, ssl=served) as (address, made):
            transport, client = await loop.create_connection(
                Noting, *address, ssl=client_context, server_hostname="localhost"
            )
            payload = (bytes(range(251)) * (size // 251 + 1))[:size]
            transport.write(payload)
            assert payload == await client.received(size)
            assert transport.get_extra_info("cipher")
            assert address == transport.get_extra_info("peername")
            transport.close()
            assert None is await client.lost
            assert None is await (await made.get()).lost

    run(main())


def test_a_certificate_of_somebody_else_is_refused(run, contexts):
    served, _ = contexts

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(ssl=served) as (address, made):
            with pytest.raises(ssl.SSLCertVerificationError):
                await loop.create_connection(
                    Noting, *address, ssl=ssl.create_default_context(), server_hostname="localhost"
                )
            assert made.empty()

    run(main())


def test_a_refused_upgrade_leaves_no_cycle_for_the_collector(run, contexts):
    """As asyncio's since gh-159049."""
    served, _ = contexts

    async def upgrade(address):
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(asyncio.Protocol, *address)
        try:
            await loop.start_tls(transport, protocol, ssl.create_default_context(), server_hostname="localhost")
        except ssl.SSLCertVerificationError:  # pytest.raises() would make a cycle of its own
            return weakref.ref(transport)

    async def main():
        async with serving(ssl=served) as (address, _):
            gc.disable()
            try:
                upgraded = await upgrade(address)
                await asyncio.sleep(0)  # connection_lost()
                assert None is upgraded()
            finally:
                gc.enable()

    run(main())


def test_a_client_that_talks_no_tls_harms_nobody(run, contexts):
    served, client_context = contexts

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Echo, ssl=served) as (address, made):
            transport, plain = await loop.create_connection(Noting, *address)
            transport.write(b"GET / HTTP/1.0\r\n\r\n")
            await plain.lost
            transport, client = await loop.create_connection(
                Noting, *address, ssl=client_context, server_hostname="localhost"
            )
            transport.write(b"fine")
            assert b"fine" == await client.received(4)
            transport.close()
            await client.lost
            await (await made.get()).lost

    run(main())


def test_a_connection_is_upgraded_by_start_tls(run, contexts):
    served, client_context = contexts

    class Upgrading(Noting):
        upgraded = None

        def data_received(self, data):
            super().data_received(data)
            if data == b"STARTTLS\n":
                self.transport.write(b"READY\n")
                self.upgraded = asyncio.create_task(self.upgrade())

        async def upgrade(self):
            loop = asyncio.get_running_loop()
            self.transport = await loop.start_tls(self.transport, self, served, server_side=True)
            self.transport.write((await self.received(15))[9:].upper())

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Upgrading) as (address, made):
            transport, client = await loop.create_connection(Noting, *address)
            server = await made.get()
            transport.write(b"STARTTLS\n")
            await client.received(6)
            transport = await loop.start_tls(transport, client, client_context, server_hostname="localhost")
            transport.write(b"secret")
            assert b"READY\nSECRET" == await client.received(12)
            await server.upgraded
            transport.close()
            await client.lost
            await server.lost

    run(main())


def test_streams_upgrade_too(run, contexts):
    """StreamWriter.start_tls() of asyncio."""
    served, client_context = contexts

    async def main():
        async def answer(reader, writer):
            assert b"go\n" == await reader.readline()
            writer.write(b"ok\n")
            await writer.start_tls(served)
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"go\n")
        assert b"ok\n" == await reader.readline()
        await writer.start_tls(client_context, server_hostname="localhost")
        writer.write(b"hidden\n")
        assert b"HIDDEN\n" == await reader.readline()
        assert b"" == await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_a_peer_that_never_answers_the_handshake_is_dropped(run, contexts):
    _, client_context = contexts

    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (address, _):
            with pytest.raises(ConnectionAbortedError, match="handshake"):
                await loop.create_connection(
                    Noting, *address, ssl=client_context, server_hostname="localhost", ssl_handshake_timeout=0.05
                )

    run(main())


def test_flow_control_reaches_through_tls(run, contexts):
    served, client_context = contexts

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(ssl=served) as (address, made):
            transport, client = await loop.create_connection(
                Noting, *address, ssl=client_context, server_hostname="localhost"
            )
            server = await made.get()
            server.transport.pause_reading()
            written = 0
            while "pause" not in client.told:
                transport.write(bytes(1 << 20))
                written += 1 << 20
                await asyncio.sleep(0)
            server.transport.resume_reading()
            await server.received(written)
            await client.until(lambda: "resume" in client.told)
            transport.abort()
            await client.lost
            await server.lost

    run(main())


@pytest.mark.parametrize("tls", [False, True], ids=["native", "fallback"])
@pytest.mark.parametrize(("offset", "count"), [(0, None), (1000, None), (7, 100_000)])
def test_sendfile_sends_a_part_of_a_file_between_writes(run, contexts, tmp_path, tls, offset, count):
    """Natively by sendfile(2), and by reading and writing where TLS is between."""
    served, client_context = contexts
    content = bytes(range(256)) * 8192
    path = tmp_path / "file"
    path.write_bytes(content)
    expected = content[offset:] if count is None else content[offset : offset + count]

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(ssl=served if tls else None) as (address, made):
            options = {"ssl": client_context, "server_hostname": "localhost"} if tls else {}
            transport, client = await loop.create_connection(Noting, *address, **options)
            server = await made.get()
            with path.open("rb") as file:
                transport.write(b"<")
                sending = asyncio.create_task(loop.sendfile(transport, file, offset, count))
                assert len(expected) == await sending
                assert offset + len(expected) == file.tell()
                transport.write(b">")
            assert b"<" + expected + b">" == await server.received(len(expected) + 2)
            server.transport.write(b"read again")
            assert b"read again" == await client.received(10)
            transport.close()
            await client.lost
            await server.lost

    run(main())


def test_sendfile_to_a_peer_that_goes_away_ends_with_an_error(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(20_000_000))

    async def main():
        loop = asyncio.get_running_loop()
        async with connected(small=True) as (protocol, sock):
            with path.open("rb") as file:
                sending = asyncio.create_task(loop.sendfile(protocol.transport, file))
                await loop.sock_recv(sock, 1000)
                sock.close()
                with pytest.raises(ConnectionError):
                    await sending
            await protocol.lost

    run(main())


def test_a_cancelled_sendfile_gives_the_transport_back(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(20_000_000))

    async def main():
        loop = asyncio.get_running_loop()
        async with connected(small=True) as (protocol, sock):
            with path.open("rb") as file:
                sending = asyncio.create_task(loop.sendfile(protocol.transport, file))
                await loop.sock_recv(sock, 1000)
                with pytest.raises(RuntimeError, match="sendfile is in progress"):
                    protocol.transport.write(b"in between")
                assert not protocol.transport.is_reading()
                sending.cancel()
                await asyncio.wait([sending])
                assert sending.cancelled()
                assert protocol.transport.is_reading()
            protocol.transport.write(b"the end")
            protocol.transport.write_eof()
            assert (await read_all(sock)).endswith(b"\0the end")

    run(main())


def test_what_cannot_be_sent_natively_is_read_and_written(run):
    """A pipe is no file that sendfile(2) can copy from."""
    import io

    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, sock):
            assert 5 == await loop.sendfile(protocol.transport, io.BytesIO(b"bytes"))
            with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
                await loop.sendfile(protocol.transport, io.BytesIO(b"bytes"), fallback=False)
            protocol.transport.write_eof()
            assert b"bytes" == await read_all(sock)

    run(main())
