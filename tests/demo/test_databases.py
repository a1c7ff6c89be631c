"""Both databases give the same answers to those who block and to those on a loop."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from plait.demo import postgresql, sqlite
from plait.demo.work import Row

import servers

Run = Callable[[Coroutine[Any, Any, Any]], Any]
ROWS = [Row(f"{i}", i, 2, 3, 4, "f" * 64, "title", "söme 'summary'", 5, 1) for i in range(200)]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: servers.Server
) -> Iterator[tuple[ModuleType, Any]]:
    """The module and its administration."""
    if request.param == "sqlite":
        with closing(sqlite.Administration(str(tmp_path / "found.sqlite"))) as administration:
            yield sqlite, administration
    else:
        address = f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres"
        with closing(postgresql.Administration(address)) as found:
            yield postgresql, found


def test_one_after_another(database: tuple[ModuleType, Any]) -> None:
    module, administration = database
    store = module.ProcessStore(administration.create(), 1)
    for row in ROWS:
        store.insert(row)
    store.close()
    assert ROWS == sorted(administration.rows(), key=lambda row: row.bytes)


def test_many_threads(database: tuple[ModuleType, Any]) -> None:
    module, administration = database
    store = module.ThreadStore(administration.create(), 4)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(store.insert, ROWS))
    store.close()
    assert ROWS == sorted(administration.rows(), key=lambda row: row.bytes)


def test_many_tasks(database: tuple[ModuleType, Any], run: Run) -> None:
    module, administration = database
    address = administration.create()

    async def main() -> None:
        async with module.LoopStore(address, 4) as store:
            await asyncio.gather(*map(store.insert, ROWS))

    run(main())
    assert ROWS == sorted(administration.rows(), key=lambda row: row.bytes)


def test_a_row_twice_is_an_error_for_whoever_stores_it(database: tuple[ModuleType, Any], run: Run) -> None:
    """The primary key holds in every store, and an error does not end the store."""
    module, administration = database
    address = administration.create()
    for kind in (module.ProcessStore, module.ThreadStore):
        store = kind(address, 1)
        with pytest.raises(Exception, match=r"(?i)unique"):
            for row in ROWS[:1] * 2:
                store.insert(row)
        store.insert(ROWS[1])
        store.close()
        address = administration.create()

    async def main() -> None:
        async with module.LoopStore(address, 1) as store:
            await store.insert(ROWS[0])
            with pytest.raises(Exception, match=r"(?i)unique"):
                await store.insert(ROWS[0])
            await store.insert(ROWS[1])

    run(main())
    assert ROWS[:2] == sorted(administration.rows(), key=lambda row: row.bytes)


def test_a_cancelled_insert_disturbs_no_other(database: tuple[ModuleType, Any], run: Run) -> None:
    module, administration = database
    address = administration.create()

    async def main() -> None:
        async with module.LoopStore(address, 1) as store:
            tasks = [asyncio.create_task(store.insert(row)) for row in ROWS[:20]]
            await asyncio.sleep(0)
            tasks[3].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [3] == [i for i, result in enumerate(results) if result is not None]

    run(main())
    stored = administration.rows()
    assert not set(ROWS[:3] + ROWS[4:20]) - set(stored)


def test_rows_that_wait_for_the_writing_thread_are_written_together(tmp_path: Path, run: Run) -> None:
    """One transaction for all that came meanwhile; this is what SQLite's one writer costs and gains."""
    with closing(sqlite.Administration(str(tmp_path / "found.sqlite"))) as administration:
        address = administration.create()
        began: list[str] = []

        async def main() -> None:
            async with sqlite.LoopStore(address, 1) as store:
                await store.loop.run_in_executor(store.thread, store.connection.set_trace_callback, began.append)
                await asyncio.gather(*map(store.insert, ROWS))

        run(main())
        assert 1 == began.count("commit")
        assert len(ROWS) == len(administration.rows())


def test_an_address_is_shown_without_its_secrets() -> None:
    shown = postgresql.without_password("postgresql://me:secret@host:1/name?password=secret")
    assert "postgresql://me@host:1/name" == shown
    assert "postgresql://host/name" == postgresql.without_password("postgresql://host/name")
