"""Writing: order and number of system calls, flow control, half close, kinds of buffers, lost connections."""

import asyncio
import collections
import socket

import pytest
from net.peers import Noting, connected, read_all, read_exactly, reset, serving


async def packets(sock, size):
    """What each receive gives: over SOCK_SEQPACKET that is what each send gave."""
    loop = asyncio.get_running_loop()
    parts = []
    while sum(map(len, parts)) < size:
        parts.append(await loop.sock_recv(sock, 1 << 20))
    return parts


class packet_pair:
    """A stream transport over a socket that keeps the borders of system calls."""

    def __init__(self, factory=Noting):
        self.factory = factory

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.theirs.setblocking(False)
        made = loop.create_future()
        self.protocol = self.factory()
        loop._make_socket_transport(ours, self.protocol, made)
        await made
        return self.protocol, self.theirs

    async def __aexit__(self, *error):
        self.protocol.transport.abort()
        await self.protocol.lost
        self.theirs.close()


def test_writes_of_one_turn_leave_in_one_call(run):
    async def main():
        async with packet_pair() as (protocol, sock):
            for i in range(10):
                protocol.transport.write(b"%d" % i)
            protocol.transport.writelines([b"a", b"", bytearray(b"b"), memoryview(b"c")])
            assert 13 == protocol.transport.get_write_buffer_size()
            first = await packets(sock, 13)
            protocol.transport.write(b"next")
            return first + await packets(sock, 4)

    assert [b"0123456789abc", b"next"] == run(main())


@pytest.mark.parametrize("size", [4, 5000], ids=["held back", "at once"])
def test_writes_of_one_data_received_leave_in_one_call(run, size):
    class Twice(Noting):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(b"h" * size)
            self.transport.write(b"b" * size)

    async def main():
        async with packet_pair(Twice) as (protocol, sock):
            sock.send(b"x")
            assert [b"h" * size + b"b" * size] == await packets(sock, 2 * size)
            assert 0 == protocol.transport.get_write_buffer_size()

    run(main())


def test_more_chunks_than_one_call_can_carry_arrive_in_order(run):
    """IOV_MAX is 1024."""

    async def main():
        async with connected() as (protocol, sock):
            chunks = [b"%04d" % i for i in range(5000)]
            for chunk in chunks:
                protocol.transport.write(chunk)
            assert b"".join(chunks) == await read_exactly(sock, 20_000)
            protocol.transport.writelines(chunks)
            assert b"".join(chunks) == await read_exactly(sock, 20_000)

    run(main())


@pytest.mark.parametrize("size", [10, 8 * 1024, 8 * 1024 + 1, 500_000])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_sent_as_it_was_at_the_call(run, kind, size):
    """A bytearray may be changed as soon as write() has returned."""

    async def main():
        async with connected(small=True) as (protocol, sock):
            source = bytearray(b"a" * size)
            data = kind(source)
            protocol.transport.write(b"<")
            protocol.transport.write(data)
            source[:] = b"b" * size
            if kind is bytearray:
                data[:] = b"b" * size
            protocol.transport.write(b">")
            protocol.transport.write_eof()
            assert b"<" + b"a" * size + b">" == await read_all(sock)

    run(main())


def test_views_of_other_shapes_are_sent_as_their_bytes(run):
    async def main():
        async with connected() as (protocol, sock):
            numbers = memoryview(b"\1\0\2\0\3\0").cast("H")
            every_second = memoryview(b"a-b-c-" * 5000)[::2]
            protocol.transport.write(numbers)
            protocol.transport.write(every_second)
            protocol.transport.write_eof()
            assert b"\1\0\2\0\3\0" + b"abc" * 5000 == await read_all(sock)

    run(main())


@pytest.mark.parametrize("data", ["text", 1, None, [b"x"], collections.deque([b"x"])])
def test_what_is_not_bytes_is_refused(run, data):
    async def main():
        async with connected() as (protocol, sock):
            with pytest.raises(TypeError, match=f"bytes-like object, not '{type(data).__name__}'"):
                protocol.transport.write(data)
            with pytest.raises(TypeError, match=f"bytes-like object, not '{type(data).__name__}'"):
                protocol.transport.writelines([b"never sent", data])
            protocol.transport.write(b"")
            protocol.transport.writelines([])
            protocol.transport.write(b"good")
            assert b"good" == await read_exactly(sock, 4)

    run(main())


