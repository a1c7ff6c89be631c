"""A notebook: a real kernel, whose own loop runs while its cells do."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

SECONDS = 60


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    manager = KernelManager(kernel_name="python3")
    # Its history and profile stay out of the home folder.
    manager.start_kernel(env={**os.environ, "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython"))})
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
