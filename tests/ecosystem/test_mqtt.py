"""aiomqtt against a real mosquitto: paho's own sockets under add_reader and add_writer."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiomqtt
import pytest

import servers

Run = Callable[[Any], Any]


@pytest.mark.parametrize("quality", [0, 1, 2])
def test_publish_and_subscribe(run: Run, mosquitto: servers.Server, quality: int) -> None:
    async def main() -> None:
        async with aiomqtt.Client(mosquitto.host, mosquitto.port) as listener:
            await listener.subscribe(f"news/{quality}/#", qos=quality)
            async with aiomqtt.Client(mosquitto.host, mosquitto.port) as speaker:
                for number in range(200):
                    await speaker.publish(f"news/{quality}/{number}", str(number), qos=quality)
            heard = [await anext(listener.messages) for _ in range(200)]
        assert [(f"news/{quality}/{n}", str(n).encode()) for n in range(200)] == [
            (str(message.topic), message.payload) for message in heard
        ]

    run(main())


def test_a_large_message(run: Run, mosquitto: servers.Server) -> None:
    """More than the kernel takes at once: paho asks for add_writer until all has left."""
    payload = bytes(range(256)) * 20_000

    async def main() -> None:
        async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
            await client.subscribe("large")
            await client.publish("large", payload, qos=1)
            assert payload == (await anext(client.messages)).payload

    run(main())


def test_a_refused_connection_is_an_error(run: Run, unused_port: int) -> None:
    async def main() -> None:
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", unused_port):
                pass

    run(main())


def test_a_cancelled_listener_leaves_the_client_usable(run: Run, mosquitto: servers.Server) -> None:
    async def main() -> None:
        async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
            await client.subscribe("after")
            listening = asyncio.create_task(anext(aiter(client.messages)))
            await asyncio.sleep(0)
            listening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await listening
            await client.publish("after", b"still here", qos=1)
            assert b"still here" == (await anext(client.messages)).payload

    run(main())
