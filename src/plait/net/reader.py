"""asyncio.StreamReader, compiled: what asyncio.open_connection() and start_server() hand out on our loop.

Chunks are kept as they came, and one that is asked for as it is is handed over uncopied. A call that memory can answer is answered at
once, one that has to wait is a ReadCall, and what is rarely asked for is a coroutine in waiting.py. Some libraries look into `_buffer`:
from then on a bytearray is all there is.
"""

from asyncio import IncompleteReadError, LimitOverrunError
from asyncio import StreamReader as AsyncioStreamReader

import cython
from cython.cimports.cpython.object import PyObject, PyTypeObject
from cython.cimports.libc.string import memchr
from cython.cimports.plait.core.cpython import plait_drop, plait_reuse
from cython.cimports.plait.core.done import done
from cython.cimports.plait.core.futures import Future, State
from cython.cimports.plait.net.calls import NOT_NOW, Call, Stage
from cython.cimports.plait.net.linux import PyBytes_AS_STRING, PyBytes_GET_SIZE, PyNumber_AsSsize_t
from cython.cimports.plait.net.pieces import pieces_of

from plait.net import waiting
from plait.standard import reader_repr

LINE_END = cython.declare(bytes, b"\n")
FOUND_TOO_LATE = cython.declare(str, "Separator is found, but chunk is longer than limit")
NOT_FOUND = cython.declare(str, "Separator is not found, and chunk exceed the limit")
# What is longer than any buffer.
ALL = cython.declare(cython.Py_ssize_t, 2**62)
NAMES = ("read", "readexactly", "readuntil", "readline", "__anext__")
# Who waits, in the message for a second one that would.
WAITERS = ("read", "readexactly", "readuntil", "readuntil", "readuntil")


