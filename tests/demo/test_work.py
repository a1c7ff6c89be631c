"""What is done with a file and its page."""

import statistics

from plait.demo.work import Row, answer_seconds, digest, examine, page

SOURCE = b'''#!/usr/bin/env python
"""Twelve & more <things>.

More text.
"""
import os
from sys import path

class A(B):
    def method(self): pass

async def b(): ...
def c(): ...
'''


def test_a_file_is_joined_with_its_page() -> None:
    row = examine("pack/mod.py", SOURCE, page("pack/mod.py", SOURCE))
    assert Row(
        path="pack/mod.py",
        bytes=len(SOURCE),
        lines=13,
        definitions=3,
        imports=2,
        sha256="2f3a",
        title="pack.mod",
        summary="Twelve & more <things>.",
        links=3,
        agrees=1,
    ) == row._replace(sha256="2f3a")


def test_a_page_is_html_that_shows_nothing_as_markup() -> None:
    text = page("a<b>.txt", b"class <x>(y): pass\n").decode()
    assert "<title>a&lt;b&gt;.txt</title>" in text
    assert "&lt;x&gt;" in text
    assert "a<b>" not in text


def test_a_changed_file_no_longer_agrees_with_its_page() -> None:
    assert 0 == examine("x", b"new", page("x", b"old")).agrees


def test_any_bytes_are_a_file() -> None:
    """Binary data, no data, and text that no database could store as it is."""
    for content in (b"", bytes(range(256)) * 9, b'"""a\0b"""', b"\ndef (\nclass \xff:"):
        row = examine("x", content, page("x", content))
        assert 1 == row.agrees
        assert "\0" not in row.summary


def test_names_of_modules() -> None:
    for path, expected in (
        ("a/b.py", "a.b"),
        ("a/__init__.py", "a"),
        ("__init__.py", "__init__"),
        ("a/b.txt", "a.b.txt"),
    ):
        assert expected == examine(path, b"", page(path, b"")).title


def test_the_time_of_an_answer_is_drawn_once_for_all() -> None:
    """The same file takes the same time in each way and in each run; the mean is what was asked for."""
    assert answer_seconds("os.py", 40) == answer_seconds("os.py", 40)
    assert 0.0 == answer_seconds("os.py", 0)
    drawn = [answer_seconds(f"{i}.py", 40) for i in range(4000)]
    assert 0.039 < statistics.mean(drawn) < 0.041
    assert 0.002 < min(drawn)
    assert max(drawn) < 0.4


def test_rows_have_one_digest_in_any_order() -> None:
    rows = [examine(name, b"", page(name, b"")) for name in "abc"]
    assert digest(rows) == digest(rows[::-1])
    assert digest(rows) != digest(rows[:2])
