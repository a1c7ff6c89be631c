"""Accepting connections: each becomes a Stream at once, without a Python socket, task or future of its own.

The socket belongs to the server, and may be shared with other processes, so it is watched level-triggered: nothing of the
engine holds it open. At most `backlog` connections are accepted per turn. When descriptors or memory run out, the listener says
so once, and tries again every second until it could accept.
"""

import logging
import os

import cython
from cython.cimports.cpython.contextvars import (
    PyContext_Copy,
    PyContext_CopyCurrent,
    PyContext_Enter,
    PyContext_Exit,
)
from cython.cimports.plait.engine.contract import Source
from cython.cimports.plait.net.addresses import keep, text_of
from cython.cimports.plait.net.linux import (
    AF_INET,
    AF_INET6,
    EAGAIN,
    EBADF,
    ECONNABORTED,
    EHOSTDOWN,
    EHOSTUNREACH,
    EINTR,
    EMFILE,
    ENETDOWN,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    ENONET,
    ENOPROTOOPT,
    EOPNOTSUPP,
    EPERM,
    EPOLLIN,
    EPROTO,
    IPPROTO_TCP,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    TCP_NODELAY,
    accept4,
    close,
    errno,
    setsockopt,
    sockaddr,
    sockaddr_storage,
    socklen_t,
)
from cython.cimports.plait.net.sending import Network
from cython.cimports.plait.net.stream import Stream

from plait.standard import ACCEPT_RETRY_SECONDS, TransportSocket

logger = logging.getLogger("asyncio")


class Listener(Source):
    """A listening socket of a server. `protocol_factory` makes the protocol that the bare stream talks to."""

    def __init__(self, network: Network, sock, protocol_factory, server, backlog, context=None):
        self.network = network
        self.loop = network.loop
        self.sock = sock
        self.fd = sock.fileno()
        self.protocol_factory = protocol_factory
        self.server = server
        self.batch = max(1, min(backlog, 1024))
        self.context = PyContext_CopyCurrent() if context is None else context
        if sock.family == AF_INET or sock.family == AF_INET6:
            # Accepted sockets inherit it (tcp(7) on Linux), which saves a call per connection.
            one: cython.int = 1
            setsockopt(self.fd, IPPROTO_TCP, TCP_NODELAY, cython.address(one), cython.sizeof(one))
        self.loop.engine.arm(self, EPOLLIN, True)

    def stop(self):
        """Stop listening; the socket stays open for its owner to close."""
        if self.stopped:
            return
        self.stopped = True
        if self.retry is not None:
            self.retry.cancel()
            self.retry = None
        if self.engine is not None:
            self.engine.disarm(self)

    def ready(self, events):
        """Accept what waits, in bounded numbers; the engine tells again while there is more."""
        storage = cython.declare(sockaddr_storage)
        length: socklen_t
        fd: cython.int
        left: cython.int = self.batch
        while left and not self.stopped:
            length = cython.sizeof(storage)
            fd = accept4(
                self.fd,
                cython.cast(cython.pointer(sockaddr), cython.address(storage)),
                cython.address(length),
                SOCK_NONBLOCK | SOCK_CLOEXEC,
            )
            left -= 1
            if fd >= 0:
                self.short = False
                self.connected(fd, cython.address(storage), length)
            elif errno == EAGAIN or not self.refused(errno):
                return 0
        return 0

    def refused(self, code):
        """Whether it makes sense to go on accepting at once."""
        if code in (EINTR, ECONNABORTED):
            return True
        # Errors of the connection that was about to be accepted, see accept(2).
        if code in (ENETDOWN, EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, EPERM):
            return True
        error = OSError(code, os.strerror(code))
        if code in (EMFILE, ENFILE, ENOBUFS, ENOMEM):
            self.loop.engine.disarm(self)
            self.retry = self.loop.call_later(ACCEPT_RETRY_SECONDS, self._try_again)
            if self.short:
                return False
            self.short = True
            message = "socket.accept() out of system resource"
        else:
            message = "socket.accept() failed, the server no longer listens on this socket"
            if code == EBADF:
                message += ": it was closed without Server.close()"
            self.stop()
        self.loop.call_exception_handler({"message": message, "exception": error, "socket": TransportSocket(self.sock)})
        return False

    def _try_again(self):
        self.retry = None
        if not self.stopped:
            self.loop.engine.arm(self, EPOLLIN, True)

    def connected(self, fd, address, length):
        """A new connection: its protocol is made and told at once, in a context of its own."""
        stream: Stream = None
        protocol = None
        context = PyContext_Copy(self.context)
        PyContext_Enter(context)
        try:
            protocol = self.protocol_factory()
            stream = Stream.__new__(Stream)
            stream.family = address.ss_family
            if not keep(cython.address(stream.peer), address, length):
                stream.extra = {"peername": text_of(address, length)}
            stream.open(self.network, fd, protocol, self.server, context)
        except (SystemExit, KeyboardInterrupt):
            close(fd)
            raise
        except BaseException as exc:
            if stream is not None and stream.fd == fd:
                stream.release()
            else:
                close(fd)
            report = {"message": "Error on transport creation for incoming connection", "exception": exc}
            if protocol is not None:
                report["protocol"] = protocol
            self.loop.call_exception_handler(report)
            return 0
        finally:
            PyContext_Exit(context)
        if self.loop._debug:
            logger.debug("%r got a new connection: %r", self.server, stream)
        stream.start()
        return 0
