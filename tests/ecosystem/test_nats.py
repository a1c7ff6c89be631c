"""nats-py against a real nats-server."""

import asyncio
from collections.abc import Callable
from typing import Any

import nats
import pytest
from nats.errors import NoRespondersError

import servers

Run = Callable[[Any], Any]


def test_publish_and_subscribe(run: Run, nats_url: str) -> None:
    async def main() -> None:
        client = await nats.connect(nats_url)
        subscription = await client.subscribe("news.*")
        for number in range(1000):
            await client.publish(f"news.{number}", b"%d" % number)
        heard = [(await subscription.next_msg()).data for _ in range(1000)]
        assert [b"%d" % number for number in range(1000)] == heard
        await client.drain()

    run(main())


def test_requests_at_once(run: Run, nats_url: str) -> None:
    async def main() -> None:
        server, client = await nats.connect(nats_url), await nats.connect(nats_url)

        async def double(message: Any) -> None:
            await message.respond(b"%d" % (2 * int(message.data)))

        await server.subscribe("double", cb=double)
        await server.flush()
        answers = await asyncio.gather(*(client.request("double", b"%d" % n, timeout=10) for n in range(100)))
        assert [b"%d" % (2 * n) for n in range(100)] == [answer.data for answer in answers]
        with pytest.raises(NoRespondersError):
            await client.request("nobody", b"")
        await client.close()
        await server.drain()

    run(main())


def test_a_stream_is_kept(run: Run, nats_url: str) -> None:
    async def main() -> None:
        client = await nats.connect(nats_url)
        streams = client.jetstream()
        await streams.add_stream(name="kept", subjects=["kept.*"])
        for number in range(50):
            assert number + 1 == (await streams.publish("kept.word", b"%d" % number)).seq
        pull = await streams.pull_subscribe("kept.*", "reader")
        heard = await pull.fetch(50)
        assert [b"%d" % number for number in range(50)] == [message.data for message in heard]
        for message in heard:
            await message.ack()
        await streams.delete_stream("kept")
        await client.close()

    run(main())


@pytest.fixture
def nats_url(nats: servers.Server) -> str:
    return f"nats://{nats.host}:{nats.port}"
