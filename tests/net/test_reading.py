"""Reading: pausing, ends of file, BufferedProtocol, protocols that raise."""

import asyncio
import socket

import pytest
from net.peers import Buffered, Noting, connected, read_all, reset, serving


def test_nothing_is_received_while_reading_is_paused(run):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, sock):
            transport = protocol.transport
            assert transport.is_reading()
            transport.pause_reading()
            transport.pause_reading()  # twice is once
            assert not transport.is_reading()
            sock.send(b"early")
            # What comes over another connection shows that the loop has looked meanwhile.
            async with connected() as (other, other_sock):
                other_sock.send(b"x")
                await other.received(1)
            assert b"" == protocol.data
            transport.resume_reading()
            transport.resume_reading()
            assert transport.is_reading()
            assert b"" == protocol.data  # never inside of resume_reading()
            assert b"early" == await protocol.received(5)
            await loop.sock_sendall(sock, b"late")
            assert b"earlylate" == await protocol.received(9)

    run(main())


def test_reading_can_be_paused_before_it_began(run):
    class Paused(Noting):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        loop = asyncio.get_running_loop()
        async with serving(Paused) as (address, made):
            transport, client = await loop.create_connection(Noting, *address)
            transport.write(b"waiting")
            server = await made.get()
            async with connected() as (other, other_sock):
                other_sock.send(b"x")
                await other.received(1)
            assert b"" == server.data
            server.transport.resume_reading()
            assert b"waiting" == await server.received(7)
            transport.close()
            await client.lost

    run(main())


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_a_pause_inside_data_received_holds_the_rest_back(run, size):
    """Also when more is known to wait: not one call more until reading is resumed."""

    class Stopping(Noting):
        def data_received(self, data):
            assert self.transport.is_reading()
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    async def main():
        loop = asyncio.get_running_loop()
        async with connected(Stopping) as (protocol, sock):
            sending = asyncio.create_task(loop.sock_sendall(sock, b"s" * size))
            assert b"s" * size == await protocol.received(size)
            await sending
            sock.close()
            await protocol.lost
            assert ["eof", "lost"] == protocol.told[-2:]

    run(main())


@pytest.mark.parametrize("buffered", [False, True])
def test_one_busy_peer_does_not_starve_another(run, buffered):
    """Data without end for one connection: the other one is served all the same."""

    async def main():
        loop = asyncio.get_running_loop()
        factory = (lambda: Buffered(100)) if buffered else Noting
        async with connected(factory) as (busy, busy_sock), connected() as (quiet, quiet_sock):

            async def flood():
                block = bytes(1 << 20)
                while True:
                    await loop.sock_sendall(busy_sock, block)

            flooding = asyncio.create_task(flood())
            await busy.received(1 << 20)
            quiet_sock.send(b"me too")
            assert b"me too" == await quiet.received(6)
            flooding.cancel()
            await asyncio.wait([flooding])

    run(main())


@pytest.mark.parametrize("size", [0, 5, 600_000])
def test_the_end_of_file_is_told_after_all_data(run, size):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, sock):
            sending = asyncio.create_task(loop.sock_sendall(sock, b"e" * size))
            await sending
            sock.shutdown(socket.SHUT_WR)
            assert None is await protocol.lost
            assert size == len(protocol.data)
            assert ["eof", "lost"] == protocol.told[-2:]
            assert b"" == await read_all(sock)

    run(main())


def test_a_true_answer_to_eof_received_keeps_the_other_direction_open(run):
    class HalfOpen(Noting):
        def eof_received(self):
            super().eof_received()
            return True

    async def main():
        async with connected(HalfOpen) as (protocol, sock):
            sock.send(b"question")
            sock.shutdown(socket.SHUT_WR)
            await protocol.until(lambda: "eof" in protocol.told)
            assert not protocol.transport.is_closing()
            protocol.transport.write(b"answer")
            protocol.transport.close()
            assert b"answer" == await read_all(sock)
            assert None is await protocol.lost
            assert 1 == protocol.told.count("eof")

    run(main())


