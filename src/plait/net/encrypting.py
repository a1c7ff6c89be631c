"""The writing half of TLS: what was written, its way through OpenSSL to the stream below, and the flow control.

Writes wait for the end of the turn, and small ones become one record. Not more is encrypted than the stream below takes at that
time, but while closing, when all has to leave.
"""

import asyncio
import logging
import sys

import cython
from cython.cimports.cpython.buffer import Py_buffer, PyBuffer_FillInfo
from cython.cimports.plait.net.linux import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.plait.net.pieces import pieces_of
from cython.cimports.plait.net.sending import Layer

from plait.standard import LOST_WRITES_MAX, SSL_AGAIN_ERRORS, SSL_WRITE_HIGH_KIB

logger = logging.getLogger("asyncio")

RECORD_MAX = cython.declare(cython.Py_ssize_t, 16 * 1024)  # plain bytes in a record, RFC 8446
# More than this is encrypted at once instead of at the end of the turn: the kernel can send while the protocol makes more.
HELD_BACK_MAX = cython.declare(cython.Py_ssize_t, 64 * 1024)
# So much is encrypted before the stream below is asked whether it takes more.
ENCRYPTED_MAX = cython.declare(cython.Py_ssize_t, 256 * 1024)


class Window:
    """Memory as a buffer object, for a call that takes no pointer. Whoever points it calls at once."""

    def point(self, start, size, readonly):
        self.start = start
        self.size = size
        self.readonly = readonly
        return 0

    def __getbuffer__(self, view: cython.pointer(Py_buffer), flags: cython.int):
        PyBuffer_FillInfo(view, self, cython.cast(cython.p_void, self.start), self.size, self.readonly, flags)


# Calls take hold of the memory before they let another thread run, so that all loops can share it.
WINDOW = cython.declare(Window, Window())


def limits(high, low, kib):
    """Of flow control, from what was asked for."""
    if high is None:
        high = kib * 1024 if low is None else 4 * low
    if low is None:
        low = high // 4
    if not high >= low >= 0:
        raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
    return min(high, sys.maxsize), min(low, sys.maxsize)


