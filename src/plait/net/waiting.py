"""Reading from a stream in ways that are rarely asked for: the coroutines behind those calls of StreamReader."""

import asyncio
from operator import index
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.net.reader import StreamReader


async def wait(reader: "StreamReader", name: str) -> None:
    waiter = reader._start_waiting(name)
    try:
        await waiter
    finally:
        reader._waiter = None


async def read(reader: "StreamReader", n: Any) -> bytes:
    """Nothing, all up to the end, or a number that is no int."""
    if reader._exception is not None:
        raise reader._exception
    if n == 0:
        return b""
    if n > 0:
        return await reader.read(index(n))
    pieces = []
    while piece := await reader.read(reader._limit):
        pieces.append(piece)
    return b"".join(pieces)


async def readexactly(reader: "StreamReader", n: Any) -> bytes:
    if n < 0:
        raise ValueError("readexactly size can not be less than zero")
    if reader._exception is not None:
        raise reader._exception
    if n == 0:
        return b""
    return await reader.readexactly(index(n))


async def readuntil(reader: "StreamReader", separator: Any) -> bytes:
    """An empty separator is refused; from 3.13 on a tuple of separators. asyncio's own function, on our buffer."""
    return await asyncio.StreamReader.readuntil(reader, separator)
