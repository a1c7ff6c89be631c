"""sock_*(): calls on sockets that belong to the program.

Each call is a coroutine without a frame (calls.py) that does what asyncio's of the name does. The system call is tried at once, unless the
last receive is known to have left nothing; where the kernel has nothing to give the call waits until the descriptor is ready
(core/watches.py) and tries again in the slice of its task. So one that is cancelled has taken nothing, and a wait costs one epoll_ctl.

Sockets of other classes than socket.socket are called by their methods, for these may be their own.
"""

import os
import socket

import cython
from cython.cimports.cpython.object import PyObject, PyTypeObject
from cython.cimports.cpython.ref import Py_DECREF
from cython.cimports.plait.core.cpython import (
    EPOLLIN,
    EPOLLOUT,
    plait_drop,
    plait_reuse,
)
from cython.cimports.plait.core.futures import Future
from cython.cimports.plait.core.turn import Core
from cython.cimports.plait.core.watches import Watch
from cython.cimports.plait.net.calls import NOT_NOW, Call, Stage
from cython.cimports.plait.net.linux import (
    EAGAIN,
    EINTR,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SO_TYPE,
    SOCK_STREAM,
    SOL_SOCKET,
    Buffer,
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
    PyObject_GetBuffer,
    errno,
    getsockopt,
    new_bytes,
    recv,
    resize_bytes,
    send,
    socklen_t,
)
from cython.cimports.plait.net.sending import Network

from plait.standard import check_not_ssl_socket

PlainSocket = cython.declare(object, socket.socket)
# Whether the descriptor is the first member of a socket's struct: 1 it is, -1 it is not, 0 nobody has looked yet.
fd_is_first = cython.declare(cython.int, 0)
# From here on a copy out of the hot buffer costs more than memory of its own.
BULK_MIN = cython.declare(cython.Py_ssize_t, 32 * 1024)
NAMES = (
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_accept",
    "until_writable",
)


