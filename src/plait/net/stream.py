"""TCP and Unix stream transports.

A Stream is armed once, edge-triggered, for reading, writing and the peer's end, and stays so until it is lost. What an edge told
is remembered where it cannot be used at once: `readable` while reading is paused, `blocked` while the kernel takes no more.

Reading: one receive per event into the loop's hot buffer. A receive that gives less than asked has drained the socket; a
full one goes on in the next turn, so that one busy peer cannot starve the others. Once a hang-up is known, reading
goes on to the end, because no further edge would come.

Everything that a protocol is told, it is told in the context that the stream was made in (a copy of it).
"""

import asyncio
import logging
import os
import socket
import warnings

import cython
from cython.cimports.cpython.contextvars import PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit
from cython.cimports.cpython.ref import Py_DECREF, PyObject
from cython.cimports.libc.string import memset
from cython.cimports.plait.core.ready import Runnable
from cython.cimports.plait.net.addresses import local_address, peer_address, text_of
from cython.cimports.plait.net.linux import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    EAGAIN,
    EINTR,
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    FIONREAD,
    IPPROTO_TCP,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    TCP_NODELAY,
    Buffer,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyObject_GetBuffer,
    close,
    errno,
    ioctl,
    iovec,
    msghdr,
    new_bytes,
    recv,
    recvmsg,
    resize_bytes,
    setsockopt,
)
from cython.cimports.plait.net.sending import Network, Sender

from plait.standard import (
    SENDFILE_TRY_NATIVE,
    StreamFace,
    TransportSocket,
    attach_to_server,
    detach_from_server,
)

logger = logging.getLogger("asyncio")

# From here on FIONREAD (80 ns) is cheaper than copying out of the hot buffer.
BULK_MIN = cython.declare(cython.Py_ssize_t, 32 * 1024)
BULK_MAX = cython.declare(cython.Py_ssize_t, 256 * 1024)
# Answers up to here wait until all streams of the turn have been read: receives in a row and sends in a row keep the kernel's
# code in the cache (4-6 % at 100 and more connections of 1 KiB). Larger ones leave while their own bytes are still in it.
SMALL_MAX = cython.declare(cython.Py_ssize_t, 4 * 1024)
# How much a BufferedProtocol with a small buffer is given in one event.
BUFFERED_MAX = cython.declare(cython.Py_ssize_t, 256 * 1024)
# A peer with errors pending may still send: then the rest of it has to wait for the next turn.
ROUNDS_MAX = cython.declare(cython.int, 16)

# What a receive says of the socket.
DRAINED = cython.declare(cython.int, 0)
MORE = cython.declare(cython.int, 1)
ENDED = cython.declare(cython.int, 2)

END_EVENTS = cython.declare(cython.uint, EPOLLRDHUP | EPOLLHUP | EPOLLERR)


class StreamTurn(Runnable):
    """A stream's place in the ready ring."""

    def run(self):
        return self.stream.turn()