def test_a_peer_that_does_not_read_pauses_the_protocol_until_it_does(run):
    async def main():
        async with connected(small=True) as (protocol, sock):
            transport = protocol.transport
            written = 0
            while "pause" not in protocol.told:
                transport.write(b"p" * 10_000)
                written += 10_000
                assert ("pause" in protocol.told) == (transport.get_write_buffer_size() > 64 * 1024)
            assert "polling" in repr(transport).split("write=")[1]
            waiting = transport.get_write_buffer_size()
            transport.write(b"p")  # still taken
            assert waiting + 1 == transport.get_write_buffer_size()
            assert ["made", "pause"] == protocol.told
            await read_exactly(sock, written - 16 * 1024)
            await protocol.until(lambda: "resume" in protocol.told)
            assert transport.get_write_buffer_size() <= 16 * 1024
            await read_exactly(sock, 16 * 1024 + 1)
            assert 0 == transport.get_write_buffer_size()
            assert ["made", "pause", "resume"] == protocol.told

    run(main())


def test_the_limits_of_the_write_buffer(run):
    async def main():
        async with connected(small=True) as (protocol, sock):
            transport = protocol.transport
            assert (16 * 1024, 64 * 1024) == transport.get_write_buffer_limits()
            for given, expected in [
                ({"high": 1000}, (250, 1000)),
                ({"low": 100}, (100, 400)),
                ({"high": 10, "low": 5}, (5, 10)),
                ({"high": 0}, (0, 0)),
                ({}, (16 * 1024, 64 * 1024)),
            ]:
                transport.set_write_buffer_limits(**given)
                assert expected == transport.get_write_buffer_limits()
            for wrong in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
                with pytest.raises(ValueError, match="must be >="):
                    transport.set_write_buffer_limits(**wrong)
            # Lowered below what waits, they pause at once.
            transport.write(b"w" * 200_000)
            transport.set_write_buffer_limits(high=1 << 20)
            assert protocol.told[-1] == "pause"
            await read_exactly(sock, 200_000)
            await protocol.until(lambda: "resume" in protocol.told)

    run(main())


def test_a_high_water_of_zero_pauses_only_for_what_the_kernel_did_not_take(run):
    async def main():
        async with connected() as (protocol, sock):
            protocol.transport.set_write_buffer_limits(high=0)
            protocol.transport.write(b"taken at once")
            assert ["made"] == protocol.told
            assert b"taken at once" == await read_exactly(sock, 13)

    run(main())


@pytest.mark.parametrize("name", ["pause_writing", "resume_writing"])
def test_errors_of_flow_control_are_reported_and_nothing_is_lost(run, loop, name):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    error = ValueError(name)

    def method(self):
        raise error

    bad = type("Bad", (Noting,), {name: method})

    async def main():
        async with connected(bad, small=True) as (protocol, sock):
            protocol.transport.write(b"x" * 200_000)
            protocol.transport.write_eof()
            assert 200_000 == len(await read_all(sock))

    run(main())
    assert [(f"protocol.{name}() failed", error)] == [(r["message"], r["exception"]) for r in reports]


def test_resume_writing_may_write_again(run):
    class Feeding(Noting):
        left = 20

        def resume_writing(self):
            super().resume_writing()
            while self.left and self.told[-1] == "resume":
                self.left -= 1
                self.transport.write(b"f" * 50_000)
            if not self.left:
                self.transport.write_eof()

    async def main():
        async with connected(Feeding, small=True) as (protocol, sock):
            protocol.transport.write(b"f" * 200_000)
            assert 200_000 + 20 * 50_000 == len(await read_all(sock))

    run(main())


@pytest.mark.parametrize("size", [3, 500_000])
def test_write_eof_closes_one_direction_after_what_was_written(run, size):
    async def main():
        async with connected(small=True) as (protocol, sock):
            transport = protocol.transport
            transport.write(b"e" * size)
            transport.write_eof()
            transport.write_eof()
            for call in (lambda: transport.write(b"x"), lambda: transport.writelines([b"x"])):
                with pytest.raises(RuntimeError, match=r"after write_eof\(\)"):
                    call()
            assert b"e" * size == await read_all(sock)
            assert not transport.is_closing()
            sock.send(b"still heard")
            assert b"still heard" == await protocol.received(11)

    run(main())


