"""The websockets library's server and client."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

Run = Callable[[Any], Any]


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def url(server: Any) -> str:
    return f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@pytest.mark.parametrize("compression", ["deflate", None])
def test_echo_for_many_clients(run: Run, compression: Any) -> None:
    async def client(address: str, number: int) -> None:
        async with connect(address, compression=compression) as connection:
            for k in range(10):
                await connection.send(f"{number} {k}")
                assert f"{number} {k}" == await connection.recv()

    async def main() -> None:
        async with serve(echo, "127.0.0.1", 0, compression=compression) as server, asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(client(url(server), number))

    run(main())


def test_large_and_fragmented_messages(run: Run) -> None:
    large = bytes(range(256)) * 16_000

    async def main() -> None:
        async with (
            serve(echo, "127.0.0.1", 0, max_size=None, compression=None) as server,
            connect(url(server), max_size=None, compression=None) as connection,
        ):
            sending = asyncio.create_task(connection.send(large))
            assert large == await connection.recv()
            await sending
            await connection.send([b"one ", b"two ", b"three"])
            assert b"one two three" == await connection.recv()

    run(main())


def test_pings_are_answered_and_the_close_code_arrives(run: Run) -> None:
    async def handler(connection: ServerConnection) -> None:
        assert "bye" == await connection.recv()
        await connection.close(4001, "goodbye")

    async def main() -> None:
        async with serve(handler, "127.0.0.1", 0) as server, connect(url(server)) as connection:
            assert await (await connection.ping()) >= 0
            await connection.send("bye")
            with pytest.raises(ConnectionClosedError) as caught:
                await connection.recv()
            assert caught.value.rcvd is not None
            assert (4001, "goodbye") == (caught.value.rcvd.code, caught.value.rcvd.reason)

    run(main())


def test_closing_the_server_closes_its_connections(run: Run) -> None:
    async def main() -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            connections = [await connect(url(server)) for _ in range(10)]
            server.close()
            for connection in connections:
                with pytest.raises(ConnectionClosedOK):
                    await connection.recv()
                assert 1001 == connection.close_code
            await server.wait_closed()

    run(main())


def test_a_connection_that_is_aborted_ends_the_handler(run: Run) -> None:
    ended = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        try:
            with pytest.raises(ConnectionClosedError):
                await connection.recv()
        finally:
            ended.set()

    async def main() -> None:
        async with serve(handler, "127.0.0.1", 0) as server:
            connection = await connect(url(server))
            connection.transport.abort()
            await ended.wait()
            await connection.wait_closed()

    run(main())