class Encryptor(Layer):
    """A TLS connection that can be written to. TLSTransport adds the reading half, and the connection's life."""

    # Writing.

    def write(self, data):
        """Send these bytes, in order, without blocking; may tell the protocol to pause (see set_write_buffer_limits)."""
        self._loop.check_thread()
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data: expecting a bytes-like instance, got {type(data).__name__}")
        if not data:
            return
        if self.state != State.WRAPPED and self.state != State.DO_HANDSHAKE:
            self.write_was_lost()
            return
        if isinstance(data, bytes):
            self.queue(data)
        else:
            self.queue(bytes(data))  # its owner may change it
        self.after_queue()

    def writelines(self, list_of_data):
        """Write the pieces as one."""
        self._loop.check_thread()
        pieces: list = [bytes(data) for data in list_of_data]
        if self.state != State.WRAPPED and self.state != State.DO_HANDSHAKE:
            self.write_was_lost()
            return
        for data in pieces:
            self.queue(data)
        self.after_queue()

    def write_was_lost(self):
        if self.conn_lost >= LOST_WRITES_MAX:
            logger.warning("SSL connection is closed")
        self.conn_lost += 1
        return 0

    def queue(self, data):
        size: cython.Py_ssize_t = PyBytes_GET_SIZE(data)
        if size == 0:
            return 0
        if self.head is None:
            self.head = data
            self.at = 0
        elif self.more is None:
            self.more = pieces_of(data)
        else:
            self.more.pieces.append(data)
        self.unsent += size
        return 0

    def after_queue(self):
        """Hold the write back for the others of this turn, unless it is too much, or nobody would come back to it."""
        try:
            if self.state == State.WRAPPED:
                if (
                    self.unsent > HELD_BACK_MAX
                    or self.unsent >= self.high_water
                    or self.stream is None
                    or self._loop.thread == 0
                ):
                    self.encrypt()
                elif not (self.reading or self.below_paused or self.stream.flush_due):
                    self.stream.network.flush_later(self.stream)
        except Exception as exc:
            self.fatal(exc, "Fatal error on SSL protocol")
        return 0

    def leaving(self):
        try:
            if self.unsent and self.state == State.WRAPPED:
                self.encrypt()
        except Exception as exc:
            self.fatal(exc, "Fatal error on SSL protocol")
        return 0

    def encrypt(self):
        """Encrypt what was written, so far as the stream below takes it now; while closing, all of it. Hand on what there is."""
        n: cython.Py_ssize_t
        handed_on: cython.bint = False
        try:
            while self.unsent and (self.state != State.WRAPPED or not self.below_paused):
                n = PyBytes_GET_SIZE(self.head) - self.at
                if self.more is not None and n < RECORD_MAX:
                    self.gather()
                    n = PyBytes_GET_SIZE(self.head)
                if self.at == 0 and n <= ENCRYPTED_MAX:
                    n = self.ssl_write(self.head)
                elif self.plain:
                    WINDOW.point(PyBytes_AS_STRING(self.head) + self.at, min(n, ENCRYPTED_MAX), True)
                    n = self.ssl_write(WINDOW)
                else:
                    n = self.ssl_write(self.head[self.at : self.at + ENCRYPTED_MAX])
                self.consume(n)
                self.hand_on()
                handed_on = True
        except SSL_AGAIN_ERRORS:
            handed_on = False
        if not handed_on:
            self.hand_on()
        return self.control_writing()

    def gather(self):
        """Small writes become one record."""
        pieces: list = [self.head[self.at :] if self.at else self.head]
        size: cython.Py_ssize_t = PyBytes_GET_SIZE(self.head) - self.at
        while self.more.left():
            size += PyBytes_GET_SIZE(self.more.pieces[self.more.first])
            if size > RECORD_MAX:
                break
            pieces.append(self.more.take())
        if not self.more.left():
            self.more = None
        self.head = b"".join(pieces)
        self.at = 0
        return 0

    def consume(self, size):
        """So much of the first piece is encrypted."""
        self.unsent -= size
        self.at += size
        if self.at < PyBytes_GET_SIZE(self.head):
            return 0
        self.at = 0
        if self.more is None:
            self.head = None
            return 0
        self.head = self.more.take()
        if not self.more.left():
            self.more = None
        return 0

    def hand_on(self):
        """What OpenSSL has for the peer goes to the stream below."""
        data: bytes = self.bio_read()
        if data and self._transport is not None:
            if self.stream is not None:
                self.stream.pass_on(data)
            else:
                self._transport.write(data)
        return 0

    def control_writing(self):
        if self.protocol_paused:
            if self.unsent <= self.low_water:
                self.protocol_paused = False
                try:
                    self.protocol.resume_writing()
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as exc:
                    self.report("protocol.resume_writing() failed", exc)
        elif self.unsent and self.unsent >= self.high_water:
            self.protocol_paused = True
            try:
                self.protocol.pause_writing()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as exc:
                self.report("protocol.pause_writing() failed", exc)
        return 0

    def set_write_buffer_limits(self, high=None, low=None):
        """Plain bytes waiting above `high` pause the protocol, down to `low` they resume it (512 and 128 KiB by default)."""
        self.high_water, self.low_water = limits(high, low, SSL_WRITE_HIGH_KIB)
        self.control_writing()

    def get_write_buffer_limits(self):
        return (self.low_water, self.high_water)

    def get_write_buffer_size(self):
        return self._outgoing.pending + self.unsent

    def write_eof(self):
        raise NotImplementedError(
            "TLS closes both directions at once: call close(), or tell the end in the protocol's own way"
        )

    def can_write_eof(self):
        return False

    # Errors.

    def fatal(self, error, message):
        """End the connection over it; what is not everyday is told."""
        transport = self._transport
        if transport is not None:
            self.hand_on()  # an alert, by which the peer knows why
            if self.stream is not None and not self.stream.blocked:
                self.stream.flush()
            transport._force_close(error)
        if isinstance(error, OSError):
            # A peer that goes away is everyday: told to the protocol, not to the log.
            if self._loop._debug:
                logger.debug("%r: %s", self, message, exc_info=error)
        elif not isinstance(error, asyncio.CancelledError):
            self._loop.call_exception_handler(
                {"message": message, "exception": error, "transport": transport, "protocol": self}
            )
        return 0

    def report(self, message, error):
        self._loop.call_exception_handler(
            {"message": message, "exception": error, "transport": self, "protocol": self.protocol}
        )
        return 0
