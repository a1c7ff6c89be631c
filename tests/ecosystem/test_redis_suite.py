"""redis-py's own tests of its asyncio client, with plait as their loop, against a real redis-server.

They come from the source archive of the redis-py that is installed, and stay in build/.
"""

import os
import re
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import servers

ROOT = Path(__file__).parents[2]
SECONDS = 240

# Modules that are about connections, streams and cancelling. Of the others, test_commands is about Redis' commands, and the rest needs
# a cluster, sentinels, Redis' modules, or certificates of the authors' containers.
MODULES = [
    "connection",
    "connection_pool",
    "cwe_404",
    "encoding",
    "lock",
    "monitor",
    "pipeline",
    "pubsub",
    "retry",
    "scripting",
    "usage_counter",
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


def run_module(suite: Path, folder: Path, server: servers.Server, engine: str, module: str) -> Outcome:
    excluded = [word for name in EXCLUDED for word in ("--deselect", f"tests/test_asyncio/{name}")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "on_plait", "-p", "no:anyio", "-p", "no:cacheprovider"),
            *("-o", "addopts=", "-o", "log_cli=false", "--tb=short", f"--rootdir={suite}", *excluded),
            f"--redis-url=redis://{server.host}:{server.port}/0",
            f"tests/test_asyncio/test_{module}.py",
        ],
        cwd=suite,
        env={**os.environ, "PYTHONPATH": str(folder), "PLAIT_ENGINE": engine},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    return Outcome(done.returncode, done.stdout)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, suite: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Outcome]:
    """What becomes of each module that is asked for; both engines at the same time, as the tests sleep for most of theirs."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "on_plait.py").write_text(PLUGIN)
    items: list[Any] = [item for item in request.session.items if item.name.startswith("test_its_tests_pass")]
    chosen: list[tuple[str, str]] = [(item.callspec.params["engine"], item.callspec.params["module"]) for item in items]

    def run(engine: str) -> dict[tuple[str, str], Outcome]:
        # A server of their own, that may be told to pretend errors: the tests empty it.
        with servers.redis(enable_debug_command="local") as server:
            return {
                (each, module): run_module(suite, folder, server, each, module)
                for each, module in chosen
                if each == engine
            }

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(run, sorted({engine for engine, _ in chosen})))
    return {key: outcome for part in both for key, outcome in part.items()}


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.beside_others
@pytest.mark.parametrize("module", MODULES)
def test_its_tests_pass(outcomes: dict[tuple[str, str], Outcome], engine: str, module: str) -> None:
    outcome = outcomes[engine, module]
    assert 0 == outcome.status, outcome.output[-8000:]
    summary = outcome.output.rstrip().splitlines()[-1]
    assert re.search(r"\b[1-9]\d* passed", summary), summary
