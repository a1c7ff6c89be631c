"""A program whose schedule is known gives exactly the recorded slices, wakers, waits and kinds."""

import asyncio
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trustme

import plait
from plait.see.model import ActorKind, Outcome, Recording, WaitKind, WakerKind
from plait.see.recording import read

Record = Callable[[Coroutine[Any, Any, Any]], Recording]


@pytest.fixture
def record(loop: Any, tmp_path: Path) -> Record:
    """`record(coroutine)` runs it on each engine and gives the recording; it is the slices of its tasks that are looked at."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Recording:
        path = tmp_path / "out.plait"
        with plait.record(path, size=1 << 20):
            loop.run_until_complete(coroutine)
        return read(path)

    return run


def indexes(recording: Recording, name: str) -> list[int]:
    """Of the slices of one actor."""
    actors = [number for number, actor in enumerate(recording.actors) if actor.name == name]
    assert len(actors) == 1, (name, recording.actors)
    return [i for i in range(len(recording.slices)) if recording.slices.actor[i] == actors[0]]


def waits(recording: Recording, name: str) -> list[tuple[WaitKind, str]]:
    """What the slices of one actor had waited for."""
    slices = recording.slices
    return [
        (
            WaitKind(slices.wait_kind[i]),
            recording.targets[slices.wait_target[i]].text if slices.wait_target[i] >= 0 else "",
        )
        for i in indexes(recording, name)
    ]


def named(coroutine: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
    return asyncio.get_running_loop().create_task(coroutine, name=name)


def once_awaited() -> Callable[[], Any]:
    """A function for a thread, which ends when this task awaits: from Python 3.14 on what is done by then is not waited for."""
    awaited = threading.Event()
    asyncio.get_running_loop().call_soon(awaited.set)
    return awaited.wait


def actor_names(recording: Recording) -> list[str]:
    """Of all slices in order, without the loop's own."""
    return [
        recording.actors[actor].name
        for actor in recording.slices.actor
        if recording.actors[actor].kind != ActorKind.LOOP
    ]


def test_slices_are_in_the_order_in_which_they_ran(record: Record) -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def main() -> None:
        tasks = [named(child(), name) for name in "abc"]
        await tasks[0]
        await tasks[1]
        await tasks[2]

    async def program() -> None:
        await named(main(), "main")

    recording = record(program())
    names = [name for name in actor_names(recording) if name in ("main", "a", "b", "c")]
    assert ["main", *"abcabcabc", "main"] == names[:11]
    slices = recording.slices
    assert [Outcome.AGAIN, Outcome.AGAIN, Outcome.RETURNED] == [slices.outcome[i] for i in indexes(recording, "b")]
    assert [(WaitKind.NONE, "")] * 3 == waits(recording, "b")
    assert (WaitKind.TASK, "task") == waits(recording, "main")[1]


def test_each_slice_names_the_slice_that_woke_it(record: Record) -> None:
    async def giver(future: "asyncio.Future[None]") -> None:
        await asyncio.sleep(0)
        future.set_result(None)
        await asyncio.sleep(0)

    async def taker(future: "asyncio.Future[None]") -> None:
        await future

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        tasks = named(taker(future), "taker"), named(giver(future), "giver")
        await asyncio.wait(tasks)

    recording = record(named_main(main()))
    slices = recording.slices
    first, second = indexes(recording, "taker")
    begun, gave, _ = indexes(recording, "giver")
    assert slices.waker[first] == slices.waker[begun] == indexes(recording, "main")[0]
    assert WakerKind.SLICE == slices.waker_kind[second]
    assert gave == slices.waker[second]
    assert begun == slices.waker[gave]
    assert (WaitKind.FUTURE, "future in taker") == waits(recording, "taker")[1]


async def named_main(coroutine: Coroutine[Any, Any, Any]) -> None:
    await named(coroutine, "main")


def test_lines_are_where_the_coroutine_went_on(record: Record) -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    recording = record(named_main(child()))
    first = child.__code__.co_firstlineno
    assert [first, first + 1, first + 2] == [recording.slices.line[i] for i in indexes(recording, "main")]
    actor = recording.actors[recording.slices.actor[indexes(recording, "main")[0]]]
    assert (__file__, first) == (actor.file, actor.line)
    assert actor.function.endswith("test_lines_are_where_the_coroutine_went_on.<locals>.child")