def test_an_end_of_file_while_paused_is_told_after_resuming(run):
    async def main():
        async with connected() as (protocol, sock):
            protocol.transport.pause_reading()
            sock.send(b"last words")
            sock.close()
            async with connected() as (other, other_sock):
                other_sock.close()
                await other.lost
            assert ["made"] == protocol.told
            protocol.transport.resume_reading()
            assert None is await protocol.lost
            assert b"last words" == protocol.data

    run(main())


def test_a_reset_is_told_by_connection_lost_alone(run, caplog):
    """ConnectionResetError is everyday: nothing is logged."""

    async def main():
        async with connected() as (protocol, sock):
            reset(sock)
            error = await protocol.lost
            assert ConnectionResetError is type(error)
            assert ["made", "lost"] == protocol.told

    run(main())
    assert [] == caplog.records


@pytest.mark.parametrize("size", [1, 100, 70_000])
def test_a_buffered_protocol_gets_everything_in_its_own_buffer(run, size):
    async def main():
        loop = asyncio.get_running_loop()
        payload = bytes(range(256)) * 1000
        async with connected(lambda: Buffered(size)) as (protocol, sock):
            sending = asyncio.create_task(loop.sock_sendall(sock, payload))
            assert payload == await protocol.received(len(payload))
            await sending
            sock.close()
            assert None is await protocol.lost
            assert ["eof", "lost"] == protocol.told[-2:]

    run(main())


def test_the_buffer_may_be_resized_between_calls(run):
    """No export of it is held while buffer_updated() runs."""

    class Growing(Buffered):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.buffer = bytearray(len(self.buffer) + 1)
            self.buffer.extend(b"x")

    async def main():
        loop = asyncio.get_running_loop()
        async with connected(lambda: Growing(1)) as (protocol, sock):
            await loop.sock_sendall(sock, b"0123456789")
            assert b"0123456789" == await protocol.received(10)

    run(main())


def raising(name, error, base=Noting):
    def method(self, *args):
        raise error

    return type("Raising", (base,), {name: method})


@pytest.mark.parametrize(
    ("name", "base", "message"),
    [
        ("data_received", Noting, "Fatal error: protocol.data_received() call failed."),
        ("eof_received", Noting, "Fatal error: protocol.eof_received() call failed."),
        ("get_buffer", Buffered, "Fatal error: protocol.get_buffer() call failed."),
        ("buffer_updated", Buffered, "Fatal error: protocol.buffer_updated() call failed."),
    ],
)
def test_a_protocol_that_raises_is_reported_and_loses_its_connection(run, loop, name, base, message):
    async def main():
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        error = ZeroDivisionError("the protocol's own")
        async with connected(raising(name, error, base)) as (protocol, sock):
            transport = protocol.transport
            sock.send(b"x")
            sock.shutdown(socket.SHUT_WR)
            assert error is await protocol.lost
            (report,) = reports
            assert (message, error, transport, protocol) == (
                report["message"],
                report["exception"],
                report["transport"],
                report["protocol"],
            )
            assert "lost" == protocol.told[-1]

    run(main())


@pytest.mark.parametrize("buffer", [b"", bytearray(), b"read-only", None])
def test_a_buffer_that_cannot_be_filled_is_reported(run, loop, buffer):
    class Bad(Buffered):
        def get_buffer(self, sizehint):
            return buffer

    async def main():
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        async with connected(Bad) as (protocol, sock):
            sock.send(b"x")
            error = await protocol.lost
            assert isinstance(error, (RuntimeError, TypeError, BufferError))
            assert ["Fatal error: protocol.get_buffer() call failed."] == [r["message"] for r in reports]

    run(main())


