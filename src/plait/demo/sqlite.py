"""Rows in an embedded SQLite file: every insert is safe in the file (write-ahead log) when it returns.

SQLite blocks its caller and lets one write at a time, so that threads and loops hand their rows to one thread that owns the connection
(as aiosqlite does); rows that arrive while it writes go into its next transaction together. One after another, and in each
process, there is nobody to gather: each row is a transaction.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from plait.demo.work import COLUMNS, Row

__all__ = ["Administration", "LoopStore", "ProcessStore", "ThreadStore"]

# Processes wait so long for each other's writes.
BUSY_SECONDS = 60.0

INSERT = f"insert into found values ({', '.join('?' * len(COLUMNS))})"


def connect(path: str, *, any_thread: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=not any_thread)
    connection.execute("pragma synchronous = normal")
    return connection


class Administration:
    """The demo's own view of the database, before and after a way was measured. The address is the file's path."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.connection = connect(address)
        self.connection.execute("pragma journal_mode = wal")

    def create(self) -> str:
        self.connection.execute("drop table if exists found")
        self.connection.execute(
            "create table found (path text primary key, bytes int, lines int, definitions int, imports int, sha256 text, "
            "title text, summary text, links int, agrees int)"
        )
        return self.address

    def rows(self) -> list[Row]:
        return [Row(*values) for values in self.connection.execute("select * from found")]

    def close(self) -> None:
        self.connection.close()


class ProcessStore:
    """For one thread: writes by itself."""

    def __init__(self, address: str, connections: int) -> None:
        self.connection = connect(address)

    def insert(self, row: Row) -> None:
        self.connection.execute(INSERT, row)

    def close(self) -> None:
        self.connection.close()


class ThreadStore:
    """For many threads: each waits until the writing thread has written its row."""

    def __init__(self, address: str, connections: int) -> None:
        self.connection = connect(address, any_thread=True)
        self.waiting: queue.SimpleQueue[tuple[Row, Future[None]] | None] = queue.SimpleQueue()
        self.writer = threading.Thread(target=self.write, name="writer")
        self.writer.start()

    def insert(self, row: Row) -> None:
        written: Future[None] = Future()
        self.waiting.put((row, written))
        written.result()

    def write(self) -> None:
        first = self.waiting.get()
        while first is not None:
            batch = [first]
            while len(batch) < 1000 and not self.waiting.empty():
                following = self.waiting.get()
                if following is None:
                    self.waiting.put(None)
                    break
                batch.append(following)
            try:
                insert_together(self.connection, [row for row, _ in batch])
            except sqlite3.Error as error:
                for _, written in batch:
                    written.set_exception(error)
            else:
                for _, written in batch:
                    written.set_result(None)
            first = self.waiting.get()

    def close(self) -> None:
        self.waiting.put(None)
        self.writer.join()
        self.connection.close()


class LoopStore:
    """For the tasks of a loop: each waits until the writing thread has written its row."""

    def __init__(self, address: str, connections: int) -> None:
        self.address = address
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self.waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self.writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LoopStore:
        self.loop = asyncio.get_running_loop()
        self.connection = await self.loop.run_in_executor(self.thread, connect, self.address)
        return self

    async def insert(self, row: Row) -> None:
        written = self.loop.create_future()
        self.waiting.append((row, written))
        if self.writing is None:
            self.writing = self.loop.create_task(self.write())
        await written

    async def write(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting, []
            rows = [row for row, _ in batch]
            error: sqlite3.Error | None = None
            try:
                await self.loop.run_in_executor(self.thread, insert_together, self.connection, rows)
            except sqlite3.Error as raised:
                error = raised
            for _, written in batch:
                if written.done():  # its task was cancelled
                    continue
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)
        self.writing = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.writing is not None:
            await self.writing
        await self.loop.run_in_executor(self.thread, self.connection.close)
        self.thread.shutdown()


def insert_together(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    connection.execute("begin immediate")
    try:
        connection.executemany(INSERT, rows)
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")
