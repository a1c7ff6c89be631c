"""anyio's basics with plait as its asyncio loop, by the `loop_factory` of its asyncio backend."""

import functools
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from os import getpid, kill
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_process
import anyio.to_thread
import programs
import pytest
from anyio.abc import ByteStream, SocketAttribute, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

import plait

import servers

Anyrun = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture
def options(engine: str) -> dict[str, Any]:
    return {"loop_factory": functools.partial(plait.new_event_loop, engine=engine)}


@pytest.fixture
def anyrun(options: dict[str, Any]) -> Anyrun:
    return lambda main: anyio.run(main, backend="asyncio", backend_options=options)


def test_task_groups_and_cancel_scopes(anyrun: Anyrun) -> None:
    events: list[str] = []

    async def worker(name: str, *, task_status: TaskStatus[str]) -> None:
        task_status.started(name.upper())
        try:
            await anyio.sleep_forever()
        finally:
            events.append(f"{name} ends")

    async def main() -> None:
        async with anyio.create_task_group() as group:
            events.append(await group.start(worker, "one"))
            events.append(await group.start(worker, "two"))
            group.cancel_scope.cancel()
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.01):
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0.02)
                events.append("shielded part done")
                await anyio.sleep_forever()
        with pytest.raises(ExceptionGroup):
            async with anyio.create_task_group() as group:
                await group.start(worker, "three")
                raise ZeroDivisionError

    anyrun(main)
    assert ["ONE", "TWO"] == events[:2]
    assert {"one ends", "two ends"} == set(events[2:4])
    assert ["shielded part done", "three ends"] == events[4:]


def test_threads_and_back(anyrun: Anyrun) -> None:
    async def answer(number: int) -> int:
        await anyio.sleep(0)
        return number + 1

    def work(number: int) -> int:
        from_loop: int = anyio.from_thread.run(answer, number)
        assert threading.current_thread() is not threading.main_thread()
        return anyio.from_thread.run_sync(lambda: from_loop * 2)

    async def main() -> list[int]:
        results = [0] * 50

        async def one(number: int) -> None:
            results[number] = await anyio.to_thread.run_sync(work, number)

        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(one, number)
        return results

    assert [2 * (number + 1) for number in range(50)] == anyrun(main)


def test_a_portal_runs_the_loop_in_another_thread(options: dict[str, Any]) -> None:
    async def double(number: int) -> int:
        await anyio.sleep(0)
        return number * 2

    with anyio.from_thread.start_blocking_portal("asyncio", options) as portal:
        assert 42 == portal.call(double, 21)
        assert [0, 2, 4] == [future.result() for future in [portal.start_task_soon(double, n) for n in range(3)]]


def test_memory_streams_and_synchronization(anyrun: Anyrun) -> None:
    async def main() -> None:
        send, receive = anyio.create_memory_object_stream[int](5)
        limiter, received = anyio.CapacityLimiter(2), []

        async def produce() -> None:
            async with send:
                for number in range(100):
                    async with limiter:
                        await send.send(number)

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            async with receive:
                received = [number async for number in receive]
        assert list(range(100)) == received

    anyrun(main)


async def echo(stream: ByteStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


async def talk(stream: ByteStream, rounds: int) -> None:
    async with stream:
        reader = BufferedByteReceiveStream(stream)
        for number in range(rounds):
            line = f"line {number}\n".encode()
            await stream.send(line)
            assert line == await reader.receive_exactly(len(line))


def test_tcp_listeners_and_streams(anyrun: Anyrun) -> None:
    async def main() -> None:
        async with (
            await anyio.create_tcp_listener(local_host="localhost") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, echo)
            port = listener.extra(SocketAttribute.local_port)
            async with anyio.create_task_group() as clients:
                for _ in range(20):
                    clients.start_soon(talk, await anyio.connect_tcp("localhost", port), 20)
            group.cancel_scope.cancel()

    anyrun(main)


def test_unix_listeners_and_streams(anyrun: Anyrun) -> None:
    async def main() -> None:
        with servers.temporary_folder("anyio") as folder:
            path = folder / "socket"
            async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as group:
                group.start_soon(listener.serve, echo)
                async with anyio.create_task_group() as clients:
                    for _ in range(20):
                        clients.start_soon(talk, await anyio.connect_unix(path), 20)
                group.cancel_scope.cancel()

    anyrun(main)


def test_datagrams(anyrun: Anyrun) -> None:
    async def main() -> None:
        async with await anyio.create_udp_socket(local_host="127.0.0.1") as server:
            port = server.extra(SocketAttribute.local_port)
            async with await anyio.create_connected_udp_socket("127.0.0.1", port) as client:
                for number in range(20):
                    await client.send(b"%d" % number)
                    data, address = await server.receive()
                    await server.sendto(data * 2, *address)
                    assert b"%d" % number * 2 == await client.receive()

    anyrun(main)


def test_a_cancelled_receive_loses_nothing(anyrun: Anyrun) -> None:
    async def main() -> None:
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, echo)
            async with await anyio.connect_tcp("127.0.0.1", listener.extra(SocketAttribute.local_port)) as stream:
                for number in range(20):
                    with anyio.move_on_after(0.002):
                        await stream.receive()
                    await stream.send(b"%d" % number)
                    assert b"%d" % number == await stream.receive()
            group.cancel_scope.cancel()

    anyrun(main)


def test_processes(anyrun: Anyrun) -> None:
    async def main() -> None:
        done = await anyio.run_process([sys.executable, "-c", "print(input()[::-1])"], input=b"plait\n")
        assert b"tialp\n" == done.stdout
        with pytest.raises(subprocess.CalledProcessError) as caught:
            await anyio.run_process([sys.executable, "-c", "raise SystemExit(3)"])
        assert 3 == caught.value.returncode
        async with await anyio.open_process(["cat"]) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for number in range(20):
                await process.stdin.send(b"%d" % number)
                assert b"%d" % number == await process.stdout.receive()
            await process.stdin.aclose()
            assert 0 == await process.wait()
        with anyio.move_on_after(0.05) as scope:
            await anyio.run_process(["sleep", "60"])
        assert scope.cancelled_caught

    anyrun(main)


def test_signals_are_received(anyrun: Anyrun) -> None:
    async def main() -> None:
        with anyio.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as received:
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1):
                kill(getpid(), number)
                assert number == await anext(received)

    anyrun(main)


def test_files_by_threads(anyrun: Anyrun, tmp_path: Path) -> None:
    async def main() -> None:
        path = anyio.Path(tmp_path) / "file"
        await path.write_text("one\ntwo\n")
        async with await anyio.open_file(path) as file:
            assert ["one\n", "two\n"] == [line async for line in file]
        assert ["file"] == [entry.name async for entry in anyio.Path(tmp_path).iterdir()]

    anyrun(main)


def test_its_pytest_plugin_runs_tests_on_plait(engine: str, tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text(f"""
import asyncio, functools, plait, pytest

@pytest.fixture
def anyio_backend():
    return "asyncio", {{"loop_factory": functools.partial(plait.new_event_loop, engine={engine!r})}}

@pytest.fixture
async def number():
    await asyncio.sleep(0)
    yield 42
    await asyncio.sleep(0)

@pytest.mark.anyio
async def test_it(number):
    loop = asyncio.get_running_loop()
    assert ("plait.loop", {engine!r}, 42) == (type(loop).__module__, loop.engine.name, number)
""")
    printed = programs.python("-m", "pytest", "-q", "-p", "no:asyncio", "-W", "error", ".", cwd=tmp_path)
    assert "1 passed" in printed
