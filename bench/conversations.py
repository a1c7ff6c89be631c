"""What the load generator says to a server of a real protocol, and how long each answer is."""

import base64
import socket
from dataclasses import dataclass
from pathlib import Path

from bench.programs import OUT

ANSWER_SECONDS = 10.0
WEBSOCKET_BYTES = 1024


@dataclass(frozen=True)
class Conversation:
    """`greeting` is said once and answered by a head, `message` again and again and answered by what begins with `begins`."""

    message: bytes
    begins: bytes
    greeting: bytes = b""


def _masked_frame(content: bytes) -> bytes:
    """One binary message of a client (RFC 6455); the mask of zeros leaves its bytes as they are."""
    return b"\x82\xfe" + len(content).to_bytes(2, "big") + bytes(4) + content


_GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)

CONVERSATIONS = {
    "uvicorn": Conversation(_GET, b"HTTP/1.1 200 OK\r\n"),
    "aiohttp": Conversation(_GET, b"HTTP/1.1 200 OK\r\n"),
    "websockets": Conversation(_masked_frame(b"x" * WEBSOCKET_BYTES), b"\x82\x7e", _UPGRADE),
}


def _head(stream: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte:
            raise RuntimeError(f"the server closed the connection after {head!r}")
        head += byte
    return head


def _answer_bytes(style: str, port: int) -> int:
    """Have one conversation and see how long the answer is; each is as long as this one."""
    said = CONVERSATIONS[style]
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as stream:
        if said.greeting:
            stream.sendall(said.greeting)
            _head(stream)
        stream.sendall(said.message)
        if style == "websockets":
            return 2 + 2 + WEBSOCKET_BYTES
        head = _head(stream)
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return len(head) + int(length[0].partition(b":")[2])


def options(style: str, port: int) -> dict[str, str | int | Path]:
    """What the load generator must be told to hold this conversation with a running server; nothing for an echo."""
    if style not in CONVERSATIONS:
        return {}
    said = CONVERSATIONS[style]
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        found: dict[str, str | int | Path] = {"answer": _answer_bytes(style, port)}
    except OSError as error:
        raise RuntimeError(f"the server of {style} does not answer: {error}") from None
    for option, content in {"message": said.message, "begins": said.begins, "greeting": said.greeting}.items():
        if content:
            found[option] = OUT / f"{style}.{option}"
            (OUT / f"{style}.{option}").write_bytes(content)
    return found
