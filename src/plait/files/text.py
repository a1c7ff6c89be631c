"""Text files: what `plait.open(...)` gives without a "b" in the mode."""

from __future__ import annotations

import codecs
import io
import os
from typing import Any

from plait.files.binary import BinaryFile
from plait.files.common import FileMethods, size_of, unsupported
from plait.files.memory import TextMemory, Turn

# How much the standard library decodes at once: a file that is read and written in turns shows it by where the writes go.
CHUNK = getattr(io.TextIOWrapper(io.BytesIO(), "utf-8"), "_CHUNK_SIZE", 8192)
# A position of tell() in one number, as the standard library packs it: where decoding begins, the decoder's flags there, how many bytes to
# feed it and how many characters of that to leave out, and whether it is told of the end.
POSITION_BITS = 64
PART_BITS = 32


def text_model(encoding: str | None, errors: str | None, newline: str | None) -> tuple[str, str | None]:
    """The encoding and the errors that these arguments mean. The standard library knows it, and refuses wrong ones in its own words."""
    model = io.TextIOWrapper(io.BytesIO(), encoding, errors, newline)
    return model.encoding, model.errors


class TextFile(TextMemory, FileMethods[str]):
    """A text file: io.TextIOWrapper, awaited. Positions of tell() are numbers to be given to seek(), and mean nothing else."""

    def __init__(
        self,
        buffer: BinaryFile,
        encoding: str | None,
        errors: str | None,
        newline: str | None,
        line_buffering: bool = False,
        write_through: bool = False,
    ) -> None:
        self.buffer = buffer
        self.mode = buffer.mode.replace("b", "")
        self._detached = False
        self._seekable = self._telling = buffer.seekable()
        self._chunk = CHUNK if buffer._writes else max(CHUNK, buffer._room)
        self._configure(encoding, errors, newline, line_buffering, write_through)
        if self._encoder is not None and self._seekable and buffer._tell():
            self._encoder.setstate(0)  # no byte order mark in the middle

    def _configure(
        self, encoding: str | None, errors: str | None, newline: str | None, line_buffering: bool, write_through: bool
    ) -> None:
        self.encoding, self.errors = text_model(encoding, errors, newline)
        self.line_buffering = line_buffering
        self.write_through = write_through
        self._newline = newline
        info = codecs.lookup(self.encoding)
        self._decoder: Any = None
        self._encoder: Any = None
        if self.buffer._reads:
            assert info.incrementaldecoder is not None
            self._decoder = info.incrementaldecoder(self.errors or "strict")
            if not newline:
                self._decoder = io.IncrementalNewlineDecoder(self._decoder, translate=newline is None)
        if self.buffer._writes:
            assert info.incrementalencoder is not None
            self._encoder = info.incrementalencoder(self.errors or "strict")
        self._line_end = newline if newline not in (None, "", "\n") else None
        self._utf8_in_passing = (
            info.name == "utf-8"
            and self.errors == "strict"
            and self.buffer._writes
            and not self.buffer._reads
            and not line_buffering
            and not write_through
            and self._line_end is None
        )
        # The state of the decoder before the last chunk, and what was decoded from there on; None when that is not known.
        self._snapshot: tuple[int, bytes] | None = None
        self._set_text(self.buffer, newline, newline is None)

    def __repr__(self) -> str:
        return f"<plait.files.TextFile name={self.name!r} mode={self.mode!r} encoding={self.encoding!r}>"

    # What needs no waiting.

    @property
    def name(self) -> Any:
        return self.buffer.name

    @property
    def closed(self) -> bool:
        return self._detached or self.buffer.closed

    @property
    def newlines(self) -> str | tuple[str, ...] | None:
        """The line ends seen so far, with newline=None or "" ."""
        found: str | tuple[str, ...] | None = getattr(self._decoder, "newlines", None)
        return found

    def fileno(self) -> int:
        """The descriptor; see BinaryFile.fileno()."""
        return self.buffer.fileno()

    def isatty(self) -> bool:
        return self.buffer.isatty()

    def readable(self) -> bool:
        return self.buffer.readable()

    def writable(self) -> bool:
        return self.buffer.writable()

    def seekable(self) -> bool:
        self._check_open()
        return self._seekable

    # Reading.

    def _check_readable(self) -> None:
        if self._decoder is None:
            raise unsupported("not readable")

    async def _read_chunk(self) -> bool:
        """Decode what comes next; false when nothing did. A cancel changes nothing."""
        telling = self._telling
        if telling:
            kept, flags = self._decoder.getstate()
        data = await self.buffer.read1(self._chunk)
        text = self._decode(data, not data)
        if telling:
            self._snapshot = flags, kept + data
        return bool(data or text)

    def _decode(self, data: bytes, final: bool) -> str:
        try:
            text: str = self._decoder.decode(data, final)
        except UnicodeError:
            self._forget_text()
            raise
        self._add_text(text)
        return text

    async def _read(self, size: int | None = -1) -> str:
        number = size_of(size)
        async with Turn(self):
            self._check_readable()
            if number < 0:
                data = await self.buffer.read()
                start = self._take(-1)
                self._forget_text()
                text: str = self._decoder.decode(data, final=True)
                self._snapshot = None
                return start + text
            while self._characters() < number and await self._read_chunk():
                pass
            return self._take(number)

    async def _readline(self, size: int | None = -1) -> str:
        limit = int(size.__index__())  # type: ignore[union-attr]
        async with Turn(self):
            self._check_readable()
            return await self._line(limit)

    async def _line(self, limit: int) -> str:
        while (line := self._take_line(limit)) is None:
            if not await self._read_chunk():
                line = self._take(-1)
                self._forget_text()
                self._snapshot = None
                break
        return line

    async def _next_line(self) -> str:
        async with Turn(self):
            self._telling = False
            self._check_readable()
            line = await self._line(-1)
            if line:
                return line
            self._snapshot = None
            self._telling = self._seekable
            raise StopAsyncIteration

    # Writing.

    async def _write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        async with Turn(self):
            if self._encoder is None:
                raise unsupported("not writable")
            flush = self.line_buffering and ("\n" in text or "\r" in text)
            data = self._encoder.encode(text.replace("\n", self._line_end) if self._line_end else text)
            await self.buffer.write(data)
            if flush or self.write_through:
                await self.buffer.flush()
            self._forget_text()
            self._snapshot = None
            if self._decoder is not None:
                self._decoder.reset()
            return len(text)

    async def flush(self) -> None:
        """Hand what is pending to the kernel."""
        async with Turn(self):
            await self._flush()

    async def _flush(self) -> None:
        self._telling = self._seekable
        await self.buffer.flush()

    # Moving.

    def _check_seekable(self) -> None:
        if not self._seekable:
            raise unsupported("underlying stream is not seekable")

    async def tell(self) -> int:
        async with Turn(self):
            return await self._tell()

    async def _tell(self) -> int:
        self._check_seekable()
        if not self._telling:
            raise OSError("telling position disabled by next() call")
        await self._flush()
        position = await self.buffer.tell()
        if self._decoder is None or self._snapshot is None:
            return position
        flags, data = self._snapshot
        start = position - len(data)
        given = self._given()
        if given == 0:
            return start | flags << POSITION_BITS
        # The standard library finds out how many bytes these characters were: it decodes the chunk again from memory.
        replay = io.TextIOWrapper(io.BytesIO(data), self.encoding, self.errors, self._newline)
        replay._CHUNK_SIZE = max(len(data), 1)  # type: ignore[attr-defined]
        replay.seek(flags << POSITION_BITS)
        replay.read(given)
        return start + replay.tell()

    async def seek(self, cookie: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position that tell() gave, to 0, or with SEEK_END and 0 to the end."""
        async with Turn(self):
            self._check_seekable()
            if whence == os.SEEK_CUR:
                if cookie != 0:
                    raise unsupported("can't do nonzero cur-relative seeks")
                cookie = await self._tell()
            elif whence == os.SEEK_END:
                if cookie != 0:
                    raise unsupported("can't do nonzero end-relative seeks")
                return await self._seek_end()
            elif whence != os.SEEK_SET:
                raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
            if cookie < 0:
                raise ValueError(f"negative seek position {cookie!r}")
            await self._flush()
            await self._restore(cookie)
            return cookie

    async def _seek_end(self) -> int:
        await self._flush()
        position = await self.buffer.seek(0, os.SEEK_END)
        self._forget_text()
        self._snapshot = None
        if self._decoder is not None:
            self._decoder.reset()
        self._restart_encoder(position)
        return position

    def _restart_encoder(self, position: int) -> None:
        if self._encoder is None:
            return
        if position:
            self._encoder.setstate(0)
        else:
            self._encoder.reset()

    async def _restore(self, cookie: int) -> None:
        """Take the parts of a position from its number, and go there."""
        rest, position = divmod(cookie, 1 << POSITION_BITS)
        rest, flags = divmod(rest, 1 << PART_BITS)
        rest, feed = divmod(rest, 1 << PART_BITS)
        final, skip = divmod(rest, 1 << PART_BITS)
        await self.buffer.seek(position)
        self._forget_text()
        self._snapshot = None
        if self._decoder is not None:
            if cookie == 0:
                self._decoder.reset()
            else:
                self._decoder.setstate((b"", flags))
                self._snapshot = flags, b""
        if skip:
            data = await self.buffer.read(feed)
            self._decode(data, bool(final))
            self._snapshot = flags, data
            if self._characters() < skip:
                raise OSError("can't restore logical file position")
            self._skip(skip)
        self._restart_encoder(cookie)

    async def truncate(self, size: int | None = None, /) -> int:
        """Make the file `size` bytes long; see BinaryFile.truncate()."""
        async with Turn(self):
            await self._flush()
            return await self.buffer.truncate(size)

    def reconfigure(
        self,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: Any = ...,
        line_buffering: bool | None = None,
        write_through: bool | None = None,
    ) -> None:
        """Change what is given. As with io, encoding and newline cannot change once something was read."""
        if self._decoder is not None and self._snapshot is not None and (encoding or errors or newline is not ...):
            raise unsupported("It is not possible to set the encoding or newline of stream after the first read")
        self._configure(
            encoding or self.encoding,
            errors if errors is not None else "strict" if encoding else self.errors,
            self._newline if newline is ... else newline,
            self.line_buffering if line_buffering is None else bool(line_buffering),
            self.write_through if write_through is None else bool(write_through),
        )

    # The end.

    async def detach(self) -> BinaryFile:
        """Flush, and give the binary file away; this one is of no use any more."""
        await self.flush()
        buffer = self.buffer
        self._detached = self._busy = True
        return buffer

    async def close(self) -> None:
        """Write what is pending and close the file; see BinaryFile.close()."""
        await self.buffer.close()
        self._busy = True
