"""How asyncio's factories reach our transports: the part of the event loop interface that is about sockets.

`create_server`, `create_connection`, `start_tls` and their kind stay asyncio.BaseEventLoop's own; they call the private
`_make_*_transport` and `_start_serving` here. The `sock_*` calls are in sockets.py.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
import weakref
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from plait.net import (
    sockets,
    streams,  # noqa: F401, from here on asyncio's streams are compiled on our loops
)
from plait.net.files import send_file
from plait.net.listener import Listener
from plait.net.sending import Network
from plait.net.stream import Stream
from plait.net.tls import TLSTransport
from plait.standard import (
    check_not_ssl_socket,
    check_ssl_context,
    create_unix_connection,
    create_unix_server,
    make_datagram_transport,
    take_buffered,
)

if TYPE_CHECKING:
    import ssl

    from plait.core.turn import Core

    class Base(asyncio.BaseEventLoop):
        """The rest of the loop, so far as it is used here."""

        _debug: bool

        def _add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> asyncio.Handle: ...
        def _add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> asyncio.Handle: ...
        def _remove_reader(self, fd: int) -> bool: ...
        def _remove_writer(self, fd: int) -> bool: ...
        async def _connect_sock(self, *args: Any, **options: Any) -> socket.socket: ...
        async def _ensure_resolved(self, address: Any, **hints: Any) -> list[tuple[int, int, int, str, Any]]: ...

else:
    Base = object

T = TypeVar("T")

logger = logging.getLogger("asyncio")

# A Unix socket whose backlog is full cannot be waited for: the next attempts come after so many seconds.
UNIX_CONNECT_FIRST_SECONDS = 0.001
UNIX_CONNECT_LAST_SECONDS = 0.064


class Race:
    """The addresses that one create_connection() tries at the same time (happy_eyeballs_delay).

    asyncio forgets a socket unclosed that has won just when the call is cancelled, and its tasks may go on for a while after that.
    """

    def __init__(self) -> None:
        self.connected: set[socket.socket] = set()
        self.over = False

    def add(self, sock: socket.socket) -> None:
        if self.over:
            sock.close()
            raise asyncio.CancelledError
        self.connected.add(sock)

    def end(self) -> None:
        self.over = True
        for sock in self.connected:
            sock.close()


class Transports(weakref.WeakValueDictionary[int, Any]):
    """Transports that are not Streams, by descriptor; asyncio's own code puts them in."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def __setitem__(self, fd: int, transport: Any) -> None:
        self.network.others = True
        super().__setitem__(fd, transport)


# Of the create_connection() that this is a part of, in its tasks too.
race: ContextVar[Race | None] = ContextVar("race", default=None)


