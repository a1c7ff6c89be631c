"""asyncio.StreamWriter, compiled: writing and, as long as nothing has to wait, draining without a coroutine. The rest is asyncio's own."""

from asyncio import StreamReader as AsyncioStreamReader
from asyncio import StreamWriter as AsyncioStreamWriter

import cython
from cython.cimports.plait.core.done import done
from cython.cimports.plait.net.reader import StreamReader
from cython.cimports.plait.net.stream import Stream
from cython.cimports.plait.net.tls import TLSTransport

from plait.standard import writer_del, writer_repr


class StreamWriter:
    """An instance of asyncio.StreamWriter by isinstance(); not thread-safe, as that."""

    @property
    def __class__(self):
        return AsyncioStreamWriter

    def __init__(self, transport, protocol, reader, loop):
        # drain() asks it for its exception.
        assert reader is None or isinstance(reader, AsyncioStreamReader)
        self._transport = transport
        self._protocol = protocol
        self._reader = reader
        self._loop = loop
        self._complete_fut = loop.create_future()
        self._complete_fut.set_result(None)

    def __repr__(self):
        return writer_repr(self)

    def __del__(self):
        if self.transport_of is not None:
            writer_del(self)

    @property
    def _transport(self):
        return self.transport_of

    @_transport.setter
    def _transport(self, transport):
        self.transport_of = transport
        self.stream = transport if type(transport) is Stream else None
        self.tls = transport if type(transport) is TLSTransport else None

    @property
    def transport(self):
        return self.transport_of

    def write(self, data):
        stream = self.stream
        if stream is not None:
            if type(data) is bytes and not (stream.conn_lost or stream.eof_due or stream.on_empty is not None):
                stream.loop.check_thread()
                stream.pass_on(data)
            else:
                stream.write(data)
        elif self.tls is not None:
            self.tls.write(data)
        else:
            self.transport_of.write(data)

    def writelines(self, data):
        self.transport_of.writelines(data)

    def write_eof(self):
        return self.transport_of.write_eof()

    def can_write_eof(self):
        return self.transport_of.can_write_eof()

    def close(self):
        return self.transport_of.close()

    def is_closing(self):
        return self.transport_of.is_closing()

    def get_extra_info(self, name, default=None):
        return self.transport_of.get_extra_info(name, default)

    def wait_closed(self):
        """Wait until the connection is closed."""
        return AsyncioStreamWriter.wait_closed(self)

    def drain(self):
        """Wait until the transport's buffer has room, if it has none now. Raises what has ended the connection."""
        stream = self.stream
        tls = self.tls
        if (
            (stream is not None or tls is not None)
            and not (stream.closing if stream is not None else tls.is_closing())
            and (stream.protocol if stream is not None else tls.protocol) is self._protocol
            and type(self._reader) is StreamReader
            and cython.cast(StreamReader, self._reader)._exception is None
            and not self._protocol._paused
        ):
            return done(None)
        return AsyncioStreamWriter.drain(self)

    def start_tls(self, sslcontext, **options):
        """Go on with TLS; asyncio's own."""
        return AsyncioStreamWriter.start_tls(self, sslcontext, **options)
