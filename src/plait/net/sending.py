"""The sending half of a stream: the queue of what was written, the system calls, and the flow control.

Writes leave at the end of the turn, several of them in one system call; much that a protocol writes while it is told of data
leaves when it returns. Bytes are queued by reference, buffers that could change are copied. When the kernel takes no more the
stream is `blocked` until an edge tells that there is room.
"""

import logging
import os
import sys

import cython
from cython.cimports.cpython.object import PyTypeObject
from cython.cimports.cpython.ref import PyObject
from cython.cimports.libc.stdlib import free, realloc
from cython.cimports.libc.string import memset
from cython.cimports.plait.core.cpython import plait_reuse
from cython.cimports.plait.core.ready import Runnable, Scheduler
from cython.cimports.plait.engine.contract import Operation, Source
from cython.cimports.plait.net.linux import (
    EAGAIN,
    EINTR,
    EPOLLOUT,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SHUT_WR,
    Buffer,
    PyBUF_SIMPLE,
    PyBuffer_Release,
    PyBytes_AS_STRING,
    PyBytes_GET_SIZE,
    PyObject_GetBuffer,
    errno,
    iovec,
    msghdr,
    send,
    sendmsg,
    shutdown,
)
from cython.cimports.plait.net.pieces import pieces_of

from plait.standard import LOST_WRITES_MAX

logger = logging.getLogger("asyncio")

HIGH_WATER = cython.declare(cython.Py_ssize_t, 64 * 1024)
LOW_WATER = cython.declare(cython.Py_ssize_t, 16 * 1024)
# More than this leaves at once instead of at the end of the turn: the kernel can send while the protocol makes more.
HELD_BACK_MAX = cython.declare(cython.Py_ssize_t, 64 * 1024)
# A buffer that may change is copied to wait for the end of the turn, unless the copy costs more than a system call.
COPIED_MAX = cython.declare(cython.Py_ssize_t, 8 * 1024)
PARTS_MAX = cython.declare(cython.int, 1024)  # IOV_MAX, see sendmsg(2)


class Network(Runnable):
    """What the streams of one loop share: who has to be flushed at the end of the turn, and who holds which descriptor."""

    def __cinit__(self, loop: Scheduler):
        self.loop = loop
        self.unflushed = []

    def __dealloc__(self):
        free(self.holders)

    def stream_at(self, fd: int):
        """The stream that holds this descriptor, or None."""
        if fd < 0 or cython.cast(cython.size_t, fd) >= self.holders_size:
            return None
        holder: cython.p_void = self.holders[fd]
        if holder == cython.NULL:
            return None
        return cython.cast(object, cython.cast(cython.pointer(PyObject), holder))

    def hold(self, stream):
        fd: cython.size_t = stream.fd
        if fd >= self.holders_size:
            size: cython.size_t = 64
            while size <= fd:
                size *= 2
            holders: cython.pp_void = cython.cast(
                cython.pp_void, realloc(self.holders, size * cython.sizeof(cython.p_void))
            )
            if holders == cython.NULL:
                raise MemoryError
            memset(holders + self.holders_size, 0, (size - self.holders_size) * cython.sizeof(cython.p_void))
            self.holders = holders
            self.holders_size = size
        self.holders[fd] = cython.cast(cython.p_void, stream)
        return 0

    def release(self, stream):
        fd: cython.size_t = stream.fd
        if fd < self.holders_size and self.holders[fd] == cython.cast(cython.p_void, stream):
            self.holders[fd] = cython.NULL
        return 0

    def flush_later(self, stream):
        stream.flush_due = True
        self.unflushed.append(stream)
        if not self.queued:
            self.loop.defer(self)
        return 0

    def run(self):
        streams: list = self.unflushed
        self.unflushed = []
        stream: Sender
        done: cython.Py_ssize_t = 0
        try:
            while done < len(streams):
                stream = cython.cast(Sender, streams[done])
                done += 1
                stream.flush_due = False
                stream.leave()
        finally:
            if done < len(streams):  # a protocol asked to exit: the others keep their turn
                self.unflushed = streams[done:] + self.unflushed
                self.loop.defer(self)
        return 0


