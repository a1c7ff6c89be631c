"""The compiled StreamReader and StreamWriter do what asyncio's own do, and are reached by programs that know nothing of them."""

import asyncio
import gc
import warnings
import weakref

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from net.peers import pair

from plait.net.reader import StreamReader
from plait.net.stream import Stream
from plait.net.writer import StreamWriter


class Plain(asyncio.StreamReader):
    """asyncio's own: a subclass is never replaced."""


class Transport:
    """Notes what a reader asks of its transport."""

    def __init__(self):
        self.asked = []

    def pause_reading(self):
        self.asked.append("pause")

    def resume_reading(self):
        self.asked.append("resume")


CHUNKS = st.lists(
    st.sampled_from([b"a", b"bc", b"\n", b"x\n", b"\r\n", b"defgh", b"ab\r"]), min_size=1, max_size=4
).map(b"".join)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), CHUNKS),
        st.tuples(st.just("read"), st.sampled_from([-1, 0, 1, 2, 5, 100])),
        st.tuples(st.just("readexactly"), st.sampled_from([-1, 0, 1, 3, 8])),
        st.tuples(st.just("readline")),
        st.tuples(st.just("__anext__")),
        st.tuples(st.just("readuntil"), st.sampled_from([b"\n", b"\r\n", b"ab\r", b""])),
        st.tuples(st.just("at_eof")),
        st.tuples(st.just("_buffer")),
        st.tuples(st.just("feed_eof")),
        st.tuples(st.just("set_exception")),
    ),
    max_size=25,
)


async def outcome(awaitable):
    try:
        return await awaitable
    except (Exception, StopAsyncIteration) as error:
        return type(error), str(error), getattr(error, "partial", None), getattr(error, "consumed", None)


class Driven:
    """One reader that is led through the steps; what waits goes on as soon as it is fed."""

    def __init__(self, reader):
        self.reader = reader
        self.transport = Transport()
        self.reader.set_transport(self.transport)
        self.seen = []
        self.waiting = None
        self.ended = False

    async def step(self, name, *args):
        if name == "feed":
            if not self.ended:
                self.reader.feed_data(*args)
        elif name == "feed_eof":
            self.ended = True
            self.reader.feed_eof()
        elif name == "set_exception":
            self.reader.set_exception(ConnectionError("lost"))
        elif name == "at_eof":
            self.seen.append(self.reader.at_eof())
        elif name == "_buffer":
            self.seen.append(bytes(self.reader._buffer))
        elif self.waiting is None:
            self.waiting = asyncio.ensure_future(outcome(getattr(self.reader, name)(*args)))
        for _ in range(4):
            await asyncio.sleep(0)
        if self.waiting is not None and self.waiting.done():
            self.seen.append(self.waiting.result())
            self.waiting = None
        self.seen.append(list(self.transport.asked))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, limit=st.sampled_from([1, 4, 8, 1000]))
def test_it_reads_what_asyncios_own_reads(loop, steps, limit):
    async def main():
        ours = asyncio.StreamReader(limit=limit)
        assert type(ours) is StreamReader
        both = [Driven(ours), Driven(Plain(limit=limit))]
        for step in [*steps, ("feed_eof",)]:
            for driven in both:
                await driven.step(*step)
            assert both[1].seen == both[0].seen
        for driven in both:
            if driven.waiting is not None:
                driven.waiting.cancel()
                await asyncio.wait([driven.waiting])
        assert bytes(both[1].reader._buffer) == bytes(both[0].reader._buffer)

    loop.run_until_complete(main())


