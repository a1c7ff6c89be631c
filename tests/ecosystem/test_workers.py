"""gunicorn's and hypercorn's worker processes, each on a loop of ours."""

import json
import os
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import programs
import trustme

import servers

APP = """
import asyncio
import json
import os


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    loop = asyncio.get_running_loop()
    told = {
        "loop": [type(loop).__module__, loop.engine.name],
        "pid": os.getpid(),
        "length": len(body),
        "http": scope["http_version"],
    }
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
"""

# What each of the two needs to be told, once, for its workers to use plait.
GUNICORN = """
from uvicorn_worker import UvicornWorker

class Worker(UvicornWorker):
    CONFIG_KWARGS = {"loop": "plait:new_event_loop"}
"""
HYPERCORN = """
import plait
plait.install()
from app import app
"""

SECONDS = 30


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[servers.Server]:
    (folder / "app.py").write_text(APP)
    (folder / "worker.py").write_text(GUNICORN)
    (folder / "installed.py").write_text(HYPERCORN)
    with programs.python_server(*arguments, folder=folder) as server:
        yield server


def ask(client: httpx.Client, **options: object) -> dict[str, object]:
    answer = client.post("/", **options)  # type: ignore[arg-type]
    assert 200 == answer.status_code
    told: dict[str, object] = json.loads(answer.text)
    return told


def asked_until(url: str, condition: object) -> set[object]:
    """The processes that answered, of new connections, until it is true of them."""
    seen: set[object] = set()
    while not condition(seen):  # type: ignore[operator]
        with httpx.Client(base_url=url, timeout=SECONDS) as client:
            seen.add(ask(client)["pid"])
    return seen


def test_gunicorn(engine: str, tmp_path: Path) -> None:
    """Two workers of uvicorn-worker; one that is killed is replaced; SIGHUP brings new ones; SIGTERM ends all."""
    options = ["-k", "worker.Worker", "-w", "2", "-b", "127.0.0.1:PORT", "--log-level", "warning", "app:app"]
    with serving(tmp_path, "-m", "gunicorn", "--worker-tmp-dir", str(tmp_path), *options) as server:
        with httpx.Client(base_url=server.url, timeout=SECONDS) as client:
            told = ask(client, content=bytes(3_000_000))
            assert (["plait.loop", engine], 3_000_000) == (told["loop"], told["length"])
        first = asked_until(server.url, lambda seen: len(seen) == 2)
        victim = first.pop()
        os.kill(int(str(victim)), signal.SIGKILL)
        asked_until(server.url, lambda seen: len(seen - {victim}) == 2)
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log


def test_hypercorn(engine: str, tmp_path: Path) -> None:
    """Its asyncio worker under plait.install() in the application, which each worker process imports."""
    options = ["-k", "asyncio", "-w", "2", "-b", "127.0.0.1:PORT", "installed:app"]
    with serving(tmp_path, "-m", "hypercorn", *options) as server:
        with httpx.Client(base_url=server.url, timeout=SECONDS) as client:
            told = ask(client, content=bytes(3_000_000))
            assert (["plait.loop", engine], 3_000_000) == (told["loop"], told["length"])
        asked_until(server.url, lambda seen: len(seen) == 2)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_hypercorn_speaks_http_2_over_tls(engine: str, tmp_path: Path) -> None:
    """Agreed on by ALPN, many requests on one connection."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    for part in certificate.cert_chain_pems:
        part.write_to_path(tmp_path / "chain", append=True)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    program = f"""
import asyncio, sys
import hypercorn.asyncio, hypercorn.config, plait
sys.path.insert(0, {str(tmp_path)!r})
from app import app
config = hypercorn.config.Config()
config.bind = ["127.0.0.1:PORT"]
config.certfile, config.keyfile = "chain", "key"
plait.run(hypercorn.asyncio.serve(app, config))
"""
    with serving(tmp_path, "-c", program) as server:
        url = server.url.replace("http:", "https:")
        with httpx.Client(http2=True, verify=trusting, base_url=url, timeout=SECONDS) as client:
            for length in range(0, 200_000, 10_000):
                told = ask(client, content=bytes(length))
                assert ("2", ["plait.loop", engine], length) == (told["http"], told["loop"], told["length"])
    assert "Traceback" not in (tmp_path / "log").read_text()
