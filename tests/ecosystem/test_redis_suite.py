"""redis-py's own tests of its asyncio client, with plait as their loop, against a real redis-server.

They come from the source archive of the redis-py that is installed, and stay in build/.
"""

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import servers

ROOT = Path(__file__).parents[2]
SECONDS = 600

# Modules that are about connections, streams and cancelling. Of the others, test_commands is about Redis' commands, and the rest needs
# a cluster, sentinels, Redis' modules, or certificates of the authors' containers.
MODULES = [
    "test_connection.py",
    "test_connection_pool.py",
    "test_encoding.py",
    "test_lock.py",
    "test_monitor.py",
    "test_pipeline.py",
    "test_pubsub.py",
    "test_retry.py",
    "test_scripting.py",
    "test_usage_counter.py",
]
# Not beside the other engine's run. The first, about answers that come after a cancellation, listens on a port that is always the same;
# the others set themselves a limit of time.
ALONE = [
    "test_cwe_404.py",
    "test_connection_pool.py::TestBlockingConnectionPool::test_connection_pool_blocks_until_conn_available",
    "test_pubsub.py::TestAsyncPubSubTimeoutPropagation::test_get_message_timeout_is_respected",
    "test_pubsub.py::TestAsyncPubSubTimeoutPropagation::test_parse_response_timeout_propagation",
    "test_pubsub.py::TestAsyncPubSubTimeoutPropagation::test_get_message_timeout_zero_returns_immediately",
    "test_pubsub.py::TestAsyncPubSubBlockingListen::test_block_indefinitely_does_not_alter_subsequent_reads",
]
# What does not apply here, each with the reason; it fails on asyncio's own loop alike.
EXCLUDED = {
    "test_connection.py::test_connect_with_retries": "connects to port 6379",
    "test_connection_pool.py::TestConnectionPool::test_multiple_connections": "connects to port 6379",
    "test_connection_pool.py::TestConnectionPool::test_max_connections": "connects to port 6379",
    "test_connection_pool.py::TestConnectionPool::test_reuse_previously_released_connection": "connects to port 6379",
    "test_cwe_404.py::test_cluster": "needs a cluster",
    "test_pubsub.py::TestClusterPubSubResubscribe": "needs a cluster",
}

PLUGIN = """
import plait

def pytest_asyncio_loop_factories(config, item):
    return {"plait": plait.new_event_loop}
"""


@pytest.fixture(scope="module")
def suite() -> Path:
    """The folder of the archive, unpacked."""
    name = f"redis-{version('redis')}"
    folder = ROOT / "build" / "suites"
    if not (folder / name / "tests").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary",
            "redis",
            "-d",
            str(folder),
        ]
        got = subprocess.run([*command, name.replace("-", "==")], capture_output=True, text=True, check=False)
        if got.returncode != 0:
            raise RuntimeError(f"the source archive of {name} cannot be had from the package index:\n{got.stderr}")
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return folder / name


@dataclass(frozen=True)
class Outcome:
    status: int
    output: str


def run_suite(suite: Path, folder: Path, engine: str, targets: list[str], but: Iterable[str]) -> Outcome:
    excluded = [word for name in but for word in ("--deselect", f"tests/test_asyncio/{name}")]
    # A server of their own, that may be told to pretend errors: the tests empty it.
    with servers.redis(enable_debug_command="local") as server:
        # A build under test (`make debug`) is found by the path that it was given here.
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "on_plait", "-p", "no:anyio", "-p", "no:cacheprovider"),
                *("-o", "addopts=", "-o", "log_cli=false", "--tb=short", f"--rootdir={suite}", *excluded),
                # Most tests run twice, on one connection and on a pool of them; those of publishing take a while, and run once.
                *("-k", "not (test_pubsub and pool)", f"--redis-url=redis://{server.host}:{server.port}/0"),
                *(f"tests/test_asyncio/{target}" for target in targets),
            ],
            cwd=suite,
            env={**os.environ, "PYTHONPATH": path, "PLAIT_ENGINE": engine},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
    return Outcome(done.returncode, done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the plugin that makes the loops."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "on_plait.py").write_text(PLUGIN)
    return folder


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, suite: Path, folder: Path) -> dict[str, Outcome]:
    """Of each engine that is asked for; both at the same time, as the tests sleep for most of theirs."""
    items: list[Any] = [item for item in request.session.items if item.name.startswith("test_its_tests_pass")]
    chosen: list[str] = [item.callspec.params["engine"] for item in items]
    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(lambda engine: run_suite(suite, folder, engine, MODULES, [*EXCLUDED, *ALONE]), chosen)
        return dict(zip(chosen, runs, strict=True))


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.beside_others
def test_its_tests_pass(outcomes: dict[str, Outcome], suite: Path, folder: Path, engine: str) -> None:
    for outcome, least in ((outcomes[engine], 300), (run_suite(suite, folder, engine, ALONE, EXCLUDED), 10)):
        assert 0 == outcome.status, outcome.output[-8000:]
        assert int(re.findall(r"(\d+) passed", outcome.output)[-1]) >= least