def test_a_line_is_found_where_another_separator_was_not(run):
    async def main():
        reader = asyncio.StreamReader(limit=1)
        reader.feed_data(b"ax\n")
        with pytest.raises(asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n")
        with pytest.raises(ValueError, match="Separator is found"):
            await reader.readline()

    run(main())


def test_unmodified_programs_get_the_compiled_ones(run):
    async def main():
        kinds = []

        async def answer(reader, writer):
            kinds.append((type(reader), type(writer), type(writer.transport)))
            async for line in reader:
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert (StreamReader, StreamWriter) == (type(reader), type(writer))
            assert isinstance(reader, asyncio.StreamReader)
            assert isinstance(writer, asyncio.StreamWriter)
            writer.writelines([b"one\nt", b"wo\nthr", b"ee"])
            writer.write_eof()
            assert [b"ONE\n", b"TWO\n", b"THREE"] == [line async for line in reader]
            assert reader.at_eof()
            writer.close()
            await writer.wait_closed()
        assert [(StreamReader, StreamWriter, Stream)] == kinds

    run(main())


def test_debug_mode_and_subclasses_keep_asyncios_own(run, loop):
    async def main():
        loop.set_debug(True)
        assert type(asyncio.StreamReader()) is asyncio.StreamReader
        loop.set_debug(False)
        assert type(Plain()) is Plain

    run(main())


def test_readers_of_other_loops_are_asyncios_own():
    async def main():
        assert type(asyncio.StreamReader()) is asyncio.StreamReader

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


def test_an_answer_from_memory_is_a_coroutine_to_all_who_ask(run):
    async def main():
        reader = asyncio.StreamReader()
        reader.feed_data(b"abcdef\n")
        assert asyncio.iscoroutine(read := reader.read(1))
        assert b"a" == await asyncio.create_task(read)
        assert b"b" == await asyncio.wait_for(reader.readexactly(1), 10)
        assert [b"c", b"d"] == await asyncio.gather(reader.read(1), reader.read(1))
        assert b"ef\n" == await asyncio.shield(reader.readline())

    run(main())


CALLS = [
    ("read", (10,)),
    ("readexactly", (6,)),
    ("readline", ()),
    ("readuntil", (b"\n",)),
    ("__anext__", ()),
]


@pytest.fixture(params=CALLS, ids=[name for name, _ in CALLS])
def reads(request):
    """A call that has to wait until b"12345\\n" comes."""
    name, args = request.param
    return lambda reader: getattr(reader, name)(*args)


def test_a_read_that_waits_is_a_coroutine_to_all_who_ask(run, reads):
    async def fed(reader, awaitable):
        waiting = asyncio.ensure_future(awaitable)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert reader._waiter is not None
        reader.feed_data(b"12345\n")
        return await waiting

    async def main():
        reader = asyncio.StreamReader()
        assert asyncio.iscoroutine(call := reads(reader))
        assert b"12345\n" == await fed(reader, call)
        assert b"12345\n" == await fed(reader, asyncio.wait_for(reads(reader), 10))
        assert [b"12345\n"] == await fed(reader, asyncio.gather(reads(reader)))
        assert b"12345\n" == await fed(reader, asyncio.shield(reads(reader)))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(reads(reader))
            assert "StreamReader." in repr(task)
            assert b"12345\n" == await fed(reader, task)

    run(main())


def test_a_read_does_nothing_before_it_is_awaited(run, reads):
    async def main():
        reader = asyncio.StreamReader()
        first, second = reads(reader), reads(reader)
        assert reader._waiter is None
        reader.feed_data(b"12345\n")
        assert b"12345\n" == await second
        waiting = asyncio.ensure_future(first)
        await asyncio.sleep(0)
        reader.feed_data(b"12345\n")
        assert b"12345\n" == await waiting

    run(main())


def test_a_read_that_is_never_awaited_is_warned_of(run, reads):
    async def main():
        reader = asyncio.StreamReader()
        with pytest.warns(RuntimeWarning, match=r"coroutine 'StreamReader\.\w+' was never awaited"):
            reads(reader)
        closed = reads(reader)
        closed.close()
        del closed
        gc.collect()

    run(main())


def test_a_read_is_awaited_once(run, reads):
    async def main():
        reader = asyncio.StreamReader()
        call = reads(reader)
        first = asyncio.create_task(call)
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="being awaited already"):
            await call
        reader.feed_data(b"12345\n")
        assert b"12345\n" == await first
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await call

    run(main())


def test_a_read_driven_by_hand(run, reads):
    async def main():
        reader = asyncio.StreamReader()
        call = reads(reader)
        future = call.send(None)
        assert future is call.cr_await is reader._waiter
        with pytest.raises(ValueError, match="thrown"):
            call.throw(ValueError("thrown"))
        assert reader._waiter is None
        call = reads(reader)
        call.send(None)
        reader.feed_data(b"12345\n")
        with pytest.raises(StopIteration) as stopped:
            call.send(None)
        assert b"12345\n" == stopped.value.value
        call = reads(reader)
        call.send(None)
        call.close()
        assert reader._waiter is None
        call = reads(reader)
        call.send(None)
        reader.set_exception(ConnectionError("lost"))
        with pytest.raises(ConnectionError, match="lost"):
            call.send(None)
        with pytest.raises(ConnectionError, match="lost"):
            await reads(reader)

    run(main())


def test_an_end_of_a_read_does_not_take_the_place_of_the_next(run):
    async def main():
        reader = asyncio.StreamReader()
        first = asyncio.ensure_future(reader.read(1))
        await asyncio.sleep(0)
        reader.feed_data(b"x")  # the first goes on in the next turn, but the byte is taken before
        assert b"x" == await reader.read(1)
        second = asyncio.ensure_future(reader.read(1))
        await asyncio.sleep(0)
        assert b"" == await first  # as asyncio's
        reader.feed_data(b"y")
        assert b"y" == await second

    run(main())


