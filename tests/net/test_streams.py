"""Stream transports: data both ways, what they are, their contexts."""

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import socket
import tempfile
import warnings
import weakref

import pytest
from net.peers import Buffered, Echo, Noting, connected, read_exactly, serving

import plait

SIZES = [1, 2, 1000, 32 * 1024, 64 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 10_000_000]


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "outside"])
@pytest.mark.parametrize("size", SIZES)
def test_bytes_arrive_unchanged_both_ways(run, inside, size):
    """Both ends are ours; the server answers inside of data_received, or from a task."""
    payload = (bytes(range(251)) * (size // 251 + 1))[:size]

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Echo if inside else Noting) as (address, made):
            transport, client = await loop.create_connection(Noting, *address)
            transport.write(payload)
            server = await made.get()
            if not inside:
                server.transport.write(await server.received(size))
            data = await client.received(size)
            transport.close()
            assert (None, None) == (await client.lost, await server.lost)
            assert ["eof", "lost"] == server.told[-2:]
            return data

    assert payload == run(main())


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_many_small_messages_arrive_in_order(run, family):
    async def main():
        async with connected(Echo, family) as (_, sock):
            loop = asyncio.get_running_loop()
            for i in range(500):
                await loop.sock_sendall(sock, b"%05d" % i)
                assert b"%05d" % i == await read_exactly(sock, 5)

    run(main())


def test_descriptors_passed_over_a_unix_socket_do_not_stall_the_bytes_behind_them(run):
    """A receive ends at a message with descriptors, though more waits: epoll(7)'s short read does not mean drained."""

    async def main():
        async with connected(Noting, "unix") as (protocol, sock):
            with socket.socket() as passed:
                socket.send_fds(sock, [b"one"], [passed.fileno()])
                socket.send_fds(sock, [b"two"], [passed.fileno()])
                sock.send(b"three")
                return await protocol.received(11)

    assert b"onetwothree" == run(main())


def test_a_stream_is_an_asyncio_transport(run):
    async def main():
        async with connected() as (protocol, _):
            transport = protocol.transport
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(transport, asyncio.ReadTransport)
            assert not isinstance(transport, asyncio.DatagramTransport)
            assert protocol is transport.get_protocol()
            transport.note = "takes attributes"
            assert transport is weakref.ref(transport)()
            assert transport.can_write_eof()
            fd = transport.get_extra_info("socket").fileno()
            assert f"<Stream fd={fd} read=polling write=<idle, bufsize=0>>" == repr(transport)
            transport.pause_reading()
            assert f"<Stream fd={fd} read=idle write=<idle, bufsize=0>>" == repr(transport)
            transport.close()
            assert "closing" in repr(transport)
            await protocol.lost
            assert f"<Stream closed fd={fd}>" == repr(transport)

    run(main())


@pytest.mark.parametrize("asked_before", [True, False])
def test_addresses_are_right_before_and_after_the_close(run, asked_before):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (address, made):
            transport, client = await loop.create_connection(Noting, *address)
            server = await made.get()
            mine = transport.get_extra_info("socket").getsockname()
            subjects = [(server.transport, mine, address), (transport, address, mine)]

            def check():
                for subject, peer, local in subjects:
                    assert (peer, local) == (subject.get_extra_info("peername"), subject.get_extra_info("sockname"))

            if asked_before:
                check()
            transport.abort()
            await client.lost
            await server.lost
            check()

    run(main())


def test_the_socket_of_a_stream_can_be_asked_and_set(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (address, made):
            transport, client = await loop.create_connection(Noting, *address)
            for subject in ((await made.get()).transport, transport):
                sock = subject.get_extra_info("socket")
                assert (socket.AF_INET, socket.SOCK_STREAM, 0) == (sock.family, sock.type, sock.gettimeout())
                assert 1 == sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                assert sock is subject.get_extra_info("socket")
                assert ("none", None) == (subject.get_extra_info("cipher", "none"), subject.get_extra_info("cipher"))
            transport.close()
            await client.lost

    run(main())


def test_ipv6_addresses_have_four_parts(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving(host="::1") as (address, made):
            transport, client = await loop.create_connection(Noting, *address[:2])
            server = await made.get()
            names = [server.transport.get_extra_info(name) for name in ("peername", "sockname")]
            assert [transport.get_extra_info("sockname"), transport.get_extra_info("peername")] == names
            assert address == names[1]
            transport.close()
            await client.lost

    run(main())


def test_addresses_of_unix_sockets(run):
    async def main(folder):
        loop = asyncio.get_running_loop()
        for path in (f"{folder}/a", f"{folder}/{'long' * 16}", f"\0{folder}"):
            served = loop.create_future()
            server = await loop.create_unix_server(functools.partial(Answering, served), path)
            transport, client = await loop.create_unix_connection(Noting, path)
            transport.write(b"x")
            names = await served
            await client.lost
            path = path.encode() if path.startswith("\0") else path
            assert ("", path) == names
            assert (path, "") == (transport.get_extra_info("peername"), transport.get_extra_info("sockname"))
            server.close()
            await server.wait_closed()

    class Answering(asyncio.Protocol):
        def __init__(self, done):
            self.done = done

        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.close()

        def connection_lost(self, error):
            self.done.set_result(tuple(self.transport.get_extra_info(name) for name in ("peername", "sockname")))

    with tempfile.TemporaryDirectory() as folder:
        run(main(folder))


def test_libraries_find_what_asyncio_transports_keep(run):
    """Names with an underscore that code in the wild reads."""

    async def main():
        async with connected() as (protocol, _):
            transport = protocol.transport
            assert asyncio.get_running_loop() is transport._loop
            assert protocol is transport._protocol
            assert transport._sock.fileno() == transport._sock_fd
            assert {"socket", "peername", "sockname"} <= set(transport._extra)
            assert (False, False, False, 0) == (
                transport._closing,
                transport._paused,
                transport._eof,
                transport._conn_lost,
            )

    run(main())


def test_each_connection_has_its_own_context_that_lasts(run):
    """A copy of the server's; what one callback sets the next ones see, and nobody else."""
    var = contextvars.ContextVar("var", default="unset")

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        ended = loop.create_future()

        class Contexts(asyncio.Protocol):
            def connection_made(self, transport):
                seen.append(("made", var.get()))
                var.set("mine")
                transport.write(b"go")

            def data_received(self, data):
                seen.append(("data", var.get()))

            def connection_lost(self, error):
                seen.append(("lost", var.get()))
                if 6 == len(seen):
                    ended.set_result(None)

        var.set("server")
        server = await loop.create_server(Contexts, "127.0.0.1", 0)
        var.set("later")
        for _ in range(2):
            transport, client = await loop.create_connection(Noting, *server.sockets[0].getsockname())
            await client.received(2)
            transport.write(b"x")
            transport.close()
            await client.lost
        await ended
        server.close()
        await server.wait_closed()
        assert "later" == var.get()
        return sorted(seen)

    assert sorted([("made", "server"), ("data", "mine"), ("lost", "mine")] * 2) == run(main())


def test_set_protocol_switches_who_is_told(run):
    async def main():
        async with connected(Noting) as (first, sock):
            sock.send(b"one")
            await first.received(3)
            second = Buffered()
            first.transport.set_protocol(second)
            assert second is first.transport.get_protocol()
            sock.send(b"two")
            await second.received(3)
            third = Noting()
            first.transport.set_protocol(third)
            sock.send(b"three")
            await third.received(5)
            third.transport = first.transport
            third.transport.abort()
            await third.lost
            first.lost.set_result(None)
            second.lost.cancel()
            return bytes(first.data), bytes(second.data), bytes(third.data)

    assert (b"one", b"two", b"three") == run(main())


def test_a_switch_inside_data_received_counts_for_what_follows(run):
    async def main():
        loop = asyncio.get_running_loop()
        second = Noting()

        class Switching(Noting):
            def data_received(self, data):
                super().data_received(data)
                self.transport.set_protocol(second)

        async with connected(Switching) as (first, sock):
            await loop.sock_sendall(sock, b"a")
            await first.received(1)
            await loop.sock_sendall(sock, b"b" * 600_000)
            await second.received(600_000)
            first.transport.abort()
            await second.lost
            first.lost.set_result(None)
        assert b"a" == first.data

    run(main())


def test_a_transport_that_is_forgotten_warns_and_gives_its_descriptor_back(engine):
    loop = plait.new_event_loop(engine=engine)
    ours, theirs = socket.socketpair()
    fd = ours.fileno()
    loop.run_until_complete(loop.create_unix_connection(asyncio.Protocol, sock=ours))
    loop.close()
    del ours
    with theirs, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del loop
        gc.collect()
        theirs.settimeout(10)
        assert b"" == theirs.recv(1)
    assert any(str(w.message).startswith(f"unclosed transport <Stream fd={fd} ") for w in caught)


def test_a_closed_loop_says_so(engine):
    loop = plait.new_event_loop(engine=engine)
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = loop.run_until_complete(loop.create_unix_connection(asyncio.Protocol, sock=ours))
        loop.close()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            transport.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del transport, loop, ours
            gc.collect()


def test_other_threads_are_told_what_to_use(run):
    async def main():
        async with connected() as (protocol, sock):
            for call in (
                lambda: protocol.transport.write(b"x"),
                protocol.transport.close,
                protocol.transport.abort,
                protocol.transport.pause_reading,
                lambda: protocol.transport.writelines([b"x"]),
                protocol.transport.write_eof,
            ):
                with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
                    await asyncio.to_thread(call)
            protocol.transport.write(b"right")
            return await read_exactly(sock, 5)

    assert b"right" == run(main())


def test_a_connection_goes_on_when_the_loop_moves_to_another_thread(loop):
    async def begin():
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        _, protocol = await loop.create_unix_connection(Echo, sock=ours)
        return protocol, theirs

    async def ask(sock, text):
        await loop.sock_sendall(sock, text)
        return await read_exactly(sock, len(text))

    protocol, theirs = loop.run_until_complete(begin())
    with theirs, concurrent.futures.ThreadPoolExecutor(1) as other:
        assert b"here" == loop.run_until_complete(ask(theirs, b"here"))
        assert b"there" == other.submit(loop.run_until_complete, ask(theirs, b"there")).result(30)
        assert b"back" == loop.run_until_complete(ask(theirs, b"back"))
        protocol.transport.close()
        loop.run_until_complete(protocol.lost)
