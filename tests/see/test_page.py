"""What the page is given, and how it is served. Whether it shows it: tests/browser."""

import base64
import json
import re
import urllib.error
import urllib.request
import zlib
from array import array
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

from plait.see import colours, web
from plait.see.model import Recording
from plait.see.page import encode, page

import recordings


def decode(packed: bytes) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """As page/data.js reads it."""
    block = zlib.decompress(packed)
    length = int.from_bytes(block[:4], "little")
    header = json.loads(block[4 : 4 + length])
    columns = {}
    offset = 4 + length
    for name, count, width in header["columns"]:
        planes = [block[offset + plane * count : offset + (plane + 1) * count] for plane in range(width)]
        columns[name] = [sum(plane[i] << 8 * k for k, plane in enumerate(planes)) for i in range(count)]
        offset += count * width
    assert offset == len(block)
    return header, columns


def test_the_page_gets_every_slice_as_it_was_recorded() -> None:
    recording = recordings.web_server(0.5)
    header, columns = decode(encode(recording))
    slices = recording.slices
    time = recording.start_ns
    starts = []
    for distance in columns["start"]:
        time += distance
        starts.append(time)
    assert list(slices.start_ns) == starts
    for name, column in (("duration", slices.duration_ns), ("actor", slices.actor), ("outcome", slices.outcome)):
        assert list(column) == columns[name]
    for name, column in (("waker", slices.waker), ("wait_target", slices.wait_target), ("delay", slices.delay_ns)):
        assert list(column) == [value - 1 for value in columns[name]]
    names = [header["strings"][place] for place in columns["actor_name"]]
    assert [actor.name for actor in recording.actors] == names
    assert [colours.name_index(name) for name in names] == columns["actor_colour"]
    assert recording.meta == header["meta"]
    assert len(recording.pending) == len(header["pending"])


@pytest.mark.parametrize("largest", [0, 255, 256, 65_536, 2**32, 2**53])
def test_numbers_of_every_size_survive(largest: int) -> None:
    recording = recordings.web_server(0.1)
    recording.slices.duration_ns = array("q", recording.slices.duration_ns)
    recording.slices.duration_ns[-1] = largest
    _, columns = decode(encode(recording))
    assert largest == columns["duration"][-1]


def test_a_column_with_a_negative_number_is_refused() -> None:
    recording = recordings.web_server(0.1)
    recording.slices.duration_ns[3] = -5
    with pytest.raises(ValueError, match="a column has -5"):
        encode(recording)


def test_it_needs_nothing_from_anywhere() -> None:
    """No address in it is loaded: what begins with http is the name of SVG's namespace."""
    text = page(recordings.web_server(0.1))
    assert {"http://www.w3.org/2000/svg"} == set(re.findall(r"""https?://[^\s"'<>)]+""", text))
    assert [] == re.findall(r"""<(?:script|img|iframe|link)[^>]+src=["']?(?!data:)""", text)
    assert "@import" not in text
    assert [] == re.findall(r"<!-- \w+ -->|/\* style \*/", text)


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "a & b", "\udcff"])
def test_what_a_program_is_called_stays_text(name: str) -> None:
    recording = recordings.web_server(0.1)
    recording.meta["program"] = recording.actors[0].name = name
    text = page(recording)
    text.encode()
    assert "alert(1)</script>" not in text
    [packed] = re.findall(r'octet-stream">([^<]+)<', text)
    assert name == decode(base64.b64decode(packed))[0]["meta"]["program"]


def test_a_recording_of_nothing_makes_a_page() -> None:
    header, columns = decode(encode(Recording({}, 5, 5, 0.0, [], [], recordings.Slices())))
    assert 0 == header["duration"]
    assert all([] == column for column in columns.values())


@pytest.fixture
def server() -> Iterator[web.PageServer]:
    with web.PageServer("<p>é</p>") as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(url: str) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


def test_only_who_knows_the_word_gets_the_page(server: web.PageServer) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    assert (200, "<p>é</p>".encode()) == get(server.url)
    for path in ("", "x/", f"{server.word}", f"{server.word}/x", f"{'x' * len(server.word)}/"):
        assert (404, b"") == get(f"http://127.0.0.1:{server.server_port}/{path}")


def test_two_servers_have_different_words() -> None:
    with web.PageServer("") as one, web.PageServer("") as other:
        assert one.word != other.word
        assert len(one.word) >= 20


def test_a_screen_is_what_a_browser_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert not web.has_browser()
    monkeypatch.setenv("DISPLAY", ":0")
    assert web.has_browser()