class SocketCall(Call):
    """What sock_recv() and its like return."""

    def __dealloc__(self):
        if self.lent:
            PyBuffer_Release(cython.address(self.view))

    def name(self):
        return f"Loop.{NAMES[self.kind]}"

    def begin(self):
        sock = self.sock
        self.plain = type(sock) is PlainSocket
        if not self.plain:
            check_not_ssl_socket(sock)
        if self.loop._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        return 0

    def end(self):
        waiter = self.waiter
        Call.end(self)
        if waiter is not None:
            self.watch.give_up(waiter)
        if self.kind == Kind.ROOM and self.watch is not None:
            forget_idle(self.loop, self.sock)
        if self.lent:
            self.lent = False
            PyBuffer_Release(cython.address(self.view))
        return 0

    def attempt(self):
        woken: cython.bint = self.stage == Stage.WAITING
        if woken:
            self.waiter = None
        if not self.plain:
            return self.by_methods()
        # Asked each time: the number may have become another's while the call waited.
        self.fd = number_of(self.sock)
        if self.kind == Kind.RECEIVE or self.kind == Kind.RECEIVE_INTO:
            if not woken:
                watch: Watch = cython.cast(Watch, self.loop.watches.get(self.fd))
                if watch is not None and watch.belongs_to(self.sock):
                    self.watch = watch
                    if watch.drained:
                        return NOT_NOW
            return self.receive() if self.kind == Kind.RECEIVE else self.receive_into()
        if self.kind == Kind.SEND_ALL:
            return self.send_bytes()
        return self.by_methods()

    def receive(self):
        n: cython.Py_ssize_t
        if type(self.first) is not int:
            return self.by_methods()
        size: cython.Py_ssize_t = self.first
        if size <= 0:
            return self.by_methods()
        if size >= BULK_MIN:
            room: cython.Py_ssize_t = self.loop.receive_size
            if size > room and self.watch is not None and self.watch.stream:
                size = room
            if size > room or (self.watch is not None and self.watch.bulk):
                return self.receive_large(size)
        while True:
            n = recv(self.fd, self.loop.receive_buffer, size, MSG_DONTWAIT)
            if n >= 0:
                break
            if self.refused():
                return NOT_NOW
        self.received(n, size)
        return PyBytes_FromStringAndSize(cython.cast(cython.p_char, self.loop.receive_buffer), n)

    def receive_large(self, size):
        """Without a second copy."""
        data: cython.pointer(PyObject) = new_bytes(cython.NULL, size)
        n: cython.Py_ssize_t
        while True:
            n = recv(self.fd, PyBytes_AS_STRING(cython.cast(object, data)), size, MSG_DONTWAIT)
            if n >= 0:
                break
            code: cython.int = errno
            if code != EINTR:
                Py_DECREF(cython.cast(object, data))
                if code == EAGAIN:
                    return NOT_NOW
                raise OSError(code, os.strerror(code))
        self.received(n, size)
        if n < size:
            resize_bytes(cython.address(data), n)
        received = cython.cast(object, data)
        Py_DECREF(received)  # `received` holds its own reference
        return received

    def receive_into(self):
        view = cython.declare(Buffer)
        n: cython.Py_ssize_t
        try:
            PyObject_GetBuffer(self.first, cython.address(view), PyBUF_WRITABLE)
        except (BufferError, TypeError):
            return self.by_methods()
        try:
            while True:
                n = 0 if view.len == 0 else recv(self.fd, view.buf, view.len, MSG_DONTWAIT)
                if n >= 0:
                    break
                if self.refused():
                    return NOT_NOW
            self.received(n, view.len)
            return n
        finally:
            PyBuffer_Release(cython.address(view))

    def received(self, size, asked):
        watch = self.watch
        if watch is not None:
            watch.drained = 0 < size < asked and watch.stream and watch.armed
            watch.bulk = size >= BULK_MIN
        return 0

    def refused(self):
        """After a system call that failed: true if it would have to wait, false if it is to be made again."""
        code: cython.int = errno
        if code == EAGAIN:
            return True
        if code == EINTR:
            return False
        raise OSError(code, os.strerror(code))

    def send_bytes(self):
        data = self.first
        base: cython.p_char
        size: cython.Py_ssize_t
        n: cython.Py_ssize_t
        if type(data) is bytes:
            base = PyBytes_AS_STRING(data)
            size = PyBytes_GET_SIZE(data)
        else:
            if not self.lent:
                PyObject_GetBuffer(data, cython.address(self.view), PyBUF_SIMPLE)
                self.lent = True
            base = cython.cast(cython.p_char, self.view.buf)
            size = self.view.len
        while True:
            n = send(self.fd, base + self.sent, size - self.sent, MSG_NOSIGNAL | MSG_DONTWAIT)
            if n >= 0:
                self.sent += n
                return None if self.sent == size else NOT_NOW
            if self.refused():
                return NOT_NOW

    def by_methods(self):
        """By the socket's own methods, with their errors."""
        sock = self.sock
        try:
            if self.kind == Kind.RECEIVE:
                return sock.recv(self.first)
            if self.kind == Kind.RECEIVE_INTO:
                return sock.recv_into(self.first)
            if self.kind == Kind.RECEIVE_FROM:
                return sock.recvfrom(self.first)
            if self.kind == Kind.RECEIVE_FROM_INTO:
                size = self.second or len(self.first)
                return sock.recvfrom_into(self.first, size)
            if self.kind == Kind.SEND_ALL:
                return self.send_by_method()
            if self.kind == Kind.SEND_TO:
                return sock.sendto(self.first, self.second)
            if self.kind == Kind.ACCEPT:
                connection, address = sock.accept()
                connection.setblocking(False)
                return connection, address
            # Room is waited for, once.
            return NOT_NOW if self.stage == Stage.NEW else None
        except (BlockingIOError, InterruptedError):
            return NOT_NOW

    def send_by_method(self):
        if self.stage == Stage.NEW:
            try:
                self.sent += self.sock.send(self.first)
            except (BlockingIOError, InterruptedError):
                pass
            self.first = memoryview(self.first).cast("B")
        else:
            self.sent += self.sock.send(self.first[self.sent :])
        return None if self.sent >= len(self.first) else NOT_NOW

    def wait(self):
        loop = self.loop
        loop.check_thread()
        fd: cython.int = self.fd if self.plain else self.sock.fileno()
        network: Network = loop._network
        if network.others or (
            fd >= 0 and cython.cast(cython.size_t, fd) < network.holders_size and network.holders[fd] != cython.NULL
        ):
            loop._ensure_fd_no_transport(fd)
        watch = self.watch
        # A call that has waited may have lost the number, or the watch, to somebody else.
        if watch is None or self.stage != Stage.NEW:
            watch = cython.cast(Watch, loop.watches.get(fd))
            if watch is None:
                if fd < 0:
                    raise ValueError(f"Invalid file descriptor: {fd}")
                watch = Watch(loop, fd)
                loop.watches[fd] = watch
            if not watch.belongs_to(self.sock):
                give(watch, self.sock)
        waiter: Future = Future.__new__(Future)
        waiter.setup(loop)
        wanted: cython.uint = EPOLLIN
        if self.kind == Kind.SEND_ALL or self.kind == Kind.SEND_TO or self.kind == Kind.ROOM:
            wanted = EPOLLOUT
        self.watch = watch
        watch.wait(waiter, wanted)
        self.waiter = waiter
        waiter.begin_await()
        return 0


