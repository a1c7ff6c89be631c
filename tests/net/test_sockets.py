"""sock_*(): plain sockets on the loop."""

import asyncio
import socket
import ssl

import pytest
from net.peers import pair, read_all, read_exactly


@pytest.fixture
def ends(request):
    ours, theirs = pair("unix", small=False)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def test_receiving_waits_for_data_and_gives_what_is_there(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        theirs.send(b"there")
        assert b"th" == await loop.sock_recv(ours, 2)
        assert b"ere" == await loop.sock_recv(ours, 10)
        waiting = asyncio.create_task(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        theirs.send(b"late")
        assert b"late" == await waiting
        buffer = bytearray(10)
        waiting = asyncio.create_task(loop.sock_recv_into(ours, buffer))
        await asyncio.sleep(0)
        theirs.send(b"into")
        assert (4, b"into") == (await waiting, bytes(buffer[:4]))
        theirs.close()
        assert b"" == await loop.sock_recv(ours, 10)

    run(main())


def test_a_cancelled_receive_has_taken_nothing(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        for turns in range(4):
            waiting = asyncio.create_task(loop.sock_recv(ours, 10))
            await asyncio.sleep(0)
            theirs.send(b"kept")
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            got = b"" if waiting.cancelled() else waiting.result()
            if not got:
                got = await loop.sock_recv(ours, 10)
            assert b"kept" == got

    run(main())


def test_one_socket_can_be_read_and_written_at_once(run, ends):
    ours, theirs = ends
    payload = bytes(range(256)) * 8192

    async def main():
        loop = asyncio.get_running_loop()

        async def both(sock):
            sending = asyncio.create_task(loop.sock_sendall(sock, payload))
            got = await read_exactly(sock, len(payload))
            await sending
            return got

        assert [payload, payload] == await asyncio.gather(both(ours), both(theirs))

    run(main())


@pytest.mark.parametrize("kind", [bytes, bytearray, lambda data: memoryview(data).cast("I")])
def test_sendall_sends_all_of_any_buffer(run, ends, kind):
    ours, theirs = ends
    payload = bytes(range(256)) * 4096

    async def main():
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(loop.sock_sendall(ours, kind(payload)))
        assert payload == await read_exactly(theirs, len(payload))
        await sending
        await loop.sock_sendall(ours, b"")

    run(main())


def test_sendall_tells_of_a_peer_that_is_gone(run, ends):
    ours, theirs = ends

    async def main():
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(loop.sock_sendall(ours, bytes(10_000_000)))
        await asyncio.sleep(0)
        theirs.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await sending

    run(main())


def test_connecting_and_accepting(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            server.setblocking(False)
            client.setblocking(False)
            accepting = asyncio.create_task(loop.sock_accept(server))
            await asyncio.sleep(0)
            await loop.sock_connect(client, ("localhost", server.getsockname()[1]))
            accepted, address = await accepting
            with accepted:
                assert client.getsockname() == address
                assert 0 == accepted.gettimeout()
                await loop.sock_sendall(client, b"x")
                assert b"x" == await loop.sock_recv(accepted, 1)

    run(main())


def test_a_refused_connect_names_the_address(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError, match=f"Connect call failed .*{address[1]}"):
                await loop.sock_connect(client, address)

    run(main())


def test_datagrams_by_hand(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as first, socket.socket(type=socket.SOCK_DGRAM) as second:
            for sock in (first, second):
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
            receiving = asyncio.create_task(loop.sock_recvfrom(second, 100))
            await asyncio.sleep(0)
            assert 3 == await loop.sock_sendto(first, b"one", second.getsockname())
            assert (b"one", first.getsockname()) == await receiving
            buffer = bytearray(100)
            receiving = asyncio.create_task(loop.sock_recvfrom_into(second, buffer))
            await asyncio.sleep(0)
            await loop.sock_sendto(first, b"three", second.getsockname())
            assert (5, first.getsockname()) == await receiving
            assert b"three" == buffer[:5]

    run(main())


def test_tls_sockets_are_refused(run):
    async def main():
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context()
        with context.wrap_socket(socket.socket(), server_hostname="x", do_handshake_on_connect=False) as sock:
            for call in (
                loop.sock_recv(sock, 1),
                loop.sock_recv_into(sock, bytearray(1)),
                loop.sock_recvfrom(sock, 1),
                loop.sock_recvfrom_into(sock, bytearray(1)),
                loop.sock_sendall(sock, b"x"),
                loop.sock_sendto(sock, b"x", ("127.0.0.1", 1)),
                loop.sock_connect(sock, ("127.0.0.1", 1)),
                loop.sock_accept(sock),
            ):
                with pytest.raises(TypeError, match="SSLSocket"):
                    await call

    run(main())


def test_debug_mode_refuses_blocking_sockets(run, loop, ends):
    ours, _ = ends
    ours.setblocking(True)
    loop.set_debug(True)

    async def main():
        for call in (loop.sock_recv(ours, 1), loop.sock_sendall(ours, b"x"), loop.sock_accept(ours)):
            with pytest.raises(ValueError, match="non-blocking"):
                await call

    run(main())


@pytest.mark.parametrize("count", [None, 100_000])
def test_sendfile_from_a_plain_socket(run, tmp_path, count):
    path = tmp_path / "file"
    content = bytes(range(256)) * 8192
    path.write_bytes(content)

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair("tcp", small=False)
        with ours, theirs, path.open("rb") as file:
            ours.setblocking(False)
            theirs.setblocking(False)
            sending = asyncio.create_task(loop.sock_sendfile(ours, file, 1000, count))
            expected = content[1000:] if count is None else content[1000 : 1000 + count]
            assert expected == await read_exactly(theirs, len(expected))
            assert len(expected) == await sending
            assert 1000 + len(expected) == file.tell()

    run(main())


def test_a_sendfile_that_is_cancelled_stands_behind_what_was_sent(run, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(5_000_000))

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair("tcp", small=True)
        with ours, theirs, path.open("rb") as file:
            ours.setblocking(False)
            theirs.setblocking(False)
            sending = asyncio.create_task(loop.sock_sendfile(ours, file))
            await read_exactly(theirs, 10_000)
            sending.cancel()
            await asyncio.wait([sending])
            assert sending.cancelled()
            sent = file.tell()
            assert 10_000 <= sent < 5_000_000
            ours.shutdown(socket.SHUT_WR)
            assert sent - 10_000 == len(await read_all(theirs))

    run(main())


def test_streams_of_asyncio_stand_on_top(run):
    """asyncio.start_server and open_connection, unmodified."""

    async def main():
        async def answer(reader, writer):
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.writelines([b"one\n", b"two\n"])
        assert [b"ONE\n", b"TWO\n"] == [await reader.readline(), await reader.readline()]
        writer.write(b"x" * 50_000 + b"\n")
        await writer.drain()
        assert b"X" * 50_000 + b"\n" == await reader.readline()
        writer.write_eof()
        assert b"" == await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())
