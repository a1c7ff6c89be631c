"""Waits of real libraries, which know nothing of plait, get their kinds."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import uvicorn
from aiohttp import web
from redis import asyncio as aioredis

import plait
from plait.see.model import ActorKind, Recording, WaitKind
from plait.see.recording import read

import servers

Record = Callable[[Coroutine[Any, Any, Any]], Recording]


@pytest.fixture
def record(loop: Any, tmp_path: Path) -> Record:
    def run(coroutine: Coroutine[Any, Any, Any]) -> Recording:
        path = tmp_path / "out.plait"
        with plait.record(path, size=1 << 20):
            loop.run_until_complete(coroutine)
        return read(path)

    return run


def waits(recording: Recording, name: str, kind: ActorKind = ActorKind.TASK) -> set[tuple[WaitKind, str]]:
    """What the slices of the actors that have this in their names had waited for."""
    slices = recording.slices
    actors = {number for number, actor in enumerate(recording.actors) if name in actor.name and actor.kind == kind}
    assert actors, recording.actors
    return {
        (WaitKind(slices.wait_kind[i]), recording.targets[slices.wait_target[i]].text)
        for i in range(len(slices))
        if slices.actor[i] in actors and slices.wait_target[i] >= 0
    }


def test_aiohttp(record: Record) -> None:
    port = 0

    async def main() -> None:
        nonlocal port
        application = web.Application()
        application.add_routes([web.get("/", handler)])
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                await asyncio.create_task(fetch(session, f"http://127.0.0.1:{port}/"), name="fetch")
        await runner.cleanup()

    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(0.001)
        return web.Response(text="here")

    async def fetch(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(url) as answer:
            assert "here" == await answer.text()

    recording = record(main())
    assert (WaitKind.WEB, f"aiohttp 127.0.0.1:{port}") in waits(recording, "fetch")
    assert {WaitKind.WEB} == {kind for kind, _ in waits(recording, "fetch")}
    serving = {kind for kind, _ in waits(recording, "RequestHandler", ActorKind.PROTOCOL)}
    assert {WaitKind.WEB} == serving


def test_uvicorn(record: Record) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"here"})

    async def main() -> None:
        config = uvicorn.Config(application, port=0, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve(), name="serving")
        while not server.started:
            await asyncio.sleep(0.001)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"here")
        writer.close()
        server.should_exit = True
        await serving

    recording = record(main())
    assert {WaitKind.WEB} == {kind for kind, _ in waits(recording, "Protocol 127.0.0.1", ActorKind.PROTOCOL)} - {
        WaitKind.NETWORK
    }


def test_asyncpg(record: Record, postgres: servers.Server) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(host=postgres.host, port=postgres.port, user="postgres", database="postgres")
        await asyncio.create_task(queries(connection), name="queries")
        await connection.close()

    async def queries(connection: Any) -> None:
        for _ in range(3):
            await connection.fetch("select 1")

    recording = record(main())
    assert {(WaitKind.DATABASE, f"postgresql 127.0.0.1:{postgres.port}")} == waits(recording, "queries")
    assert {(WaitKind.DATABASE, f"postgresql 127.0.0.1:{postgres.port}")} == waits(
        recording, "Protocol 127.0.0.1", ActorKind.PROTOCOL
    )


def test_redis(record: Record, redis: servers.Server) -> None:
    async def main() -> None:
        async with aioredis.Redis(host=redis.host, port=redis.port) as client:
            await client.ping()
            await asyncio.create_task(commands(client), name="commands")

    async def commands(client: Any) -> None:
        for _ in range(2):
            await client.blpop(["nothing"], timeout=0.01)

    recording = record(main())
    assert (WaitKind.DATABASE, f"redis 127.0.0.1:{redis.port}") in waits(recording, "commands")
