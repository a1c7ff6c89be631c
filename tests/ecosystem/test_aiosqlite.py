"""aiosqlite: a thread per connection that answers by call_soon_threadsafe."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

Run = Callable[[Any], Any]


def test_many_tasks_share_a_connection(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with aiosqlite.connect(tmp_path / "words.db") as database:
            await database.execute("create table word (id integer primary key, text text)")
            await asyncio.gather(
                *(database.execute("insert into word values (?, ?)", (n, f"word {n}")) for n in range(1000))
            )
            await database.commit()
            async with database.execute("select text from word order by id") as cursor:
                assert [f"word {n}" for n in range(1000)] == [text async for (text,) in cursor]
            with pytest.raises(sqlite3.IntegrityError):
                await database.execute("insert into word values (1, 'again')")

    run(main())


def test_connections_in_threads_of_their_own(run: Run, tmp_path: Path) -> None:
    async def one(number: int) -> int:
        async with aiosqlite.connect(tmp_path / f"{number}.db") as database:
            await database.execute("create table t (n int)")
            await database.executemany("insert into t values (?)", [(k,) for k in range(number + 1)])
            async with database.execute("select count(*) from t") as cursor:
                row = await cursor.fetchone()
                assert row is not None
                return int(row[0])

    async def main() -> None:
        assert list(range(1, 11)) == await asyncio.gather(*map(one, range(10)))

    run(main())