class StreamReader:
    """An instance of asyncio.StreamReader by isinstance(); not thread-safe, as that."""

    @property
    def __class__(self):
        return AsyncioStreamReader

    def __init__(self, limit, loop):
        if limit <= 0:
            raise ValueError("Limit cannot be <= 0")
        self._limit = limit
        self._loop = loop

    def __repr__(self):
        return reader_repr(self)

    @property
    def _buffer(self):
        if self.flat is None:
            flat = bytearray(self.gather(self.size))
            self.flat = flat
        return self.flat

    # What the transport's protocol tells.

    def set_transport(self, transport):
        assert self._transport is None, "Transport already set"
        self._transport = transport

    def _replace_transport(self, transport):
        assert self._transport is not None, "Transport not set"
        self._transport = transport

    def feed_data(self, data):
        self.feed(data)

    def feed(self, data):
        assert not self._eof, "feed_data after feed_eof"
        if not data:
            return 0
        if self.flat is not None:
            self.flat.extend(data)
        else:
            self.append(data if isinstance(data, bytes) else bytes(data))
        if self._waiter is not None:
            self.wake()
        if self._transport is not None and not self._paused and self.held() > 2 * self._limit:
            try:
                self._transport.pause_reading()
            except NotImplementedError:
                self._transport = None  # it cannot be paused, and need not be asked again
            else:
                self._paused = True
        return 0

    def append(self, data):
        if self.size == 0:
            self.head = data
            self.at = 0
        elif self.more is None:
            self.more = pieces_of(data)
        else:
            self.more.pieces.append(data)
        self.size += PyBytes_GET_SIZE(data)
        return 0

    def feed_eof(self):
        self._eof = True
        self.wake()

    def set_exception(self, exc):
        self._exception = exc
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.cancelled():
                waiter.set_exception(exc)

    def exception(self):
        return self._exception

    def at_eof(self):
        """Whether the end was received and all before it has been read."""
        return self._eof and self.held() == 0

    def _wakeup_waiter(self):
        self.wake()

    def wake(self):
        waiter = self._waiter
        self._waiter = None
        if type(waiter) is Future:
            if cython.cast(Future, waiter).state == State.PENDING:
                cython.cast(Future, waiter).finish(None)
        elif waiter is not None and not waiter.cancelled():
            waiter.set_result(None)
        return 0

    # What is kept.

    def held(self):
        """How many bytes wait to be read."""
        return self.size if self.flat is None else len(self.flat)

    def at_hand(self):
        """Whether reading may be answered from memory, with nothing to raise."""
        return self._exception is None and self.held() > 0

    def take(self, size):
        """The first `size` bytes, at most all; what was paused because there were too many goes on."""
        taken: bytes
        if self.flat is not None:
            taken = bytes(self.flat[:size])
            del self.flat[:size]
        else:
            taken = self.gather(min(size, self.size))
        if self._paused:
            self.resume()
        return taken

    def gather(self, size):
        self.searched = 0
        if size == 0:
            return b""
        available: cython.Py_ssize_t = PyBytes_GET_SIZE(self.head) - self.at
        taken: bytes
        if size < available:
            taken = self.head[self.at : self.at + size]
            self.at += size
            self.size -= size
            return taken
        if size == available:
            taken = self.head if self.at == 0 else self.head[self.at :]
            self.size -= size
            self.advance()
            return taken
        pieces: list = []
        left: cython.Py_ssize_t = size
        while left:
            available = PyBytes_GET_SIZE(self.head) - self.at
            if left < available:
                pieces.append(self.head[self.at : self.at + left])
                self.at += left
                self.size -= left
                break
            pieces.append(self.head[self.at :] if self.at else self.head)
            self.size -= available
            left -= available
            self.advance()
        return b"".join(pieces)

    def advance(self):
        """The first chunk is used up."""
        self.at = 0
        if self.more is None:
            self.head = None
            return 0
        self.head = self.more.take()
        if not self.more.left():
            self.more = None
        return 0

    def resume(self):
        if self.held() <= self._limit:
            self._paused = False
            self._transport.resume_reading()
        return 0

    def _maybe_resume_transport(self):
        if self._paused:
            self.resume()

    def find(self, separator):
        """How many bytes there are up to the separator and with it; 0 if it is not there. LimitOverrunError where that is too much."""
        size: cython.Py_ssize_t = PyBytes_GET_SIZE(separator)
        place: cython.Py_ssize_t
        if separator is not self.sought and separator != self.sought:
            self.sought = separator
            self.searched = 0
        if self.flat is not None:
            place = self.flat.find(separator)
        elif size == 1:
            place = self.find_byte(PyBytes_AS_STRING(separator)[0])
        else:
            if self.more is not None:
                searched: cython.Py_ssize_t = self.searched
                self.append(self.gather(self.size))
                self.searched = searched
            place = -1
            if self.size:
                place = self.head.find(separator, self.at + max(0, self.searched - size + 1))
                if place >= 0:
                    place -= self.at
            self.searched = self.size
        if place < 0:
            if self.held() + 1 - size > self._limit:
                raise LimitOverrunError(NOT_FOUND, self.held() + 1 - size)
            return 0
        if place > self._limit:
            raise LimitOverrunError(FOUND_TOO_LATE, place)
        return place + size

    def find_byte(self, byte):
        place: cython.Py_ssize_t = 0  # of the chunk's first unread byte
        start: cython.Py_ssize_t = self.at
        chunk = self.head
        number: cython.Py_ssize_t = self.more.first if self.more is not None else 0
        while place < self.size:
            size: cython.Py_ssize_t = PyBytes_GET_SIZE(chunk) - start
            skipped: cython.Py_ssize_t = self.searched - place
            if skipped < size:
                if skipped < 0:
                    skipped = 0
                data: cython.p_char = PyBytes_AS_STRING(chunk)
                found: cython.p_void = memchr(data + start + skipped, byte, size - skipped)
                if found != cython.NULL:
                    self.searched = place + (cython.cast(cython.p_char, found) - data - start)
                    return self.searched
            place += size
            start = 0
            if place < self.size:
                chunk = self.more.pieces[number]
                number += 1
        self.searched = self.size
        return -1

    # Waiting for more.

    def _start_waiting(self, name: str):
        return self.start_waiting(name)

    def start_waiting(self, name):
        """A future that is done when there is more, or the end."""
        if self._waiter is not None:
            raise RuntimeError(f"{name}() called while another coroutine is already waiting for incoming data")
        assert not self._eof, "_wait_for_data after EOF"
        if self._paused:  # a limit that is smaller than what is waited for
            self._paused = False
            self._transport.resume_reading()
        waiter: Future = Future.__new__(Future)
        waiter.setup(self._loop)
        self._waiter = waiter
        return waiter

    def _wait_for_data(self, func_name):
        return waiting.wait(self, func_name)

    # Reading.

    def read(self, n=-1):
        """Up to `n` bytes, at least one but at the end; -1: all up to the end."""
        size: cython.Py_ssize_t
        if type(n) is int:
            size = PyNumber_AsSsize_t(n, cython.NULL)
            if size > 0:
                if self.at_hand():
                    return done(self.take(size))
                return call_of(self, Kind.READ, size, n)
        return waiting.read(self, n)

    def readexactly(self, n):
        """Exactly `n` bytes; IncompleteReadError, with what there was, where the end comes before."""
        size: cython.Py_ssize_t
        if type(n) is int:
            size = PyNumber_AsSsize_t(n, cython.NULL)
            if size > 0:
                if self._exception is None and self.held() >= size:
                    return done(self.take(size))
                return call_of(self, Kind.EXACTLY, size, n)
        return waiting.readexactly(self, n)

    def readline(self):
        """A line with its end; what there is at the end of all. ValueError for a line longer than the limit."""
        size: cython.Py_ssize_t = self.found(LINE_END)
        return done(self.take(size)) if size else call_of(self, Kind.LINE, 0, LINE_END)

    def readuntil(self, separator=LINE_END):
        """Up to the separator and with it; IncompleteReadError where the end comes before, LimitOverrunError where it is too far."""
        if type(separator) is bytes and separator:
            size: cython.Py_ssize_t = self.found(separator)
            return done(self.take(size)) if size else call_of(self, Kind.UNTIL, 0, separator)
        return waiting.readuntil(self, separator)

    def __aiter__(self):
        return self

    def __anext__(self):
        size: cython.Py_ssize_t = self.found(LINE_END)
        return done(self.take(size)) if size else call_of(self, Kind.NEXT_LINE, 0, LINE_END)

    def found(self, separator):
        """find() where it has nothing to raise; else 0."""
        return self.find(separator) if self.at_hand() and self.held() <= self._limit else 0


