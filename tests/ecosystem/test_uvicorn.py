"""uvicorn with `--loop plait:new_event_loop`: a real process, under wrk, httpx, websockets and behind nginx."""

import asyncio
import json
import re
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import programs
import pytest
import trustme
import websockets

import servers

APP = """
import asyncio
import json
from pathlib import Path


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await globals()[scope["path"].strip("/") or "hello"](body, send)


async def lifespan(receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    Path("shutdown").write_text("done")
    await send({"type": "lifespan.shutdown.complete"})


async def websocket(receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"].upper()})


async def answer(send, *parts):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def hello(body, send):
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"13")]},
    )
    await send({"type": "http.response.body", "body": b"Hello, plait!"})


async def echo(body, send):
    await answer(send, body)


async def large(body, send):
    await answer(send, *[bytes([i]) * 65536 for i in range(100)])


async def later(body, send):
    await asyncio.sleep(0.05)
    await answer(send, b"later")


async def loop(body, send):
    running = asyncio.get_running_loop()
    names = [type(running).__module__, running.engine.name, type(asyncio.current_task()).__module__]
    await answer(send, json.dumps(names).encode())
"""

Run = Callable[[Any], Any]


@contextmanager
def uvicorn(folder: Path, *options: str, unix_path: str = "") -> Iterator[servers.Server]:
    (folder / "app.py").write_text(APP)
    place = ["--uds", unix_path] if unix_path else ["--port", "PORT"]
    arguments = ["-m", "uvicorn", "--loop", "plait:new_event_loop", "--app-dir", str(folder), *place, *options]
    with programs.python_server(
        *arguments, "--log-level", "warning", "app:app", folder=folder, unix_path=unix_path
    ) as it:
        yield it
    log = (folder / "log").read_text()
    assert log == ""
    assert (folder / "shutdown").exists(), "SIGTERM ends uvicorn through the application's shutdown"


@pytest.fixture
def server(engine: str, tmp_path: Path) -> Iterator[servers.Server]:
    with uvicorn(tmp_path) as server:
        yield server


def wrk(url: str, connections: int, *options: str) -> int:
    """The number of answers that wrk got in one second, all of them good."""
    program = servers.find_program("wrk", "wrk")
    printed = subprocess.run(
        [program, "-t1", f"-c{connections}", "-d1s", "--timeout", "10s", *options, url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "Socket errors" not in printed, printed
    assert "Non-2xx" not in printed, printed
    found = re.search(r"(\d+) requests in", printed)
    assert found is not None, printed
    return int(found[1])


def test_the_server_runs_on_plait_and_the_engine_asked_for(server: servers.Server, engine: str) -> None:
    names = json.loads(httpx.get(server.url + "/loop").text)
    assert ["plait.loop", engine] == names[:2]
    assert names[2].startswith("plait.")


@pytest.mark.parametrize("connections", [1, 100, 500])
def test_wrk_gets_only_good_answers(server: servers.Server, connections: int) -> None:
    assert wrk(server.url, connections) > connections


def test_answers_that_wait_do_not_wait_for_each_other(server: servers.Server) -> None:
    """200 connections with 50 ms each would need 10 s one after another."""
    assert wrk(server.url + "/later", 200) > 200


def test_closing_each_connection_works(server: servers.Server) -> None:
    assert wrk(server.url, 50, "-H", "Connection: close") > 50


def test_large_bodies_arrive_whole(server: servers.Server) -> None:
    body = bytes(range(256)) * 20_000
    with httpx.Client() as client:
        assert body == client.post(server.url + "/echo", content=body).content
        assert b"".join(bytes([i]) * 65536 for i in range(100)) == client.get(server.url + "/large").content


def test_websockets_through_uvicorn(server: servers.Server) -> None:
    async def talk() -> None:
        async with asyncio.TaskGroup() as group:
            for i in range(20):
                group.create_task(one(i))

    async def one(i: int) -> None:
        async with websockets.connect(f"ws://127.0.0.1:{server.port}/") as connection:
            for k in range(10):
                await connection.send(f"word {i} {k}")
                assert f"WORD {i} {k}" == await connection.recv()

    asyncio.run(talk())


def test_over_tls(engine: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "certificate.pem")
    body = bytes(range(256)) * 20_000
    with uvicorn(tmp_path, "--ssl-certfile", str(tmp_path / "certificate.pem")) as server:
        url = f"https://127.0.0.1:{server.port}"
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with httpx.Client(verify=context) as client:
            assert "Hello, plait!" == client.get(url).text
            assert body == client.post(url + "/echo", content=body).content
        assert wrk(url, 50) > 50


def test_behind_nginx_on_a_unix_socket(engine: str, tmp_path: Path) -> None:
    """As it is deployed: nginx on TCP, uvicorn on a Unix socket, kept-alive connections between them."""
    with servers.temporary_folder("uvicorn") as folder:
        unix_path = str(folder / "uvicorn.sock")
        location = f"location /app/ {{ proxy_pass http://unix:{unix_path}:/; proxy_http_version 1.1; }}"
        with uvicorn(tmp_path, unix_path=unix_path), servers.nginx(location) as front:
            assert "Hello, plait!" == httpx.get(front.url + "/app/").text
            assert wrk(front.url + "/app/", 50) > 50


def test_two_worker_processes_share_the_socket(engine: str, tmp_path: Path) -> None:
    with uvicorn(tmp_path, "--workers", "2") as server:
        assert wrk(server.url, 50) > 50