@pytest.mark.parametrize("size", [3, 500_000])
def test_close_sends_what_was_written(run, size):
    async def main():
        async with connected(small=True) as (protocol, sock):
            protocol.transport.write(b"c" * size)
            protocol.transport.close()
            protocol.transport.close()
            assert protocol.transport.is_closing()
            assert not protocol.transport.is_reading()
            assert "lost" not in protocol.told  # never inside of close()
            assert b"c" * size == await read_all(sock)
            assert None is await protocol.lost
            assert None is protocol.transport.get_protocol()
            assert 1 == protocol.told.count("lost")

    run(main())


def test_abort_drops_what_was_not_sent(run):
    async def main():
        async with connected(small=True) as (protocol, sock):
            protocol.transport.write(b"a" * 1_000_000)
            protocol.transport.abort()
            protocol.transport.abort()
            protocol.transport.close()
            assert 0 == protocol.transport.get_write_buffer_size()
            assert None is await protocol.lost
            assert len(await read_all(sock)) < 1_000_000
            assert 1 == protocol.told.count("lost")

    run(main())


def test_closing_while_the_peer_does_not_read_waits_and_abort_ends_it(run):
    async def main():
        async with connected(small=True) as (protocol, _):
            protocol.transport.write(b"a" * 1_000_000)
            protocol.transport.close()
            async with connected() as (other, other_sock):
                other_sock.close()
                await other.lost
            assert not protocol.lost.done()
            protocol.transport.abort()
            assert None is await protocol.lost

    run(main())


def test_a_reset_in_mid_write_drops_the_rest_and_is_not_logged(run, caplog):
    async def main():
        async with connected(small=True) as (protocol, sock):
            protocol.transport.write(b"r" * 1_000_000)
            await read_exactly(sock, 10)
            reset(sock)
            error = await protocol.lost
            assert isinstance(error, (ConnectionResetError, BrokenPipeError))
            assert 0 == protocol.transport.get_write_buffer_size()

    run(main())
    assert [] == caplog.records


def test_writes_on_a_lost_connection_are_dropped_and_warned_of(run, caplog):
    async def main():
        async with connected() as (protocol, sock):
            transport = protocol.transport
            transport.abort()
            for _ in range(4):
                transport.write(b"x")
            transport.write(b"")
            assert [] == caplog.records
            transport.write(b"x")
            transport.writelines([b"x"])
            await protocol.lost
            transport.write(b"x")
            assert b"" == await read_all(sock)

    run(main())
    assert ["socket.send() raised exception."] * 3 == [r.message for r in caplog.records]


def test_a_write_to_a_peer_that_is_gone_ends_the_connection(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with serving() as (address, made):
            transport, client = await loop.create_connection(Noting, *address)
            server = await made.get()
            client.transport.pause_reading()
            server.transport.abort()
            await server.lost
            transport.write(b"first: answered by a reset")
            while not client.lost.done():
                transport.write(b"x")
                await asyncio.sleep(0)
            assert isinstance(client.lost.result(), (BrokenPipeError, ConnectionResetError))

    run(main())


def test_writing_and_closing_in_connection_made(run):
    class Greeting(Noting):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"hello")
            transport.write(b" and goodbye")
            transport.close()

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Greeting) as (address, made):
            _, client = await loop.create_connection(Noting, *address)
            assert None is await client.lost
            assert b"hello and goodbye" == client.data
            assert None is await (await made.get()).lost
        async with connected(Greeting) as (protocol, sock):
            assert b"hello and goodbye" == await read_all(sock)
            await protocol.lost

    run(main())


def test_what_is_written_while_the_loop_stands_still_leaves(loop):
    async def begin():
        ours, theirs = socket.socketpair()
        _, protocol = await loop.create_unix_connection(Noting, sock=ours)
        return protocol, theirs

    protocol, theirs = loop.run_until_complete(begin())
    with theirs:
        theirs.settimeout(10)
        protocol.transport.write(b"between runs")
        assert b"between runs" == theirs.recv(100)
        protocol.transport.close()
        loop.run_until_complete(protocol.lost)
