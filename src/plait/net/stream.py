"""TCP and Unix stream transports: the life of a connection. Its halves are in sending.py and receiving.py.

Everything that a protocol is told, it is told in the context that the stream was made in (a copy of it).
"""

import logging
import socket
import warnings

import cython
from cython.cimports.cpython.contextvars import PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit
from cython.cimports.plait.core.ready import Runnable
from cython.cimports.plait.core.recorder import recorder_of
from cython.cimports.plait.engine.record import (
    PLAIT_RETURNED,
    PLAIT_WAITS,
    plait_is_recorded,
    plait_record_end,
    plait_record_knows,
)
from cython.cimports.plait.net.addresses import local_address, peer_address, text_of
from cython.cimports.plait.net.linux import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IPPROTO_TCP,
    TCP_NODELAY,
    close,
    setsockopt,
)
from cython.cimports.plait.net.receiving import Receiver
from cython.cimports.plait.net.sending import Network

from plait.standard import (
    SENDFILE_TRY_NATIVE,
    StreamFace,
    TransportSocket,
    attach_to_server,
    detach_from_server,
)

logger = logging.getLogger("asyncio")


class StreamTurn(Runnable):
    """A stream's place in the ready ring."""

    def run(self):
        return self.stream.turn()

    def identify(self, record):
        return self.stream.identify(record)

    def outcome(self, record):
        record.outcome = PLAIT_RETURNED if self.stream.lost else PLAIT_WAITS
        return 0


