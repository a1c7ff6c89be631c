"""The databases that clients talk to: the servers of the tests, each started when a row first needs it."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from bench import machine
from bench.programs import ROOT

sys.path.append(str(ROOT / "tests"))  # it is no package

import servers

SERVERS: dict[str, Callable[[], AbstractContextManager[servers.Server]]] = {
    "asyncpg-x50": servers.postgres,
    "redis-x50": servers.redis,
}


class Databases:
    """Runs them on one core until stop()."""

    def __init__(self, core: int) -> None:
        self._core = core
        self._ports: dict[str, int] = {}
        self._until_stop = ExitStack()

    def port(self, row: str) -> int:
        """Of the server that this row needs. Raises RuntimeError that says what to install."""
        if row not in self._ports:
            with machine.pinned(self._core):
                self._ports[row] = self._until_stop.enter_context(SERVERS[row]()).port
        return self._ports[row]

    def stop(self) -> None:
        self._until_stop.close()
