"""httpx's asynchronous client, by anyio, against a real nginx."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import servers

Run = Callable[[Any], Any]
# The clients' own time-outs, five seconds for each step, are off: a busy machine may take longer.
CONTENT = bytes(range(256)) * 40_000


@pytest.fixture
def site(nginx: servers.Server) -> servers.Server:
    (nginx.folder / "www" / "large").write_bytes(CONTENT)
    (nginx.folder / "www" / "index.html").write_text("Hello from nginx")
    return nginx


def test_many_requests_at_once(run: Run, site: servers.Server) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(
            timeout=None, base_url=site.url, limits=httpx.Limits(max_connections=50)
        ) as client:
            answers = await asyncio.gather(*(client.get("/") for _ in range(200)))
        assert {(200, "Hello from nginx")} == {(answer.status_code, answer.text) for answer in answers}

    run(main())


def test_a_large_file_arrives_whole_and_streamed(run: Run, site: servers.Server) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(timeout=None, base_url=site.url) as client:
            assert CONTENT == (await client.get("/large")).content
            async with client.stream("GET", "/large") as answer:
                assert CONTENT == b"".join([part async for part in answer.aiter_raw()])

    run(main())


def test_a_stream_left_early_is_closed(run: Run, site: servers.Server) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(timeout=None, base_url=site.url) as client:
            async with client.stream("GET", "/large") as answer:
                async for part in answer.aiter_raw():
                    assert part == CONTENT[: len(part)]
                    break
            assert "Hello from nginx" == (await client.get("/")).text

    run(main())


def test_over_a_unix_socket(run: Run, site: servers.Server) -> None:
    async def main() -> None:
        transport = httpx.AsyncHTTPTransport(uds=site.unix_path)
        async with httpx.AsyncClient(timeout=None, transport=transport, base_url="http://nginx") as client:
            assert "Hello from nginx" == (await client.get("/")).text
            assert 404 == (await client.get("/nothing")).status_code

    run(main())


def test_timeouts_and_refused_connections(run: Run, unused_port: int) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with (
            httpx.AsyncClient(timeout=httpx.Timeout(None, read=0.05)) as client,
            await asyncio.start_server(silent, "127.0.0.1", 0) as server,
        ):
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://127.0.0.1:{unused_port}/")

    run(main())