def test_what_was_written_before_an_exception_still_leaves(run, loop):
    class Answering(Noting):
        def data_received(self, data):
            self.transport.write(b"bad request")
            raise ValueError("bad request")

    async def main():
        loop.set_exception_handler(lambda loop, context: None)
        async with connected(Answering) as (protocol, sock):
            sock.send(b"x")
            assert b"bad request" == await read_all(sock)
            assert ValueError is type(await protocol.lost)

    run(main())


def test_errors_of_connection_made_and_connection_lost_are_reported_and_change_nothing(run, loop):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))

    class Bad(Noting):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ValueError("made")

        def connection_lost(self, error):
            super().connection_lost(error)
            raise ValueError("lost")

    async def main():
        async with connected(Bad) as (protocol, sock):
            sock.send(b"x")
            await protocol.received(1)
            sock.close()
            await protocol.lost

    run(main())
    assert ["protocol.connection_made() call failed.", "protocol.connection_lost() call failed."] == reports


@pytest.mark.parametrize("exit_type", [SystemExit, KeyboardInterrupt])
def test_exits_leave_the_loop_and_the_connection_stays(loop, exit_type):
    """SystemExit and KeyboardInterrupt inside of a callback end the run; the next run goes on with the same transport."""

    class Leaving(Noting):
        def data_received(self, data):
            super().data_received(data)
            if data == b"leave":
                raise exit_type("asked")

    async def begin():
        ours, theirs = socket.socketpair()
        _, protocol = await loop.create_unix_connection(Leaving, sock=ours)
        return protocol, theirs

    protocol, theirs = loop.run_until_complete(begin())
    with theirs:
        theirs.send(b"leave")
        with pytest.raises(exit_type, match="asked"):
            loop.run_until_complete(protocol.lost)
        theirs.send(b"on")
        assert b"leaveon" == loop.run_until_complete(protocol.received(7))
        protocol.transport.close()
        loop.run_until_complete(protocol.lost)


@pytest.mark.parametrize("exit_type", [SystemExit, KeyboardInterrupt])
def test_what_was_written_before_an_exit_leaves_in_the_next_run(loop, exit_type):
    class Leaving(Noting):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(b"answer")
            raise exit_type("asked")

    async def begin():
        ours, theirs = socket.socketpair()
        _, protocol = await loop.create_unix_connection(Leaving, sock=ours)
        return protocol, theirs

    async def answered(sock):
        return await loop.sock_recv(sock, 10)

    protocol, theirs = loop.run_until_complete(begin())
    with theirs:
        theirs.setblocking(False)
        theirs.send(b"x")
        with pytest.raises(exit_type, match="asked"):
            loop.run_until_complete(protocol.lost)
        assert b"answer" == loop.run_until_complete(answered(theirs))
        protocol.transport.close()
        loop.run_until_complete(protocol.lost)


def test_an_exit_in_resume_writing_keeps_the_writes_of_the_others(loop):
    class Leaving(Noting):
        def resume_writing(self):
            raise SystemExit("asked")

    async def begin(factory):
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        transport, protocol = await loop.create_unix_connection(factory, sock=ours)
        return transport, protocol, theirs

    async def both(first, second):
        # Paused by hand, so that the flush at the end of this turn resumes it.
        first.write(b"a" * 100)
        first.set_write_buffer_limits(high=50)
        second.write(b"b" * 100)
        await asyncio.Event().wait()

    first, one, first_peer = loop.run_until_complete(begin(Leaving))
    second, two, second_peer = loop.run_until_complete(begin(Noting))
    task = loop.create_task(both(first, second))
    with first_peer, second_peer:
        with pytest.raises(SystemExit, match="asked"):
            loop.run_until_complete(task)
        assert b"b" * 100 == loop.run_until_complete(loop.sock_recv(second_peer, 200))
        assert b"a" * 100 == loop.run_until_complete(loop.sock_recv(first_peer, 200))
        task.cancel()
        first.abort()
        second.abort()
        loop.run_until_complete(asyncio.wait([task, one.lost, two.lost]))
