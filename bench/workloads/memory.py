"""Memory that one idle connection or one parked task takes:
python -m bench.workloads.memory MODULE:FACTORY memory-connection|memory-task N

Resident memory after minus before, divided by N. Prints {"bytes": figure}.
"""

import asyncio
import gc
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from bench.loops import run

SETTLED = 100
"""So many come first, so that what is allocated once is not counted."""

CLIENTS = """
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
connections = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
sys.stdin.read()
"""


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Idle(asyncio.Protocol):
    """Keeps its transport, as every protocol does, and says when as many as wanted are connected."""

    live: ClassVar[list["Idle"]] = []
    wanted: ClassVar[tuple[int, asyncio.Future[None]]]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        Idle.live.append(self)
        if len(Idle.live) == Idle.wanted[0]:
            Idle.wanted[1].set_result(None)


def start_clients(port: int, n: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CLIENTS, str(port), str(n)], stdin=subprocess.PIPE)


async def connections(n: int) -> float:
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    await loop.create_server(Idle, sock=listener, backlog=4096)
    port = listener.getsockname()[1]
    clients = []

    async def connect(k: int) -> int:
        Idle.wanted = len(Idle.live) + k, loop.create_future()
        clients.append(start_clients(port, k))
        await asyncio.wait_for(Idle.wanted[1], 60)
        return resident()

    try:
        before = await connect(SETTLED)
        return (await connect(n) - before) / n
    finally:
        for client in clients:
            client.kill()


async def tasks(n: int) -> float:
    release = asyncio.Event()

    async def parked() -> None:
        await release.wait()

    async def park(k: int) -> int:
        running.extend(asyncio.create_task(parked()) for _ in range(k))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return resident()

    running: list[asyncio.Task[None]] = []
    before = await park(SETTLED)
    used = (await park(n) - before) / n
    release.set()
    await asyncio.wait(running)
    return used


def main() -> None:
    factory, row, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    case = {"memory-connection": connections, "memory-task": tasks}[row]
    used = run(factory, case, min(n, hard - SETTLED - 100) if case is connections else n)
    print(json.dumps({"bytes": used}), flush=True)
    os._exit(0)  # thousands of connections need not be closed in order


if __name__ == "__main__":
    main()