class ReadCall(Call):
    """What the methods above return when memory cannot answer."""

    def name(self):
        return f"StreamReader.{NAMES[self.kind]}"

    def begin(self):
        if self.reader._exception is not None:
            raise self.reader._exception
        return 0

    def attempt(self):
        reader = self.reader
        woken: cython.bint = self.waiter is not None
        if woken:
            self.woken()
        if self.kind == Kind.READ:
            if not (woken or reader._eof or reader.held()):
                return NOT_NOW
            return reader.take(self.size)
        if self.kind == Kind.EXACTLY:
            if reader.held() >= self.size:
                return reader.take(self.size)
        else:
            size: cython.Py_ssize_t = reader.find(self.argument) if self.kind == Kind.UNTIL else self.find_line()
            if size:
                return reader.take(size)
        if not reader._eof:
            return NOT_NOW
        rest: bytes = reader.take(ALL)
        if self.kind == Kind.LINE or (self.kind == Kind.NEXT_LINE and rest):
            return rest
        if self.kind == Kind.NEXT_LINE:
            raise StopAsyncIteration
        raise IncompleteReadError(rest, self.argument if self.kind == Kind.EXACTLY else None)

    def woken(self):
        """It has waited, and goes on if that was for something."""
        waiter = self.waiter
        self.waiter = None
        if self.reader._waiter is waiter:
            self.reader._waiter = None
        if waiter.state != State.FINISHED or waiter.failed:
            waiter.result_of()
        return 0

    def find_line(self):
        """Of a line that is too long nothing is kept, so far as it is there."""
        reader = self.reader
        try:
            return reader.find(LINE_END)
        except LimitOverrunError as error:
            dropped: bytes = reader.take(error.consumed + 1)
            if not dropped.endswith(LINE_END):
                reader.take(ALL)
            raise ValueError(error.args[0]) from error

    def wait(self):
        self.waiter = self.reader.start_waiting(WAITERS[self.kind])
        self.waiter.begin_await()
        return 0

    def end(self):
        if self.waiter is not None and self.reader._waiter is self.waiter:
            self.reader._waiter = None
        Call.end(self)
        self.reader = None
        return 0


@cython.cfunc
def call_of(reader: StreamReader, kind: Kind, size: cython.Py_ssize_t, argument) -> ReadCall:
    call: ReadCall = ReadCall.__new__(ReadCall)
    call.reader = reader
    call.kind = kind
    call.size = size
    call.argument = argument
    return call


@cython.cfunc
@cython.exceptval(check=False)
def call_dealloc(call: cython.pointer(PyObject)) -> cython.void:
    """tp_dealloc: __del__ only if it would complain."""
    plait_drop(
        call, cython.cast(cython.pointer(PyTypeObject), ReadCall), cython.cast(ReadCall, call).stage == Stage.NEW
    )


plait_reuse(cython.cast(cython.pointer(PyTypeObject), ReadCall), call_dealloc, False)
