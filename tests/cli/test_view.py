"""`plait view` and `plait export` on recordings of real programs."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from plait.see.exports import FORMATS

SECONDS = 60
PLAIT = [sys.executable, "-m", "plait"]
APP = """\
import asyncio, sys
import plait

async def fetch(seconds):
    await asyncio.sleep(seconds)

async def main():
    await asyncio.gather(*(asyncio.create_task(fetch(0.002 * i), name=f"fetch-{i}") for i in range(5)))

with plait.record(sys.argv[1]):
    plait.run(main())
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    (folder / "app.py").write_text(APP)
    subprocess.run([sys.executable, "app.py", "out.plait"], cwd=folder, check=True, timeout=SECONDS)
    return folder / "out.plait"


def run(*words: str | Path, **environment: str) -> tuple[int, str, str]:
    ended = subprocess.run(
        [*PLAIT, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "COLUMNS": "100", **environment},
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_a_page_is_written_into_a_file(recording: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    status, output, error = run("view", recording, "--html", page)
    assert (0, "") == (status, error)
    assert re.fullmatch(rf"{page} \([\d.]+ MB\): one page that needs no network\n", output)
    assert "<title>app.py on plait</title>" in page.read_text()
    assert ["page.html"] == os.listdir(tmp_path)


def test_the_terminal_shows_the_lanes_and_the_numbers(recording: Path) -> None:
    status, output, error = run("view", "--terminal", recording)
    assert (0, "") == (status, error)
    assert output.startswith("app.py  ")
    for i in range(1, 5):
        assert re.search(rf"^fetch-{i} .*┄.*█", output, re.MULTILINE)
    assert re.search(r"^┄┄┄ timer +[\d.]+ ms +\d ", output, re.MULTILINE)
    assert "\x1b" not in output


def test_the_page_is_served_until_ctrl_c(recording: Path) -> None:
    with subprocess.Popen(
        [*PLAIT, "view", "--serve", str(recording)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as served:
        try:
            assert served.stdout is not None
            assert served.stderr is not None
            assert select.select([served.stdout], [], [], SECONDS)[0]
            url = served.stdout.readline().decode().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", url)
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(url, timeout=SECONDS) as answer:
                assert b"<title>app.py on plait</title>" in answer.read()
            served.send_signal(signal.SIGINT)
            assert 0 == served.wait(SECONDS)
            assert b"" == served.stderr.read()
        finally:
            served.kill()


def test_the_users_browser_is_opened(recording: Path, tmp_path: Path) -> None:
    """BROWSER names it; here a program that writes down where it was sent."""
    seen = tmp_path / "seen"
    os.mkfifo(seen)
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >"{seen}"\n')
    browser.chmod(0o755)
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    with subprocess.Popen([*PLAIT, "view", str(recording)], stdout=subprocess.PIPE, env=environment) as served:
        try:
            assert served.stdout is not None
            opened = os.open(seen, os.O_RDONLY)
            with open(opened) as file:
                sent = file.readline()
            assert served.stdout.readline().decode() == sent
        finally:
            served.send_signal(signal.SIGINT)
            assert 0 == served.wait(SECONDS)


def test_without_a_screen_it_says_what_to_do(recording: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    }
    with subprocess.Popen([*PLAIT, "view", str(recording)], stdout=subprocess.PIPE, env=environment) as served:
        try:
            assert served.stdout is not None
            lines = [served.stdout.readline().decode() for _ in range(3)]
            assert "Ctrl-C ends it.\n" == lines[1]
            assert lines[2].startswith("No browser could be opened here")
        finally:
            served.send_signal(signal.SIGINT)
            assert 0 == served.wait(SECONDS)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written_beside_the_recording(recording: Path, tmp_path: Path, name: str) -> None:
    copied = tmp_path / "some.plait"
    copied.write_bytes(recording.read_bytes())
    status, output, error = run("export", copied, "--format", name)
    assert (0, "") == (status, error)
    written = tmp_path / f"some{FORMATS[name].ending}"
    assert output.startswith(f"{written} (")
    assert FORMATS[name].opened_by in output
    assert {"some.plait", written.name} == set(os.listdir(tmp_path))


def test_an_export_can_go_down_a_pipe(recording: Path) -> None:
    status, output, error = run("export", recording, "--format", "jsonl", "-o", "-")
    assert (0, "") == (status, error)
    lines = [json.loads(line) for line in output.splitlines()]
    assert "recording" == lines[0]["type"]
    names = {line["name"] for line in lines if line["type"] == "actor"}
    assert {f"fetch-{i}" for i in range(5)} <= names


def test_what_cannot_be_done_is_one_line(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello\n" * 100)
    none = tmp_path / "none"
    for words, expected in (
        (["view", none], f"plait view: cannot read {none}: No such file or directory\n"),
        (["export", tmp_path], f"plait export: cannot read {tmp_path}: Is a directory\n"),
        (["view", tmp_path / "text"], f"plait view: {tmp_path / 'text'} is not a recording of plait\n"),
        (
            ["view", recording, "--html", none / "x"],
            f"plait view: cannot write {none / 'x'}: No such file or directory\n",
        ),
        (["view", recording, "--serve", "--port", "99999"], "plait view: cannot serve on 127.0.0.1:99999: "),
    ):
        status, output, error = run(*words)
        assert (1, "") == (status, output)
        assert error.startswith(expected)
        assert 1 == len(error.splitlines())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--html", "x", "--terminal"], "--html, --serve and --terminal are three ways to show it: ask for one"),
        (["--serve", "--terminal"], "--html, --serve and --terminal are three ways to show it: ask for one"),
        (["--blocked", "0"], "argument --blocked: must be milliseconds over 0, not 0"),
        (["--blocked", "x"], "argument --blocked: must be milliseconds over 0, not x"),
    ],
)
def test_a_wrong_word_is_refused_with_what_would_be_right(recording: Path, words: list[str], expected: str) -> None:
    assert (2, "", f"plait view: {expected} (see plait view --help)\n") == run("view", recording, *words)


def test_a_threshold_is_the_users_own(recording: Path) -> None:
    assert "blocks the thread" in run("view", "--terminal", "--blocked", "0.0001", recording)[1]
    assert "blocks the thread" not in run("view", "--terminal", "--blocked", "60000", recording)[1]


def test_without_rich_the_terminal_says_what_to_install(recording: Path) -> None:
    code = "import sys; sys.modules['rich'] = sys.modules['rich.console'] = None; from plait.cli import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run(
        [sys.executable, "-c", code, "view", "--terminal", recording], capture_output=True, text=True, timeout=SECONDS
    )
    assert (1, "") == (ended.returncode, ended.stdout)
    assert (
        "plait view: --terminal needs rich, which the plain plait does not bring: pip install 'plait[see]'\n"
        == ended.stderr
    )
