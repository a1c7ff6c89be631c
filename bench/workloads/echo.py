"""An echo server on any loop:  python -m bench.workloads.echo MODULE:FACTORY protocol|streams|sock [tls]

Prints "ready PORT" and serves until it is killed.
"""

import asyncio
import ctypes
import gc
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from typing import cast

from bench.loops import run

RECEIVE_MAX = 100 * 1024


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = cast(asyncio.Transport, transport).write  # a cast: uvloop's are no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        self.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del self.write  # a reference cycle less for the collector


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(RECEIVE_MAX):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the load generator ends with a reset
    finally:
        writer.close()


async def echo_socket(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    try:
        with connection:
            while data := await loop.sock_recv(connection, RECEIVE_MAX):
                await loop.sock_sendall(connection, data)
    except ConnectionError:
        pass


async def accept_sockets(loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    tasks = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(echo_socket(loop, connection))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def context() -> ssl.SSLContext:
    """For a server whose certificate nobody checks, made on the spot."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise FileNotFoundError(
            "the rows of TLS need the program openssl for a certificate (Debian: apt install openssl)"
        )
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
        subprocess.run(
            [openssl, *command.split(), "-keyout", "-", "-out", "-"], stdout=file, stderr=subprocess.DEVNULL, check=True
        )
        made.load_cert_chain(file.name)
    return made


def listening() -> socket.socket:
    # asyncio sets TCP_NODELAY only on sockets that were made with the protocol number
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.setblocking(False)
    listener.listen(4096)
    return listener


async def serve(style: str, tls: str = "") -> None:
    loop = asyncio.get_running_loop()
    listener = listening()
    over = context() if tls else None
    gc.freeze()
    ready = f"ready {listener.getsockname()[1]}"
    if style == "sock":
        print(ready, flush=True)
        await accept_sockets(loop, listener)
    elif style == "streams":
        server = await asyncio.start_server(echo_stream, sock=listener, backlog=4096, limit=1 << 20, ssl=over)
    else:
        server = await loop.create_server(Echo, sock=listener, backlog=4096, ssl=over)
    print(ready, flush=True)
    await asyncio.Event().wait()  # not serve_forever: rloop 0.5 stops accepting in it
    server.close()


if __name__ == "__main__":
    die_with_parent()
    run(sys.argv[1], serve, *sys.argv[2:])