class Stream(Sender):
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

    def start(self):
        """Tell the protocol of its connection, then watch the descriptor."""
        self.start_due = False
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

    def watch(self):
        """From here on the engine tells what happens to the descriptor."""
        self.watch_due = False
        if not self.conn_lost:
            try:
                self.loop.engine.arm(self, EPOLLIN | EPOLLOUT | EPOLLRDHUP, False)
            except OSError as exc:
                self.fail(exc, "Fatal error: the engine cannot watch the socket")
        if self.queued and not self.flush_due:
            self.flush()
        return 0

    # What the engine and the turn tell.

    def ready(self, events):
        if events & END_EVENTS:
            self.hung_up = True
        if events & (EPOLLIN | END_EVENTS):
            if self.paused or self.read_due:
                self.readable = True
            elif not self.closing and not self.at_eof:
                self.read()
        if self.blocked and self.sending is None and events & (EPOLLOUT | EPOLLHUP | EPOLLERR):
            self.blocked = False
            if self.on_writable is not None:
                self.tell(self.on_writable)
            if not self.flush_due:
                self.flush()
        return 0

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

    # Reading.

    def read(self):
        """Receive and tell the protocol: once, or to the end when the peer has hung up."""
        got: cython.int
        rounds: cython.int = 0
        # Stays so only if the protocol asks to exit: then the next run looks again.
        self.readable = True
        PyContext_Enter(self.context)
        self.dispatching = True
        try:
            while True:
                rounds += 1
                got = self.receive() if self.on_buffer is None else self.receive_into()
                if got == MORE:
                    break
                if got == ENDED or not self.hung_up:
                    self.readable = False
                    break
                if self.paused or self.closing or rounds == ROUNDS_MAX:
                    break
        finally:
            self.dispatching = False
            PyContext_Exit(self.context)
            self.after_read()
        return 0

    def after_read(self):
        """What the protocol wrote leaves, and what waits behind a full buffer has its turn."""
        if self.queued and not self.flush_due and not self.blocked:
            if self.queued > SMALL_MAX:
                self.flush()
            else:
                self.network.flush_later(self)
        if self.readable and not self.paused and not self.closing and not self.read_due:
            self.read_due = True
            self.later()
        return 0

    def receive(self):
        size: cython.Py_ssize_t = self.loop.receive_size
        n: cython.Py_ssize_t
        full: cython.bint = False
        if self.bulk and self.family != AF_UNIX:
            return self.receive_bulk()
        while True:
            if self.family != AF_UNIX:
                n = recv(self.fd, self.loop.receive_buffer, size, MSG_DONTWAIT)
            else:
                n = self.receive_unix(self.loop.receive_buffer, size)
            if n > 0:
                break
            if n == 0:
                return self.end_of_file()
            if errno == EAGAIN:
                return ENDED
            if errno != EINTR:
                return self.receive_failed(errno)
        full = n == size or self.cut_short
        if n >= BULK_MIN:
            self.bulk = True
        self.deliver(PyBytes_FromStringAndSize(cython.cast(cython.p_char, self.loop.receive_buffer), n))
        return MORE if full else DRAINED

    def receive_bulk(self):
        """Much is coming: ask how much, and receive it without a second copy."""
        waiting: cython.int = 0
        if ioctl(self.fd, FIONREAD, cython.address(waiting)) < 0 or waiting < BULK_MIN:
            self.bulk = False
            return self.receive()
        # One byte more than what waits: filled up, there is more to come; not filled, the socket is drained.
        size: cython.Py_ssize_t = min(cython.cast(cython.Py_ssize_t, waiting) + 1, BULK_MAX)
        data: cython.pointer(PyObject) = new_bytes(cython.NULL, size)
        n: cython.Py_ssize_t = recv(self.fd, PyBytes_AS_STRING(cython.cast(object, data)), size, MSG_DONTWAIT)
        if n <= 0:
            code: cython.int = errno
            Py_DECREF(cython.cast(object, data))
            if n == 0:
                return self.end_of_file()
            if code == EAGAIN:
                return ENDED
            if code == EINTR:
                return MORE
            return self.receive_failed(code)
        if n < size:
            resize_bytes(cython.address(data), n)
        received: bytes = cython.cast(object, data)
        Py_DECREF(received)  # `received` holds its own reference
        self.deliver(received)
        return MORE if n == size else DRAINED

    def receive_unix(self, buffer, size):
        """A receive that stops at a message with descriptors or credentials has not drained the socket, though it is short."""
        part = cython.declare(iovec)
        message = cython.declare(msghdr)
        memset(cython.address(message), 0, cython.sizeof(message))
        part.iov_base = buffer
        part.iov_len = size
        message.msg_iov = cython.address(part)
        message.msg_iovlen = 1
        n: cython.Py_ssize_t = recvmsg(self.fd, cython.address(message), MSG_DONTWAIT)
        self.cut_short = n > 0 and message.msg_flags & MSG_CTRUNC != 0
        return n

    def receive_into(self):
        """Receive into the buffer of a BufferedProtocol; again at once while it is full, so far as is fair."""
        view = cython.declare(Buffer)
        n: cython.Py_ssize_t
        size: cython.Py_ssize_t
        code: cython.int
        total: cython.Py_ssize_t = 0
        on_buffer = self.on_buffer
        while True:
            try:
                PyObject_GetBuffer(on_buffer(-1), cython.address(view), PyBUF_WRITABLE)
                if view.len == 0:
                    PyBuffer_Release(cython.address(view))
                    raise RuntimeError("get_buffer() returned an empty buffer")
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self.fail(exc, "Fatal error: protocol.get_buffer() call failed.")
                return ENDED
            size = view.len
            n = (
                self.receive_unix(view.buf, size)
                if self.family == AF_UNIX
                else recv(self.fd, view.buf, size, MSG_DONTWAIT)
            )
            code = errno
            PyBuffer_Release(cython.address(view))
            if n == 0:
                return self.end_of_file()
            if n < 0:
                if code == EINTR:
                    continue
                return ENDED if code == EAGAIN else self.receive_failed(code)
            try:
                self.on_data(n)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self.fail(exc, "Fatal error: protocol.buffer_updated() call failed.")
                return ENDED
            if n < size and not self.cut_short:
                return DRAINED
            total += n
            if self.paused or self.closing or self.on_buffer is not on_buffer or total >= BUFFERED_MAX:
                return MORE

    def deliver(self, data):
        try:
            self.on_data(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            if self.queued and not self.blocked:
                self.flush()  # what was written before the error still leaves
            self.fail(exc, "Fatal error: protocol.data_received() call failed.")
        return 0

    def receive_failed(self, code):
        self.fail(OSError(code, os.strerror(code)), "Fatal read error on socket transport")
        return ENDED

    def end_of_file(self):
        self.at_eof = True
        try:
            keep_open = self.protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.fail(exc, "Fatal error: protocol.eof_received() call failed.")
            return ENDED
        if not keep_open:
            self.close()
        return ENDED

    def pause_reading(self):
        """No data_received() until resume_reading(); what has arrived stays in the kernel."""
        self.loop.check_thread()
        if not self.closing:
            self.paused = True

    def resume_reading(self):
        """Go on after pause_reading(); what arrived meanwhile is received in the next turn."""
        self.loop.check_thread()
        if self.closing or not self.paused:
            return
        self.paused = False
        if self.readable and not self.read_due:
            self.read_due = True
            self.later()

    def is_reading(self):
        return not (self.closing or self.paused)

    # The end.

    def close(self):
        """Send what is queued, then close; connection_lost(None) follows."""
        self.loop.check_thread()
        if self.closing:
            return
        self.closing = True
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

    def told(self, protocol):
        """From now on this protocol is told."""
        self.protocol = protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            self.on_buffer = protocol.get_buffer
            self.on_data = protocol.buffer_updated
        else:
            self.on_buffer = None
            self.on_data = getattr(protocol, "data_received", None)  # one that never reads needs none
        return 0

    def set_protocol(self, protocol):
        self.loop.check_thread()
        self.told(protocol)

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