def test_a_number_of_bytes_may_be_any_whole_number(run):
    async def main():
        reader = asyncio.StreamReader()
        reader.feed_data(b"abcdef")
        assert b"a" == await reader.read(True)
        assert b"b" == await reader.readexactly(True)
        assert b"cdef" == await reader.read(2**70)
        waiting = asyncio.ensure_future(reader.readexactly(2**70))
        await asyncio.sleep(0)
        reader.feed_data(b"ghi")
        reader.feed_eof()
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await waiting
        assert (b"ghi", 2**70) == (caught.value.partial, caught.value.expected)
        with pytest.raises(TypeError):
            await reader.read(1.5)

    run(main())


def test_two_who_wait_at_once_are_told_so(run):
    async def main():
        reader = asyncio.StreamReader()
        first = asyncio.ensure_future(reader.read(1))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"read\(\) called while another coroutine is already waiting"):
            await reader.read(1)
        reader.feed_data(b"x")
        assert b"x" == await first

    run(main())


def test_a_cancelled_read_loses_nothing(run):
    async def main():
        reader = asyncio.StreamReader()
        for call in (lambda: reader.read(5), lambda: reader.readexactly(5), reader.readline):
            waiting = asyncio.ensure_future(call())
            await asyncio.sleep(0)
            waiting.cancel()
            reader.feed_data(b"12")  # comes in the same turn
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert b"121212" == await reader.readexactly(6)

    run(main())


def test_a_library_may_change_the_buffer_itself(run):
    async def main():
        reader = asyncio.StreamReader()
        reader.feed_data(b"abc")
        reader.feed_data(b"def\n")
        assert bytearray(b"abcdef\n") == reader._buffer
        del reader._buffer[:2]
        reader._buffer.extend(b"more")
        assert b"cdef\n" == await reader.readline()
        assert b"mo" == await reader.readexactly(2)
        reader.feed_data(b"!")
        assert b"re!" == await reader.read(100)

    run(main())


def test_one_chunk_that_is_asked_for_as_it_came_is_not_copied(run):
    async def main():
        reader = asyncio.StreamReader()
        chunk = b"x" * 1000
        reader.feed_data(chunk)
        assert chunk is await reader.read(1000)

    run(main())


def test_drain_waits_for_a_peer_that_does_not_read(run):
    async def main():
        ours, theirs = pair("tcp", small=True)
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.transport.set_write_buffer_limits(high=1000)
        writer.write(b"z" * 500_000)
        draining = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        theirs.setblocking(False)
        left = 500_000
        while left:
            left -= len(await asyncio.get_running_loop().sock_recv(theirs, left))
        await draining
        theirs.close()
        assert b"" == await reader.read()
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ConnectionResetError):
            await writer.drain()

    run(main())


def test_a_forgotten_reader_does_not_live_on_in_its_transport(run):
    async def main():
        ours, theirs = pair("tcp", small=False)
        reader, writer = await asyncio.open_connection(sock=ours)
        theirs.sendall(b"a")
        assert b"a" == await reader.read(1)
        writer._reader = None
        gone = weakref.ref(reader)
        del reader
        theirs.sendall(b"nobody reads this")
        while gone() is not None:
            await asyncio.sleep(0)
        theirs.close()
        writer.close()
        await writer.wait_closed()

    run(main())


def test_a_forgotten_writer_closes_its_transport_and_says_so(run):
    async def main():
        ours, theirs = pair("tcp", small=False)
        reader, writer = await asyncio.open_connection(sock=ours)
        transport = writer.transport
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del writer, reader
            gc.collect()
        if hasattr(asyncio.StreamWriter, "__del__"):
            assert ["unclosed <StreamWriter"] == [str(warning.message)[:22] for warning in caught]
        else:
            transport.close()
        theirs.setblocking(False)
        assert b"" == await asyncio.get_running_loop().sock_recv(theirs, 10)
        theirs.close()

    run(main())


def test_start_tls_goes_on_with_the_same_reader_and_writer(run, contexts):
    async def main():
        async def answer(reader, writer):
            await reader.readline()
            writer.write(b"go\n")
            await writer.start_tls(contexts[0])
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"STARTTLS\n")
            assert b"go\n" == await reader.readline()
            await writer.start_tls(contexts[1], server_hostname="localhost")
            writer.write(b"secret\n")
            assert b"SECRET\n" == await reader.readline()
            assert b"" == await reader.read()
            writer.close()
            await writer.wait_closed()

    run(main())
