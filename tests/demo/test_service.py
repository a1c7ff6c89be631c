"""The web service and those who ask it."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from plait.demo.client import BlockingClient, LoopClient
from plait.demo.measure import Child
from plait.demo.options import Refused
from plait.demo.work import examine

Run = Callable[[Coroutine[Any, Any, Any]], Any]
FILES = {"a b/ü.py": b"def f(): pass\n", "c.txt": b"text"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    with Child("plait.demo.service", {"folder": str(folder), "files": list(FILES), "latency_ms": 1}) as service:
        yield (service.message(30) or {})["port"]


def test_blocking_client_gets_pages_on_one_connection(port: int) -> None:
    client = BlockingClient(port)
    for _ in range(2):
        for name, content in FILES.items():
            assert 1 == examine(name, content, client.get(name)).agrees
    client.close()


def test_loop_client_opens_as_many_connections_as_there_are_requests(port: int, run: Run) -> None:
    async def main() -> None:
        client = LoopClient(port)
        for count in (3, 1):
            pages = await asyncio.gather(*(client.get("c.txt") for _ in range(count)))
            assert count == len(pages)
            assert 1 == examine("c.txt", FILES["c.txt"], pages[0]).agrees
            assert 3 == len(client.idle)
        await client.close()

    run(main())


def test_loop_client_keeps_no_connection_that_failed(port: int, run: Run) -> None:
    async def main() -> None:
        client = LoopClient(port)
        with pytest.raises(OSError, match=r"answered 'HTTP/1\.1 404 Not Found'"):
            await client.get("missing")
        assert [] == client.idle
        task = asyncio.create_task(client.get("c.txt"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [] == client.idle

    run(main())


def test_a_page_that_is_not_there_is_an_error(port: int) -> None:
    client = BlockingClient(port)
    with pytest.raises(OSError, match=r"answered 'HTTP/1\.1 404 Not Found'"):
        client.get("missing")
    client.close()


def test_requests_in_pieces_and_in_a_row_are_answered_in_order(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        stream = connection.makefile("rb")
        for piece in (
            b"GET /c.t",
            b"xt HTTP/1.1\r\n\r",
            b"\nGET /missing HTTP/1.1\r\n\r\nPOST /c.txt HTTP/1.1\r\n\r\n",
        ):
            connection.sendall(piece)
        statuses = []
        for _ in range(3):
            statuses.append(stream.readline().split()[1])
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.startswith(b"Content-Length:"):
                    length = int(line.split()[1])
            stream.read(length)
        assert [b"200", b"404", b"404"] == statuses
        stream.close()


def test_an_endless_request_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(30)
        connection.sendall(b"x" * 20_000)
        with pytest.raises(ConnectionResetError):
            while connection.recv(100):
                pass
            raise ConnectionResetError


def test_the_service_ends_with_its_parent(folder: Path) -> None:
    """Its stdin ends when the parent is gone, however it went."""
    service = Child("plait.demo.service", {"folder": str(folder), "files": ["c.txt"], "latency_ms": 0})
    assert "port" in (service.message(30) or {})
    assert service.process.stdin is not None
    service.process.stdin.close()
    assert 0 == service.process.wait(30)
    service.stop()


def test_a_file_that_is_gone_is_one_line(folder: Path) -> None:
    with Child("plait.demo.service", {"folder": str(folder), "files": ["gone"], "latency_ms": 0}) as service:
        with pytest.raises(Refused, match=f"cannot read {folder}/gone: No such file or directory"):
            service.message(30)
        with pytest.raises(Refused, match="ended by itself, with status 0"):
            service.message(30)