def test_how_tasks_end(record: Record) -> None:
    async def fails() -> None:
        raise ValueError("no\nluck")

    async def waits_for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        ends = named(fails(), "fails"), named(waits_for_ever(), "cancelled"), named(asyncio.sleep(0, 1), "returns")
        await asyncio.sleep(0)
        ends[1].cancel()
        await asyncio.gather(*ends, return_exceptions=True)

    recording = record(main())
    ends = {actor.name: (actor.outcome, actor.error) for actor in recording.actors}
    assert (Outcome.RAISED, "ValueError: no luck") == ends["fails"]
    assert (Outcome.CANCELLED, "") == ends["cancelled"]
    assert (Outcome.RETURNED, "") == ends["returns"]
    by_name = {actor.name: actor for actor in recording.actors}
    last = indexes(recording, "fails")[-1]
    ended = recording.slices.start_ns[last] + recording.slices.duration_ns[last]
    assert ended == by_name["fails"].ended_ns
    assert recording.start_ns <= by_name["fails"].created_ns <= recording.slices.start_ns[last]
    parent = recording.actors[by_name["fails"].parent]
    assert parent.function.endswith("test_how_tasks_end.<locals>.main")


def test_kinds_of_waits_inside_the_process(record: Record) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await named(lock(), "lock")
        await named(event(), "event")
        await named(queue(), "queue")
        await named(semaphore(), "semaphore")
        await named(condition(), "condition")
        await named(asyncio.sleep(0.001), "sleep")
        await named(in_thread(), "to_thread")
        await named(executor(loop), "executor")
        await named(threadsafe(loop), "threadsafe")
        await named(later(loop), "later")
        await named(gathering(), "gathering")
        await named(group(), "group")
        await named(timeout(), "timeout")

    async def lock() -> None:
        lock = asyncio.Lock()
        await lock.acquire()
        asyncio.get_running_loop().call_soon(lock.release)
        await lock.acquire()

    async def event() -> None:
        event = asyncio.Event()
        asyncio.get_running_loop().call_soon(event.set)
        await event.wait()

    async def queue() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()
        asyncio.get_running_loop().call_soon(queue.put_nowait, 1)
        await queue.get()

    async def semaphore() -> None:
        semaphore = asyncio.Semaphore(0)
        asyncio.get_running_loop().call_soon(semaphore.release)
        await semaphore.acquire()

    async def condition() -> None:
        condition = asyncio.Condition()

        async def notify() -> None:
            async with condition:
                condition.notify()

        async with condition:
            task = asyncio.create_task(notify())
            await condition.wait()
        await task

    async def in_thread() -> None:
        await asyncio.to_thread(once_awaited())

    async def executor(loop: Any) -> None:
        await loop.run_in_executor(None, once_awaited())

    async def threadsafe(loop: Any) -> None:
        future = loop.create_future()
        wait = once_awaited()
        loop.run_in_executor(None, lambda: (wait(), loop.call_soon_threadsafe(future.set_result, None)))
        await future

    async def later(loop: Any) -> None:
        future = loop.create_future()
        loop.call_later(0.001, future.set_result, None)
        await future

    async def gathering() -> None:
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(0))

    async def timeout() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()

    recording = record(main())
    kinds = {
        name: waits(recording, name)[-1]
        for name in (
            "lock",
            "event",
            "queue",
            "semaphore",
            "sleep",
            "to_thread",
            "executor",
            "threadsafe",
            "later",
            "gathering",
            "group",
            "timeout",
        )
    }
    assert {
        "lock": (WaitKind.LOCK, "Lock"),
        "event": (WaitKind.LOCK, "Event"),
        "queue": (WaitKind.LOCK, "Queue"),
        "semaphore": (WaitKind.LOCK, "Semaphore"),
        "sleep": (WaitKind.TIMER, "sleep"),
        "to_thread": (WaitKind.THREAD, "to_thread"),
        "executor": (WaitKind.THREAD, "thread"),
        "threadsafe": (WaitKind.THREAD, "thread"),
        "later": (WaitKind.TIMER, "timer"),
        "gathering": (WaitKind.TASK, "gather"),
        "group": (WaitKind.TASK, "TaskGroup"),
        "timeout": (WaitKind.LOCK, "Event"),
    } == kinds
    assert (WaitKind.LOCK, "Condition") in waits(recording, "condition")


