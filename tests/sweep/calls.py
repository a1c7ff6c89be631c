"""The awaiting calls of the loop and of asyncio's streams, each as a small program that hands its call to an attempt.

Each makes what the call needs, attempts it, and ends what came of it; it also says what a cancelled call must have left alone: what
was sent is still there to be received, who waited is still waiting to be accepted.
"""

import asyncio
import contextlib
import io
import os
import queue
import socket
import ssl
import sys
import tempfile
import threading
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import trustme
from net.peers import Noting, pair
from sweep.attempt import Attempt, Case, Outcome

import plait

FOREVER = [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"]

calls: dict[str, Case] = {}
# Those that may end without waiting at all.
instant: set[str] = set()


def call(case: Case) -> Case:
    calls[case.__name__] = case
    return case


def at_once(case: Case) -> Case:
    instant.add(case.__name__)
    return call(case)


# What the calls need.


@contextlib.contextmanager
def listening(family: str = "tcp") -> Iterator[socket.socket]:
    """A listening socket in the kernel's hands: its backlog takes connections, nobody accepts them."""
    if family == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            yield server
    else:
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{folder}/socket")
            server.listen()
            server.setblocking(False)
            yield server


@contextlib.contextmanager
def two(family: str = "tcp", small: bool = False) -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = pair(family, small)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    if not made_contexts:
        authority = trustme.CA()
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(server)
        client = ssl.create_default_context()
        authority.configure_trust(client)
        made_contexts.append((server, client))
    return made_contexts[0]


made_contexts: list[tuple[ssl.SSLContext, ssl.SSLContext]] = []


async def gone(transport: Any, protocol: Any = None) -> None:
    transport.abort()
    if isinstance(protocol, Noting):
        await protocol.until(protocol.lost.done)


async def closed(transport: Any) -> None:
    """End a connection whose protocol may not be told: that of a cancelled handshake, of a cancelled wait_closed()."""
    transport.abort()
    sock = transport.get_extra_info("socket")
    while sock is not None and sock.fileno() != -1:
        await asyncio.sleep(0)


async def end(outcome: Outcome) -> None:
    """What a call that makes a connection gave, if it gave something."""
    if not outcome.none:
        await gone(*outcome.value)


@contextlib.asynccontextmanager
async def tls_server(family: str = "tcp") -> AsyncIterator[Any]:
    """The address of a TLS server in this loop."""
    loop = asyncio.get_running_loop()
    protocols: list[Noting] = []

    def make() -> Noting:
        protocols.append(Noting())
        return protocols[-1]

    with tempfile.TemporaryDirectory() as folder:
        server: Any
        if family == "tcp":
            server = await loop.create_server(make, "127.0.0.1", 0, ssl=contexts()[0])
        else:
            server = await loop.create_unix_server(make, f"{folder}/socket", ssl=contexts()[0])
        try:
            yield server.sockets[0].getsockname()
        finally:
            server.close()
            for protocol in protocols:
                if protocol.transport is not None:
                    await gone(protocol.transport, protocol)


# Making connections.


@call
async def create_connection(attempt: Attempt) -> None:
    with listening() as server:
        await end(await attempt(asyncio.get_running_loop().create_connection(Noting, *server.getsockname())))


@call
async def create_connection_by_name(attempt: Attempt) -> None:
    with listening() as server:
        port = server.getsockname()[1]
        await end(await attempt(asyncio.get_running_loop().create_connection(Noting, "localhost", port)))


@call
async def create_connection_from_an_address(attempt: Attempt) -> None:
    loop = asyncio.get_running_loop()
    with listening() as server:
        address = server.getsockname()
        await end(await attempt(loop.create_connection(Noting, *address, local_addr=("localhost", 0))))


@call
async def create_connection_with_happy_eyeballs(attempt: Attempt) -> None:
    """The first address refuses, the second one accepts."""
    loop: Any = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        refused = nobody.getsockname()
    with listening() as server:
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")

        async def both(*args: Any, **more: Any) -> list[Any]:
            return [(*kind, refused), (*kind, server.getsockname())]

        loop.getaddrinfo = both
        try:
            await end(await attempt(loop.create_connection(Noting, "two.test", 1, happy_eyeballs_delay=0.001)))
        finally:
            del loop.getaddrinfo


@call
async def create_connection_with_a_socket(attempt: Attempt) -> None:
    """uvloop issue 738: the socket that was handed over believed itself open, and closed who had its number by then."""
    with two() as (ours, _):
        outcome = await attempt(asyncio.get_running_loop().create_connection(Noting, sock=ours))
        await end(outcome)
        assert outcome.error is not None or -1 == ours.fileno()


@call
async def create_connection_with_tls(attempt: Attempt) -> None:
    async with tls_server() as address:
        loop = asyncio.get_running_loop()
        await end(
            await attempt(loop.create_connection(Noting, *address, ssl=contexts()[1], server_hostname="localhost"))
        )


@call
async def create_unix_connection(attempt: Attempt) -> None:
    with listening("unix") as server:
        await end(await attempt(asyncio.get_running_loop().create_unix_connection(Noting, server.getsockname())))


@call
async def create_unix_connection_with_a_socket(attempt: Attempt) -> None:
    with two("unix") as (ours, _):
        outcome = await attempt(asyncio.get_running_loop().create_unix_connection(Noting, sock=ours))
        await end(outcome)
        assert outcome.error is not None or -1 == ours.fileno()


@call
async def create_unix_connection_with_tls(attempt: Attempt) -> None:
    async with tls_server("unix") as path:
        loop = asyncio.get_running_loop()
        await end(
            await attempt(loop.create_unix_connection(Noting, path, ssl=contexts()[1], server_hostname="localhost"))
        )


@call
async def connect_accepted_socket(attempt: Attempt) -> None:
    with two() as (ours, _):
        outcome = await attempt(asyncio.get_running_loop().connect_accepted_socket(Noting, ours))
        await end(outcome)
        assert outcome.error is not None or -1 == ours.fileno()


async def upgrade(attempt: Attempt, server_side: bool) -> None:
    loop = asyncio.get_running_loop()
    served, client = contexts()
    with two() as (ours, theirs):
        transport, protocol = await loop.create_connection(Noting, sock=ours)
        other_transport, other = await loop.create_connection(Noting, sock=theirs)
        options: list[dict[str, Any]] = [
            {"sslcontext": client, "server_hostname": "localhost"},
            {"sslcontext": served, "server_side": True},
        ]
        mine, others = reversed(options) if server_side else options
        answering = asyncio.create_task(loop.start_tls(other_transport, other, **others))
        outcome = await attempt(loop.start_tls(transport, protocol, **mine))
        if outcome.none:
            # Nobody knows how far the peers are: the connection is closed.
            assert transport.is_closing()
            await asyncio.wait([answering])
            assert answering.exception() is not None or answering.result()
            other_transport.abort()
        else:
            outcome.value.abort()
            (await answering).abort()
        await protocol.until(lambda: transport._sock is None)
        await other.until(lambda: True)


@call
async def start_tls_as_client(attempt: Attempt) -> None:
    await upgrade(attempt, False)


@call
async def start_tls_as_server(attempt: Attempt) -> None:
    await upgrade(attempt, True)


# Servers.


async def serve(attempt: Attempt, make: Callable[[], Any]) -> None:
    outcome = await attempt(make())
    if not outcome.none:
        outcome.value.close()
        await outcome.value.wait_closed()


@call
async def create_server(attempt: Attempt) -> None:
    await serve(attempt, lambda: asyncio.get_running_loop().create_server(Noting, "127.0.0.1", 0))


@call
async def create_server_by_names(attempt: Attempt) -> None:
    loop = asyncio.get_running_loop()
    await serve(attempt, lambda: loop.create_server(Noting, ["localhost", "127.0.0.2"], 0))


@call
async def create_server_that_does_not_serve_yet(attempt: Attempt) -> None:
    loop = asyncio.get_running_loop()
    await serve(attempt, lambda: loop.create_server(Noting, "localhost", 0, start_serving=False))


@call
async def create_server_with_a_socket(attempt: Attempt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        await serve(attempt, lambda: asyncio.get_running_loop().create_server(Noting, sock=sock))


@call
async def create_unix_server(attempt: Attempt) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await serve(attempt, lambda: asyncio.get_running_loop().create_unix_server(Noting, f"{folder}/socket"))


@call
async def start_serving(attempt: Attempt) -> None:
    server = await asyncio.get_running_loop().create_server(Noting, "127.0.0.1", 0, start_serving=False)
    await attempt(server.start_serving())
    server.close()
    await server.wait_closed()


@call
async def serve_forever(attempt: Attempt) -> None:
    server = await asyncio.get_running_loop().create_server(Noting, "127.0.0.1", 0)
    if attempt.at == 1:
        # It ends in no other way, and what it waits for never comes.
        attempt.moment = "waiting"
        assert (await attempt(server.serve_forever())).cancelled
        assert () == server.sockets
    server.close()
    await server.wait_closed()


@(call if sys.version_info >= (3, 12) else at_once)
async def server_wait_closed(attempt: Attempt) -> None:
    """Waits, from Python 3.12 on, for the last connection."""
    loop = asyncio.get_running_loop()
    connected: asyncio.Queue[Any] = asyncio.Queue()

    class Served(Noting):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            connected.put_nowait(self)

    server = await loop.create_server(Served, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()):
        protocol = await connected.get()
        server.close()
        await attempt(server.wait_closed(), protocol.transport.abort)
        await gone(protocol.transport, protocol)


# Datagrams.


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


async def datagrams(attempt: Attempt, **options: Any) -> Outcome:
    outcome = await attempt(asyncio.get_running_loop().create_datagram_endpoint(Datagrams, **options))
    if not outcome.none:
        transport, protocol = outcome.value
        transport.close()
        await protocol.lost
    return outcome


@call
async def create_datagram_endpoint(attempt: Attempt) -> None:
    await datagrams(attempt, local_addr=("127.0.0.1", 0))


@call
async def create_datagram_endpoint_by_names(attempt: Attempt) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        await datagrams(
            attempt,
            local_addr=("localhost", 0),
            remote_addr=("localhost", other.getsockname()[1]),
            family=socket.AF_INET,
        )


@call
async def create_datagram_endpoint_with_a_socket(attempt: Attempt) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        outcome = await datagrams(attempt, sock=sock)
        assert outcome.error is not None or -1 == sock.fileno()


# Plain sockets.


@call
async def sock_connect(attempt: Attempt) -> None:
    """uvloop issues 653 and 738: the socket stays its maker's, whoever connects it."""
    with listening() as server, socket.socket() as ours:
        ours.setblocking(False)
        await attempt(asyncio.get_running_loop().sock_connect(ours, ("localhost", server.getsockname()[1])))
        assert ours.fileno() > 0


@at_once
async def sock_connect_unix(attempt: Attempt) -> None:
    """With a full backlog, which nothing tells the end of."""
    loop = asyncio.get_running_loop()
    with listening("unix") as server, contextlib.ExitStack() as held:
        server.listen(0)
        waiting = [held.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2)]
        for sock in waiting:
            sock.setblocking(False)
        waiting[0].connect(server.getsockname())
        making_room = loop.call_later(0.003, lambda: held.enter_context(server.accept()[0]))
        await attempt(loop.sock_connect(waiting[1], server.getsockname()))
        making_room.cancel()


@call
async def sock_accept(attempt: Attempt) -> None:
    """Who waited to be accepted still does."""
    loop = asyncio.get_running_loop()
    with listening() as server, socket.socket() as client:
        client.setblocking(False)

        def connect() -> None:
            client.connect_ex(server.getsockname())

        outcome = await attempt(loop.sock_accept(server), connect)
        if outcome.none:
            if attempt.moment == "waiting" and attempt.at == 1:
                connect()
            accepted, address = await loop.sock_accept(server)
        else:
            accepted, address = outcome.value
        with accepted:
            assert client.getsockname() == address


async def receive(attempt: Attempt, first: Callable[..., Any], again: Callable[..., Any] | None = None) -> None:
    """What was sent is received once, by the call itself or by the next one."""
    with two() as (ours, theirs):
        sent = []

        def send() -> None:
            sent.append(True)  # first: in another thread's send() it may be received before that thread goes on
            theirs.send(b"kept")

        outcome = await attempt(first(ours), send)
        got = await (again or first)(ours) if outcome.none else outcome.value
        assert sent
        assert b"kept" == (got[0] if isinstance(got, tuple) else got)
        ours.settimeout(0)
        try:
            more = ours.recv(10)
        except BlockingIOError:
            more = b""
        assert b"" == more


@call
async def sock_recv(attempt: Attempt) -> None:
    loop = asyncio.get_running_loop()
    await receive(attempt, lambda sock: loop.sock_recv(sock, 10))


@call
async def sock_recvfrom(attempt: Attempt) -> None:
    loop = asyncio.get_running_loop()
    await receive(attempt, lambda sock: loop.sock_recvfrom(sock, 10))


@call
async def sock_recv_into(attempt: Attempt) -> None:
    loop = asyncio.get_running_loop()

    async def into(sock: socket.socket) -> bytes:
        buffer = bytearray(10)
        return bytes(buffer[: await loop.sock_recv_into(sock, buffer)])

    await receive(attempt, into)


@call
async def sock_recvfrom_into(attempt: Attempt) -> None:
    loop = asyncio.get_running_loop()

    async def into(sock: socket.socket) -> bytes:
        buffer = bytearray(10)
        return bytes(buffer[: (await loop.sock_recvfrom_into(sock, buffer))[0]])

    await receive(attempt, into)


@call
async def sock_sendall(attempt: Attempt) -> None:
    """What arrives is the beginning of what was sent, whenever it is cancelled."""
    loop = asyncio.get_running_loop()
    payload = bytes(range(256)) * 256
    with two(small=True) as (ours, theirs):
        got = bytearray()
        loop.add_reader(theirs, lambda: got.extend(theirs.recv(1 << 16)))
        outcome = await attempt(loop.sock_sendall(ours, payload))
        loop.remove_reader(theirs)
        ours.shutdown(socket.SHUT_WR)
        while part := await loop.sock_recv(theirs, 1 << 20):
            got += part
        assert payload.startswith(got)
        assert outcome.none or payload == got


@call
async def sock_sendto(attempt: Attempt) -> None:
    """Cancelled, it has sent nothing; else, once."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
                path = f"{folder}/datagrams"
                theirs.bind(path)
                ours.setblocking(False)
                theirs.setblocking(False)
                full = 0
                with contextlib.suppress(BlockingIOError):
                    while True:
                        ours.sendto(b"full", path)
                        full += 1
                # What makes room may be another thread: it takes what it shall, and no more.
                draining = threading.Lock()

                def drain(count: int | None) -> list[bytes]:
                    with draining:
                        return drain_datagrams(theirs, count)

                outcome = await attempt(loop.sock_sendto(ours, b"more", path), lambda: drain(full))
                left = drain(None)
                assert ([] if outcome.none else [b"more"]) == [data for data in left if data == b"more"]


def drain_datagrams(sock: socket.socket, count: int | None) -> list[bytes]:
    """That many of the datagrams that wait, or all."""
    got: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while count is None or len(got) < count:
            got.append(sock.recv(100))
    return got


# Files to sockets.


@contextlib.contextmanager
def large_file() -> Iterator[tuple[Any, bytes]]:
    content = bytes(range(256)) * 256
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file, content


async def rest_of(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    parts = []
    while part := await loop.sock_recv(sock, 1 << 20):
        parts.append(part)
    return b"".join(parts)


async def copy_file(attempt: Attempt, plain: bool, native: bool) -> None:
    """The position of the file tells how much of it the peer gets."""
    loop = asyncio.get_running_loop()
    with large_file() as (file, content), two(small=True) as (ours, theirs):
        source = file if native else io.BytesIO(content)
        receiving = asyncio.create_task(rest_of(theirs))
        if plain:
            outcome = await attempt(loop.sock_sendfile(ours, source))
            ours.shutdown(socket.SHUT_WR)
            got = await receiving
        else:
            transport, protocol = await loop.create_connection(Noting, sock=ours)
            outcome = await attempt(loop.sendfile(transport, source))
            assert transport.is_reading()
            transport.write_eof()
            got = await receiving
            await gone(transport, protocol)
        assert content[: source.tell()] == got if native else content.startswith(got)
        assert outcome.none or (len(content), content) == (outcome.value, got)


@call
async def sock_sendfile(attempt: Attempt) -> None:
    await copy_file(attempt, plain=True, native=True)


@call
async def sock_sendfile_by_hand(attempt: Attempt) -> None:
    await copy_file(attempt, plain=True, native=False)


@call
async def sendfile(attempt: Attempt) -> None:
    await copy_file(attempt, plain=False, native=True)


@call
async def sendfile_by_hand(attempt: Attempt) -> None:
    await copy_file(attempt, plain=False, native=False)


# Pipes and processes.


@contextlib.contextmanager
def pipe() -> Iterator[tuple[Any, Any]]:
    reading, writing = (os.fdopen(fd, mode, 0) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    with reading, writing:
        yield reading, writing


@call
async def connect_read_pipe(attempt: Attempt) -> None:
    """uvloop issue 763: the file that was handed over closed its descriptor once more, and by then it was another's."""
    with pipe() as (reading, writing):
        outcome = await attempt(asyncio.get_running_loop().connect_read_pipe(Noting, reading))
        if not outcome.none:
            transport, protocol = outcome.value
            transport.close()
            await protocol.lost
        await asyncio.sleep(0)
        assert outcome.error is not None or reading.closed
        assert not writing.closed


@call
async def connect_write_pipe(attempt: Attempt) -> None:
    with pipe() as (reading, writing):
        outcome = await attempt(asyncio.get_running_loop().connect_write_pipe(Noting, writing))
        await end(outcome)
        await asyncio.sleep(0)
        assert outcome.error is not None or writing.closed
        assert not reading.closed


@call
async def subprocess_exec(attempt: Attempt) -> None:
    loop = asyncio.get_running_loop()
    outcome = await attempt(loop.subprocess_exec(asyncio.SubprocessProtocol, *FOREVER))
    if not outcome.none:
        transport, _ = outcome.value
        transport.kill()
        await transport._wait()
        transport.close()


@call
async def create_subprocess_shell(attempt: Attempt) -> None:
    outcome = await attempt(asyncio.create_subprocess_shell("cat", stdin=PIPE, stdout=PIPE))
    if not outcome.none:
        with contextlib.suppress(OSError):  # its pipes may be refused yet
            await outcome.value.communicate(b"")
        await outcome.value.wait()


@call
async def process_communicate(attempt: Attempt) -> None:
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    outcome = await attempt(process.communicate(b"through" * 50_000))
    if outcome.none:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
    else:
        assert (b"through" * 50_000, b"") == outcome.value


@call
async def process_wait(attempt: Attempt) -> None:
    """Cancelled, it can be asked again."""
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
    assert process.stdin is not None
    outcome = await attempt(process.wait(), process.stdin.close)
    process.stdin.close()
    assert 0 == (await process.wait() if outcome.none else outcome.value)


# Threads.


@call
async def getaddrinfo(attempt: Attempt) -> None:
    await attempt(asyncio.get_running_loop().getaddrinfo("localhost", 80))


@call
async def getnameinfo(attempt: Attempt) -> None:
    await attempt(asyncio.get_running_loop().getnameinfo(("127.0.0.1", 80)))


@call
async def run_in_executor(attempt: Attempt) -> None:
    """What runs goes on to its end."""
    ran = threading.Event()
    await attempt(asyncio.get_running_loop().run_in_executor(None, ran.set))
    if attempt.moment == "arrived":
        assert ran.is_set()


@call
async def shutdown_default_executor(attempt: Attempt) -> None:
    """Of a loop of its own, for after that nothing runs in it. Asked again, it waits for the end."""
    running: Any = asyncio.get_running_loop()
    engine = running.engine.name

    def another() -> None:
        with asyncio.Runner(loop_factory=lambda: plait.new_event_loop(engine=engine)) as runner:
            runner.run(main(runner.get_loop()))

    async def main(loop: asyncio.AbstractEventLoop) -> None:
        await loop.run_in_executor(None, int)
        await loop.getaddrinfo("localhost", 80)
        await attempt(loop.shutdown_default_executor())

    thread = threading.Thread(target=another)
    thread.start()
    await asyncio.to_thread(thread.join)


@call
async def shutdown_asyncgens(attempt: Attempt) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    ended: list[bool] = []
    generator = numbers()
    await anext(generator)
    loop: Any = asyncio.get_running_loop()
    try:
        await attempt(loop.shutdown_asyncgens())
    finally:
        loop._asyncgens_shutdown_called = False
    await generator.aclose()
    assert len(ended) <= 1


@call
async def portal_start(attempt: Attempt) -> None:
    """Cancelled here, the work in the other loop is cancelled, and is over when the block ends."""
    running: Any = asyncio.get_running_loop()
    ended = []

    async def work() -> int:
        try:
            await asyncio.sleep(0)
            return 1
        finally:
            ended.append(True)

    def another() -> None:
        with plait.background(engine=running.engine.name) as portal:
            portals.put_nowait(portal)
            leave.wait(30)

    portals: queue.SimpleQueue[Any] = queue.SimpleQueue()
    leave = threading.Event()
    thread = asyncio.create_task(asyncio.to_thread(another))
    portal = await asyncio.to_thread(portals.get)
    try:
        outcome = await attempt(asyncio.wrap_future(portal.start(work)))
        assert outcome.none or 1 == outcome.value
    finally:
        leave.set()
        await thread
    assert len(ended) <= 1


# Streams of asyncio.


@contextlib.asynccontextmanager
async def streams(
    small: bool = False,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]]:
    """A reader and a writer, and the plain socket at the other end."""
    with two(small=small) as (ours, theirs):
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            yield reader, writer, theirs
        finally:
            await closed(writer.transport)


