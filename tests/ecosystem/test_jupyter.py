"""A notebook: a real kernel, whose own loop runs while its cells do."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

SECONDS = 60


# A kernel whose own loop is plait's.
ON_PLAIT = """
import plait
plait.install()
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""


@contextmanager
def running(home: Path, *python: str, **environment: str) -> Iterator[Any]:
    """A client of a kernel that `python` starts; by default the ordinary one."""
    manager = KernelManager(kernel_name="python3")
    if python:
        manager.kernel_spec.argv = [sys.executable, *python, "-f", "{connection_file}"]
    # Its history and profile stay out of the home folder.
    manager.start_kernel(env={**os.environ, **environment, "IPYTHONDIR": str(home)})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        manager.context.term()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running(tmp_path_factory.mktemp("ipython")) as client:
        yield client


def cell(kernel: Any, code: str) -> str:
    """Run a cell; what it printed, or the error it ended with."""
    words: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            words.append(content["text"])
        elif message["msg_type"] == "error":
            words.append(f"{content['ename']}: {content['evalue']}")

    kernel.execute_interactive(code, timeout=SECONDS, output_hook=hear)
    return "".join(words)


def test_a_portal_in_a_cell(kernel: Any) -> None:
    """asyncio.run() is refused there; the portal's loop stands beside the kernel's."""
    code = """
import asyncio, plait
async def double(number):
    await asyncio.sleep(0.001)
    return number * 2
with plait.background() as portal:
    print(portal.call(double, 21), sum(f.result() for f in [portal.start(double, n) for n in range(4)]))
"""
    assert "42 12\n" == cell(kernel, code)


def test_a_portal_kept_open_over_cells(kernel: Any) -> None:
    """As one does in a notebook: opened in one cell, used in the next, closed in the last."""
    assert "" == cell(
        kernel,
        """
import asyncio, plait
background = plait.background()
portal = background.__enter__()
async def answer():
    return type(asyncio.get_running_loop()).__name__
""",
    )
    assert "Loop\n" == cell(kernel, "print(portal.call(answer))")
    assert "Loop\n" == cell(kernel, "await asyncio.sleep(0); print(portal.call(answer))")
    assert "False\n" == cell(kernel, "background.__exit__(None, None, None); print(portal.thread.is_alive())")


def test_run_in_a_cell_names_the_portal(kernel: Any) -> None:
    """The mistake everybody makes there first."""
    said = cell(kernel, "import asyncio, plait\nplait.run(asyncio.sleep(0))")
    assert said.startswith("RuntimeError: plait.run() cannot be called from a running event loop")
    assert "plait.background()" in said


def test_the_kernel_itself_runs_on_plait(engine: str, kernel: Any, tmp_path: Path) -> None:
    """plait.install() before ipykernel starts: ZeroMQ's sockets, tornado's timers and the cells are in our loop."""
    # Beside the ordinary kernel, for the client keeps a loop of asyncio's own from its first use on.
    with running(tmp_path, "-c", ON_PLAIT, PLAIT_ENGINE=engine) as kernel:
        code = "import asyncio; loop = asyncio.get_running_loop(); print(type(loop).__module__, loop.engine.name)"
        assert f"plait.loop {engine}\n" == cell(kernel, code)
        many = """
async def wait(n):
    await asyncio.sleep(0.001 * (n % 3))
    return n
print(sum(await asyncio.gather(*map(wait, range(100)))))
process = await asyncio.create_subprocess_exec("echo", "from a child", stdout=asyncio.subprocess.PIPE)
print((await process.communicate())[0].decode(), end="")
"""
        assert "4950\nfrom a child\n" == cell(kernel, many)
        assert "ValueError: shown" == cell(kernel, "raise ValueError('shown')")
        background = "task = asyncio.create_task(asyncio.sleep(0.001, 'done between the cells'))"
        assert "" == cell(kernel, background)
        assert "done between the cells\n" == cell(kernel, "print(await task)")