def test_kinds_of_waits_for_the_world(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await named(names(loop), "names")
        await named(process(), "process")
        await named(signalled(loop), "signal")
        await named(pipe(loop), "pipe")
        await named(receive(loop), "receive")
        await named(stream(), "stream")

    async def names(loop: Any) -> None:
        look_up, wait = socket.getaddrinfo, once_awaited()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args: (wait(), look_up(*args))[1])
        await loop.getaddrinfo("localhost", 80)

    async def process() -> None:
        child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
        assert child.stdin is not None
        asyncio.get_running_loop().call_later(0.001, child.stdin.close)
        await child.wait()

    async def signalled(loop: Any) -> None:
        future = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, future.set_result, None)
        loop.call_later(0.001, os.kill, os.getpid(), signal.SIGUSR1)
        await future
        loop.remove_signal_handler(signal.SIGUSR1)

    async def pipe(loop: Any) -> None:
        reading, writing = os.pipe()
        future = loop.create_future()
        loop.add_reader(reading, lambda: (loop.remove_reader(reading), future.set_result(None)))
        loop.call_later(0.001, os.write, writing, b"x")
        await future
        os.close(reading)
        os.close(writing)

    async def receive(loop: Any) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop.call_later(0.001, theirs.send, b"x")
        assert b"x" == await loop.sock_recv(ours, 10)
        ours.close()
        theirs.close()

    async def stream() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            targets.append(f"stream 127.0.0.1:{port}")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x\n")
            assert b"x\n" == await reader.readline()
            writer.close()
            await writer.wait_closed()

    targets: list[str] = []
    recording = record(main())
    assert (WaitKind.DNS, "getaddrinfo") == waits(recording, "names")[-1]
    assert (WaitKind.PROCESS, "process") == waits(recording, "process")[-1]
    assert (WaitKind.SIGNAL, "signal") == waits(recording, "signal")[-1]
    assert (WaitKind.DEVICE, "pipe") == waits(recording, "pipe")[-1]
    assert (WaitKind.NETWORK, "stream") == waits(recording, "receive")[-1]
    assert (WaitKind.NETWORK, targets[0]) in waits(recording, "stream")
    slices = recording.slices
    protocols = [i for i in range(len(slices)) if recording.actors[slices.actor[i]].kind == ActorKind.PROTOCOL]
    assert {WakerKind.KERNEL, WakerKind.SLICE} == {slices.waker_kind[i] for i in protocols}
    assert {WaitKind.NETWORK, WaitKind.NONE} == {slices.wait_kind[i] for i in protocols}


def test_kinds_of_waits_of_files_calls_of_sockets_and_tls(record: Record, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await named(file(loop), "file")
        await named(accepts(loop), "accepts")
        await named(sends(loop), "sends")
        await named(encrypted(), "encrypted")

    async def file(loop: Any) -> None:
        async with plait.open(tmp_path / "file", "wb") as file:
            await file.write(b"x")
            await file.flush()
            await loop.fsync(file.fileno())

    async def accepts(loop: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            client = socket.socket()
            client.setblocking(False)
            loop.call_later(0.001, client.connect_ex, server.getsockname())
            connection, _ = await loop.sock_accept(server)
        connection.close()
        client.close()

    async def sends(loop: Any) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        much = bytes(4_000_000)
        taking = named(takes(loop, theirs, len(much)), "takes")
        await loop.sock_sendall(ours, much)
        await taking
        ours.close()
        theirs.close()

    async def takes(loop: Any, theirs: socket.socket, size: int) -> None:
        while size:
            size -= len(await loop.sock_recv(theirs, 65536))

    async def encrypted() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await reader.read()
            writer.close()

        serving, connecting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority = trustme.CA()
        authority.issue_cert("localhost").configure_cert(serving)
        authority.configure_trust(connecting)
        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving) as server:
            port = server.sockets[0].getsockname()[1]
            targets.append(f"stream 127.0.0.1:{port}")
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=connecting, server_hostname="localhost"
            )
            writer.write(b"x\n")
            assert b"x\n" == await named(line_of(reader), "line")
            writer.close()
            await writer.wait_closed()

    async def line_of(reader: asyncio.StreamReader) -> bytes:
        return await reader.readline()

    targets: list[str] = []
    recording = record(main())
    assert (WaitKind.FILE, "file in file") == waits(recording, "file")[-1]
    assert WaitKind.NETWORK == waits(recording, "accepts")[-1][0]
    assert WaitKind.NETWORK in {kind for kind, _ in waits(recording, "sends")}
    assert (WaitKind.NETWORK, targets[0]) == waits(recording, "line")[-1]


def test_the_ready_delay_is_the_time_behind_others(record: Record) -> None:
    async def blocks() -> None:
        await asyncio.sleep(0)
        time.sleep(0.02)

    async def main() -> None:
        named(blocks(), "blocks")
        await named(asyncio.sleep(0), "behind")
        await asyncio.sleep(0)

    recording = record(main())
    slices = recording.slices
    blocked = indexes(recording, "blocks")[-1]
    behind = indexes(recording, "behind")[-1]
    assert slices.duration_ns[blocked] >= 20_000_000
    assert slices.delay_ns[behind] >= 20_000_000
    assert blocked + 1 == behind


