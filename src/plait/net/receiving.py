"""The receiving half of a stream.

By completion (io_uring): the engine receives into buffers of its own and hands over what has arrived, one system call for many streams.
What comes while reading is paused is kept, and the receive ended, so that it is little.

By readiness, where the engine or the stream is not made for that (epoll, Unix sockets, a BufferedProtocol, bulk): armed once,
edge-triggered. One receive per event into the loop's hot buffer; one that gives less than asked has drained the socket, a full one goes
on in the next turn, so that one busy peer cannot starve the others. Once a hang-up is known, reading goes on to the end, because no
further edge would come. What an edge told and cannot be used at once is remembered as `readable`.
"""

import asyncio
import os

import cython
from cython.cimports.cpython.contextvars import PyContext_Enter, PyContext_Exit
from cython.cimports.cpython.ref import Py_DECREF, PyObject
from cython.cimports.libc.string import memset
from cython.cimports.plait.core.cpython import plait_is_shared
from cython.cimports.plait.engine.contract import Operation
from cython.cimports.plait.engine.record import (
    PLAIT_BY_KERNEL,
    plait_is_recorded,
    plait_record_begin,
    plait_record_end,
    plait_record_pushes,
)
from cython.cimports.plait.net.linux import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    EAGAIN,
    ECANCELED,
    EINTR,
    ENOBUFS,
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    FIONREAD,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    Buffer,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
    PyObject_GetBuffer,
    errno,
    ioctl,
    iovec,
    msghdr,
    new_bytes,
    recv,
    recvmsg,
    resize_bytes,
)
from cython.cimports.plait.net.reader import StreamReader
from cython.cimports.plait.net.sending import Layer, Sender

from plait.standard import feed_buffered_protocol, stream_reader_of

# From here on FIONREAD (80 ns) is cheaper than copying out of the hot buffer.
BULK_MIN = cython.declare(cython.Py_ssize_t, 32 * 1024)
BULK_MAX = cython.declare(cython.Py_ssize_t, 256 * 1024)
# Answers up to here wait until all streams of the turn have been read: receives in a row and sends in a row keep the kernel's
# code in the cache (4-6 % at 100 and more connections of 1 KiB). Larger ones leave while their own bytes are still in it, unless all
# leave in one system call.
SMALL_MAX = cython.declare(cython.Py_ssize_t, 4 * 1024)
# How much a BufferedProtocol with a small buffer is given in one event.
BUFFERED_MAX = cython.declare(cython.Py_ssize_t, 256 * 1024)
# A peer with errors pending may still send: then the rest of it has to wait for the next turn.
ROUNDS_MAX = cython.declare(cython.int, 16)
# So many full buffers in a row with more behind them are bulk, which is received by readiness; so many small receives there are
# not any more.
FULL_ENOUGH = cython.declare(cython.int, 2)
CALM_ENOUGH = cython.declare(cython.int, 32)

# What a receive says of the socket.
DRAINED = cython.declare(cython.int, 0)
MORE = cython.declare(cython.int, 1)
ENDED = cython.declare(cython.int, 2)

END_EVENTS = cython.declare(cython.uint, EPOLLRDHUP | EPOLLHUP | EPOLLERR)


@cython.cfunc
def ways_of(protocol) -> tuple:
    """How a protocol is told what has come: get_buffer of one with buffers or None, what is called with it, our StreamReader or None."""
    reader = stream_reader_of(protocol)
    ours = reader if type(reader) is StreamReader else None
    if isinstance(protocol, asyncio.BufferedProtocol):
        return protocol.get_buffer, protocol.buffer_updated, ours
    return None, getattr(protocol, "data_received", None), ours  # one that never reads needs none


class Receiving(Operation):
    """A stream's receive. Held by the engine until its last completion; holds the stream."""

    def complete(self, result, flags):
        stream = self.stream
        if self.engine is None:
            self.stream = None
            stream.receiving = None
        return stream.received(result, flags)


