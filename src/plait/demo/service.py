"""The web service of the demo: `python -m plait.demo.service` serves one HTML page per file on loopback.

A minimal HTTP/1.1 server on asyncio's own loop, with keep-alive, so that it is the same for every way and never the slowest part.
It answers each page after that page's drawn time, as a real service would after asking its own database.

Reads its task as one JSON line from stdin, prints its port as one JSON line, and stops when stdin ends, hence also when its
parent dies.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import unquote

from plait.demo.work import answer_seconds, page

__all__: list[str] = []

REQUEST_BYTES_MAX = 16 * 1024


class Connection(asyncio.Protocol):
    """One client; answers one request after the other."""

    transport: asyncio.Transport

    def __init__(self, answers: dict[str, tuple[float, bytes]]) -> None:
        self.answers = answers
        self.received = b""
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.timer is None:
            self.next_request()
        if len(self.received) > REQUEST_BYTES_MAX:
            self.transport.abort()

    def next_request(self) -> None:
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        self.received = rest
        method, _, target = head.partition(b"\r\n")[0].decode("latin-1").rpartition(" ")[0].partition(" ")
        known = self.answers.get(unquote(target)) if method == "GET" else None
        seconds, answer = known or (0.0, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        self.timer = asyncio.get_running_loop().call_later(seconds, self.answer, answer)

    def answer(self, answer: bytes) -> None:
        self.timer = None
        self.transport.write(answer)
        self.next_request()


def prepare(folder: Path, files: list[str], latency_ms: float) -> dict[str, tuple[float, bytes]]:
    """The seconds and the answer for each path that may be asked for."""
    answers = {}
    for path in files:
        body = page(path, (folder / path).read_bytes())
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
        answers["/" + path] = answer_seconds(path, latency_ms), head.encode() + body
    return answers


async def serve(answers: dict[str, tuple[float, bytes]]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answers), "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    ended = asyncio.Event()
    stdin = sys.stdin.fileno()
    loop.add_reader(stdin, lambda: None if os.read(stdin, 4096) else ended.set())
    await ended.wait()


def main() -> None:
    task = json.loads(sys.stdin.buffer.readline())
    try:
        answers = prepare(Path(task["folder"]), task["files"], task["latency_ms"])
    except OSError as error:
        print(json.dumps({"error": f"cannot read {error.filename}: {error.strerror}"}), flush=True)
        return
    asyncio.run(serve(answers))


if __name__ == "__main__":
    main()