@cython.cfunc
@cython.inline
@cython.exceptval(-2)
def number_of(sock) -> cython.int:
    """sock.fileno() of a plain socket, without calling the method: an echo would do so three times."""
    return first_int_of(sock) if fd_is_first > 0 else ask_number(sock)


@cython.cfunc
@cython.inline
@cython.exceptval(check=False)
def first_int_of(sock) -> cython.int:
    """The struct is private, though it has begun with the descriptor since Python 2."""
    first: cython.p_char = cython.cast(cython.p_char, cython.cast(cython.pointer(PyObject), sock)) + cython.sizeof(
        PyObject
    )
    return cython.cast(cython.pointer(cython.int), first)[0]


@cython.cfunc
@cython.exceptval(-2)
def ask_number(sock) -> cython.int:
    """The first socket that is open proves, together with one that never was, whether it may be read from the struct."""
    global fd_is_first
    fd: cython.int = sock.fileno()
    if fd_is_first == 0 and fd >= 0:
        never_open = PlainSocket.__new__(PlainSocket)
        fd_is_first = 1 if first_int_of(sock) == fd and first_int_of(never_open) == -1 else -1
    return fd


@cython.cfunc
@cython.exceptval(-1)
def give(watch: Watch, sock) -> cython.int:
    kind: cython.int = 0
    size: socklen_t = cython.sizeof(cython.int)
    watch.give_to(sock)
    watch.stream = (
        getsockopt(watch.fd, SOL_SOCKET, SO_TYPE, cython.address(kind), cython.address(size)) == 0
        and kind == SOCK_STREAM
    )
    return 0


def forget_idle(loop: Core, sock):
    """A descriptor goes on to somebody else, or will not be waited for again soon: nothing stays registered for it, if nobody waits."""
    fd: cython.int = sock.fileno()
    watch: Watch = cython.cast(Watch, loop.watches.get(fd))
    if watch is not None and watch.idle():
        del loop.watches[fd]
        watch.update()


@cython.cfunc
def call_of(loop: Core, kind: Kind, sock, first, second) -> SocketCall:
    call: SocketCall = SocketCall.__new__(SocketCall)
    call.loop = loop
    call.kind = kind
    call.sock = sock
    call.first = first
    call.second = second
    return call


# Methods of the loop.


def sock_recv(self: Core, sock, nbytes):
    """Receive up to so many bytes; b"" at the end. Cancelled, it has taken nothing."""
    return call_of(self, Kind.RECEIVE, sock, nbytes, None)


def sock_recv_into(self: Core, sock, buf):
    """Receive into a buffer; the number of bytes received."""
    return call_of(self, Kind.RECEIVE_INTO, sock, buf, None)


def sock_recvfrom(self: Core, sock, bufsize):
    """Receive a datagram and the address it came from."""
    return call_of(self, Kind.RECEIVE_FROM, sock, bufsize, None)


def sock_recvfrom_into(self: Core, sock, buf, nbytes=0):
    """Receive a datagram into a buffer; the number of bytes and the address it came from."""
    return call_of(self, Kind.RECEIVE_FROM_INTO, sock, buf, nbytes)


def sock_sendall(self: Core, sock, data):
    """Send all of it. After an error, or cancelled, nobody knows how much has left."""
    return call_of(self, Kind.SEND_ALL, sock, data, None)


def sock_sendto(self: Core, sock, data, address):
    """Send a datagram to an address."""
    return call_of(self, Kind.SEND_TO, sock, data, address)


def sock_accept(self: Core, sock):
    """Accept a connection; the new socket is non-blocking."""
    return call_of(self, Kind.ACCEPT, sock, None, None)


def room(self: Core, sock):
    """Wait until the socket can be written to."""
    return call_of(self, Kind.ROOM, sock, None, None)


@cython.cfunc
@cython.exceptval(check=False)
def call_dealloc(call: cython.pointer(PyObject)) -> cython.void:
    """tp_dealloc: __del__ only if it would complain."""
    plait_drop(
        call, cython.cast(cython.pointer(PyTypeObject), SocketCall), cython.cast(SocketCall, call).stage == Stage.NEW
    )


plait_reuse(cython.cast(cython.pointer(PyTypeObject), SocketCall), call_dealloc, False)
