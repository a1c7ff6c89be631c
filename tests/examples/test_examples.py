"""The programs in examples/ do what they say, on both engines."""

import http.server
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
SECONDS = 30

pytestmark = pytest.mark.usefixtures("engine")


@contextmanager
def program(name: str, *words: str, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, str(EXAMPLES / name), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    try:
        with process:
            yield process
    finally:
        process.kill()


def end(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
    process.send_signal(number)
    output, error = process.communicate(timeout=SECONDS)
    return process.returncode, output, error


class Site(http.server.BaseHTTPRequestHandler):
    """/N is a page of N bytes; keeps how many were asked for at once, for the fetcher is to be polite."""

    lock = threading.Lock()
    at_once = most = 0
    together: threading.Barrier

    def do_GET(self) -> None:
        with Site.lock:
            Site.at_once += 1
            Site.most = max(Site.most, Site.at_once)
        if self.path != "/0":
            Site.together.wait(SECONDS)
        with Site.lock:
            Site.at_once -= 1
        if not self.path[1:].isdecimal():
            self.send_error(404, "Not here")
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * int(self.path[1:]))

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    Site.most = 0
    Site.together = threading.Barrier(2)  # pages come two by two, and only when both were asked for
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def fetch(*words: str, stdin: str = "") -> tuple[int, list[str], str]:
    command = [sys.executable, str(EXAMPLES / "fetch.py"), *words]
    ended = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=SECONDS)
    return ended.returncode, sorted(ended.stdout.splitlines()), ended.stderr


def test_fetch_gets_a_few_pages_at_a_time(site: str) -> None:
    urls = [f"{site}/{length}" for length in (10, 200_000, 30, 40, 50, 60)]
    status, lines, error = fetch("--per-host", "2", "--rate", "1000", stdin="\n".join(urls) + "\n")
    assert (0, "") == (status, error)
    expected = sorted((f"{url.rpartition('/')[2]} bytes", url) for url in urls)
    assert expected == sorted((line.split("  ")[1], line.split("  ")[3]) for line in lines)
    assert all(line.startswith("200 OK  ") for line in lines)
    assert 2 == Site.most


def test_fetch_says_what_failed_and_goes_on(site: str) -> None:
    status, lines, error = fetch(f"{site}/0", "http://127.0.0.1:1/", "ftp://x", "http:///")
    assert (1, "", 4) == (status, error, len(lines))
    assert lines[0].startswith("200 OK  0 bytes")
    assert all(line.startswith("failed: ") for line in lines[1:])
    assert {"http://127.0.0.1:1/", "ftp://x", "http:///"} == {line.split("  ")[-1] for line in lines[1:]}


def test_fetch_refuses_a_pace_that_is_none() -> None:
    status, lines, error = fetch("--rate", "0", "http://127.0.0.1:1/")
    assert (2, []) == (status, lines)
    assert "must be above zero" in error


class Guest:
    def __init__(self, port: int, name: str) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.stream = self.connection.makefile("r")
        assert "your name?\n" == self.stream.readline()
        self.say(name)

    def say(self, text: str) -> None:
        self.connection.sendall(f"{text}\n".encode())

    def hear(self) -> str:
        return self.stream.readline().rstrip("\n")

    def leave(self) -> None:
        self.stream.close()
        self.connection.close()


def chat_port(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline().rpartition(":")[2])


def test_chat_tells_everybody_what_one_says() -> None:
    with program("chat.py", "--port", "0") as process:
        port = chat_port(process)
        ann = Guest(port, "Ann")
        assert "* Ann is here" == ann.hear()
        bob = Guest(port, "Bob")
        assert "* Bob is here" == ann.hear() == bob.hear()
        other = Guest(port, "Bob")
        assert ("that name is taken", "") == (other.hear(), other.hear())
        other.leave()
        bob.say("héllo")
        assert "Bob: héllo" == ann.hear() == bob.hear()
        ann.say("/who")
        assert "* here are Ann, Bob" == ann.hear()
        bob.leave()
        assert "* Bob left" == ann.hear()
        ann.say("/quit")
        assert "" == ann.hear()
        ann.leave()
        assert (0, "", "") == end(process)


def test_chat_says_goodbye_when_it_ends() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with program("chat.py", "--port", "0") as process:
            port = chat_port(process)
            ann = Guest(port, "Ann")
            assert "* Ann is here" == ann.hear()
            nameless = socket.create_connection(("127.0.0.1", port))
            assert (0, "", "") == end(process, number)
            assert ("* the server ends", "") == (ann.hear(), ann.hear())
            ann.leave()
            nameless.close()


def test_chat_is_held_up_by_nobody() -> None:
    """One who never reads is disconnected, and the others hear everything."""
    with program("chat.py", "--port", "0") as process:
        port = chat_port(process)
        deaf = Guest(port, "Deaf")
        ann = Guest(port, "Ann")
        while ann.hear() != "* Ann is here":
            pass
        line = "x" * 4000
        heard = ""
        while heard != "* Deaf left":
            ann.say(line)
            heard = ann.hear()
        deaf.leave()
        ann.leave()
        assert (0, "", "") == end(process)


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().rstrip("\n")


def test_follow_picks_lines_as_they_are_written(tmp_path: Path) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    one.write_text("ERROR old\nERROR older\nfine\n")
    with program("follow.py", "--match", "ERROR|WARN", "--last", "2", str(one), str(two)) as process:
        assert "one.log: ERROR older" == line(process.stdout)
        append(one, "WARN now\nfine\nERR")
        assert "one.log: WARN now" == line(process.stdout)
        append(two, "ERROR in a file that is new\n")
        assert "two.log: ERROR in a file that is new" == line(process.stdout)
        append(one, "OR in two pieces\n")
        assert "one.log: ERROR in two pieces" == line(process.stdout)
        assert (0, "", "3 lines from one.log\n1 lines from two.log\n") == end(process)