@call
async def open_connection(attempt: Attempt) -> None:
    with listening() as server:
        outcome = await attempt(asyncio.open_connection(*server.getsockname()))
        if not outcome.none:
            writer = outcome.value[1]
            writer.close()
            with contextlib.suppress(OSError):  # it may be lost by now
                await writer.wait_closed()


@call
async def open_unix_connection(attempt: Attempt) -> None:
    with listening("unix") as server:
        outcome = await attempt(asyncio.open_unix_connection(server.getsockname()))
        if not outcome.none:
            writer = outcome.value[1]
            writer.close()
            with contextlib.suppress(OSError):  # it may be lost by now
                await writer.wait_closed()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


@call
async def start_server(attempt: Attempt) -> None:
    await serve(attempt, lambda: asyncio.start_server(answer, "localhost", 0))


@call
async def start_unix_server(attempt: Attempt) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await serve(attempt, lambda: asyncio.start_unix_server(answer, f"{folder}/socket"))


async def read_by(attempt: Attempt, read: Callable[[asyncio.StreamReader], Any], data: bytes) -> None:
    """Cancelled, the call has taken nothing from the stream."""
    async with streams() as (reader, _, theirs):
        half = len(data) // 2
        loop = asyncio.get_running_loop()

        def send() -> None:
            theirs.send(data[:half])
            loop.call_later(0.001, theirs.send, data[half:])

        outcome = await attempt(read(reader), send)
        got = b"" if outcome.none else outcome.value
        while len(got) < len(data):
            got += await reader.read(100)
        assert data == got


