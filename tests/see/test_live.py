"""The live views: in a real terminal of 80 by 24, and of a uvicorn under load."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plait.see import top
from plait.see.client import Attached
from plait.see.weave import Weave

import servers
import terminals
from snippets import run_program

pytestmark = pytest.mark.usefixtures("engine")

WEAVING = """
async def worker(gate):
    while True:
        async with gate:
            await asyncio.sleep(0.002)
async def main():
    gate = asyncio.Semaphore(2)
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(worker(gate), name=f"worker {number}")
        asyncio.get_running_loop().call_later(0.01, ready)
plait.run(main())
"""

STUCK = """
import time
async def stuck():
    ready()
    time.sleep(1000)
plait.run(stuck())
"""

UVICORN = """
import servers_port
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        ready()
        await receive()
        return
    await asyncio.sleep(0.001)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
import uvicorn
uvicorn.run(app, port=PORT, loop="plait:new_event_loop", log_level="error")
"""


def with_program(code: str, look: Callable[[int], None]) -> None:
    def then(process: "subprocess.Popen[str]") -> None:
        try:
            look(process.pid)
        finally:
            process.kill()

    ended = run_program(code, then)
    assert "" == ended.errors


def view(name: str, pid: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "plait", name, *options, str(pid)]


def fits(screen: str) -> bool:
    return all(len(line) <= 80 for line in screen.splitlines()) and len(screen.splitlines()) <= 24


def test_top_draws_itself_and_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    def look(pid: int) -> None:
        with terminals.terminal(view("top", pid, "--every", "0.2"), tmp_path) as terminal:
            screen = terminal.wait_for("turns/s")
            screen = terminal.wait_for("worker")
            assert screen.startswith(f"plait top {pid}"), screen
            assert "6 tasks" in screen, screen
            assert fits(screen), screen
            terminal.press("q")
            after = terminal.wait_for("status=0")
            assert "plait top" not in after

    with_program(WEAVING, look)


def test_top_says_in_red_what_blocks_the_loop(tmp_path: Path) -> None:
    def look(pid: int) -> None:
        with terminals.terminal(view("top", pid, "--every", "0.2"), tmp_path) as terminal:
            screen = terminal.wait_for("BLOCKED")
            assert "in stuck" in screen, screen
            assert fits(screen), screen

    with_program(STUCK, look)


def test_weave_draws_a_lane_for_each_task_and_follows_the_keys(tmp_path: Path) -> None:
    def look(pid: int) -> None:
        with terminals.terminal(view("weave", pid, "--every", "0.2"), tmp_path) as terminal:
            terminal.wait_for("worker 4")
            screen = terminal.wait_for("lock or queue")  # the last line: all is drawn
            assert screen.startswith(f"plait weave {pid}"), screen
            assert "MainThread" in screen, screen
            assert fits(screen), screen
            terminal.press("+", "+")
            assert "live, 500 ms" in terminal.wait_for("500 ms")
            terminal.press("Space")
            terminal.wait_for("HELD")
            terminal.press("q")
            terminal.wait_for("status=0")

    with_program(WEAVING, look)


def test_weave_of_a_blocked_loop_says_by_what(tmp_path: Path) -> None:
    def look(pid: int) -> None:
        with terminals.terminal(view("weave", pid, "--every", "0.2"), tmp_path) as terminal:
            screen = terminal.wait_for("BLOCKED for")
            assert "in stuck" in screen, screen

    with_program(STUCK, look)


def test_a_view_ends_with_the_program_that_it_shows(tmp_path: Path) -> None:
    def then(process: "subprocess.Popen[str]") -> None:
        with terminals.terminal(view("top", process.pid, "--every", "0.2"), tmp_path) as terminal:
            terminal.wait_for("turns/s")
            process.kill()
            process.wait()
            screen = terminal.wait_for("status=1")
            assert f"plait top: process {process.pid} has ended" in screen, screen

    run_program(WEAVING, then)


def test_what_was_recorded_for_a_view_ends_when_nobody_looks_any_more() -> None:
    """The program sees its recorder come and go."""

    def look(process: "subprocess.Popen[str]") -> None:
        weave = Weave()
        with Attached(process.pid) as attached:
            names: set[str] = set()
            while "worker 1" not in names:
                weave.ask(attached)
                names = {actor.name for actor in weave.recording.actors} if weave.recording is not None else set()
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    ended = run_program(
        WEAVING.replace(
            "        asyncio.get_running_loop().call_later(0.01, ready)\n",
            """
        loop = asyncio.get_running_loop()
        ready()
        await loop.run_in_executor(None, sys.stdin.readline)
        while loop.recorder is not None:
            await asyncio.sleep(0.001)
        print("ended", flush=True)
        os._exit(0)
""",
        ),
        look,
    )
    assert ("ended\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_a_uvicorn_under_load_is_looked_at_without_an_answer_lost() -> None:
    port = servers.free_port()
    wrk = servers.find_program("wrk", "wrk")

    def look(pid: int) -> None:
        while not servers.accepts(("127.0.0.1", port)):
            pass
        load = subprocess.Popen(
            [wrk, "-c", "50", "-t", "1", "-d", "3", f"http://127.0.0.1:{port}/"], stdout=subprocess.PIPE, text=True
        )
        watching, weave, dumps = top.Watching(), Weave(), []
        with Attached(pid) as attached:
            while load.poll() is None:
                watching.add(attached.ask("top"))
                dumps.append(attached.ask("dump")["loops"][0])
                weave.ask(attached)
        assert load.stdout is not None
        said = load.stdout.read()
        load.stdout.close()
        assert "Non-2xx" not in said, said
        assert "Socket errors" not in said, said
        check(watching, weave, dumps)

    def check(watching: top.Watching, weave: Weave, dumps: list[dict[str, Any]]) -> None:
        assert any(len(loop["tasks"]) > 10 for loop in dumps), "no requests were seen"
        places = {task["place"][2] for loop in dumps for task in loop["tasks"] if task["place"]}
        assert "app" in places
        assert not any(loop["state"] == "blocked" for loop in dumps)
        assert "turns/s" in "".join(text for line in top.view(watching, 80, 24) for text, _ in line)
        assert weave.recording is not None
        assert len(weave.recording.slices) > 100

    with_program(UVICORN.replace("import servers_port\n", "").replace("PORT", str(port)), look)
