"""redis-py's asyncio client against a real redis-server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import asyncio as aioredis
from redis.exceptions import ResponseError

import servers

Run = Callable[[Any], Any]
Client = Callable[[], Any]


@pytest.fixture(params=["tcp", "unix"])
def client(request: pytest.FixtureRequest, redis: servers.Server) -> Client:
    """`async with client() as r` is a client of an empty database."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        url = f"redis://{redis.host}:{redis.port}" if request.param == "tcp" else f"unix://{redis.unix_path}"
        pool = aioredis.BlockingConnectionPool.from_url(url, max_connections=20, timeout=None)
        async with aioredis.Redis.from_pool(pool) as connected:
            await connected.flushall()
            yield connected

    return connect


def test_get_and_set(run: Run, client: Client) -> None:
    async def main() -> None:
        async with client() as r:
            assert await r.ping()
            await r.set("key", b"value")
            assert b"value" == await r.get("key")
            assert await r.get("nothing") is None
            assert [1, 2, 3] == [await r.incr("counter") for _ in range(3)]
            with pytest.raises(ResponseError):
                await r.incr("key")
            large = bytes(range(256)) * 20_000
            await r.set("large", large)
            assert large == await r.get("large")

    run(main())


def test_a_pipeline_is_one_round_trip(run: Run, client: Client) -> None:
    async def main() -> None:
        async with client() as r:
            async with r.pipeline(transaction=False) as pipeline:
                for number in range(1000):
                    pipeline.set(f"key:{number}", number)
                    pipeline.get(f"key:{number}")
                answers = await pipeline.execute()
            assert [str(number).encode() for number in range(1000)] == answers[1::2]

    run(main())


def test_a_transaction_is_tried_again_when_its_key_changed(run: Run, client: Client) -> None:
    async def main() -> None:
        async with client() as r:

            async def add(pipeline: Any) -> None:
                value = int(await pipeline.get("sum") or 0)
                pipeline.multi()
                pipeline.set("sum", value + 1)

            await asyncio.gather(*(r.transaction(add, "sum") for _ in range(20)))
            assert b"20" == await r.get("sum")

    run(main())


def test_publish_and_subscribe(run: Run, client: Client) -> None:
    async def main() -> None:
        async with client() as r, r.pubsub() as subscription:
            await subscription.subscribe("news")
            assert "subscribe" == (await subscription.get_message(timeout=None))["type"]
            for number in range(100):
                assert 1 == await r.publish("news", str(number))
            heard = [await subscription.get_message(timeout=None) for _ in range(100)]
            assert [str(number).encode() for number in range(100)] == [message["data"] for message in heard]
            assert await subscription.get_message(timeout=0.01) is None

    run(main())


def test_blocking_pops_wait_for_a_push(run: Run, client: Client) -> None:
    async def main() -> None:
        async with client() as r:
            async with asyncio.TaskGroup() as group:
                pops = [group.create_task(r.blpop("list", timeout=0)) for _ in range(10)]
                for number in range(10):
                    await r.rpush("list", number)
            assert {b"%d" % number for number in range(10)} == {pop.result()[1] for pop in pops}

    run(main())


def test_a_cancelled_wait_does_not_spoil_the_next_answer(run: Run, client: Client) -> None:
    async def main() -> None:
        async with client() as r:
            for _ in range(20):
                waiting = asyncio.create_task(r.blpop("empty", timeout=0))
                while 1 != (await r.info("clients"))["blocked_clients"]:
                    pass
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await r.set("key", "value")
                assert b"value" == await r.get("key")
                while 0 != (await r.info("clients"))["blocked_clients"]:
                    pass

    run(main())


def test_more_tasks_than_the_pool_has_connections(run: Run, client: Client) -> None:
    async def main() -> None:
        async with client() as r:

            async def one(number: int) -> bytes:
                await r.set(f"key:{number}", number)
                value: bytes = await r.get(f"key:{number}")
                return value

            assert [b"%d" % n for n in range(200)] == await asyncio.gather(*map(one, range(200)))

    run(main())
