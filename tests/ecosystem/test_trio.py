"""trio as a guest: its scheduler in the turns of our loop, by call_soon_threadsafe."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from plait.loop import Loop

Run = Callable[[Any], Any]

# trio keeps threads that wait for the next guest for ten seconds.
pytestmark = pytest.mark.beside_others


async def as_guest(main: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """The result of a trio program that runs in this loop."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    trio.lowlevel.start_guest_run(
        main,
        *args,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        run_sync_soon_not_threadsafe=loop.call_soon,
        done_callback=ended.set_result,
        host_uses_signal_set_wakeup_fd=True,
    )
    return (await ended).unwrap()


def test_both_schedulers_go_on_side_by_side(run: Run) -> None:
    order: list[str] = []

    async def guest(told: trio.MemoryReceiveChannel[int], tell: asyncio.Queue[int]) -> str:
        async for number in told:
            order.append(f"trio {number}")
            await trio.sleep(0.001)
            tell.put_nowait(number)
        return "ended"

    async def main() -> None:
        send, receive = trio.open_memory_channel[int](100)
        answers: asyncio.Queue[int] = asyncio.Queue()
        running = asyncio.create_task(as_guest(guest, receive, answers))
        await asyncio.sleep(0.001)
        for number in range(20):
            send.send_nowait(number)
            assert number == await answers.get()
            order.append(f"asyncio {number}")
        send.close()
        assert "ended" == await running

    run(main())
    assert [f"{who} {number}" for number in range(20) for who in ("trio", "asyncio")] == order


def test_a_guest_talks_to_a_server_of_the_host(run: Run) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def talk(port: int, number: int, heard: list[bytes]) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"guest %d" % number * 10_000)
            await stream.send_eof()
            heard.append(b"".join([part async for part in stream]))

    async def guest(port: int) -> list[bytes]:
        heard: list[bytes] = []
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(talk, port, number, heard)
            assert 3 == await trio.to_thread.run_sync(int, "3")
        return heard

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        heard = await as_guest(guest, server.sockets[0].getsockname()[1])
        assert {b"GUEST %d" % number * 10_000 for number in range(20)} == set(heard)
        server.close()
        await server.wait_closed()

    run(main())


def test_what_a_guest_raises_reaches_the_host(run: Run, loop: Loop) -> None:
    async def fail() -> None:
        await trio.sleep(0)
        raise LookupError("in the guest")

    async def stopped() -> None:
        with trio.move_on_after(0.001) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught

    async def main() -> None:
        with pytest.raises(LookupError, match="in the guest"):
            await as_guest(fail)
        await as_guest(stopped)

    run(main())