class Stream(Receiver):
    """A connected stream socket as asyncio.Transport. Its methods belong to the loop's thread."""

    _start_tls_compatible = True
    _sendfile_compatible = SENDFILE_TRY_NATIVE
    max_size = 256 * 1024

    def __init__(self, network: Network, sock, protocol, waiter=None, extra=None, server=None, context=None):
        """Take over a connected socket object; `start` tells the protocol in the next turn."""
        if context is None:
            context = PyContext_CopyCurrent()
        self.sock = sock
        if extra:
            self.extra = dict(extra)
        self.family = sock.family
        self.open(network, sock.fileno(), protocol, server, context)
        if self.family == AF_INET or self.family == AF_INET6:
            # asyncio does so only where proto is IPPROTO_TCP, and so misses the sockets of socket.socketpair-like helpers.
            one: cython.int = 1
            setsockopt(self.fd, IPPROTO_TCP, TCP_NODELAY, cython.address(one), cython.sizeof(one))
        self.learn_addresses(sock)
        self.waiter = waiter
        self.start_due = True
        self.later()

    @property
    def __class__(self):
        # A compiled class cannot inherit asyncio's transports (layout), but isinstance() is to be true.
        return StreamFace

    def open(self, network, fd, protocol, server, context):
        """What accepted and connected streams have in common. Does not yet watch the descriptor."""
        self.network = network
        self.loop = network.loop
        self.fd = fd
        self.context = context
        self.told(protocol)
        if server is not None:
            attach_to_server(server, self)
            self.server = server
        network.hold(self)
        return 0

    def identify(self, record):
        if self.actor == 0 or not plait_record_knows(record, self.actor):
            self.introduce(record)
        return self.actor

    def introduce(self, record):
        self.actor = recorder_of(record).protocol_actor(
            self.actor,
            self.fd,
            self.protocol,
            self.server is not None,
            self.get_extra_info("peername"),
            self.get_extra_info("sockname"),
        )
        return 0

    def start(self):
        """Tell the protocol of its connection, then watch the descriptor."""
        self.start_due = False
        recorded: cython.bint = self.begin_slice()
        PyContext_Enter(self.context)
        self.dispatching = True
        try:
            self.protocol.connection_made(self)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report("protocol.connection_made() call failed.", exc)
        finally:
            self.dispatching = False
            PyContext_Exit(self.context)
            self.started()
            if recorded and plait_is_recorded(self.loop.record):
                plait_record_end(self.loop.record)
        return 0

    def started(self):
        waiter = self.waiter
        if waiter is None:
            return self.watch()
        # Whoever waits for the connection sees it before the protocol is told of data: the watch begins a turn later.
        self.waiter = None
        self.tell(waiter)
        self.watch_due = True
        return self.later()

    # Its turn.

    def later(self):
        """Take a place in the next turn."""
        if self.loop._closed:
            raise RuntimeError("Event loop is closed")
        turn: StreamTurn = StreamTurn.__new__(StreamTurn)
        turn.stream = self
        self.loop.push(turn)
        return 0

    def turn(self):
        if self.start_due:
            return self.start()
        if self.watch_due:
            return self.watch()
        if self.lost_due:
            self.lost_due = False
            return self.connection_lost()
        if self.read_due:
            self.read_due = False
            if self.paused:
                self.readable = True
            elif not self.closing and not self.at_eof:
                self.read()
        return 0

    # The end.

    def close(self):
        """Send what is queued, then close; connection_lost(None) follows."""
        self.loop.check_thread()
        if self.closing:
            return
        self.closing = True
        self.hurry()
        if not self.queued:
            self.lose(None)

    def abort(self):
        """Close at once, whatever is queued; connection_lost(None) follows."""
        self.loop.check_thread()
        self.lose(None)

    def _force_close(self, exc):
        self.loop.check_thread()
        self.lose(exc)

    def is_closing(self):
        return self.closing

    def lose(self, error):
        """Have connection_lost(error) called in the next turn; only the first call counts."""
        if self.conn_lost:
            return 0
        self.drop_queue()
        self.closing = True
        self.conn_lost = 1
        self.error = error
        self.lost_due = True
        self.later()
        return 0

    def connection_lost(self):
        error = self.error
        self.error = None
        PyContext_Enter(self.context)
        try:
            self.protocol.connection_lost(error)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report("protocol.connection_lost() call failed.", exc)
        finally:
            PyContext_Exit(self.context)
            self.release()
        return 0

    def release(self):
        """Give the descriptor back, and everything that is held for it."""
        if self.lost:
            return 0
        if self.receiving is not None:
            self.end_receiving()
        if self.engine is not None:
            self.engine.disarm(self)
        if self.local.length == 0 and (self.extra is None or "sockname" not in self.extra):
            self.address_of("sockname")  # still right after the close
        self.lost = True
        self.closing = True
        if self.sending is not None:
            # The submission names a number, which may be another connection's as soon as it is closed here.
            self.loop.engine.flush()
        self.network.release(self)
        if self.sock is not None:
            self.sock.close()
            self.sock = None
        else:
            close(self.fd)
        self.protocol = None
        self.on_data = None
        self.reader = None
        self.layer = None
        self.on_buffer = None
        for waiter in (self.on_empty, self.on_writable):
            if waiter is not None and not waiter.done():
                waiter.set_exception(ConnectionError("Connection is closed by peer"))
        self.on_writable = None
        server = self.server
        if server is not None:
            self.server = None
            detach_from_server(server, self)
        return 0

    def __del__(self):
        if self.lost or self.fd < 0:
            return
        warnings.warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self)
        self.release()

    # The protocol.

    def set_protocol(self, protocol):
        self.loop.check_thread()
        self.told(protocol)
        if plait_is_recorded(self.loop.record) and self.actor != 0:
            self.introduce(self.loop.record)

    def get_protocol(self):
        return self.protocol

    # What it is.

    def get_extra_info(self, name, default=None):
        """'peername', 'sockname' (both also after the close), 'socket', or what the transport's maker added."""
        if name == "peername" or name == "sockname":
            return self.address_of(name)
        if self.extra is not None and name in self.extra:
            return self.extra[name]
        if name == "socket" and not self.lost:
            self.extra = self.extra or {}
            self.extra["socket"] = TransportSocket(self.python_socket())
            return self.extra["socket"]
        return default

    def address_of(self, name):
        if self.extra is not None and name in self.extra:
            return self.extra[name]
        if name == "peername":
            return text_of(self.peer.raw, self.peer.length) if self.peer.length else None
        if not self.local.length and not self.lost:
            address = local_address(self.fd, cython.address(self.local))
            if address is not None:
                self.extra = self.extra or {}
                self.extra["sockname"] = address
                return address
        return text_of(self.local.raw, self.local.length) if self.local.length else None

    def learn_addresses(self, sock):
        """Ask now: a peer that goes away takes its address with it."""
        known = self.family == AF_INET or self.family == AF_INET6 or self.family == AF_UNIX
        found = {}
        try:
            found["sockname"] = local_address(self.fd, cython.address(self.local)) if known else sock.getsockname()
            found["peername"] = peer_address(self.fd, cython.address(self.peer)) if known else sock.getpeername()
        except OSError:
            pass
        found = {name: address for name, address in found.items() if address is not None}
        if found:
            self.extra = {**found, **(self.extra or {})}
        return 0

    def python_socket(self):
        """The socket object of an accepted connection is made when somebody wants it; from then on it owns the descriptor."""
        if self.sock is None:
            sock = socket.socket(fileno=self.fd)
            sock.setblocking(False)
            self.sock = sock
        return self.sock

    def __repr__(self):
        info = ["Stream"]
        if self.lost:
            info.append("closed")
        elif self.closing:
            info.append("closing")
        info.append(f"fd={self.fd}")
        if not self.lost:
            info.append(f"read={'polling' if self.is_reading() else 'idle'}")
            info.append(f"write=<{'polling' if self.blocked else 'idle'}, bufsize={self.queued}>")
        return f"<{' '.join(info)}>"

    # What asyncio's own code and libraries read of its transports.

    @property
    def _loop(self):
        return self.loop

    @property
    def _protocol(self):
        return self.protocol

    @property
    def _sock(self):
        return None if self.lost else self.python_socket()

    @property
    def _sock_fd(self):
        return self.fd

    @property
    def _server(self):
        return self.server

    @property
    def _extra(self):
        for name in ("peername", "sockname", "socket"):
            value = self.get_extra_info(name)
            self.extra = self.extra or {}
            self.extra[name] = value
        return self.extra

    @property
    def _closing(self):
        return self.closing

    @property
    def _paused(self):
        return self.paused

    @property
    def _eof(self):
        return self.eof_due

    @property
    def _conn_lost(self):
        return self.conn_lost

    @property
    def _protocol_paused(self):
        return self.protocol_paused
