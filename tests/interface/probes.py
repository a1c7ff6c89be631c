"""What a loop does, asked of it: one probe for each row of asyncio's documented loop interface, and more where loops differ.

A probe gets a fresh loop and is content, or says by an exception what is wrong. They know nothing of whose loop it is.
"""

import asyncio
import contextlib
import functools
import gc
import io
import os
import pty
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
import warnings
from asyncio.subprocess import PIPE
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import trustme

Loop = Any


@dataclass(frozen=True)
class Probe:
    """A row of the table: what is called, what is looked at, from which Python on."""

    group: str
    name: str
    looks_at: str
    function: Callable[[Loop], Any]
    since: tuple[int, int] = (3, 11)


class Wrong(Exception):
    """The loop does something else than documented; the text says what."""


probes: list[Probe] = []
group = ""


def probe(name: str, looks_at: str, since: tuple[int, int] = (3, 11)) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        probes.append(Probe(group, name, looks_at, function, since))
        return function

    return add


def expect(condition: object, otherwise: str) -> None:
    if not condition:
        raise Wrong(otherwise)


class Told(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.data = b""
        loop = asyncio.get_running_loop()
        self.made, self.lost, self.ended = loop.create_future(), loop.create_future(), loop.create_future()
        self.transport: Any = None
        self.waiting: list[tuple[int, Any]] = []

    def connection_made(self, transport: Any) -> None:
        self.words.append("made")
        self.transport = transport
        self.made.set_result(transport)

    def data_received(self, data: bytes) -> None:
        self.data += data
        for size, future in self.waiting:
            if len(self.data) >= size and not future.done():
                future.set_result(None)

    def eof_received(self) -> None:
        self.words.append("eof")
        self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.words.append("lost")
        if not self.lost.done():
            self.lost.set_result(error)

    async def received(self, size: int) -> bytes:
        if len(self.data) < size:
            future = asyncio.get_running_loop().create_future()
            self.waiting.append((size, future))
            await future
        return self.data


class Echo(Told):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.heard.put_nowait((data, address))

    def error_received(self, error: Exception) -> None:
        self.errors.put_nowait(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def echo_server(loop: Loop, **options: Any) -> tuple[Any, Any]:
    server = await loop.create_server(Echo, "127.0.0.1", 0, **options)
    return server, server.sockets[0].getsockname()


async def said_and_heard(transport: Any, protocol: Any, size: int = 100_000) -> None:
    transport.write(bytes(size))
    expect(await protocol.received(size) == bytes(size), "other bytes came back")
    transport.close()
    expect(await protocol.lost is None, "the close was an error")


# The rows.

group = "Running and stopping the loop"


@probe("run_until_complete", "gives the result, raises the error, and says so of a loop that was stopped before")
def run_until_complete(loop: Loop) -> None:
    async def value() -> int:
        await asyncio.sleep(0)
        return 7

    async def fail() -> None:
        raise LookupError("asked for")

    expect(loop.run_until_complete(value()) == 7, "another result")
    with contextlib.suppress(LookupError):
        loop.run_until_complete(fail())
        raise Wrong("the error is not raised")
    loop.call_soon(loop.stop)
    future = loop.create_future()
    try:
        loop.run_until_complete(future)
    except RuntimeError as error:
        expect("stopped before Future completed" in str(error), "another message")
    else:
        raise Wrong("no error")


@probe(
    "run_forever, stop", "what stood ready when stop() was called still runs, what comes after waits for the next run"
)
def run_forever(loop: Loop) -> None:
    ran: list[str] = []
    loop.call_soon(loop.stop)
    loop.call_soon(ran.append, "same turn")
    loop.call_soon(lambda: loop.call_soon(ran.append, "next run"))
    loop.run_forever()
    expect(ran == ["same turn"], f"ran {ran}")
    loop.call_soon(loop.stop)
    loop.run_forever()
    expect(ran == ["same turn", "next run"], f"then ran {ran}")


@probe(
    "is_running, is_closed, close", "a closed loop refuses work, close() is idempotent, a running loop refuses close()"
)
def states(loop: Loop) -> None:
    seen = []

    def inside() -> None:
        seen.append(loop.is_running())
        try:
            loop.close()
        except RuntimeError:
            seen.append("refused")

    loop.call_soon(inside)
    loop.call_soon(loop.stop)
    loop.run_forever()
    expect(seen == [True, "refused"], f"inside: {seen}")
    expect(not loop.is_running() and not loop.is_closed(), "wrong before close()")
    loop.close()
    loop.close()
    expect(loop.is_closed(), "not closed")
    for call in (lambda: loop.call_soon(print), lambda: loop.call_later(1, print), loop.run_forever):
        try:
            call()
        except RuntimeError:
            continue
        raise Wrong("a closed loop takes work")


@probe("shutdown_asyncgens", "closes what is left open; later ones warn")
async def shutdown_asyncgens(loop: Loop) -> None:
    ended = []

    async def numbers() -> Any:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    generator = numbers()
    await anext(generator)
    await loop.shutdown_asyncgens()
    expect(ended == [True], "not closed")


@probe("shutdown_default_executor", "waits for what runs, and refuses what comes later")
async def shutdown_default_executor(loop: Loop) -> None:
    running, go_on = threading.Event(), threading.Event()
    call = loop.run_in_executor(None, lambda: (running.set(), go_on.wait(5), 5)[2])
    running.wait(5)
    ending = asyncio.ensure_future(loop.shutdown_default_executor())
    await asyncio.sleep(0)
    expect(not ending.done(), "it does not wait")
    go_on.set()
    await ending
    expect(await call == 5, "another result")
    try:
        loop.run_in_executor(None, print)
    except RuntimeError:
        return
    raise Wrong("it takes work after that")


group = "Callbacks and time"


@probe("call_soon", "in the order of asking, one turn at a time, in the context of the caller or the one given")
async def call_soon(loop: Loop) -> None:
    import contextvars

    variable = contextvars.ContextVar("variable", default=0)
    order: list[Any] = []
    variable.set(1)
    context = contextvars.copy_context()
    variable.set(2)
    loop.call_soon(lambda: order.append(variable.get()))
    loop.call_soon(lambda: order.append(variable.get()), context=context)
    loop.call_soon(lambda: loop.call_soon(order.append, "later"))
    loop.call_soon(order.append, "last")
    await asyncio.sleep(0)
    expect(order == [2, 1, "last"], f"the order is {order}")


@probe("call_soon_threadsafe", "wakes a loop that sleeps")
async def call_soon_threadsafe(loop: Loop) -> None:
    future = loop.create_future()
    threading.Timer(0.02, lambda: loop.call_soon_threadsafe(future.set_result, 1)).start()
    await asyncio.wait_for(future, 5)


@probe(
    "call_soon_threadsafe, Handle.cancel",
    "in another thread it waits for a callback that runs just then",
    since=(3, 14),
)
async def cancel_elsewhere(loop: Loop) -> None:
    entered, cancelling = threading.Event(), threading.Event()
    order = []

    def callback() -> None:
        entered.set()
        cancelling.wait(5)
        time.sleep(0.05)
        order.append("ran")

    def elsewhere() -> None:
        entered.wait(5)
        cancelling.set()
        handle.cancel()
        order.append("cancelled")

    handle = loop.call_soon_threadsafe(callback)
    await asyncio.to_thread(elsewhere)
    expect(order == ["ran", "cancelled"], "it does not wait")


@probe("call_later, call_at, time", "never early, in the order of their times, at equal times in the order of asking")
async def timers(loop: Loop) -> None:
    order: list[Any] = []
    began = loop.time()
    done = loop.create_future()
    early = []

    def due(name: str, when: float) -> None:
        order.append(name)
        if loop.time() < when:
            early.append(when - loop.time())

    for delay, name in ((0.003, "c"), (0.001, "a"), (0.002, "b")):
        loop.call_at(began + delay, due, name, began + delay)
    for number in range(200):
        when = began + 0.004 + number / 50_000
        loop.call_at(when, due, "x", when)
    when = began + 0.02
    for name in "123":
        loop.call_at(when, due, name, when)
    loop.call_at(when, done.set_result, None)
    loop.call_later(0, order.append, "now")
    await done
    expect(not early, f"up to {max(early, default=0) * 1e3:.2f} ms early")
    expect(order[:4] == ["now", "a", "b", "c"] and order[-3:] == ["1", "2", "3"], "another order")


@probe("Handle.cancel, cancelled, get_context", "a cancelled callback does not run")
async def handles(loop: Loop) -> None:
    ran: list[int] = []
    handle, timer = loop.call_soon(ran.append, 1), loop.call_later(0.001, ran.append, 2)
    handle.cancel()
    timer.cancel()
    await asyncio.sleep(0.005)
    expect(not ran and handle.cancelled() and timer.cancelled(), "it runs")
    if sys.version_info >= (3, 12):
        expect(loop.call_soon(ran.append, 3).get_context() is not None, "no context")


@probe("TimerHandle.when", "the time on the loop's clock; timers compare")
async def timer_when(loop: Loop) -> None:
    when = loop.time() + 10
    first, second = loop.call_at(when, print), loop.call_at(when + 1, print)
    expect(abs(first.when() - when) < 1e-6, "another time")
    expect(first < second, "they do not compare")
    first.cancel()
    second.cancel()


@probe("isinstance", "handles, timers, futures, tasks, transports and servers are instances of asyncio's classes")
async def instances(loop: Loop) -> None:
    server, address = await echo_server(loop)
    transport, protocol = await loop.create_connection(Told, *address)
    handle, timer = loop.call_soon(int), loop.call_later(5, int)
    timer.cancel()
    pairs = {
        "Handle": handle,
        "TimerHandle": timer,
        "Future": loop.create_future(),
        "Task": asyncio.current_task(),
        "Transport": transport,
        "AbstractServer": server,
        "AbstractEventLoop": loop,
    }
    wrong = [name for name, thing in pairs.items() if not isinstance(thing, getattr(asyncio, name))]
    transport.close()
    await protocol.lost
    server.close()
    await server.wait_closed()
    expect(not wrong, "not " + ", ".join(wrong))


group = "Futures and tasks"


@probe("create_future", "a future of this loop, whose callbacks come in the next turn")
async def create_future(loop: Loop) -> None:
    future = loop.create_future()
    called: list[Any] = []
    future.add_done_callback(called.append)
    future.set_result(1)
    expect(not called, "called at once")
    expect(await future == 1 and future.get_loop() is loop, "another loop")
    await asyncio.sleep(0)
    expect(called == [future], "not called")


@probe("create_task", "name and context")
async def create_task(loop: Loop) -> None:
    import contextvars

    variable = contextvars.ContextVar("variable", default=0)
    context = contextvars.copy_context()
    context.run(variable.set, 5)

    async def read() -> int:
        return variable.get()

    task = loop.create_task(read(), name="reader", context=context)
    expect(task.get_name() == "reader" and await task == 5, "name or context are lost")


@probe("create_task(eager_start=True)", "begins at once", since=(3, 14))
async def eager_start(loop: Loop) -> None:
    async def value() -> int:
        return 1

    task = loop.create_task(value(), eager_start=True)
    expect(task.done() and await task == 1, "it does not")


@probe("set_task_factory, get_task_factory", "every new task is the factory's, with all that it is given")
async def task_factory(loop: Loop) -> None:
    made = []

    class Task(asyncio.Task):  # type: ignore[type-arg]
        pass

    def factory(loop: Loop, coroutine: Any, **options: Any) -> Any:
        made.append(options)
        return Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    expect(loop.get_task_factory() is factory, "another factory")
    task = loop.create_task(asyncio.sleep(0), name="named")
    await task
    loop.set_task_factory(None)
    expect(isinstance(task, Task) and task.get_name() == "named", "not the factory's")


@probe("eager_task_factory", "tasks that need not wait never reach the loop", since=(3, 12))
async def eager_task_factory(loop: Loop) -> None:
    async def value() -> int:
        return 1

    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    task = loop.create_task(value())
    expect(task.done(), "it waits for the loop")
    loop.set_task_factory(None)


group = "Connections"


@probe("create_connection", "by address and by name, bytes both ways")
async def create_connection(loop: Loop) -> None:
    server, address = await echo_server(loop)
    await said_and_heard(*await loop.create_connection(Told, *address))
    await said_and_heard(*await loop.create_connection(Told, "localhost", address[1], family=socket.AF_INET))
    server.close()
    await server.wait_closed()


@probe("create_connection(ssl=...)", "with certificates, ALPN and the cipher to be asked for")
async def create_tls_connection(loop: Loop) -> None:
    served, client = contexts()
    server, address = await echo_server(loop, ssl=served)
    transport, protocol = await loop.create_connection(Told, *address, ssl=client, server_hostname="localhost")
    expect(transport.get_extra_info("cipher"), "no cipher")
    expect(transport.get_extra_info("peercert")["subjectAltName"], "no certificate")
    expect(transport.get_extra_info("ssl_object") is not None, "no ssl_object")
    await said_and_heard(transport, protocol)
    server.close()
    await server.wait_closed()


@probe("create_connection(happy_eyeballs_delay=...)", "an address that refuses does not hold up the next")
async def happy_eyeballs(loop: Loop) -> None:
    server, address = await echo_server(loop)
    transport, protocol = await loop.create_connection(Told, "localhost", address[1], happy_eyeballs_delay=0.01)
    await said_and_heard(transport, protocol)
    server.close()
    await server.wait_closed()


@probe("create_connection(all_errors=True)", "a group of all that went wrong", since=(3, 12))
async def all_errors(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = nobody.getsockname()
    try:
        await loop.create_connection(Told, *address, all_errors=True)
    except ExceptionGroup as group:
        expect(len(group.exceptions) == 1, "another number of errors")
    else:
        raise Wrong("no error")


@probe(
    "create_connection(sock=...), cancelled", "the socket knows that it is closed, and closes nobody else's descriptor"
)
async def cancelled_connection(loop: Loop) -> None:
    ours, theirs = tcp_pair()
    connecting = asyncio.ensure_future(loop.create_connection(Told, sock=ours))
    await asyncio.sleep(0)
    connecting.cancel()
    await asyncio.wait([connecting])
    if not connecting.cancelled():
        connecting.result()[0].abort()
    for _ in range(5):
        await asyncio.sleep(0)
    stranger = os.open("/dev/null", os.O_RDONLY)
    theirs.close()
    wrong = ours.fileno() != -1
    ours.close()
    try:
        os.fstat(stranger)
    except OSError:
        raise Wrong("it closes another's descriptor") from None
    os.close(stranger)
    expect(not wrong, "the socket believes itself open")


@probe("create_unix_connection, create_unix_server", "bytes both ways")
async def unix(loop: Loop) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = await loop.create_unix_server(Echo, f"{folder}/socket")
        await said_and_heard(*await loop.create_unix_connection(Told, f"{folder}/socket"))
        server.close()
        await server.wait_closed()


@probe("create_unix_server(cleanup_socket=True)", "the path is removed with the server", since=(3, 13))
async def unix_cleanup(loop: Loop) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        server = await loop.create_unix_server(Echo, path, cleanup_socket=True)
        expect(os.path.exists(path), "no path")
        server.close()
        await server.wait_closed()
        expect(not os.path.exists(path), "the path stays")


@probe("create_datagram_endpoint", "local and remote addresses, both ways")
async def datagrams(loop: Loop) -> None:
    here, first = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
    there, second = await loop.create_datagram_endpoint(Datagrams, remote_addr=here.get_extra_info("sockname"))
    there.sendto(b"question")
    data, address = await first.heard.get()
    here.sendto(b"answer", address)
    expect((data, (await second.heard.get())[0]) == (b"question", b"answer"), "other datagrams")
    for transport, protocol in ((here, first), (there, second)):
        transport.close()
        transport.sendto(b"after the close")
        await protocol.lost


@probe("create_datagram_endpoint, errors", "reach error_received, and the endpoint stays open")
async def datagram_errors(loop: Loop) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = nobody.getsockname()
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
    transport.sendto(b"hello?")
    await asyncio.wait_for(protocol.errors.get(), 2)
    expect(not transport.is_closing(), "it closes")
    transport.close()
    await protocol.lost
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
    transport.sendto(b"to port 0", ("127.0.0.1", 0))
    await asyncio.wait_for(protocol.errors.get(), 2)
    expect(not transport.is_closing(), "it closes")
    transport.close()
    await protocol.lost


@probe("create_datagram_endpoint(sock=...)", "a socket that is connected already")
async def connected_datagrams(loop: Loop) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        there.setblocking(False)
        here = socket.socket(type=socket.SOCK_DGRAM)
        here.setblocking(False)
        here.connect(there.getsockname())
        transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=here)
        transport.sendto(b"one")
        transport.sendto(b"two", there.getsockname())
        await asyncio.sleep(0.01)
        got = []
        with contextlib.suppress(BlockingIOError):
            while True:
                got.append(there.recv(10))
        expect(got == [b"one", b"two"], f"of b'one' and b'two' came {got}")
        transport.close()
        await protocol.lost


@probe("connect_accepted_socket", "takes over what was accepted elsewhere")
async def connect_accepted_socket(loop: Loop) -> None:
    ours, theirs = tcp_pair()
    _, protocol = await loop.connect_accepted_socket(Echo, ours)
    await loop.sock_sendall(theirs, b"accepted")
    expect(await loop.sock_recv(theirs, 100) == b"accepted", "other bytes")
    theirs.close()
    await protocol.lost


@probe("start_tls", "an open connection goes on encrypted")
async def start_tls(loop: Loop) -> None:
    served, client = contexts()
    ours, theirs = tcp_pair()
    transport, protocol = await loop.create_connection(Told, sock=ours)
    other, echo = await loop.create_connection(Echo, sock=theirs)
    answering = asyncio.ensure_future(loop.start_tls(other, echo, served, server_side=True))
    transport = await loop.start_tls(transport, protocol, client, server_hostname="localhost")
    echo.transport = await answering
    transport.write(b"secret")
    expect(await protocol.received(6) == b"secret", "other bytes")
    transport.close()
    await protocol.lost


@probe("Transport", "takes attributes; weak references; get_protocol and set_protocol")
async def transports(loop: Loop) -> None:
    import weakref

    ours, theirs = tcp_pair()
    transport, _ = await loop.create_connection(Told, sock=ours)
    try:
        transport.note = "kept"
        weakref.ref(transport)
        another = Told()
        transport.set_protocol(another)
        expect(transport.get_protocol() is another, "another protocol")
    except AttributeError:
        raise Wrong("no attributes") from None
    finally:
        transport.abort()
        theirs.close()
        await asyncio.sleep(0.01)


@probe("Transport.write, drain", "a slow reader pauses the protocol, a fast one resumes it")
async def flow(loop: Loop) -> None:
    ours, theirs = tcp_pair()
    _, writer = await asyncio.open_connection(sock=ours)
    writer.write(bytes(20_000_000))
    draining = asyncio.ensure_future(writer.drain())
    await asyncio.sleep(0.01)
    expect(not draining.done(), "drain() does not wait")
    got = 0
    while got < 20_000_000:
        got += len(await loop.sock_recv(theirs, 1 << 20))
    await asyncio.wait_for(draining, 5)
    writer.close()
    await writer.wait_closed()
    theirs.close()


group = "Servers"


@probe("create_server", "several hosts, port 0, reuse_port")
async def create_server(loop: Loop) -> None:
    server = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.2"], 0, reuse_port=True)
    expect(len(server.sockets) == 2, "another number of sockets")
    for sock in server.sockets:
        await said_and_heard(*await loop.create_connection(Told, *sock.getsockname()))
    server.close()
    await server.wait_closed()


@probe("create_server(ssl=...), handshake time-out", "a client that says nothing is dropped")
async def handshake_timeout(loop: Loop) -> None:
    server, address = await echo_server(loop, ssl=contexts()[0], ssl_handshake_timeout=0.05)
    with socket.socket() as silent:
        silent.setblocking(False)
        await loop.sock_connect(silent, address)
        expect(await asyncio.wait_for(loop.sock_recv(silent, 10), 3) == b"", "it answers")
    server.close()
    await server.wait_closed()


@probe("Server.start_serving, is_serving", "start_serving=False accepts nothing before")
async def start_serving(loop: Loop) -> None:
    server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
    expect(not server.is_serving(), "it serves at once")
    await server.start_serving()
    expect(server.is_serving(), "it does not serve")
    server.close()
    expect(not server.is_serving(), "it serves still")
    await server.wait_closed()


@probe("Server.serve_forever", "ends when it is cancelled, and closes the server")
async def serve_forever(loop: Loop) -> None:
    server, _ = await echo_server(loop)
    serving = asyncio.ensure_future(server.serve_forever())
    await asyncio.sleep(0)
    serving.cancel()
    await asyncio.wait([serving])
    expect(serving.cancelled() and not server.is_serving(), "it serves still")


@probe("Server.sockets, get_loop", "() after the close")
async def server_sockets(loop: Loop) -> None:
    server, _ = await echo_server(loop)
    expect(server.get_loop() is loop and len(server.sockets) == 1, "other sockets")
    server.close()
    await server.wait_closed()
    expect(tuple(server.sockets) == (), "sockets stay")


@probe("Server.wait_closed", "waits for the last connection", since=(3, 12))
async def wait_closed(loop: Loop) -> None:
    server, address = await echo_server(loop)
    transport, protocol = await loop.create_connection(Told, *address)
    transport.write(b"x")
    await protocol.received(1)
    server.close()
    waiting = asyncio.ensure_future(server.wait_closed())
    await asyncio.sleep(0.01)
    early = waiting.done()
    transport.close()
    await protocol.lost
    await asyncio.wait_for(waiting, 3)
    expect(not early, "it does not wait")


@probe("Server.close_clients, abort_clients", "end the connections", since=(3, 13))
async def close_clients(loop: Loop) -> None:
    for end in ("close_clients", "abort_clients"):
        server, address = await echo_server(loop)
        transport, protocol = await loop.create_connection(Told, *address)
        transport.write(b"x")
        await protocol.received(1)
        server.close()
        getattr(server, end)()
        await asyncio.wait_for(protocol.lost, 3)
        await server.wait_closed()


@probe("async with Server", "closes it")
async def server_with(loop: Loop) -> None:
    server, _ = await echo_server(loop)
    async with server:
        expect(server.is_serving(), "it does not serve")
    expect(not server.is_serving(), "it serves still")


group = "Files to sockets"


async def file_sent(loop: Loop, send: Callable[[Any, Any], Any]) -> None:
    content = bytes(range(256)) * 4096
    ours, theirs = tcp_pair()
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        receiving = asyncio.ensure_future(exactly(loop, theirs, len(content) - 1000))
        try:
            expect(await send(ours, file) == len(content) - 1000, "another number of bytes")
            expect(file.tell() == len(content), "another position of the file")
            expect(await receiving == content[1000:], "other bytes")
        finally:
            receiving.cancel()
            await asyncio.wait([receiving])
            theirs.close()
            ours.close()


async def exactly(loop: Loop, sock: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        part = await loop.sock_recv(sock, size - len(got))
        if not part:
            break
        got += part
    return bytes(got)


@probe("sendfile", "from a transport, with an offset")
async def sendfile(loop: Loop) -> None:
    transports = []

    async def send(sock: socket.socket, file: Any) -> int:
        transport, _ = await loop.create_connection(Told, sock=sock)
        transports.append(transport)
        sent: int = await loop.sendfile(transport, file, 1000)
        return sent

    try:
        await file_sent(loop, send)
    finally:
        transports[0].abort()
        await asyncio.sleep(0.01)


@probe("sock_sendfile", "with an offset")
async def sock_sendfile(loop: Loop) -> None:
    await file_sent(loop, lambda sock, file: loop.sock_sendfile(sock, file, 1000))


@probe("sendfile, fallback", "over TLS, and from what is no file")
async def sendfile_fallback(loop: Loop) -> None:
    served, client = contexts()
    server, address = await echo_server(loop, ssl=served)
    transport, protocol = await loop.create_connection(Told, *address, ssl=client, server_hostname="localhost")
    try:
        expect(await loop.sendfile(transport, io.BytesIO(b"from memory")) == 11, "another number of bytes")
        expect(await protocol.received(11) == b"from memory", "other bytes")
    finally:
        transport.abort()
        await protocol.lost
        server.close()
        await server.wait_closed()


group = "Descriptors and plain sockets"


@probe("add_reader, remove_reader", "called while there is something to read; True when it was watched")
async def readers(loop: Loop) -> None:
    ours, theirs = pair()
    got = loop.create_future()
    loop.add_reader(ours, lambda: got.done() or got.set_result(ours.recv(10)))
    theirs.send(b"x")
    expect(await got == b"x", "other bytes")
    answers = loop.remove_reader(ours), loop.remove_reader(ours)
    expect(answers == (True, False), f"twice removed: {answers}")
    ours.close()
    theirs.close()


@probe("add_writer, remove_writer", "called while there is room")
async def writers(loop: Loop) -> None:
    ours, theirs = pair()
    room = loop.create_future()
    loop.add_writer(ours, lambda: room.done() or room.set_result(None))
    await room
    answers = loop.remove_writer(ours), loop.remove_writer(ours)
    expect(answers == (True, False), f"twice removed: {answers}")
    ours.close()
    theirs.close()


@probe("add_reader, in another thread", "as ipykernel does; the sleeping loop is told")
async def readers_elsewhere(loop: Loop) -> None:
    ours, theirs = pair()
    got = loop.create_future()
    await asyncio.to_thread(loop.add_reader, ours, lambda: got.done() or got.set_result(ours.recv(10)))
    threading.Timer(0.01, theirs.send, (b"x",)).start()
    try:
        expect(await asyncio.wait_for(got, 2) == b"x", "other bytes")
    except TimeoutError:
        raise Wrong("the loop sleeps on") from None
    finally:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()


@probe("add_reader, a regular file", "is refused with PermissionError, and changes nothing")
async def reader_of_a_file(loop: Loop) -> None:
    with tempfile.TemporaryFile() as file:
        try:
            loop.add_reader(file, print)
        except PermissionError:
            pass
        else:
            loop.remove_reader(file)
            raise Wrong("it is taken")
        expect(loop.remove_reader(file) is False, "it is kept all the same")


async def received(loop: Loop, call: Callable[[socket.socket], Any]) -> None:
    ours, theirs = pair()
    try:
        waiting = asyncio.ensure_future(call(ours))
        await asyncio.sleep(0)
        theirs.send(b"data")
        got = await waiting
        expect((got[0] if isinstance(got, tuple) else got) in (b"data", 4), "other bytes")
        cancelled = asyncio.ensure_future(call(ours))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        theirs.send(b"kept")
        got = await call(ours)
        expect((got[0] if isinstance(got, tuple) else got) in (b"kept", 4), "a cancelled call took bytes")
    finally:
        ours.close()
        theirs.close()


@probe("sock_recv", "cancelled, it has taken nothing")
async def sock_recv(loop: Loop) -> None:
    await received(loop, lambda sock: loop.sock_recv(sock, 10))


@probe("sock_recv_into", "the same")
async def sock_recv_into(loop: Loop) -> None:
    await received(loop, lambda sock: loop.sock_recv_into(sock, bytearray(10)))


@probe("sock_recvfrom", "the same")
async def sock_recvfrom(loop: Loop) -> None:
    await received(loop, lambda sock: loop.sock_recvfrom(sock, 10))


@probe("sock_recvfrom_into", "the same")
async def sock_recvfrom_into(loop: Loop) -> None:
    await received(loop, lambda sock: loop.sock_recvfrom_into(sock, bytearray(10)))


@probe("sock_sendall", "all of it, also of a memoryview whose items are larger than bytes")
async def sock_sendall(loop: Loop) -> None:
    ours, theirs = pair()
    sending = asyncio.ensure_future(loop.sock_sendall(ours, bytes(3_000_000)))
    await exactly(loop, theirs, 3_000_000)
    await sending
    sending = asyncio.ensure_future(loop.sock_sendall(ours, memoryview(bytes(3_000_000)).cast("I")))
    try:
        await asyncio.wait_for(exactly(loop, theirs, 3_000_000), 2)
        await asyncio.wait_for(sending, 2)
    except TimeoutError:
        raise Wrong("of the memoryview only a part is sent") from None
    ours.close()
    theirs.close()


@probe("sock_sendto", "to an address")
async def sock_sendto(loop: Loop) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as here, socket.socket(type=socket.SOCK_DGRAM) as there:
        here.setblocking(False)
        there.setblocking(False)
        there.bind(("127.0.0.1", 0))
        expect(await loop.sock_sendto(here, b"datagram", there.getsockname()) == 8, "another number of bytes")
        expect(await loop.sock_recv(there, 100) == b"datagram", "other bytes")


@probe("sock_connect, sock_accept", "names are resolved, a refusal names the address")
async def sock_connect(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        server.setblocking(False)
        client.setblocking(False)
        accepting = asyncio.ensure_future(loop.sock_accept(server))
        await loop.sock_connect(client, ("localhost", server.getsockname()[1]))
        accepted, address = await accepting
        expect(address == client.getsockname() and accepted.gettimeout() == 0, "another address")
        accepted.close()
        closed = server.getsockname()
    with socket.socket() as client:
        client.setblocking(False)
        try:
            await loop.sock_connect(client, closed)
        except ConnectionRefusedError as error:
            expect(str(closed[1]) in str(error), "the error does not name it")


@probe("sock_connect, Unix, full backlog", "waits for its turn")
async def full_backlog(loop: Loop) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as server,
        contextlib.ExitStack() as stack,
    ):
        server.bind(f"{folder}/socket")
        server.listen(0)
        server.setblocking(False)
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]
        for client in clients:
            client.setblocking(False)
        connecting = [asyncio.ensure_future(loop.sock_connect(client, f"{folder}/socket")) for client in clients]
        await asyncio.sleep(0.01)
        for _ in clients:
            stack.enter_context((await asyncio.wait_for(loop.sock_accept(server), 2))[0])
        await asyncio.gather(*connecting)
        try:
            for client in clients:
                client.getpeername()
        except OSError:
            raise Wrong("it says connected when it is not") from None


group = "Names"


@probe("getaddrinfo, getnameinfo", "as the socket module's")
async def names(loop: Loop) -> None:
    found = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    expect(
        sorted(map(str, found)) == sorted(map(str, socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))),
        "other addresses",
    )
    expect(await loop.getnameinfo(("127.0.0.1", 80)) == socket.getnameinfo(("127.0.0.1", 80), 0), "another name")


@probe("getaddrinfo, getnameinfo under load", "blocking calls in the default executor do not hold them up")
async def names_under_load(loop: Loop) -> None:
    go_on = threading.Event()
    calls = [loop.run_in_executor(None, go_on.wait, 10) for _ in range(100)]
    try:
        await asyncio.wait_for(loop.getaddrinfo("localhost", "http"), 0.5)
        await asyncio.wait_for(loop.getnameinfo(("127.0.0.1", 80)), 0.5)
    except TimeoutError:
        raise Wrong("they wait") from None
    finally:
        go_on.set()
        await asyncio.gather(*calls)


group = "Pipes"


@probe("connect_read_pipe, connect_write_pipe", "bytes and the end")
async def pipes(loop: Loop) -> None:
    reading, writing = (os.fdopen(fd, mode, 0) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    _, protocol = await loop.connect_read_pipe(Told, reading)
    transport, _ = await loop.connect_write_pipe(Told, writing)
    transport.write(b"through")
    transport.close()
    await protocol.ended
    expect(protocol.data == b"through", "other bytes")
    await protocol.lost


@probe("connect_read_pipe, the file's close", "closes its descriptor once, not another's that has its number by then")
async def pipe_closed_once(loop: Loop) -> None:
    stolen = []

    class File(io.FileIO):
        def close(self) -> None:
            if not self.closed:
                try:
                    os.fstat(self.fileno())
                except OSError:
                    stolen.append(self.fileno())
            super().close()

    reading, writing = os.pipe()
    transport, protocol = await loop.connect_read_pipe(Told, File(reading, "rb"))
    transport.close()
    await protocol.lost
    await asyncio.sleep(0.01)
    os.close(writing)
    expect(not stolen, "closed twice")


@probe("connect_write_pipe, a descriptor twice", "two transports on one terminal")
async def terminal_twice(loop: Loop) -> None:
    ours, theirs = pty.openpty()
    transports = []
    try:
        for word in (b"one", b"two"):
            transport, _ = await loop.connect_write_pipe(Told, os.fdopen(os.dup(theirs), "wb", 0))
            transports.append(transport)
            transport.write(word)
        reader, _ = await loop.connect_read_pipe(Told, os.fdopen(os.dup(theirs), "rb", 0))
        transports.append(reader)
        await asyncio.sleep(0.01)
        expect(os.read(ours, 100) == b"onetwo", "other bytes")
    finally:
        for transport in transports:
            transport.close()
        await asyncio.sleep(0.01)
        os.close(ours)
        os.close(theirs)


group = "Signals"


@probe("add_signal_handler, remove_signal_handler", "called in the loop")
async def signals(loop: Loop) -> None:
    heard = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, heard.set_result, "heard")
    os.kill(os.getpid(), signal.SIGUSR1)
    expect(await heard == "heard", "not heard")
    expect(
        loop.remove_signal_handler(signal.SIGUSR1) is True and loop.remove_signal_handler(signal.SIGUSR1) is False,
        "another answer",
    )


@probe("add_signal_handler beside signal.signal", "a handler of the program's own works on")
async def own_signals(loop: Loop) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        await asyncio.sleep(0.01)
        expect(heard == [signal.SIGUSR2], "not called")
    finally:
        signal.signal(signal.SIGUSR2, before)


group = "Executors"


@probe("run_in_executor", "the default one and one's own")
async def run_in_executor(loop: Loop) -> None:
    expect(await loop.run_in_executor(None, threading.get_ident) != threading.get_ident(), "the same thread")
    with ThreadPoolExecutor(1, "mine") as pool:
        expect(
            (await loop.run_in_executor(pool, lambda: threading.current_thread().name)).startswith("mine"),
            "another pool",
        )


@probe("set_default_executor", "takes thread pools only")
async def set_default_executor(loop: Loop) -> None:
    pool = ThreadPoolExecutor(1, "default")
    loop.set_default_executor(pool)
    expect(
        (await loop.run_in_executor(None, lambda: threading.current_thread().name)).startswith("default"),
        "another pool",
    )
    try:
        loop.set_default_executor(object())
    except TypeError:
        return
    finally:
        await loop.shutdown_default_executor()
    raise Wrong("it takes anything")


group = "Errors and debugging"


@probe("set_exception_handler, get_exception_handler, call_exception_handler", "with the loop and what is known")
async def exception_handler(loop: Loop) -> None:
    heard: list[Any] = []

    def handler(loop: Loop, context: dict[str, Any]) -> None:
        heard.append(context)

    def fail() -> None:
        raise LookupError("in a callback")

    loop.set_exception_handler(handler)
    expect(loop.get_exception_handler() is handler, "another handler")
    loop.call_soon(fail)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    loop.call_exception_handler({"message": "by hand"})
    expect(len(heard) == 2 and isinstance(heard[0]["exception"], LookupError), "not told")
    expect("handle" in heard[0], "the handle is missing")


@probe("default_exception_handler", "logs the message and the traceback")
async def default_exception_handler(loop: Loop) -> None:
    import logging

    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    keep = Keep()
    logger = logging.getLogger("asyncio")
    logger.addHandler(keep)
    logger.propagate = False
    try:
        loop.default_exception_handler({"message": "told", "exception": LookupError("x")})
    finally:
        logger.removeHandler(keep)
        logger.propagate = True
    expect(records and "told" in records[0].getMessage() and records[0].exc_info, "not logged")


@probe("get_debug, set_debug, slow_callback_duration", "slow callbacks are reported, coroutines as callbacks refused")
async def debug(loop: Loop) -> None:
    import logging

    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    keep = Keep()
    logger = logging.getLogger("asyncio")
    logger.addHandler(keep)
    logger.propagate = False
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    try:
        expect(loop.get_debug(), "not in debug mode")
        loop.call_soon(time.sleep, 0.02)
        await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        expect(any("took" in line for line in lines), "slow callbacks are not reported")
        refused = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                loop.call_soon(asyncio.sleep)
            except TypeError:
                refused = True
        expect(refused, "a coroutine function is taken for a callback")
    finally:
        loop.set_debug(False)
        logger.removeHandler(keep)
        logger.propagate = True


group = "Processes"


async def ended(process: Any) -> tuple[bytes, int]:
    output, _ = await process.communicate()
    return output, process.returncode


@probe("subprocess_exec, subprocess_shell", "output, status, standard error into output")
async def subprocesses(loop: Loop) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-S",
        "-c",
        "import sys; sys.stderr.write('both'); sys.exit(3)",
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    expect(await ended(process) == (b"both", 3), "other output or status")
    shell = await asyncio.create_subprocess_shell("echo $((6 * 7))", stdout=PIPE)
    expect(await ended(shell) == (b"42\n", 0), "other output or status")


@probe("subprocess_exec, /dev/stdin and /dev/stdout", "can be opened again in the child")
async def subprocess_devices(loop: Loop) -> None:
    process = await asyncio.create_subprocess_shell(
        "cat /dev/stdin > /dev/stdout", stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate(b"again")
    expect(output == b"again", errors.decode().strip().rpartition(": ")[2] or "other output")


@probe("subprocess_exec, wait", "does not wait for a grandchild that holds the pipe")
async def subprocess_grandchild(loop: Loop) -> None:
    process = await asyncio.create_subprocess_shell("sleep 3 & echo $!", stdout=PIPE)
    began = time.monotonic()
    await process.wait()
    expect(time.monotonic() - began < 1, "it waits")
    os.kill(int(await process.stdout.readline()), signal.SIGKILL)
    await process.stdout.read()


@probe("subprocess_exec, in another thread", "without a child watcher of the main thread's")
def subprocess_elsewhere(loop: Loop) -> None:
    async def main() -> Any:
        return await ended(await asyncio.create_subprocess_exec("echo", "there", stdout=PIPE))

    results: list[Any] = []

    def run() -> None:
        try:
            results.append(loop.run_until_complete(asyncio.wait_for(main(), 5)))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    gc.collect()
    expect(results == [(b"there\n", 0)], f"{type(results[0]).__name__}")
