"""Rows in a PostgreSQL: asyncpg on the loops, psycopg where threads block, each the usual driver of its kind.

Threads and loops share a pool of connections, each process has one of its own; every row is a transaction. The table has
a name of its own for each run and is dropped at the end.
"""

from __future__ import annotations

import os
import queue
from types import TracebackType
from urllib.parse import urlsplit

import asyncpg
import psycopg

from plait.demo.options import Refused
from plait.demo.work import COLUMNS, Row

__all__ = ["Administration", "LoopStore", "ProcessStore", "ThreadStore"]

CONNECT_SECONDS = 10

# The address of a store: the server's, and the table's name after this sign, which no name of ours contains.
SEPARATOR = "\n"


def connect(address: str) -> psycopg.Connection:
    return psycopg.connect(address, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="plait demo")


def insert_statement(table: str, places: list[str]) -> str:
    return f"insert into {table} ({', '.join(COLUMNS)}) values ({', '.join(places)})"


class Administration:
    """The demo's own view of the database, before and after a way was measured. Raises `Refused` if it is not reachable."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.table = f"plait_demo_{os.getpid()}_{os.urandom(4).hex()}"
        try:
            self.connection = connect(address)
        except psycopg.Error as error:
            raise Refused(f"cannot use the database {without_password(address)}: {first_line(error)}") from None

    def create(self) -> str:
        try:
            self.connection.execute(f"drop table if exists {self.table}")
            self.connection.execute(
                f"create table {self.table} (path text primary key, bytes int, lines int, definitions int, imports int, "
                "sha256 text, title text, summary text, links int, agrees int)"
            )
        except psycopg.Error as error:
            raise Refused(f"cannot create a table in {without_password(self.address)}: {first_line(error)}") from None
        return self.address + SEPARATOR + self.table

    def rows(self) -> list[Row]:
        return [Row(*values) for values in self.connection.execute(f"select {', '.join(COLUMNS)} from {self.table}")]

    def close(self) -> None:
        # Whoever ended the way may have left a connection behind that still holds the table for a moment.
        self.connection.execute(f"drop table if exists {self.table}")
        self.connection.close()


class ProcessStore:
    """For one thread: one connection."""

    def __init__(self, address: str, connections: int) -> None:
        server, _, table = address.partition(SEPARATOR)
        self.statement = insert_statement(table, ["%s"] * len(COLUMNS))
        self.connection = connect(server)

    def insert(self, row: Row) -> None:
        self.connection.execute(self.statement, row, prepare=True)

    def close(self) -> None:
        self.connection.close()


class ThreadStore:
    """For many threads: each waits until one of the connections is free."""

    def __init__(self, address: str, connections: int) -> None:
        self.stores = [ProcessStore(address, 1) for _ in range(connections)]
        self.idle: queue.SimpleQueue[ProcessStore] = queue.SimpleQueue()
        for store in self.stores:
            self.idle.put(store)

    def insert(self, row: Row) -> None:
        store = self.idle.get()
        try:
            store.insert(row)
        finally:
            self.idle.put(store)

    def close(self) -> None:
        for store in self.stores:
            store.close()


class LoopStore:
    """For the tasks of a loop: asyncpg's pool."""

    def __init__(self, address: str, connections: int) -> None:
        self.server, _, table = address.partition(SEPARATOR)
        self.connections = connections
        self.statement = insert_statement(table, [f"${i + 1}" for i in range(len(COLUMNS))])

    async def __aenter__(self) -> LoopStore:
        self.pool = await asyncpg.create_pool(
            self.server,
            min_size=self.connections,
            max_size=self.connections,
            timeout=CONNECT_SECONDS,
            server_settings={"application_name": "plait demo"},
        )
        return self

    async def insert(self, row: Row) -> None:
        await self.pool.execute(self.statement, *row)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self.pool.close()
        else:
            self.pool.terminate()


def without_password(address: str) -> str:
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=user.partition(":")[0] + at + host, query="").geturl()


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