def test_slices_and_idle_time_are_the_whole_time(record: Record) -> None:
    """No slice overlaps another, and what is between them is when the engine slept."""

    async def main() -> None:
        within.append(time.monotonic_ns())
        for _ in range(20):
            await asyncio.sleep(0.005)
            began = time.monotonic_ns()
            time.sleep(0.002)
            worked.append((began, time.monotonic_ns()))
        within.append(time.monotonic_ns())

    within: list[int] = []
    worked: list[tuple[int, int]] = []
    around = time.monotonic_ns()
    recording = record(main())
    around = time.monotonic_ns() - around
    slices = recording.slices
    end = recording.start_ns
    busy = 0
    for start, duration in zip(slices.start_ns, slices.duration_ns, strict=True):
        assert start >= end
        end = start + duration
        busy += duration
    assert end <= recording.end_ns
    idle = recording.end_ns - recording.start_ns - busy
    assert busy >= 20 * 2_000_000
    assert idle >= 20 * 4_000_000
    # A turn's own work is some 10 us; the rest of the idle time is sleep that the program asked for.
    assert 20 * 5_000_000 <= idle + 20 * 1_000_000
    # Held against the program's own clock: the whole lies between two that it read, and each piece of work in a slice of its task.
    assert 0.99 * (within[1] - within[0]) <= busy + idle <= 1.01 * around
    tasks = [i for i in range(len(slices)) if recording.actors[slices.actor[i]].kind == ActorKind.TASK]
    spans = [(slices.start_ns[i], slices.start_ns[i] + slices.duration_ns[i]) for i in tasks]
    clocks_differ = 50_000  # the processor's counter is brought in line with the clock every quarter of a second
    for began, ended in worked:
        assert any(start <= began + clocks_differ and ended <= end + clocks_differ for start, end in spans)


def test_an_eager_first_slice_cuts_the_one_around_it(loop: Any, record: Record) -> None:
    async def eager() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        loop.create_task(eager(), name="eager", eager_start=True)
        await asyncio.sleep(0)

    recording = record(named_main(main()))
    before, after, _ = indexes(recording, "main")
    first, second = indexes(recording, "eager")
    assert [before + 1, before + 2] == [first, after]
    slices = recording.slices
    assert [Outcome.AGAIN, Outcome.AGAIN] == [slices.outcome[before], slices.outcome[first]]
    assert (before, first) == (slices.waker[first], slices.waker[after])
    assert slices.start_ns[first] + slices.duration_ns[first] == slices.start_ns[after]
    assert after < second


def test_a_task_that_ends_in_its_eager_first_step_is_one_slice(loop: Any, record: Record) -> None:
    """One of plait's: asyncio's C code takes the first step of an asyncio.Task by itself, within the slice around it."""

    async def child() -> int:
        return 1

    async def main() -> None:
        assert 1 == await loop.create_task(child(), name="child", eager_start=True)

    recording = record(named_main(main()))
    before, after = indexes(recording, "main")
    (only,) = indexes(recording, "child")
    slices = recording.slices
    assert [before + 1, before + 2] == [only, after]
    assert [Outcome.AGAIN, Outcome.RETURNED, Outcome.RETURNED] == [slices.outcome[i] for i in (before, only, after)]
    assert (before, only) == (slices.waker[only], slices.waker[after])


@pytest.mark.parametrize("how", ["debug", "factory"])
def test_tasks_of_the_standard_library_are_seen_alike(loop: Any, record: Record, how: str) -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)

    async def main() -> None:
        await named(child(), "child")

    if how == "debug":
        loop.set_debug(True)
    else:
        loop.set_task_factory(lambda loop, coro, **options: asyncio.Task(coro, loop=loop, **options))
    recording = record(main())
    outcomes = [recording.slices.outcome[i] for i in indexes(recording, "child")]
    assert [Outcome.AGAIN, Outcome.WAITS, Outcome.RETURNED] == outcomes
    assert [(WaitKind.NONE, ""), (WaitKind.NONE, ""), (WaitKind.TIMER, "sleep")] == waits(recording, "child")
    actor = next(actor for actor in recording.actors if actor.name == "child")
    assert (ActorKind.TASK, Outcome.RETURNED) == (actor.kind, actor.outcome)


def test_who_asked_a_task_to_cancel_and_why(record: Record) -> None:
    async def waits_for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        task = named(waits_for_ever(), "victim")
        await asyncio.sleep(0)
        task.cancel("no longer\nneeded")
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await waits_for_ever()

    async def run() -> None:
        await named(main(), "main")

    recording = record(run())
    asked = [(recording.actors[mark.actor].name, mark.text) for mark in recording.marks if mark.level == "cancel"]
    assert [
        ("victim", "asked to cancel by main: no longer needed"),
        ("main", "asked to cancel by _on_timeout"),
    ] == [
        (name, text.replace("Timeout.", "")) for name, text in asked
    ]  # plait's timeout, or that of the standard library


def test_the_engine_is_told_also_where_the_loop_did_not_run_yet(loop: Any, record: Record) -> None:
    async def nothing() -> None:
        pass

    assert loop.engine.name == record(nothing()).meta["engine"]
