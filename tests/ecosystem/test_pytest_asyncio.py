"""pytest-asyncio with plait by its hook for loop factories, in a run of its own."""

from pathlib import Path

import programs

CONFTEST = """
import functools
import plait

def pytest_asyncio_loop_factories(config, item):
    return {"plait": plait.new_event_loop, "named": functools.partial(plait.new_event_loop, engine=ENGINE)}
"""

TESTS = """
import asyncio
import pytest
import pytest_asyncio

@pytest_asyncio.fixture
async def server():
    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]

@pytest.mark.asyncio
async def test_the_loop_is_plait():
    loop = asyncio.get_running_loop()
    assert ("plait.loop", ENGINE) == (type(loop).__module__, loop.engine.name)

@pytest.mark.asyncio
async def test_a_fixture_shares_the_loop(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server)
    writer.write(b"hello\\n")
    assert b"hello\\n" == await reader.readline()
    writer.close()
    await writer.wait_closed()

@pytest.mark.asyncio
async def test_a_failure_is_reported():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
"""


def test_tests_and_fixtures_run_on_plait(engine: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.replace("ENGINE", repr(engine)))
    (tmp_path / "test_inner.py").write_text(TESTS.replace("ENGINE", repr(engine)))
    options = ["-o", "asyncio_default_fixture_loop_scope=function", "-p", "no:anyio", "-W", "error"]
    printed = programs.python("-m", "pytest", "-q", *options, ".", cwd=tmp_path)
    assert "6 passed" in printed
