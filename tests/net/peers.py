"""Both ends of a connection, for tests of transports: a protocol that notes all it is told, and plain sockets."""

import asyncio
import contextlib
import socket


class Noting(asyncio.Protocol):
    """Notes what it is told, in order; `until(condition)` waits for it to come true."""

    def __init__(self):
        self.told = []
        self.data = bytearray()
        self.transport = None
        self.lost = asyncio.get_running_loop().create_future()
        self.waiters = []

    def note(self, word):
        self.told.append(word)
        for condition, future in self.waiters:
            if condition() and not future.done():
                future.set_result(None)

    async def until(self, condition):
        if not condition():
            future = asyncio.get_running_loop().create_future()
            self.waiters.append((condition, future))
            await future

    async def received(self, size):
        await self.until(lambda: len(self.data) >= size)
        return bytes(self.data)

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data
        self.note("data")

    def eof_received(self):
        self.note("eof")

    def connection_lost(self, error):
        self.lost.set_result(error)
        self.note("lost")

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")


class Echo(Noting):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


class Buffered(Noting, asyncio.BufferedProtocol):
    """The same with a buffer of its own."""

    def __init__(self, size=1024):
        super().__init__()
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint):
        assert sizehint == -1 or sizehint > 0
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data += self.buffer[:nbytes]
        self.note("data")


@contextlib.asynccontextmanager
async def connected(protocol_factory=Noting, family="tcp", small=False):
    """(protocol, plain non-blocking socket) of a new connection; both are closed at the end.

    `small` gives it the smallest kernel buffers, so that little is enough to fill them.
    """
    loop = asyncio.get_running_loop()
    ours, theirs = await asyncio.to_thread(pair, family, small)
    with theirs:
        theirs.setblocking(False)
        if family == "unix":
            transport, protocol = await loop.create_unix_connection(protocol_factory, sock=ours)
        else:
            transport, protocol = await loop.create_connection(protocol_factory, sock=ours)
        try:
            yield protocol, theirs
        finally:
            transport.abort()
            if isinstance(protocol, Noting):
                await protocol.until(protocol.lost.done)


def pair(family, small):
    """Two connected sockets."""
    if family == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            if small:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            ours = socket.socket()
            if small:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            ours.connect(server.getsockname())
            theirs, _ = server.accept()
    if small:
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return ours, theirs


async def read_all(sock):
    """What a plain socket receives up to the end."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    while part := await loop.sock_recv(sock, 1 << 16):
        data += part
    return bytes(data)


async def read_exactly(sock, size):
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < size:
        part = await loop.sock_recv(sock, size - len(data))
        assert part, f"ended after {len(data)} of {size} bytes"
        data += part
    return bytes(data)


def reset(sock):
    """Close a socket so that the peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


@contextlib.asynccontextmanager
async def serving(factory=Noting, host="127.0.0.1", **options):
    """(address, queue of the protocols that were connected) of a TCP server; at the end all its connections are gone."""
    loop = asyncio.get_running_loop()
    made = asyncio.Queue()
    protocols = []

    class Served(factory):
        def connection_made(self, transport):
            super().connection_made(transport)
            protocols.append(self)
            made.put_nowait(self)

    server = await loop.create_server(Served, host, 0, **options)
    try:
        yield server.sockets[0].getsockname(), made
    finally:
        server.close()
        for protocol in protocols:
            protocol.transport.abort()
            await protocol.until(protocol.lost.done)
        await server.wait_closed()