class Layer:
    """What stands between a stream and the protocol and changes the bytes: TLS. It is a protocol to the stream, without the copies.

    Streams know this much of it, and nothing of TLS; both methods are TLSTransport's to write.
    """

    def feed(self, data, size):
        """Received; valid until this returns."""
        raise NotImplementedError

    def leaving(self):
        """The stream's writes of this turn are about to leave: hand on what belongs to them."""
        raise NotImplementedError


class Sending(Operation):
    """One send that leaves with the engine's next submission. Held by the engine until it completes; holds the bytes."""

    def complete(self, result, flags):
        stream = self.stream
        self.stream = None
        self.data = None
        return stream.sent(result)


# One is made for each answer. While it exists the engine holds it, so that the collector has nothing to find there.
plait_reuse(cython.cast(cython.pointer(PyTypeObject), Sending), cython.NULL, True)


class Sender(Source):
    """A connected stream socket that can be written to. Stream adds the receiving half, and the connection's life."""

    def __cinit__(self):
        self.fd = -1
        self.high_water = HIGH_WATER
        self.low_water = LOW_WATER

    # Writing.

    def write(self, data):
        """Send these bytes, in order, without blocking; may tell the protocol to pause (see set_write_buffer_limits)."""
        self.loop.check_thread()
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self.eof_due or self.on_empty is not None:
            self.refuse("write")
        if self.conn_lost:
            if data:
                self.write_was_lost()
            return
        if isinstance(data, bytes):
            self.queue(data)
        else:
            self.queue_changeable(data)
        self.after_queue()

    def writelines(self, list_of_data):
        """Write the pieces as one."""
        self.loop.check_thread()
        pieces: list = list(list_of_data)
        for data in pieces:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self.eof_due or self.on_empty is not None:
            self.refuse("writelines")
        if self.conn_lost:
            if pieces:
                self.write_was_lost()
            return
        for data in pieces:
            self.queue(data if isinstance(data, bytes) else bytes(data))
        self.after_queue()

    def pass_on(self, data):
        """A layer's write()."""
        if not self.conn_lost:
            self.queue(data)
            self.after_queue()
        return 0

    def refuse(self, call):
        if self.eof_due:
            raise RuntimeError(f"Cannot call {call}() after write_eof()")
        raise RuntimeError(f"unable to {call}; sendfile is in progress")

    def write_was_lost(self):
        if self.conn_lost >= LOST_WRITES_MAX:
            logger.warning("socket.send() raised exception.")
        self.conn_lost += 1
        return 0

    def queue(self, data):
        size: cython.Py_ssize_t = PyBytes_GET_SIZE(data)
        if size == 0:
            return 0
        if self.head is None:
            self.head = data
            self.head_sent = 0
        elif self.tail is None:
            self.tail = pieces_of(data)
        else:
            self.tail.pieces.append(data)
        self.queued = self.queued + size
        return 0

    def queue_changeable(self, data):
        """A buffer that its owner may change: sent at once if it is large, and copied so far as it has to wait."""
        view: memoryview = memoryview(data)
        if not view.c_contiguous or view.nbytes <= COPIED_MAX or self.queued or self.blocked:
            self.queue(bytes(data))
            return 0
        size: cython.Py_ssize_t = view.nbytes
        sent: cython.Py_ssize_t = self.send_now(view)
        if 0 <= sent < size:
            self.queue(bytes(view.cast("B")[sent:]))
        return 0

    def after_queue(self):
        """Hold the write back for the others of this turn, unless it is too much, or there is no turn."""
        if self.queued > self.high_water or self.queued > HELD_BACK_MAX or self.loop.thread == 0:
            if not self.blocked:
                self.flush()
            if self.queued > self.high_water and not self.protocol_paused:
                self.pause_protocol()
        if self.queued and not (self.dispatching or self.flush_due or self.blocked):
            self.network.flush_later(self)
        self.hurry()
        return 0

    def hurry(self):
        """Something is to follow when all has left: if it is on its way, the engine tells of that before it sleeps."""
        if self.sending is not None:
            self.loop.engine.hurried = True
        return 0

    def send_now(self, data):
        """How much the kernel took of `data`; -1 if the connection is lost over it."""
        view = cython.declare(Buffer)
        n: cython.Py_ssize_t
        PyObject_GetBuffer(data, cython.address(view), PyBUF_SIMPLE)
        n = send(self.fd, view.buf, view.len, MSG_NOSIGNAL | MSG_DONTWAIT)
        code: cython.int = errno
        size: cython.Py_ssize_t = view.len
        PyBuffer_Release(cython.address(view))
        if n < 0:
            if code != EAGAIN and code != EINTR:
                self.send_failed(code)
                return -1
            n = 0
        if n < size and (code != EINTR or n > 0):
            self.await_room()
        return n

    def leave(self):
        """What was written in this turn leaves: one piece with the engine's next submission, all else now."""
        if self.layer is not None:
            self.flush_due = True  # it is being done
            try:
                self.layer.leaving()
            finally:
                self.flush_due = False
        if (
            self.loop.engine.sends
            and not self.blocked
            and 0 < self.queued <= HELD_BACK_MAX
            and self.tail is None
            and self.head_sent == 0
            and (self.by_completion or self.engine is not None)
        ):
            sending: Sending = Sending.__new__(Sending)
            sending.stream = self
            sending.data = self.head
            self.loop.engine.submit_send(
                sending, self.fd, PyBytes_AS_STRING(self.head), cython.cast(cython.uint, self.queued)
            )
            self.sending = sending
            self.blocked = True
            if self.closing or self.eof_due or self.protocol_paused or self.on_empty is not None:
                self.hurry()
            return 0
        return self.flush()

    def await_room(self):
        """Send no more until the engine tells that the kernel takes more."""
        self.blocked = True
        if self.by_completion and self.engine is None:
            self.loop.engine.arm(self, EPOLLOUT, False)
        return 0

    def sent(self, result):
        """The submitted send has completed."""
        self.sending = None
        self.blocked = False
        if self.conn_lost or self.loop._closed:
            return 0  # aborted meanwhile: nothing is queued any more
        if result == self.queued:  # so it was nearly always: one piece, sent whole
            self.drop_queue()
            return self.after_sending()
        if result < 0:
            # EAGAIN too: send(2) will say it again, and the edge that it waits for comes after that.
            return self.flush() if -result in (EAGAIN, EINTR) else self.send_failed(-result)
        self.consume(result)
        return self.flush() if self.queued else self.after_sending()

    def flush(self):
        """Give the kernel what is queued, as much as it takes."""
        n: cython.Py_ssize_t
        asked: cython.Py_ssize_t = 0
        if not self.queued:
            return 0
        while self.queued:
            if self.tail is None:
                asked = self.queued
                n = send(self.fd, PyBytes_AS_STRING(self.head) + self.head_sent, asked, MSG_NOSIGNAL | MSG_DONTWAIT)
            else:
                n = self.send_gathered(cython.address(asked))
            if n < 0:
                if errno == EINTR:
                    continue
                if errno != EAGAIN:
                    return self.send_failed(errno)
                n = 0
            if n < asked:
                self.await_room()  # epoll(7): a short count says as much as EAGAIN, the next edge comes with room
            self.consume(n)
            if self.blocked:
                break
        return self.after_sending()

    def after_sending(self):
        if self.protocol_paused and self.queued <= self.low_water:
            self.resume_protocol()
        if not self.queued:
            self.drained()
        return 0

    def send_gathered(self, asked):
        parts = cython.declare(iovec[1024])
        message = cython.declare(msghdr)
        count: cython.int = 1
        size: cython.Py_ssize_t = PyBytes_GET_SIZE(self.head) - self.head_sent
        parts[0].iov_base = PyBytes_AS_STRING(self.head) + self.head_sent
        parts[0].iov_len = size
        at: cython.Py_ssize_t
        for at in range(self.tail.first, len(self.tail.pieces)):
            if count == PARTS_MAX:
                break
            chunk = self.tail.pieces[at]
            parts[count].iov_base = PyBytes_AS_STRING(chunk)
            parts[count].iov_len = PyBytes_GET_SIZE(chunk)
            size += PyBytes_GET_SIZE(chunk)
            count += 1
        memset(cython.address(message), 0, cython.sizeof(message))
        message.msg_iov = parts
        message.msg_iovlen = count
        asked[0] = size
        return sendmsg(self.fd, cython.address(message), MSG_NOSIGNAL | MSG_DONTWAIT)

    def consume(self, sent):
        """Drop what the kernel has taken."""
        size: cython.Py_ssize_t
        self.queued = self.queued - sent
        sent += self.head_sent
        while True:
            size = PyBytes_GET_SIZE(self.head)
            if sent < size:
                self.head_sent = sent
                break
            sent -= size
            if self.tail is None:
                self.head = None
                return 0
            self.head = self.tail.take()
            self.head_sent = 0
            if not self.tail.left():
                self.tail = None
        return 0

    def drained(self):
        """All is with the kernel: what waited for that goes on."""
        if self.on_empty is not None:
            self.tell(self.on_empty)
        if self.closing:
            if not self.conn_lost:
                self.lose(None)
        elif self.eof_due:
            shutdown(self.fd, SHUT_WR)
        return 0

    def send_failed(self, code):
        error = OSError(code, os.strerror(code))
        waiter = self.on_empty
        self.fail(error, "Fatal write error on socket transport")
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        return 0

    def drop_queue(self):
        self.head = None
        self.tail = None
        self.head_sent = 0
        self.queued = 0
        return 0

    def write_eof(self):
        """Close the sending side once everything written has left; the peer reads an end of file."""
        self.loop.check_thread()
        if self.closing or self.eof_due:
            return
        self.eof_due = True
        self.hurry()
        if not self.queued and shutdown(self.fd, SHUT_WR) < 0:
            raise OSError(errno, os.strerror(errno))

    def can_write_eof(self):
        return True

    # Flow control.

    def set_write_buffer_limits(self, high=None, low=None):
        """Bytes queued above `high` pause the protocol, down to `low` they resume it (64 and 16 KiB by default)."""
        if high is None:
            high = 64 * 1024 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self.high_water = min(high, sys.maxsize)
        self.low_water = min(low, sys.maxsize)
        if self.queued > self.high_water and not self.protocol_paused:
            self.pause_protocol()
            self.hurry()

    def get_write_buffer_limits(self):
        return (self.low_water, self.high_water)

    def get_write_buffer_size(self):
        return self.queued

    def pause_protocol(self):
        self.protocol_paused = True
        try:
            self.protocol.pause_writing()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report("protocol.pause_writing() failed", exc)
        return 0

    def resume_protocol(self):
        self.protocol_paused = False
        try:
            self.protocol.resume_writing()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.report("protocol.resume_writing() failed", exc)
        return 0

    # Errors.

    def fail(self, error, message):
        if isinstance(error, OSError):
            # A peer that goes away is everyday: told to the protocol, not to the log.
            if self.loop._debug:
                logger.debug("%r: %s", self, message, exc_info=error)
        else:
            self.report(message, error)
        self.lose(error)
        return 0

    def report(self, message, error):
        self.loop.call_exception_handler(
            {"message": message, "exception": error, "transport": self, "protocol": self.protocol}
        )
        return 0

    def lose(self, error):
        """Drop what is queued and end the connection; the other half knows how."""
        raise NotImplementedError

    # For sendfile: the loop writes to the descriptor itself while nothing else may.

    def _make_empty_waiter(self):
        """A future that is done when all is written; write() is refused until _reset_empty_waiter()."""
        if self.on_empty is not None:
            raise RuntimeError("Empty waiter is already set")
        self.on_empty = self.loop.create_future()
        self.hurry()
        if not self.queued:
            self.on_empty.set_result(None)
        return self.on_empty

    def _reset_empty_waiter(self):
        self.on_empty = None

    def _room(self):
        """A future for the next edge of writability, after a call on the descriptor said EAGAIN."""
        if self.closing:
            raise ConnectionError("Connection is closed by peer")
        self.on_writable = self.loop.create_future()
        self.await_room()
        return self.on_writable

    def tell(self, waiter):
        if not waiter.done():
            waiter.set_result(None)
        return 0
