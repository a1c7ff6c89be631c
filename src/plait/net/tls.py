"""TLS: a layer on a stream, and the transport of the protocol above it. What it tells and when is asyncio.sslproto's, to the letter.

The cryptography is OpenSSL's, through ssl.SSLObject and two ssl.MemoryBIO. What arrives goes from the stream's buffer into the one
BIO, and comes out decrypted in the loop's buffer: no Python and no copy per record. Writes wait for the end of the turn, small ones become
one record, and are encrypted no further ahead than the stream below takes them.

Everything that changes the state is in this file; the states are in tls.pxd.
"""

import logging
import warnings

import cython
from cython.cimports.cpython.object import PyObject_CallObject
from cython.cimports.cpython.ref import Py_DECREF, PyObject
from cython.cimports.libc.string import memcpy
from cython.cimports.plait.core.cpython import plait_is_shared
from cython.cimports.plait.core.ready import Scheduler
from cython.cimports.plait.net.encrypting import Encryptor, State, Window
from cython.cimports.plait.net.linux import (
    Buffer,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
    PyObject_GetBuffer,
    new_bytes,
    resize_bytes,
)
from cython.cimports.plait.net.receiving import ways_of
from cython.cimports.plait.net.sending import Layer
from cython.cimports.plait.net.stream import Stream

from plait.net.encrypting import limits
from plait.standard import (
    SENDFILE_FALLBACK,
    SSL_AGAIN_ERRORS,
    SSL_HANDSHAKE_SECONDS,
    SSL_READ_HIGH_KIB,
    SSL_SHUTDOWN_SECONDS,
    SSL_WRITE_HIGH_KIB,
    SSLTransport,
    default_client_context,
    ssl_calls,
)

try:
    import ssl
except ImportError:  # as asyncio, which runs on a Python without OpenSSL too
    ssl = None

logger = logging.getLogger("asyncio")

RECORD_MAX = cython.declare(cython.Py_ssize_t, 16 * 1024)  # plain bytes in a record, RFC 8446
# From here on a copy costs more than bytes that are made too large and cut.
BULK_MIN = cython.declare(cython.Py_ssize_t, 32 * 1024)
# How much a BufferedProtocol with a small buffer is given in one event.
BUFFERED_MAX = cython.declare(cython.Py_ssize_t, 256 * 1024)


# As in encrypting.py.
WINDOW = cython.declare(Window, Window())
READ_INTO_WINDOW = cython.declare(tuple, (0, WINDOW))  # a size of 0 is as much as the buffer has


def seconds(name, asked, default):
    if asked is None:
        return default
    if asked <= 0:
        raise ValueError(f"{name} should be a positive number, got {asked}")
    return asked