class NetFactories(Base):
    """Streams, listeners, datagrams and `sock_*` of plait's Loop."""

    def _net_init(self) -> None:
        self._network = Network(cast("Core", self))
        self._listeners: dict[int, Listener] = {}
        self._transports = Transports(self._network)
        # Sockets of Unix servers, with the inode of the path to be removed with them; create_unix_server() fills it (3.13).
        self._unix_server_sockets: dict[socket.socket, int] = {}

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        fileno = fd
        if not isinstance(fileno, int):
            try:
                fileno = int(fileno.fileno())
            except (AttributeError, TypeError, ValueError):
                raise ValueError(f"Invalid file object: {fd!r}") from None
        transport = self._network.stream_at(fileno)
        if transport is None and self._transports:
            transport = self._transports.get(fileno)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")

    # Streams.

    async def create_connection(self, *args: Any, happy_eyeballs_delay: float | None = None, **options: Any) -> Any:
        """As asyncio's. Cancelled while addresses race, it leaves none of their sockets open."""
        if happy_eyeballs_delay is None:
            return await super().create_connection(*args, **options)
        started = Race()
        token = race.set(started)
        try:
            return await super().create_connection(*args, happy_eyeballs_delay=happy_eyeballs_delay, **options)
        finally:
            race.reset(token)
            started.end()

    async def _connect_sock(self, *args: Any, **options: Any) -> socket.socket:
        sock = await super()._connect_sock(*args, **options)
        started = race.get()
        if started is not None:
            started.add(sock)
        return sock

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
    ) -> Stream:
        self._ensure_fd_no_transport(sock)
        sockets.forget_idle(self, sock)
        stream = Stream(self._network, sock, protocol, waiter, extra, server, context)
        leave_race(sock)
        return stream

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | bool,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Context | None = None,
        **more: Any,
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(rawsock)
        sockets.forget_idle(self, rawsock)
        try:
            tls = TLSTransport(
                cast("Core", self),
                protocol,
                sslcontext,
                waiter,
                server_side,
                server_hostname,
                ssl_handshake_timeout,
                ssl_shutdown_timeout,
            )
        except BaseException:
            # Refused: a time-out of nothing, a name that cannot be one. asyncio leaves the socket open, which nobody has.
            rawsock.close()
            raise
        Stream(self._network, rawsock, cast(asyncio.BaseProtocol, tls), None, extra, server, context)
        leave_race(rawsock)
        return tls

    async def start_tls(
        self,
        transport: Any,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport:
        """Go on with TLS on a connection; the protocol is to use the transport that this returns. A failed handshake closes it."""
        check_ssl_context(sslcontext)
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter: asyncio.Future[None] = self.create_future()
        tls = TLSTransport(
            cast("Core", self),
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            False,
        )
        # Nothing is to arrive before connection_made().
        transport.pause_reading()
        if server_side:
            # A client that is quick: its handshake stands behind the last plain line, where asyncio looks for it from 3.13 on.
            tls._incoming.write(take_buffered(protocol))
        transport.set_protocol(tls)
        made = self.call_soon(tls.connection_made, transport)
        resumed = self.call_soon(transport.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            made.cancel()
            resumed.cancel()
            # It holds the error, which holds this frame: the transport would live until the collector comes (gh-159049).
            del waiter
            raise
        return tls

    create_unix_connection = create_unix_connection

    # Servers.

    async def create_server(self, *args: Any, start_serving: bool = True, **options: Any) -> asyncio.Server:
        """As asyncio's. Cancelled, or refused while it begins to listen, it leaves no socket behind that listens for nobody."""
        server: asyncio.Server = await super().create_server(*args, start_serving=False, **options)
        if not server.sockets:  # up to Python 3.11 asyncio gives such a server
            raise OSError(
                "create_server() could not make a socket: no descriptor is left, or the addresses are of a family that is missing here"
            )
        return await begun(server) if start_serving else server

    async def create_unix_server(self, *args: Any, start_serving: bool = True, **options: Any) -> asyncio.Server:
        """As asyncio's, with the same care."""
        server: asyncio.Server = await create_unix_server(self, *args, start_serving=False, **options)
        return await begun(server) if start_serving else server

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: ssl.SSLContext | None = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Context | None = None,
    ) -> None:
        self._ensure_fd_no_transport(sock)
        sockets.forget_idle(self, sock)
        make_protocol = protocol_factory
        if sslcontext is not None:

            def make_protocol() -> asyncio.BaseProtocol:
                # Without a waiter: what fails in the handshake, TLS ends and reports by itself.
                tls = TLSTransport(
                    cast("Core", self),
                    protocol_factory(),
                    sslcontext,
                    None,
                    True,
                    None,
                    ssl_handshake_timeout,
                    ssl_shutdown_timeout,
                )
                return cast(asyncio.BaseProtocol, tls)

        self._listeners[sock.fileno()] = Listener(self._network, sock, make_protocol, server, backlog, context)

    def _stop_serving(self, sock: socket.socket) -> None:
        listener = self._listeners.pop(sock.fileno(), None)
        if listener is not None:
            listener.stop()
        inode = self._unix_server_sockets.pop(sock, None)
        path = None if inode is None else sock.getsockname()
        sock.close()
        if path is None:
            return
        try:
            found = os.stat(path)
            # A path may have become a file of somebody else's before asyncio noted its inode.
            if found.st_ino == inode and stat.S_ISSOCK(found.st_mode):
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, error)

    # Datagrams.

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> asyncio.DatagramTransport:
        self._ensure_fd_no_transport(sock)
        sockets.forget_idle(self, sock)
        transport: asyncio.DatagramTransport = make_datagram_transport(self, sock, protocol, address, waiter, extra)
        return transport

    # Files over sockets.

    async def _sendfile_native(self, transp: Stream, file: IO[bytes], offset: int, count: int | None) -> int:
        """The kernel copies the file to the stream's socket. Nothing is read and nothing else written meanwhile."""
        resume_reading = transp.is_reading()
        transp.pause_reading()
        empty = transp._make_empty_waiter()
        try:
            await empty
            return await send_file(transp._sock_fd, file, offset, count, transp._room)
        finally:
            transp._reset_empty_waiter()
            if resume_reading:
                transp.resume_reading()

    async def _sock_sendfile_native(self, sock: socket.socket, file: IO[bytes], offset: int, count: int | None) -> int:
        return await send_file(sock.fileno(), file, offset, count, lambda: sockets.room(self, sock))

    # Sockets of users.

    def _check_socket(self, sock: socket.socket) -> None:
        check_not_ssl_socket(sock)
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    sock_recv = sockets.sock_recv
    sock_recv_into = sockets.sock_recv_into
    sock_recvfrom = sockets.sock_recvfrom
    sock_recvfrom_into = sockets.sock_recvfrom_into
    sock_sendall = sockets.sock_sendall
    sock_sendto = sockets.sock_sendto
    sock_accept = sockets.sock_accept

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect to an address; host names are resolved first. Cancelled, the socket is the caller's to close."""
        self._check_socket(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            resolved = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = resolved[0][4]
        pause = UNIX_CONNECT_FIRST_SECONDS
        while True:
            try:
                return sock.connect(address)
            except BlockingIOError as error:
                if error.errno != errno.EAGAIN or sock.family != socket.AF_UNIX:
                    break
            except InterruptedError:
                break  # goes on in the background, see connect(2)
            # connect(2), EAGAIN: the backlog of the Unix socket is full, and nothing tells when it is not any more.
            await asyncio.sleep(pause)
            pause = min(2 * pause, UNIX_CONNECT_LAST_SECONDS)
        await sockets.room(self, sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, f"Connect call failed {address}")


def leave_race(sock: socket.socket) -> None:
    """A transport owns it from here on."""
    started = race.get()
    if started is not None:
        started.connected.discard(sock)


async def begun(server: asyncio.Server) -> asyncio.Server:
    """Start serving. Until its maker has the server, nobody else could close it (asyncio leaves it open)."""
    try:
        await server.start_serving()
    except BaseException:
        server.close()
        raise
    return server