@call
async def reader_read(attempt: Attempt) -> None:
    await read_by(attempt, lambda reader: reader.read(100), b"some bytes")


@call
async def reader_readline(attempt: Attempt) -> None:
    await read_by(attempt, lambda reader: reader.readline(), b"a line\n")


@call
async def reader_readuntil(attempt: Attempt) -> None:
    await read_by(attempt, lambda reader: reader.readuntil(b"the end"), b"up to the end")


@call
async def reader_readexactly(attempt: Attempt) -> None:
    await read_by(attempt, lambda reader: reader.readexactly(9), b"nine here")


@call
async def writer_drain(attempt: Attempt) -> None:
    """All that was written arrives, whether or not somebody waited for it to leave."""
    payload = bytes(200_000)
    async with streams(small=True) as (_, writer, theirs):
        writer.write(payload)
        receiving = asyncio.create_task(rest_of(theirs))
        await attempt(writer.drain())
        writer.write_eof()
        assert payload == await receiving


@call
async def writer_wait_closed(attempt: Attempt) -> None:
    async with streams() as (_, writer, theirs):
        writer.write(b"the last")
        writer.close()
        await attempt(writer.wait_closed())
        assert b"the last" == await rest_of(theirs)


@call
async def writer_start_tls(attempt: Attempt) -> None:
    served, client = contexts()
    with two() as (ours, theirs):
        _, writer = await asyncio.open_connection(sock=ours)
        _, other = await asyncio.open_connection(sock=theirs)
        answering = asyncio.create_task(other.start_tls(served))
        protocol: Any = other.transport.get_protocol()
        protocol._over_ssl = False
        protocol._client_connected_cb = answer  # which makes it the server's side
        outcome = await attempt(writer.start_tls(client, server_hostname="localhost"))
        if outcome.none:
            assert writer.transport.is_closing()
        writer.transport.abort()
        await asyncio.wait([answering])
        assert answering.exception() is None or isinstance(answering.exception(), OSError)
        await closed(other.transport)
        await closed(writer.transport)