class Receiver(Sender):
    """A connected stream socket that can also be received from. Stream adds the connection's life."""

    def identify(self, record):
        """Its number as an actor that runs slices, introduced to the recorder if it must be."""
        raise NotImplementedError

    def begin_slice(self):
        """Before the protocol is told: true if it is told from within the engine's wait and recorded, so that a slice begins here."""
        record = self.loop.record
        if not plait_is_recorded(record) or record.running:
            return False
        actor: cython.uint = self.identify(record)
        plait_record_begin(record, record.woke_ns, PLAIT_BY_KERNEL, actor)
        record.actor = actor
        return True

    def told(self, protocol):
        """From now on this protocol is told."""
        self.protocol = protocol
        self.layer = protocol if isinstance(protocol, Layer) else None
        self.on_buffer, self.on_data, self.reader = ways_of(protocol)
        if self.on_buffer is not None and self.receiving is not None:
            self.end_receiving()
        return 0

    def watch(self):
        """From here on the engine tells what happens to the descriptor."""
        self.watch_due = False
        if not self.conn_lost:
            try:
                self.begin_receiving()
            except OSError as exc:
                self.fail(exc, "Fatal error: the engine cannot watch the socket")
        if self.queued and not self.flush_due and not self.blocked:
            self.flush()
        return 0

    def later(self):
        """Take a place in the next turn; the connection's life has one."""
        raise NotImplementedError

    def begin_receiving(self):
        """Have the engine receive, or tell when there is something to receive."""
        if (
            self.loop.engine.receives
            and self.on_buffer is None
            and not self.bulk
            and (self.family == AF_INET or self.family == AF_INET6)
        ):
            receiving: Receiving = Receiving.__new__(Receiving)
            receiving.stream = self
            self.loop.engine.submit_receive(receiving, self.fd)
            self.receiving = receiving
            self.by_completion = True
            if self.blocked and self.sending is None:
                self.loop.engine.arm(self, EPOLLOUT, False)
            elif self.engine is not None:
                self.engine.disarm(self)
        else:
            self.by_completion = False
            self.loop.engine.arm(self, EPOLLIN | EPOLLOUT | EPOLLRDHUP, False)
        return 0

    def end_receiving(self):
        """Cancel the receive; its last completion comes later."""
        receiving = self.receiving
        if not receiving.ending:
            receiving.ending = True
            if not self.loop.engine.submitted(receiving):
                # The submission names a number, which may be another connection's as soon as it is closed here.
                self.loop.engine.flush()
            self.loop.engine.cancel(receiving)
        return 0

    def ready(self, events):
        if plait_is_recorded(self.loop.record):
            plait_record_pushes(self.loop.record, PLAIT_BY_KERNEL, self.identify(self.loop.record))
        if not self.by_completion:
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

    # By completion.

    def received(self, result, flags):
        """The engine has received, or will not receive any more."""
        piece = None
        kept: cython.bint = self.paused or self.kept is not None or not self.loop.engine.is_open
        in_place: cython.bint = result > 0 and self.layer is not None and not kept
        if result > 0:
            if not in_place:
                piece = PyBytes_FromStringAndSize(self.loop.engine.received(flags), result)
            if not self.loop.engine.overflowed(result, flags):
                self.full = 0
            else:
                self.full += 1
                if self.full >= FULL_ENOUGH and self.receiving is not None:
                    self.bulk = True
                    self.end_receiving()
        elif result == 0:
            piece = b""
        elif result != -ENOBUFS and result != -ECANCELED and result != -EINTR and result != -EAGAIN:
            piece = -result
        if (piece is not None or in_place) and not self.closing and not self.at_eof:
            if kept:
                self.keep(piece)
            elif in_place:
                self.hand_over(None, self.loop.engine.received(flags), result)
            else:
                self.hand_over(piece, cython.NULL, 0)
        if self.receiving is None and result != 0 and not (piece is not None and result < 0):
            self.receive_again()
        return 0

    def receive_again(self):
        """The receive has ended, and the stream has not."""
        if self.closing or self.at_eof or self.loop._closed:
            return 0
        if self.paused or self.kept is not None:
            self.readable = True
            return 0
        if self.loop.engine.is_open:
            return self.watch()
        self.watch_due = True  # the loop moves to another engine
        return self.later()

    def keep(self, piece):
        """Hold back what has come at the wrong time: bytes, b"" for the end, an error's number."""
        if self.kept is None:
            self.kept = []
        self.kept.append(piece)
        self.readable = True
        if self.paused:
            if self.receiving is not None:
                self.end_receiving()
        elif not self.read_due and not self.loop._closed:
            self.read_due = True
            self.later()
        return 0

    def hand_over(self, piece, data, size):
        """Tell the protocol of a piece; without one, its layer of what is in the engine's buffer."""
        recorded: cython.bint = self.begin_slice()
        PyContext_Enter(self.context)
        self.dispatching = True
        try:
            if piece is None:
                self.deliver_to_layer(data, size)
            else:
                self.take(piece)
        finally:
            self.dispatching = False
            PyContext_Exit(self.context)
            self.after_read()
            if recorded and plait_is_recorded(self.loop.record):
                plait_record_end(self.loop.record)
        return 0

    def take(self, piece):
        if type(piece) is int:
            self.receive_failed(piece)
        elif not piece:
            self.end_of_file()
        elif self.on_buffer is None:
            self.deliver(piece)
        else:
            try:
                feed_buffered_protocol(self.protocol, piece)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self.fail(exc, "Fatal error: protocol.buffer_updated() call failed.")
        return 0

    def take_kept(self):
        """Reading was resumed."""
        try:
            while self.kept and not self.paused and not self.closing and not self.at_eof:
                self.hand_over(self.kept.pop(0), cython.NULL, 0)
        finally:
            if not self.kept:
                self.kept = None
                self.readable = False
        if self.kept is None and self.receiving is None:
            self.receive_again()
        elif self.kept is not None and not self.paused and not self.read_due:
            self.read_due = True
            self.later()
        return 0

    # By readiness.

    def read(self):
        """Receive and tell the protocol: once, or to the end when the peer has hung up."""
        got: cython.int
        rounds: cython.int = 0
        if self.by_completion:
            return self.take_kept()
        recorded: cython.bint = self.begin_slice()
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
            if recorded and plait_is_recorded(self.loop.record):
                plait_record_end(self.loop.record)
        return 0

    def after_read(self):
        """What the protocol wrote leaves, and what waits behind a full buffer has its turn."""
        if self.queued and not self.flush_due and not self.blocked:
            if self.queued > SMALL_MAX and not self.loop.engine.sends:
                self.flush()
            else:
                self.network.flush_later(self)
        if self.readable:
            if not self.paused and not self.closing and not self.read_due:
                self.read_due = True
                self.later()
        elif self.calm >= CALM_ENOUGH and self.loop.engine.receives and not self.closing and not self.at_eof:
            self.calm = 0
            if not self.by_completion:
                self.watch()
        return 0

    def receive(self):
        size: cython.Py_ssize_t = self.loop.receive_size
        n: cython.Py_ssize_t
        full: cython.bint = False
        if self.bulk and self.family != AF_UNIX and self.layer is None:
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
        self.calm += 1
        if n >= BULK_MIN:
            self.bulk = True
            self.calm = 0
        elif self.layer is not None:
            self.bulk = False
        if self.layer is not None:
            self.deliver_to_layer(cython.cast(cython.p_char, self.loop.receive_buffer), n)
            return MORE if full else DRAINED
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
        if self.layer is not None:
            return self.deliver_to_layer(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        try:
            if self.reader is None:
                self.on_data(data)
            elif plait_is_shared(cython.cast(cython.p_void, self.reader)):
                self.reader.feed(data)
            else:
                self.reader = None  # nobody reads any more: what comes is dropped, as asyncio does
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.delivery_failed(exc)
        return 0

    def deliver_to_layer(self, data, size):
        try:
            self.layer.feed(data, size)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.delivery_failed(exc)
        return 0

    def delivery_failed(self, error):
        if self.queued and not self.blocked:
            self.flush()  # what was written before the error still leaves
        self.fail(error, "Fatal error: protocol.data_received() call failed.")
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