def test_follow_goes_on_after_rotation_and_truncation(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("before\n")
    with program("follow.py", "--last", "1", str(log)) as process:
        assert "before" == line(process.stdout)
        log.rename(tmp_path / "app.log.1")
        append(tmp_path / "app.log.1", "late\n")
        assert "late" == line(process.stdout)
        log.write_text("rotated\n")
        assert "rotated" == line(process.stdout)
        os.truncate(log, 0)
        append(log, "cut\n")
        assert "cut" == line(process.stdout)
        assert (0, "", "4 lines from app.log\n") == end(process)


def test_follow_writes_to_a_program_until_that_has_enough(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("".join(f"{i}\n" for i in range(5000)))
    with program("follow.py", "--last", "5000", "--through", "head -n 2", str(log)) as process:
        assert ("0", "1") == (line(process.stdout), line(process.stdout))
        append(log, "more\n" * 100_000)
        output, error = process.communicate(timeout=SECONDS)
        assert (0, "") == (process.returncode, output)
        assert error.endswith(" lines from app.log\n")


def test_follow_refuses_what_it_cannot_watch(tmp_path: Path) -> None:
    for words in ([str(tmp_path / "missing" / "x.log")], ["--match", "(", "x.log"]):
        with program("follow.py", *words, cwd=tmp_path) as process:
            output, error = process.communicate(timeout=SECONDS)
            assert (2, "") == (process.returncode, output)
            assert "follow.py: error: " in error


def photo(path: Path, taken: str, pixels: bytes) -> Path:
    """A JPEG file as a camera writes it, up to its first pixels."""
    taken_bytes = taken.encode() + b"\0"
    camera = struct.pack(">HHHIII", 1, 0x9003, 2, len(taken_bytes), 44, 0)
    tiff = b"MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x8769, 4, 1, 26, 0) + camera + taken_bytes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff\xd8\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + pixels)
    return path


def photos(*words: str) -> tuple[int, list[str], str]:
    command = [sys.executable, str(EXAMPLES / "photos.py"), *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    return ended.returncode, ended.stdout.splitlines(), ended.stderr


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_photos_are_sorted_by_their_day(tmp_path: Path) -> None:
    source, album = tmp_path / "camera", tmp_path / "album"
    one = photo(source / "1" / "IMG_1.JPG", "2024:05:17 10:11:12", b"one")
    photo(source / "2" / "IMG_1.JPG", "2024:05:17 20:00:00", b"other")
    photo(source / "again.jpg", "2024:05:17 10:11:12", b"one")
    (source / "notes.txt").write_text("not a photo")
    (source / "plain.png").write_bytes(b"no camera wrote this")
    os.utime(source / "plain.png", (0, datetime(2023, 1, 2, 3, 4, 5).timestamp()))
    before = files(source)
    status, lines, error = photos("--dry-run", str(source), str(album))
    assert (0, "", False) == (status, error, album.exists())
    assert "3 would be put" in lines[-1]
    status, lines, error = photos(str(source), str(album))
    assert (0, "", before) == (status, error, files(source))
    assert {"3 copied", "1 left out"} == set(lines[-1].split(", "))
    found = files(album)
    assert {"2023/2023-01-02/plain.png"} == {name for name in found if "2024" not in name}
    assert sorted(set(before.values()) - {b"not a photo"}) == sorted(found.values())
    assert {"2024/2024-05-17"} == {str(Path(name).parent) for name in found if "2024" in name}
    assert (0, ["4 left out"]) == (photos(str(source), str(album))[0], photos(str(source), str(album))[1][-1:])
    one.write_bytes(b"x")
    assert "1 moved" in photos("--move", str(source), str(album))[1][-1]
    assert not one.exists()


def test_photos_that_arrive_later_are_sorted_when_they_are_complete(tmp_path: Path) -> None:
    source, album = tmp_path / "camera", tmp_path / "album"
    source.mkdir()
    words = ["--watch", "--move", "--quiet", "0.05", str(source), str(album)]
    with program("photos.py", *words) as process:
        assert f"watching {source}" == line(process.stdout)
        path = photo(source / "new folder" / "a.jpg", "2020:02:29 00:00:00", b"a")
        place = album / "2020" / "2020-02-29" / "a.jpg"
        assert f"moved: {path} to {place}" == line(process.stdout)
        assert place.read_bytes().endswith(b"a")
        assert (0, "1 moved\n", "") == end(process)
    with program("photos.py", *words) as process:
        assert f"watching {source}" == line(process.stdout)
        shutil.rmtree(source)
        output, error = process.communicate(timeout=SECONDS)
        assert (1, "no photos\n", f"photos.py: error: {source} is gone\n") == (process.returncode, output, error)


def test_photos_that_cannot_be_sorted_are_told(tmp_path: Path) -> None:
    source, album = tmp_path / "camera", tmp_path / "album"
    photo(source / "a.jpg", "2024:05:17 10:11:12", b"a")
    album.mkdir()
    (album / "2024").write_text("a file where a folder should be")
    status, lines, error = photos(str(source), str(album))
    assert (1, ["1 failed"]) == (status, lines)
    assert f"failed: {source / 'a.jpg'}" in error
    assert {"2024": b"a file where a folder should be"} == files(album)
    status, lines, error = photos(str(source / "missing"), str(album))
    assert (2, [], f"photos.py: error: {source / 'missing'} is not a folder\n") == (status, lines, error)
