"""aiohttp's server and client in one loop."""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web

CONNECTIONS = 1000
Run = Callable[[Any], Any]


@asynccontextmanager
async def serving(
    *routes: web.AbstractRouteDef, tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[str]:
    """The URL of a server with these routes."""
    application = web.Application(**options)
    application.add_routes(routes)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=CONNECTIONS, ssl_context=tls).start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def test_a_thousand_connections_at_once(run: Run) -> None:
    """No answer is given before all thousand requests are there, so that they are open at the same time."""
    arrived = 0
    everybody_here = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        nonlocal arrived
        arrived += 1
        if arrived == CONNECTIONS:
            everybody_here.set()
        await everybody_here.wait()
        return web.Response(text=request.query["number"])

    async def main() -> None:
        async with (
            serving(web.get("/", handler)) as url,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session,
        ):

            async def fetch(number: int) -> str:
                async with session.get(url, params={"number": number}) as answer:
                    return await answer.text()

            answers = await asyncio.gather(*map(fetch, range(CONNECTIONS)))
        assert [str(number) for number in range(CONNECTIONS)] == answers

    run(main())


def test_kept_alive_connections_are_used_again(run: Run) -> None:
    peers = set()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.json_response({"path": request.path})

    async def main() -> None:
        async with (
            serving(web.get("/{name}", handler)) as url,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=5)) as session,
        ):

            async def fetch(number: int) -> Any:
                async with session.get(f"{url}/{number}") as answer:
                    return await answer.json()

            answers = await asyncio.gather(*map(fetch, range(200)))
        assert [{"path": f"/{number}"} for number in range(200)] == answers
        assert 1 <= len(peers) <= 5

    run(main())


def test_bodies_are_streamed_both_ways(run: Run) -> None:
    """The server sends back what arrives while it arrives: flow control on both sides."""
    part, parts = b"plait" * 20_000, 100

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        async for data in request.content.iter_any():
            await answer.write(data)
        await answer.write_eof()
        return answer

    async def upload() -> AsyncIterator[bytes]:
        for _ in range(parts):
            yield part

    async def main() -> None:
        async with serving(web.post("/", handler)) as url, aiohttp.ClientSession() as session:
            async with session.post(url, data=upload()) as answer:
                length = 0
                async for data in answer.content.iter_any():
                    length += len(data)
        assert len(part) * parts == length

    run(main())


def test_a_file_is_sent(run: Run, tmp_path: Path) -> None:
    """aiohttp serves files by loop.sendfile, ranges included."""
    content = bytes(range(256)) * 40_000
    (tmp_path / "file").write_bytes(content)

    async def main() -> None:
        async with serving(web.static("/", tmp_path)) as url, aiohttp.ClientSession() as session:
            async with session.get(url + "/file") as answer:
                assert content == await answer.read()
            async with session.get(url + "/file", headers={"Range": "bytes=1000-1999"}) as answer:
                assert (206, content[1000:2000]) == (answer.status, await answer.read())

    run(main())


def test_websockets(run: Run) -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data[::-1])
        return socket

    async def main() -> None:
        async with (
            serving(web.get("/", handler)) as url,
            aiohttp.ClientSession() as session,
            session.ws_connect(url) as socket,
        ):
            for number in range(100):
                await socket.send_str(f"message {number}")
                assert f"message {number}"[::-1] == await socket.receive_str()

    run(main())


def test_over_tls(run: Run, tmp_path: Path) -> None:
    """Requests at once, large bodies both ways, a file, a WebSocket, and the certificate that the client sees."""
    authority = trustme.CA()
    served, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.configure_trust(trusting)
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)

    async def echo(request: web.Request) -> web.Response:
        assert request.secure
        assert request.transport is not None
        assert request.transport.get_extra_info("cipher")
        return web.Response(body=await request.read())

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    async def main() -> None:
        routes = [web.post("/", echo), web.get("/talk", talk), web.static("/files", tmp_path)]
        application = {"client_max_size": 1 << 26}
        async with (
            serving(*routes, tls=served, **application) as url,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session,
        ):

            async def fetch(number: int) -> bytes:
                async with session.post(url, data=b"%d" % number) as answer:
                    return await answer.read()

            assert [b"%d" % n for n in range(200)] == await asyncio.gather(*map(fetch, range(200)))
            async with session.post(url, data=io.BytesIO(content)) as answer:
                assert content == await answer.read()
            async with session.get(f"{url}/files/file") as answer:
                assert content == await answer.read()
            async with session.ws_connect(f"{url}/talk") as socket:
                await socket.send_bytes(content)
                assert content == await socket.receive_bytes()
        async with serving(web.post("/", echo), tls=served) as url, aiohttp.ClientSession() as stranger:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await stranger.post(url)

    run(main())


def test_a_timeout_closes_the_connection(run: Run) -> None:
    """The server sees the client go, and its handler's wait is cancelled."""
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError

    async def main() -> None:
        application = web.Application()
        application.add_routes([web.get("/", handler)])
        runner = web.AppRunner(application, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.05)) as session:
            try:
                await session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/")
            except TimeoutError:
                await gone.wait()
            else:
                raise AssertionError("the request ended without an answer")
        await runner.cleanup()

    run(main())


def test_a_refused_connection_names_its_address(run: Run, unused_port: int) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            try:
                await session.get(f"http://127.0.0.1:{unused_port}/")
            except aiohttp.ClientConnectorError as error:
                assert isinstance(error.os_error, ConnectionRefusedError)
                assert str(unused_port) in str(error)
            else:
                raise AssertionError("nobody listens there")

    run(main())
