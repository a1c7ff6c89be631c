"""A server of a well-known library on any loop:  python -m bench.workloads.servers MODULE:FACTORY uvicorn|aiohttp|websockets

Prints "ready PORT" and serves until it is killed.
"""

import asyncio
import gc
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from bench.loops import run
from bench.workloads.echo import die_with_parent, listening

HELLO = b"Hello, world!"


async def hello(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Awaitable[None]]) -> None:
    """An application as small as one can be (ASGI)."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(HELLO))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": HELLO})


async def uvicorn(listener: socket.socket, ready: Callable[[], None]) -> None:
    from uvicorn import Config, Server

    class Told(Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    config = Config(hello, loop="none", lifespan="off", log_level="critical", access_log=False)
    await Told(config).serve(sockets=[listener])


async def aiohttp(listener: socket.socket, ready: Callable[[], None]) -> None:
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=HELLO)

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=4096).start()
    ready()
    await asyncio.Event().wait()


async def websockets(listener: socket.socket, ready: Callable[[], None]) -> None:
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosedError

    async def echo(connection: ServerConnection) -> None:
        try:
            async for message in connection:
                await connection.send(message)
        except ConnectionClosedError:
            pass  # the load generator ends with a reset

    async with serve(echo, sock=listener, compression=None, ping_interval=None):
        ready()
        await asyncio.Event().wait()


async def serve(library: str) -> None:
    listener = listening()
    gc.freeze()
    start = {"uvicorn": uvicorn, "aiohttp": aiohttp, "websockets": websockets}[library]
    await start(listener, lambda: print(f"ready {listener.getsockname()[1]}", flush=True))


if __name__ == "__main__":
    die_with_parent()
    run(sys.argv[1], serve, sys.argv[2])
