"""What files do without waiting: give out what was read ahead, cut lines from it, keep what is to be written.

The methods here are those of the files themselves, for the case that memory will do: the answer is then there already, and awaiting it
costs a call and never a turn of the loop. In all other cases they hand over to the coroutine of the same name with an underscore, of the
subclass. How long a task can go on like this is bounded by the buffers: filling and emptying them waits.
"""

from collections import deque

import cython
from cython.cimports.libc.string import memchr, memcpy, memmove
from cython.cimports.plait.core.cpython import plait_is_shared
from cython.cimports.plait.core.done import done
from cython.cimports.plait.files.strings import (
    PyByteArray_AS_STRING,
    PyUnicode_AsUTF8AndSize,
    PyUnicode_AsUTF8String,
    PyUnicode_FindChar,
    PyUnicode_GET_LENGTH,
    PyUnicode_IS_ASCII,
    PyUnicode_READ_CHAR,
    PyUnicode_Substring,
)
from cython.cimports.plait.net.linux import (
    Buffer,
    PyBUF_SIMPLE,
    PyBuffer_Release,
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
    PyObject_GetBuffer,
)

FEED = cython.declare(cython.int, 10)
CARRIAGE = cython.declare(cython.int, 13)
NOTHING = cython.declare(bytearray, bytearray())


class Turns:
    """Tasks that share a file have it one after another, in the order of asking."""

    def _take_turn(self, waiter_of):
        """None if the file is free, and it is then taken; else the future of when it is."""
        if not self.taken:
            self.taken = self._busy = True
            return None
        if self.waiters is None:
            self.waiters = deque()
        waiter = waiter_of()
        self.waiters.append(waiter)
        return waiter

    def _end_turn(self):
        """Give the file to the next, who finds it taken."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.taken = False
        self._busy = self.closed

    def may_begin(self, wants):
        """Whether a turn can be had at once, with nothing to be done before."""
        return not self._busy and not self.taken

    def line_now(self):
        return None

    def __aiter__(self):
        self._check_open()
        lines: Lines = Lines.__new__(Lines)
        lines.file = self
        return lines

    def __anext__(self):
        line = self.line_now()
        return self._next_line() if line is None else done(line)


class Lines:
    """What `async for` over a file goes through. A class of its own, as the file's is one of Python, where each step costs a lookup."""

    def __aiter__(self):
        return self

    def __anext__(self):
        line = self.file.line_now()
        if line is None:
            return self.file._next_line()
        # The answer before is awaited by now, as a rule, and nobody's any more: it serves again.
        if self.answer is None or plait_is_shared(cython.cast(cython.p_void, self.answer)):
            self.answer = done(line)
        else:
            self.answer.value = line
            self.answer.used = False
        return self.answer


class Turn:
    """`async with` around what waits; it costs no turn of the loop when the file is free."""

    def __cinit__(self, file: Turns, what: str = "", reads: cython.bint = False, writes: cython.bint = False):
        self.file = file
        self.what = what
        self.wants = TO_READ if reads else TO_WRITE if writes else EITHER

    def __aenter__(self):
        file = self.file
        if file.may_begin(self.wants):
            file.taken = file._busy = True
            return done(None)
        return file._begin(self.what, self.wants == TO_READ, self.wants == TO_WRITE)

    def __aexit__(self, kind, error, at):
        self.file._end_turn()
        return done(None)


class RawMemory(Turns):
    """What a raw file has of this."""

    def may_begin(self, wants):
        if self._busy or self.taken or self._landing is not None:
            return False
        return wants == EITHER or (self._reads if wants == TO_READ else self._writes)


