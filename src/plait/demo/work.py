"""What is done with one file: pure functions, the same for each way."""

from __future__ import annotations

import hashlib
import html
import random
import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["COLUMNS", "Row", "answer_seconds", "digest", "examine", "page"]

# What begins a line of Python that defines or imports something at the top of a module.
DEFINITIONS = (b"\ndef ", b"\nasync def ", b"\nclass ")
IMPORTS = (b"\nimport ", b"\nfrom ")
NAME = re.compile(rb"\n(?:def|async def|class) ([^\n(:]*)")
SUMMARY = re.compile(rb'\A(?:\s|#[^\n]*\n)*[rRuU]?(?:"""|\'\'\')\\?\s*([^\n"]{1,200})')

PAGE_TITLE = re.compile(r"<title>(.*?)</title>")
PAGE_DIGEST = re.compile(r'<meta name="sha256" content="(\w+)">')
PAGE_SUMMARY = re.compile(r'<p class="summary">(.*?)</p>')


class Row(NamedTuple):
    """What is stored about one file: what was found in it, joined with what its page says."""

    path: str
    bytes: int
    lines: int
    definitions: int
    imports: int
    sha256: str
    title: str
    summary: str
    links: int
    agrees: int


COLUMNS = Row._fields


def examine(path: str, content: bytes, document: bytes) -> Row:
    """Join the file with its page. `agrees` tells whether the page is about this very content."""
    text = document.decode()
    sha256 = hashlib.sha256(content).hexdigest()
    lines = b"\n" + content
    definitions = sum(lines.count(beginning) for beginning in DEFINITIONS)
    links = text.count('<li><a href="')
    title = PAGE_TITLE.search(text)
    summary = PAGE_SUMMARY.search(text)
    claimed = PAGE_DIGEST.search(text)
    return Row(
        path=path,
        bytes=len(content),
        lines=content.count(b"\n"),
        definitions=definitions,
        imports=sum(lines.count(beginning) for beginning in IMPORTS),
        sha256=sha256,
        title=html.unescape(title[1]) if title else "",
        summary=html.unescape(summary[1]) if summary else "",
        links=links,
        agrees=int(claimed is not None and claimed[1] == sha256 and links == definitions),
    )


def page(path: str, content: bytes) -> bytes:
    """The page that the web service has about a file: its title, its first sentence, a link for each definition."""
    title = html.escape(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    found = SUMMARY.match(content)
    # NUL is the one character that PostgreSQL does not store in a text.
    summary = html.escape(found[1].decode(errors="replace").strip().replace("\0", "")) if found else ""
    names = [html.escape(name.decode(errors="replace")) for name in NAME.findall(b"\n" + content)]
    links = "\n".join(f'<li><a href="#{name}">{name}</a></li>' for name in names)
    sha256 = hashlib.sha256(content).hexdigest()
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="sha256" content="{sha256}"></head>\n<body>\n<h1>{title}</h1>\n<p class="summary">{summary}</p>\n'
        f"<ul>\n{links}\n</ul>\n</body>\n</html>\n"
    ).encode()


def answer_seconds(path: str, mean_ms: float) -> float:
    """How long the service takes for this page: drawn log-normally, the same in each run and for each way."""
    spread = 0.5
    # E[lognormal(mu, s)] = exp(mu + s^2 / 2), hence with mu = -s^2 / 2 the mean is 1.
    return mean_ms / 1000 * random.Random(path).lognormvariate(-spread * spread / 2, spread)


def digest(rows: Iterable[Row]) -> str:
    """One value for all rows, whatever order they came in."""
    total = hashlib.sha256()
    for row in sorted(rows):
        total.update(repr(tuple(row)).encode())
    return total.hexdigest()
