"""Asks the web service for pages, over connections that are kept open: blocking, and on a loop.

Both speak the same few lines of HTTP/1.1, so that the ways differ in how they wait, not in how they parse.
"""

from __future__ import annotations

import asyncio
import io
import socket
from urllib.parse import quote

__all__ = ["BlockingClient", "LoopClient"]

HOST = "127.0.0.1"


def request(path: str) -> bytes:
    return f"GET /{quote(path)} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: plait-demo\r\n\r\n".encode()


def content_length(head: bytes) -> int:
    """The length of the body that follows; raises OSError for an answer that is no page."""
    status, _, fields = head.partition(b"\r\n")
    if b" 200 " not in status:
        raise OSError(f"the web service answered {status.decode('latin-1')!r}")
    for field in fields.split(b"\r\n"):
        name, _, value = field.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise OSError("the web service sent no Content-Length")


class BlockingClient:
    """One connection; belongs to one thread."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port))
        self.stream: io.BufferedReader = self.socket.makefile("rb")

    def get(self, path: str) -> bytes:
        self.socket.sendall(request(path))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.stream.readline()
            if not line:
                raise ConnectionResetError("the web service closed the connection")
            head += line
        return self.stream.read(content_length(head))

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


class LoopClient:
    """As many connections as requests are under way at once; each is used again as soon as it is free."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def get(self, path: str) -> bytes:
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection(HOST, self.port)
        try:
            writer.write(request(path))
            body = await reader.readexactly(content_length(await reader.readuntil(b"\r\n\r\n")))
        except BaseException:
            writer.close()  # in the middle of an answer, of no use to anybody
            raise
        self.idle.append((reader, writer))
        return body

    async def close(self) -> None:
        for _, writer in self.idle:
            writer.close()
        for _, writer in self.idle:
            await writer.wait_closed()