class BinaryMemory(Turns):
    """The buffers of a binary file, one for each direction; at most one of them holds anything."""

    def _set_buffers(self, raw: RawMemory, room: cython.Py_ssize_t):
        self.bare = raw
        self.data = b""
        self._room = room
        self._reads = raw._reads
        self._writes = raw._writes
        self.pending = NOTHING

    def may_begin(self, wants):
        if self._busy or self.taken or self.bare._landing is not None:
            return False
        if wants == TO_READ:
            return self._reads and self.filled == 0
        return wants == EITHER or self._writes

    # What was read ahead.

    def _ahead(self):
        """How many bytes were read ahead."""
        return self.end - self.at

    def _keep(self, data: bytes):
        """What was read, to be given out from here. Nothing else is there."""
        self.data = data
        self.at = 0
        self.end = PyBytes_GET_SIZE(data)

    def _drop(self):
        self.data = b""
        self.at = self.end = 0

    def _take(self, size: cython.Py_ssize_t):
        """At most `size` bytes of what was read ahead; all of them for a negative one."""
        if size < 0 or size > self.end - self.at:
            size = self.end - self.at
        return self.cut(size)

    def _step(self, count: cython.Py_ssize_t):
        """Leave out so many bytes of what was read ahead."""
        self.at += count

    def _look(self):
        """What was read ahead, left where it is."""
        return self.data[self.at : self.end]

    def _take_line(self, limit: cython.Py_ssize_t):
        """A line of what was read ahead, with its end; None if it does not end there and is shorter than `limit`."""
        size: cython.Py_ssize_t = self.line_end(limit)
        return None if size < 0 else self.cut(size)

    def cut(self, size):
        if self.at == 0 and size == self.end == PyBytes_GET_SIZE(self.data):
            found: bytes = self.data
            self.at = size
        else:
            found = PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.data) + self.at, size)
            self.at += size
        if self.at == self.end:
            self.data = b""
            self.at = self.end = 0
        return found

    def line_end(self, limit):
        """The length of the next line, or -1."""
        ahead: cython.Py_ssize_t = self.end - self.at
        start: cython.p_char = PyBytes_AS_STRING(self.data) + self.at
        size: cython.Py_ssize_t = ahead if limit < 0 or limit > ahead else limit
        found: cython.p_char = cython.cast(cython.p_char, memchr(start, FEED, size))
        if found != cython.NULL:
            return found - start + 1
        return limit if 0 <= limit <= ahead else -1

    # What is to be written.

    def _pending(self):
        """How many bytes are to be written."""
        return self.filled

    def _view_pending(self):
        return memoryview(self.pending)[: self.filled]

    def _written(self, count: cython.Py_ssize_t):
        """So many of the pending bytes are in the file."""
        self.filled -= count
        if self.filled > 0:
            start: cython.p_char = PyByteArray_AS_STRING(self.pending)
            memmove(start, start + count, self.filled)

    def _put(self, data):
        """Keep all of `data` to be written, if there is room for it."""
        view = cython.declare(Buffer)
        PyObject_GetBuffer(data, cython.address(view), PyBUF_SIMPLE)
        try:
            return self.put(cython.cast(cython.p_char, view.buf), view.len)
        finally:
            PyBuffer_Release(cython.address(view))

    def put(self, data, size):
        if size > self._room - self.filled:
            return False
        if len(self.pending) != self._room:
            self.pending = bytearray(self._room)
        memcpy(PyByteArray_AS_STRING(self.pending) + self.filled, data, size)
        self.filled += size
        return True

    # In passing.

    def read(self, size=-1, /):
        """`size` bytes, fewer at the end of the file, all that there are for -1."""
        if type(size) is int and not self._busy and self._reads:
            wanted: cython.Py_ssize_t = size
            if 0 < wanted <= self.end - self.at:
                return done(self.cut(wanted))
        return self._read(size)

    def readline(self, size=-1, /):
        """The next line with its end; b"" at the end of the file. At most `size` bytes, if that is not negative."""
        if type(size) is int and not self._busy and self._reads:
            length: cython.Py_ssize_t = self.line_end(size)
            if length > 0:
                return done(self.cut(length))
        return self._readline(size)

    def line_now(self):
        if not self._busy and self._reads:
            length: cython.Py_ssize_t = self.line_end(-1)
            if length > 0:
                return self.cut(length)
        return None

    def write(self, data, /):
        """Write all of it, into the buffer first; the number of bytes. What an error or a cancel leaves in the buffer is written later."""
        if not self._busy and self._writes and self.at == self.end and type(data) is bytes:
            size: cython.Py_ssize_t = PyBytes_GET_SIZE(data)
            if self.put(PyBytes_AS_STRING(data), size):
                return done(size)
        return self._write(data)


