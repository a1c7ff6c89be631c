"""Waits for real databases get their kind, by libraries that know nothing of plait."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest
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
