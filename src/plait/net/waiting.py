"""Reading from a stream when memory cannot answer: the coroutines behind StreamReader's calls, which show in a task's stack."""

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.net.reader import StreamReader

# What is longer than any buffer.
ALL = 2**62


async def wait(reader: "StreamReader", name: str) -> None:
    waiter = reader._start_waiting(name)
    try:
        await waiter
    finally:
        reader._waiter = None


async def read(reader: "StreamReader", n: int) -> bytes:
    if reader._exception is not None:
        raise reader._exception
    if n == 0:
        return b""
    if n < 0:
        pieces = []
        while piece := await reader.read(reader._limit):
            pieces.append(piece)
        return b"".join(pieces)
    if not reader._held() and not reader._eof:
        # wait(), without a coroutine more: nearly every read of a server comes here.
        waiter = reader._start_waiting("read")
        try:
            await waiter
        finally:
            reader._waiter = None
    return reader._take(n)


async def readexactly(reader: "StreamReader", n: int) -> bytes:
    if n < 0:
        raise ValueError("readexactly size can not be less than zero")
    if reader._exception is not None:
        raise reader._exception
    while reader._held() < n:
        if reader._eof:
            raise asyncio.IncompleteReadError(reader._take(ALL), n)
        await wait(reader, "readexactly")
    return reader._take(n)


async def readuntil(reader: "StreamReader", separator: Any) -> bytes:
    if not isinstance(separator, bytes):
        # From 3.13 on also a tuple of separators: asyncio's own function, on our buffer.
        return await asyncio.StreamReader.readuntil(reader, separator)
    if not separator:
        raise ValueError("Separator should be at least one-byte string")
    if reader._exception is not None:
        raise reader._exception
    while not (size := reader._find(separator)):
        if reader._eof:
            raise asyncio.IncompleteReadError(reader._take(ALL), None)
        await wait(reader, "readuntil")
    return reader._take(size)


async def readline(reader: "StreamReader") -> bytes:
    try:
        return await readuntil(reader, b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        kept = reader._take(error.consumed + 1)
        if not kept.endswith(b"\n"):
            reader._take(ALL)
        raise ValueError(error.args[0]) from error


async def next_line(reader: "StreamReader") -> bytes:
    if line := await readline(reader):
        return line
    raise StopAsyncIteration