class TLSTransport(Encryptor):
    """A TLS connection as asyncio.Transport, and the protocol of the transport below it. Its methods belong to the loop's thread."""

    _start_tls_compatible = True
    _sendfile_compatible = SENDFILE_FALLBACK
    max_size = 256 * 1024

    def __init__(
        self,
        loop: Scheduler,
        protocol,
        sslcontext,
        waiter,
        server_side=False,
        server_hostname=None,
        handshake_s=None,
        shutdown_s=None,
        tell_made=True,
    ):
        """The handshake begins with connection_made(); when it is done, the protocol is told (`tell_made`) and `waiter` is woken."""
        self.closed = True  # until it can be used
        if ssl is None:
            raise RuntimeError("stdlib ssl module not available")
        self._loop = loop
        self.handshake_s = seconds("ssl_handshake_timeout", handshake_s, SSL_HANDSHAKE_SECONDS)
        self.shutdown_s = seconds("ssl_shutdown_timeout", shutdown_s, SSL_SHUTDOWN_SECONDS)
        self._sslcontext = sslcontext or default_client_context(server_side, server_hostname)
        self.server_side = server_side
        self.hostname = server_hostname if server_hostname and not server_side else None
        self.extra = {"sslcontext": self._sslcontext}
        self.waiter = waiter
        self.told_app = Told.NOTHING if tell_made else Told.MADE
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._sslobj = self._sslcontext.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=self.hostname
        )
        self.ssl_read, self.ssl_write, self.plain = ssl_calls(self._sslobj)
        self.bio_write = self._incoming.write
        self.bio_read = self._outgoing.read
        self.high_water, self.low_water = limits(None, None, SSL_WRITE_HIGH_KIB)
        self.incoming_high, self.incoming_low = limits(None, None, SSL_READ_HIGH_KIB)
        self.told(protocol)
        self.closed = False

    @property
    def __class__(self):
        # A compiled class cannot inherit asyncio's transports (layout), but isinstance() is to be true.
        return SSLTransport

    def told(self, protocol):
        """From now on this protocol is told."""
        self.protocol = protocol
        self.inner = protocol if isinstance(protocol, Layer) else None
        self.on_buffer, self.on_data, self.reader = ways_of(protocol)
        return 0

    def switch(self, state):
        """The only way to another state; backwards is only to the end."""
        assert state == State.UNWRAPPED or state == self.state + 1, "TLS: a state was skipped"
        self.state = state
        return 0

    # What the transport below tells.

    def connection_made(self, transport):
        self._transport = transport
        self.below = transport
        self.stream = transport if type(transport) is Stream else None
        self.start_handshake()

    def feed(self, data, size):
        WINDOW.point(data, size, True)
        self.bio_write(WINDOW)
        return self.take(size)

    def data_received(self, data):
        self.bio_write(data)
        self.take(len(data))

    def take(self, size):
        """There is more to decrypt, so much."""
        if self.state == State.WRAPPED:
            self.do_read(size)
        elif self.state == State.DO_HANDSHAKE:
            self.do_handshake()
        elif self.state == State.FLUSHING:
            self.do_flush()
        elif self.state == State.SHUTDOWN:
            self.do_shutdown()
        return 0

    def eof_received(self):
        """The stream below has ended, with a close_notify before or without."""
        self.eof = True
        try:
            if self._loop._debug:
                logger.debug("%r received EOF", self)
            if self.state == State.DO_HANDSHAKE:
                self.handshake_done(ConnectionResetError())
            elif self.state == State.WRAPPED:
                self.switch(State.FLUSHING)
                if self.reading_paused:
                    return True
                self.do_flush()
            elif self.state == State.FLUSHING:
                self.encrypt()
                self.switch(State.SHUTDOWN)
                self.do_shutdown()
            elif self.state == State.SHUTDOWN:
                self.do_shutdown()
        except Exception:
            self._transport.close()
            raise
        return False

    def connection_lost(self, error):
        self.head = None
        self.more = None
        self.unsent = 0
        self.bio_read()
        self.conn_lost += 1
        self.closed = True
        if self.state != State.DO_HANDSHAKE and (self.told_app == Told.MADE or self.told_app == Told.END_OF_FILE):
            self.told_app = Told.LOST
            self._loop.call_soon(self.protocol.connection_lost, error)
        self.switch(State.UNWRAPPED)
        self._transport = None
        self.stream = None
        self.protocol = None
        self.on_data = None
        self.on_buffer = None
        self.reader = None
        self.inner = None
        self.wake(error)
        self.forget_timers()
        if self.done_with:
            # As asyncio's: a protocol that keeps its transport, and so is a cycle with it, keeps no SSLContext alive.
            self._sslobj = self._sslcontext = self.ssl_read = self.ssl_write = None
            self.extra = {}

    def pause_writing(self):
        self.below_paused = True

    def resume_writing(self):
        self.below_paused = False
        try:
            self.encrypt()
        except Exception as exc:
            self.fatal(exc, "Fatal error on SSL protocol")

    # The handshake.

    def start_handshake(self):
        if self._loop._debug:
            logger.debug("%r starts SSL handshake", self)
            self.began_s = self._loop.time()
        self.switch(State.DO_HANDSHAKE)
        self.handshake_timer = self._loop.call_later(self.handshake_s, self._check_handshake_timeout)
        return self.do_handshake()

    def _check_handshake_timeout(self):
        if self.state == State.DO_HANDSHAKE:
            self.fatal(
                ConnectionAbortedError(
                    f"SSL handshake is taking longer than {self.handshake_s} seconds: aborting the connection"
                ),
                "Fatal error on transport",
            )

    def do_handshake(self):
        try:
            self._sslobj.do_handshake()
        except SSL_AGAIN_ERRORS:
            self.hand_on()
        except ssl.SSLError as exc:
            self.handshake_done(exc)
        else:
            self.handshake_done(None)
        return 0

    def handshake_done(self, error):
        if self.handshake_timer is not None:
            self.handshake_timer.cancel()
            self.handshake_timer = None
        sslobj = self._sslobj
        try:
            if error is not None:
                raise error
            self.switch(State.WRAPPED)
            peercert = sslobj.getpeercert()
        except Exception as exc:
            certificate = isinstance(exc, ssl.CertificateError)
            message = "SSL handshake failed" + (" on verifying the certificate" if certificate else "")
            self.fatal(exc, message)
            self.switch(State.UNWRAPPED)
            self.wake(exc)
            return 0
        if self._loop._debug:
            logger.debug("%r: SSL handshake took %.1f ms", self, (self._loop.time() - self.began_s) * 1e3)
        self.extra.update(
            peercert=peercert, cipher=sslobj.cipher(), compression=sslobj.compression(), ssl_object=sslobj
        )
        if self.told_app == Told.NOTHING:
            self.told_app = Told.MADE
            self.protocol.connection_made(self)
        self.wake(None)
        return self.do_read(0)

    def wake(self, error):
        waiter = self.waiter
        self.waiter = None
        if waiter is not None and not waiter.done():
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        return 0

    # Reading.

    def do_read(self, fresh):
        """Decrypt and tell what there is; so many bytes have come just now, so that there is something for sure."""
        if self.state != State.WRAPPED and self.state != State.FLUSHING:
            return 0
        outer: cython.bint = self.reading
        self.reading = True
        try:
            if not self.reading_paused and (fresh or self.undecrypted()):
                if self.on_buffer is not None:
                    self.read_into()
                elif fresh >= BULK_MIN and self.inner is None and self._incoming.pending <= self._loop.receive_size:
                    self.read_bulk()
                else:
                    self.read_all()
            self.encrypt()
            self.control_reading()
        except Exception as exc:
            self.leaving()  # what was written before the error still leaves
            self.fatal(exc, "Fatal error on SSL protocol")
        finally:
            self.reading = outer
        return 0

    def stopped(self):
        """Whether the protocol wants no more for now, or not in this way."""
        if self.reading_paused or self.on_buffer is not None:
            self._loop.call_soon(self._do_read)
            return True
        return self.state != State.WRAPPED and self.state != State.FLUSHING

    def undecrypted(self):
        """Whether decrypting can give anything. To try in vain costs as much as a record: OpenSSL's word for it is an exception."""
        return self._incoming.pending or self._sslobj.pending()

    def decrypt(self, buffer, size):
        """Up to one record; 0 for the peer's close_notify, -1 if there is no whole record."""
        try:
            if self.plain:
                WINDOW.point(buffer, size, False)
                return PyObject_CallObject(self.ssl_read, READ_INTO_WINDOW)
            data: bytes = self.ssl_read(size)
            memcpy(buffer, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            return PyBytes_GET_SIZE(data)
        except SSL_AGAIN_ERRORS:
            return -1

    def read_all(self):
        """Tell the protocol all that has arrived, in pieces of up to the loop's buffer."""
        buffer: cython.p_char = cython.cast(cython.p_char, self._loop.receive_buffer)
        size: cython.Py_ssize_t = self._loop.receive_size
        total: cython.Py_ssize_t = 0
        n: cython.Py_ssize_t = 0
        while True:
            try:
                n = self.decrypt(buffer + total, size - total)
            except Exception:
                if total:
                    self.deliver(buffer, total)  # what came whole before
                raise
            if n <= 0:
                break
            total += n
            if not self._incoming.pending:  # the record that was read had room enough, OpenSSL keeps nothing of it
                break
            if size - total < RECORD_MAX:
                self.deliver(buffer, total)
                total = 0
                if self.stopped():
                    return 0
        if total:
            self.deliver(buffer, total)
        return self.end_of_data() if n == 0 else 0

    def read_bulk(self):
        """The same for much at once, decrypted into the bytes that the protocol is given, which spares a copy."""
        # Of a record that had begun to come before this, OpenSSL has a part already.
        size: cython.Py_ssize_t = self._incoming.pending + RECORD_MAX
        total: cython.Py_ssize_t = 0
        n: cython.Py_ssize_t = 0
        data: cython.pointer(PyObject) = new_bytes(cython.NULL, size)
        try:
            while True:
                n = self.decrypt(PyBytes_AS_STRING(cython.cast(object, data)) + total, size - total)
                if n <= 0:
                    break
                total += n
                if not self._incoming.pending:
                    break
        finally:
            if total == 0:
                Py_DECREF(cython.cast(object, data))
            else:
                # On an error too: what came whole before.
                resize_bytes(cython.address(data), total)
                received: bytes = cython.cast(object, data)
                Py_DECREF(received)  # `received` holds its own reference
                self.tell(received)
        return self.end_of_data() if n == 0 else 0

    def read_into(self):
        """The same for a BufferedProtocol: as often as it takes to fill its buffer less than full, so far as is fair."""
        view = cython.declare(Buffer)
        n: cython.Py_ssize_t = 1
        filled: cython.Py_ssize_t
        total: cython.Py_ssize_t = 0
        on_buffer = self.on_buffer
        while True:
            PyObject_GetBuffer(on_buffer(self._incoming.pending or -1), cython.address(view), PyBUF_WRITABLE)
            size: cython.Py_ssize_t = view.len
            filled = 0
            try:
                if size == 0:
                    raise RuntimeError("get_buffer() returned an empty buffer")
                while filled < size and self.undecrypted():
                    n = self.decrypt(cython.cast(cython.p_char, view.buf) + filled, size - filled)
                    if n <= 0:
                        break
                    filled += n
            finally:
                PyBuffer_Release(cython.address(view))
            if filled:
                self.on_data(filled)
            total += filled
            if n <= 0 or not self.undecrypted():
                break
            if self.state != State.WRAPPED and self.state != State.FLUSHING:
                return 0
            if self.reading_paused or self.on_buffer is not on_buffer or total >= BUFFERED_MAX:
                self._loop.call_soon(self._do_read)
                return 0
        return self.end_of_data() if n == 0 else 0

    def _do_read(self):
        self.do_read(0)

    def deliver(self, data, size):
        if self.inner is not None:
            return self.inner.feed(data, size)
        return self.tell(PyBytes_FromStringAndSize(data, size))

    def tell(self, data):
        if self.reader is None:
            self.on_data(data)
        elif plait_is_shared(cython.cast(cython.p_void, self.reader)):
            self.reader.feed(data)
        else:
            self.reader = None  # nobody reads any more: what comes is dropped, as asyncio does
        return 0

    def end_of_data(self):
        """The peer's close_notify."""
        self.tell_eof()
        return self.start_shutdown()

    def tell_eof(self):
        if self.told_app != Told.MADE:
            return 0
        self.told_app = Told.END_OF_FILE
        try:
            if self.protocol.eof_received():
                logger.warning("returning true from eof_received() has no effect when using ssl")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self.fatal(exc, "Error calling eof_received()")
        return 0

    def control_reading(self):
        """What the protocol does not want yet is to stay in the kernel, but for a buffer full."""
        if not self.reading_paused and not self.stream_paused:
            return 0
        size: cython.Py_ssize_t = self._incoming.pending
        if size >= self.incoming_high and not self.stream_paused:
            self.stream_paused = True
            self._transport.pause_reading()
        elif size <= self.incoming_low and self.stream_paused:
            self.stream_paused = False
            self._transport.resume_reading()
        return 0

    def pause_reading(self):
        """No data_received() until resume_reading()."""
        self._loop.check_thread()
        self.reading_paused = True

    def resume_reading(self):
        """Go on after pause_reading(), in the next turn."""
        self._loop.check_thread()
        if self.reading_paused:
            self.reading_paused = False
            self._loop.call_soon(self._resume)

    def _resume(self):
        if self.state == State.WRAPPED:
            self.do_read(0)
        elif self.state == State.FLUSHING:
            self.do_flush()
        elif self.state == State.SHUTDOWN:
            self.do_shutdown()

    def is_reading(self):
        return not self.reading_paused

    def set_read_buffer_limits(self, high=None, low=None):
        """Received bytes that wait for a protocol that paused reading: above `high` the stream below is paused, too (256 KiB)."""
        self.incoming_high, self.incoming_low = limits(high, low, SSL_READ_HIGH_KIB)
        self.control_reading()

    def get_read_buffer_limits(self):
        return (self.incoming_low, self.incoming_high)

    def get_read_buffer_size(self):
        return self._incoming.pending

    # The end.

    def close(self):
        """Send what is queued, then TLS's own goodbye, and close when the peer has answered it; connection_lost(None) follows."""
        self._loop.check_thread()
        if self.closed:
            self.done_with = True
        else:
            self.closed = True
            self.start_shutdown()

    def abort(self):
        """Close at once, whatever is queued; connection_lost(None) follows."""
        self._force_close(None)

    def _force_close(self, exc):
        self._loop.check_thread()
        self.closed = True
        self.abort_with(exc)

    def is_closing(self):
        return self.closed or (self._transport is not None and self._transport.is_closing())

    def abort_with(self, error):
        self.switch(State.UNWRAPPED)
        if self._transport is not None:
            self._transport._force_close(error)
        return 0

    def start_shutdown(self):
        if self.state != State.WRAPPED and self.state != State.DO_HANDSHAKE:
            return 0
        self.closed = True
        if self.state == State.DO_HANDSHAKE:
            return self.abort_with(None)
        self.switch(State.FLUSHING)
        self.shutdown_timer = self._loop.call_later(self.shutdown_s, self._check_shutdown_timeout)
        return self.do_flush()

    def _check_shutdown_timeout(self):
        if self._transport is not None:
            self._transport._force_close(TimeoutError("SSL shutdown timed out"))

    def do_flush(self):
        self.do_read(0)
        if self.state != State.FLUSHING:  # an error in between, or it went on from there
            return 0
        self.switch(State.SHUTDOWN)
        return self.do_shutdown()

    def do_shutdown(self):
        try:
            if not self.eof:
                self._sslobj.unwrap()
        except SSL_AGAIN_ERRORS:
            self.hand_on()
        except ssl.SSLError as exc:
            self.shutdown_done(exc)
        else:
            self.hand_on()
            self.tell_eof()
            self.shutdown_done(None)
        return 0

    def shutdown_done(self, error):
        if error is not None:
            self.forget_timers()
            return self.fatal(error, "Fatal error on transport")
        if self._transport is None:
            return 0
        # The stream below sends its queue before it closes, which a peer that does not read could delay for ever.
        if self.shutdown_timer is None:
            self.shutdown_timer = self._loop.call_later(self.shutdown_s, self._check_shutdown_timeout)
        self._loop.call_soon(self._transport.close)
        return 0

    def forget_timers(self):
        for timer in (self.handshake_timer, self.shutdown_timer):
            if timer is not None:
                timer.cancel()
        self.handshake_timer = None
        self.shutdown_timer = None
        return 0

    def __del__(self):
        if not self.closed:
            self.closed = True
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self)

    # The protocol above.

    def set_protocol(self, protocol):
        self._loop.check_thread()
        self.told(protocol)

    def get_protocol(self):
        return self.protocol

    # What it is.

    def get_extra_info(self, name, default=None):
        """'ssl_object', 'peercert', 'cipher', 'compression' (after the handshake), 'sslcontext', and all that the stream below has."""
        if name in self.extra:
            return self.extra[name]
        return default if self.below is None else self.below.get_extra_info(name, default)

    def __repr__(self):
        state = "closing " if self.closed else ""
        return f"<TLS {state}on {self.below!r}>"

    # What asyncio's own code, its tests and libraries read of its transports, and of the protocol that is behind them there.

    @property
    def _ssl_protocol(self):
        return self

    @property
    def _app_transport(self):
        return self

    @property
    def _app_protocol(self):
        return self.protocol

    @property
    def _protocol(self):
        return self.protocol

    @property
    def _extra(self):
        return self.extra

    @property
    def _closed(self):
        return self.closed

    @property
    def _server_side(self):
        return self.server_side

    @property
    def _server_hostname(self):
        return self.hostname

    @property
    def _protocol_paused(self):
        return self.protocol_paused

    @property
    def _app_reading_paused(self):
        return self.reading_paused

    @property
    def _ssl_writing_paused(self):
        return self.below_paused

    @property
    def _incoming_high_water(self):
        return self.incoming_high

    @property
    def _incoming_low_water(self):
        return self.incoming_low

    def _test__append_write_backlog(self, data):
        self.queue(data)
