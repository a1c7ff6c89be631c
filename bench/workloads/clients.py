"""Clients of real databases on any loop:  python -m bench.workloads.clients MODULE:FACTORY

Reads requests {"row": ..., "port": ..., "scale": ...}, a line each, and answers each with the processor time of this process and
the wall time, both in nanoseconds per operation.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.loops import run
from bench.machine import waited_ns
from bench.workloads.echo import die_with_parent

TASKS = 50


async def each(n: int, tasks: int, operation: Callable[[int], Awaitable[object]]) -> None:
    """`operation(task)` n times by each of the tasks."""

    async def again(task: int) -> None:
        for _ in range(n):
            await operation(task)

    async with asyncio.TaskGroup() as group:
        for task in range(tasks):
            group.create_task(again(task))


async def timed(n: int, operation: Callable[[int], Awaitable[object]]) -> dict[str, Any]:
    await each(2, TASKS, operation)  # statements are prepared, connections made
    per_task = max(1, n // TASKS)
    gc.collect()
    waited, cpu, wall = waited_ns(), time.process_time_ns(), time.perf_counter_ns()
    await each(per_task, TASKS, operation)
    cpu, wall, waited = time.process_time_ns() - cpu, time.perf_counter_ns() - wall, waited_ns() - waited
    return {"ns": cpu / per_task / TASKS, "wall": wall / per_task / TASKS, "waited": waited / wall}


async def asyncpg(port: int, n: int) -> dict[str, Any]:
    """A connection for each task, and a statement that costs the server nothing."""
    from asyncpg import connect

    async def one() -> Any:
        return await connect(host="127.0.0.1", port=port, user="postgres", database="postgres")

    connections = [await one() for _ in range(TASKS)]
    try:
        return await timed(n, lambda task: connections[task].fetchval("select 1"))
    finally:
        for connection in connections:
            await connection.close()


async def redis(port: int, n: int) -> dict[str, Any]:
    """One client for all tasks, which share its connections."""
    from redis.asyncio import Redis

    async with Redis(host="127.0.0.1", port=port) as client:
        await client.set("key", b"x" * 100)
        return await timed(n, lambda task: client.get("key"))


CASES: dict[str, tuple[Callable[[int, int], Awaitable[dict[str, Any]]], int]] = {
    "asyncpg-x50": (asyncpg, 6_000),
    "redis-x50": (redis, 4_000),
}


def measure(factory: str, row: str, port: int, scale: float) -> dict[str, Any]:
    case, n = CASES[row]

    async def main() -> dict[str, Any]:
        return await case(port, max(TASKS, int(n * scale)))

    try:
        return run(factory, main)
    except Exception as error:  # whatever the loop or the library raises is the answer
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(measure(sys.argv[1], request["row"], request["port"], request["scale"])), flush=True)


if __name__ == "__main__":
    die_with_parent()
    main()
