"""asyncpg against a real PostgreSQL."""

import asyncio
import io
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

import servers

Run = Callable[[Any], Any]


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, postgres: servers.Server) -> dict[str, Any]:
    host = postgres.host if request.param == "tcp" else postgres.unix_path
    return {"host": host, "port": postgres.port, "user": "postgres", "database": "postgres"}


def test_queries_transactions_and_types(run: Run, address: dict[str, Any]) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(**address)
        try:
            await connection.execute("create temporary table word (id serial primary key, text text, data bytea)")
            await connection.executemany(
                "insert into word (text, data) values ($1, $2)",
                [(f"word {i}", bytes([i % 256]) * 10) for i in range(1000)],
            )
            assert 1000 == await connection.fetchval("select count(*) from word")
            row = await connection.fetchrow("select * from word where id = $1", 7)
            assert {"id": 7, "text": "word 6", "data": b"\6" * 10} == dict(row)
            with pytest.raises(asyncpg.UniqueViolationError):
                async with connection.transaction():
                    await connection.execute("delete from word where id > 500")
                    await connection.execute("insert into word (id) values (1)")
            assert 1000 == await connection.fetchval("select count(*) from word")
            async with connection.transaction():
                texts = [
                    row["text"] async for row in connection.cursor("select text from word order by id", prefetch=30)
                ]
            assert [f"word {i}" for i in range(1000)] == texts
        finally:
            await connection.close()

    run(main())


def test_large_values_arrive_whole(run: Run, address: dict[str, Any]) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(**address)
        data = bytes(range(256)) * 40_000
        assert data == await connection.fetchval("select $1::bytea", data)
        await connection.close()

    run(main())


def test_copy_in_and_out(run: Run, address: dict[str, Any]) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(**address)
        await connection.execute("create temporary table number (n int, square bigint)")
        records = [(n, n * n) for n in range(50_000)]
        assert "COPY 50000" == await connection.copy_records_to_table("number", records=records)
        out = io.BytesIO()
        assert "COPY 50000" == await connection.copy_from_table("number", output=out)
        assert records == [tuple(map(int, line.split(b"\t"))) for line in out.getvalue().splitlines()]
        await connection.close()

    run(main())


def test_listen_and_notify(run: Run, address: dict[str, Any]) -> None:
    async def main() -> None:
        listener, sender = await asyncpg.connect(**address), await asyncpg.connect(**address)
        heard: asyncio.Queue[str] = asyncio.Queue()

        def hear(connection: Any, pid: int, channel: str, payload: str) -> None:
            heard.put_nowait(payload)

        await listener.add_listener("news", hear)
        for number in range(100):
            await sender.execute("select pg_notify('news', $1)", str(number))
        assert [str(number) for number in range(100)] == [await heard.get() for _ in range(100)]
        await listener.remove_listener("news", hear)
        await listener.close()
        await sender.close()

    run(main())


def test_a_pool_serves_more_tasks_than_it_has_connections(run: Run, address: dict[str, Any]) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(**address, min_size=2, max_size=10) as pool:

            async def one(number: int) -> int:
                async with pool.acquire() as connection:
                    value: int = await connection.fetchval("select $1::int * 2", number)
                    return value

            assert [2 * n for n in range(500)] == await asyncio.gather(*map(one, range(500)))
            assert pool.get_size() <= 10

    run(main())


def test_a_cancelled_query_is_cancelled_in_the_server_and_the_connection_lives_on(
    run: Run, address: dict[str, Any]
) -> None:
    """asyncpg opens a second connection to say cancel; the first is used again after it."""

    async def main() -> None:
        connection, watcher = await asyncpg.connect(**address), await asyncpg.connect(**address)
        pid = connection.get_server_pid()
        sleeping = asyncio.create_task(connection.execute("select pg_sleep(60)"))
        state = "select query = 'select pg_sleep(60)' and state = 'active' from pg_stat_activity where pid = $1"
        while not await watcher.fetchval(state, pid):
            pass
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        assert 1 == await connection.fetchval("select 1")
        assert not await watcher.fetchval(state, pid)
        with pytest.raises(TimeoutError):
            await connection.fetchval("select pg_sleep(60)", timeout=0.05)
        assert 2 == await connection.fetchval("select 2")
        await connection.close()
        await watcher.close()

    run(main())


def test_a_backend_that_is_ended_is_noticed(run: Run, address: dict[str, Any]) -> None:
    async def main() -> None:
        victim, other = await asyncpg.connect(**address), await asyncpg.connect(**address)
        closed = asyncio.Event()
        victim.add_termination_listener(lambda connection: closed.set())
        await other.execute("select pg_terminate_backend($1)", victim.get_server_pid())
        await closed.wait()
        assert victim.is_closed()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await victim.fetchval("select 1")
        await other.close()

    run(main())


def test_connecting_to_a_closed_port_is_refused(run: Run, unused_port: int) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncpg.connect(host="127.0.0.1", port=unused_port, user="postgres")

    run(main())
