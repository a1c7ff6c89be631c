"""The machinery of tasks, timers and callbacks of one loop:  python -m bench.workloads.tasks MODULE:FACTORY

Reads requests from standard input, one JSON object a line: {"row": NAME, "scale": 1.0}. Answers each with
{"ns": per operation, "waited": share of the time without a core} or {"error": text}. It stays alive between the
requests so that several loops can take turns in short steps.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter_ns as now
from typing import Any

from bench.loops import run
from bench.machine import waited_ns

Case = Callable[[int], Awaitable[float]]


async def trivial() -> None:
    pass


async def one_turn() -> None:
    await asyncio.sleep(0)


def nothing() -> None:
    pass


def sleepers(tasks: int) -> Case:
    async def case(n: int) -> float:
        sleep = asyncio.sleep
        each = max(1, n // tasks)

        async def sleeper() -> None:
            for _ in range(each):
                await sleep(0)

        running = [asyncio.create_task(sleeper()) for _ in range(tasks)]
        start = now()
        await asyncio.wait(running)
        return (now() - start) / (each * tasks)

    return case


async def create_task(n: int) -> float:
    create = asyncio.create_task
    start = now()
    for _ in range(n):
        await create(trivial())
    return (now() - start) / n


async def loop_create_task(n: int) -> float:
    create = asyncio.get_running_loop().create_task
    start = now()
    for _ in range(n):
        await create(trivial())
    return (now() - start) / n


async def call_soon(n: int) -> float:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    start = now()
    for _ in range(n):
        loop.call_soon(nothing)
    loop.call_soon(done.set_result, None)
    await done
    return (now() - start) / n


async def call_soon_chain(n: int) -> float:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = n

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    start = now()
    loop.call_soon(step)
    await done
    return (now() - start) / n


async def timer_cancel(n: int) -> float:
    later = asyncio.get_running_loop().call_later
    start = now()
    for _ in range(n):
        later(10, nothing).cancel()
    await asyncio.sleep(0)
    return (now() - start) / n


async def timer_many(n: int) -> float:
    """All with different delays and alive at once, in no order."""
    later = asyncio.get_running_loop().call_later
    start = now()
    timers = [later(10 + (i * 7919 % n) / n, nothing) for i in range(n)]
    for timer in timers:
        timer.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return (now() - start) / n


async def timer_fire(n: int) -> float:
    """With a millisecond: uvloop rounds to them and makes a call_soon of 0."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    start = now()
    for _ in range(n):
        loop.call_later(0.001, nothing)
    loop.call_later(0.001, done.set_result, None)
    await done
    return (now() - start) / n


async def future_pingpong(n: int) -> float:
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()
    back: asyncio.Future[None] = loop.create_future()

    async def ping() -> None:
        nonlocal back
        for _ in range(n // 2):
            back = answer = loop.create_future()
            there.set_result(None)
            await answer

    async def pong() -> None:
        nonlocal there
        for _ in range(n // 2):
            await there
            there = loop.create_future()
            back.set_result(None)

    start = now()
    await asyncio.gather(ping(), pong())
    return (now() - start) / n


async def queue(n: int) -> float:
    pipe: asyncio.Queue[int] = asyncio.Queue(1)

    async def put() -> None:
        for i in range(n):
            await pipe.put(i)

    async def get() -> None:
        for _ in range(n):
            await pipe.get()

    start = now()
    await asyncio.gather(put(), get())
    return (now() - start) / n


def gather(tasks: int) -> Case:
    async def case(n: int) -> float:
        times = max(1, n // tasks)
        start = now()
        for _ in range(times):
            await asyncio.gather(*[trivial() for _ in range(tasks)])
        return (now() - start) / (times * tasks)

    return case


def taskgroup(tasks: int) -> Case:
    async def case(n: int) -> float:
        times = max(1, n // tasks)
        start = now()
        for _ in range(times):
            async with asyncio.TaskGroup() as group:
                for _ in range(tasks):
                    group.create_task(trivial())
        return (now() - start) / (times * tasks)

    return case


async def wait_for(n: int) -> float:
    start = now()
    for _ in range(n):
        await asyncio.wait_for(one_turn(), 10)
    return (now() - start) / n


async def timeout(n: int) -> float:
    sleep = asyncio.sleep
    start = now()
    for _ in range(n):
        async with asyncio.timeout(10):
            await sleep(0)
    return (now() - start) / n


async def executor(n: int) -> float:
    """Queue, thread, wake-up of the loop; the threads share the loop's core."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, nothing)
    start = now()
    for _ in range(n):
        await loop.run_in_executor(None, nothing)
    return (now() - start) / n


CASES: dict[str, tuple[Case, int]] = {
    "sleep0-x1": (sleepers(1), 60_000),
    "sleep0-x100": (sleepers(100), 100_000),
    "sleep0-x10000": (sleepers(10_000), 100_000),
    "create-task": (create_task, 30_000),
    "loop-create-task": (loop_create_task, 30_000),
    "call-soon": (call_soon, 100_000),
    "call-soon-chain": (call_soon_chain, 100_000),
    "timer-cancel": (timer_cancel, 100_000),
    "timer-million": (timer_many, 1_000_000),
    "timer-fire": (timer_fire, 50_000),
    "future-pingpong": (future_pingpong, 60_000),
    "queue": (queue, 30_000),
    "gather-100": (gather(100), 30_000),
    "gather-10000": (gather(10_000), 30_000),
    "taskgroup-100": (taskgroup(100), 30_000),
    "wait-for": (wait_for, 12_000),
    "timeout": (timeout, 15_000),
    "executor": (executor, 2_500),
}
"""Row name -> case and its number of operations at scale 1: some 0.05 s each, so that turns are short."""

SHARES_ITS_CORE = {"executor"}
"""That the loop waits for its own threads is no disturbance."""


def measure(factory: str, row: str, scale: float) -> dict[str, Any]:
    case, n = CASES[row]

    async def main() -> dict[str, Any]:
        gc.collect()
        waited, start = waited_ns(), now()
        ns = await case(max(1, int(n * scale)))
        share = (waited_ns() - waited) / (now() - start)
        return {"ns": ns, "waited": 0.0 if row in SHARES_ITS_CORE else share}

    try:
        return run(factory, main)
    except Exception as error:  # whatever the loop raises is the answer
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    factory = sys.argv[1]
    run(factory, trivial)  # imports the loop now, and ends with its own traceback if it cannot run
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(measure(factory, request["row"], request["scale"])), flush=True)


if __name__ == "__main__":
    main()