class TextMemory:
    """What was decoded and not given out, and lines of it."""

    def _set_text(self, binary: BinaryMemory, newline, translated: cython.bint):
        self.binary = binary
        self.text = ""
        self.newlines_are = (
            LINE_FEED
            if translated or newline == "\n"
            else UNIVERSAL
            if newline == ""
            else RETURN
            if newline == "\r"
            else RETURN_LINE_FEED
        )

    def _characters(self):
        """How many characters are there."""
        return self.size - self.at

    def _given(self):
        """How many characters of the last chunk are given out."""
        return self.at - self.before

    def _forget_text(self):
        self.text = ""
        self.at = self.size = self.before = self.searched = 0

    def _add_text(self, text: str):
        """The text of a new chunk, behind what is still there."""
        rest: cython.Py_ssize_t = self.size - self.at
        if rest > 0:
            text = PyUnicode_Substring(self.text, self.at, self.size) + text
            self.searched -= self.at
        else:
            self.searched = 0
        self.text = text
        self.at = 0
        self.before = rest
        self.size = PyUnicode_GET_LENGTH(text)

    def _skip(self, count: cython.Py_ssize_t):
        self.at += count
        self.searched = self.at

    def _take(self, size: cython.Py_ssize_t):
        """At most `size` characters of what is there; all for a negative one."""
        if size < 0 or size > self.size - self.at:
            size = self.size - self.at
        return self.cut(size)

    def _take_line(self, limit: cython.Py_ssize_t):
        """A line with its end; None if it does not end in what is there and is shorter than `limit`."""
        size: cython.Py_ssize_t = self.line_end(limit)
        return None if size < 0 else self.cut(size)

    def cut(self, size):
        start: cython.Py_ssize_t = self.at
        self.at = self.searched = start + size
        return PyUnicode_Substring(self.text, start, start + size)

    def line_end(self, limit):
        """The length of the next line, or -1."""
        end: cython.Py_ssize_t = self.size if limit < 0 or limit > self.size - self.at else self.at + limit
        start: cython.Py_ssize_t = max(self.at, self.searched)
        found: cython.Py_ssize_t = -1
        if start < end:
            if self.newlines_are == LINE_FEED:
                found = PyUnicode_FindChar(self.text, FEED, start, end, 1)
            elif self.newlines_are == RETURN:
                found = PyUnicode_FindChar(self.text, CARRIAGE, start, end, 1)
            elif self.newlines_are == UNIVERSAL:
                found = self.universal_end(start, end)
            else:
                found = self.pair_end(start, end)
            if found == -2:
                raise MemoryError
        if found >= 0:
            return found + 1 - self.at
        if 0 <= limit <= self.size - self.at and self.at < self.size:
            return limit
        # The first half of a \r\n may be the last character.
        self.searched = max(self.at, self.size - 1) if self.newlines_are == RETURN_LINE_FEED else self.size
        return -1

    def universal_end(self, start, end):
        """The last character of the first line end. The decoder keeps a \\r back until it knows what follows."""
        found: cython.Py_ssize_t = PyUnicode_FindChar(self.text, FEED, start, end, 1)
        other: cython.Py_ssize_t = PyUnicode_FindChar(self.text, CARRIAGE, start, end if found < 0 else found, 1)
        if other < 0:
            return found
        if other + 1 < end and PyUnicode_READ_CHAR(self.text, other + 1) == FEED:
            return other + 1
        return other

    def pair_end(self, start, end):
        found: cython.Py_ssize_t = PyUnicode_FindChar(self.text, CARRIAGE, start, end, 1)
        while found >= 0:
            if found + 1 < end and PyUnicode_READ_CHAR(self.text, found + 1) == FEED:
                return found + 1
            found = PyUnicode_FindChar(self.text, CARRIAGE, found + 1, end, 1)
        return -1

    # In passing.

    def read(self, size=-1, /):
        """`size` characters, fewer at the end of the file, all that there are for -1."""
        if type(size) is int and not self._busy and not self.binary._busy:
            wanted: cython.Py_ssize_t = size
            if 0 < wanted <= self.size - self.at:
                return done(self.cut(wanted))
        return self._read(size)

    def readline(self, size=-1, /):
        """The next line with its end; "" at the end of the file. At most `size` characters, if that is not negative."""
        if type(size) is int and not self._busy and not self.binary._busy:
            length: cython.Py_ssize_t = self.line_end(size)
            if length > 0:
                return done(self.cut(length))
        return self._readline(size)

    def line_now(self):
        if not self._busy and not self.binary._busy:
            length: cython.Py_ssize_t = self.line_end(-1)
            if length > 0:
                self._telling = False
                return self.cut(length)
        return None

    def write(self, text, /):
        """Write all of it, into the buffer first; the number of characters."""
        if self._utf8_in_passing and not self._busy and not self.binary._busy and type(text) is str:
            size: cython.Py_ssize_t = 0
            if PyUnicode_IS_ASCII(text):
                data: cython.p_const_char = PyUnicode_AsUTF8AndSize(text, cython.address(size))
                if self.binary.put(data, size):
                    return done(size)
            else:
                encoded: bytes = PyUnicode_AsUTF8String(text)
                if self.binary.put(PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded)):
                    return done(PyUnicode_GET_LENGTH(text))
        return self._write(text)
