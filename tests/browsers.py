"""A real browser for the tests: Debian's chromium, without a window, driven by selenium."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

__all__ = ["browser", "errors", "find", "screenshot", "wait"]

SECONDS = 60
# It runs as root in containers, and talks to nobody.
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--lang=en-US",
)


def find(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        package = {"chromedriver": "chromium-driver"}.get(name, name)
        raise RuntimeError(f"{name} is not installed, and tests need it: apt-get install {package}")
    return found


@contextmanager
def browser(width: int = 1440, height: int = 900) -> Iterator[webdriver.Chrome]:
    """A fresh one, with a window of this size inside; everything that the page says in its log as an error is kept."""
    options = webdriver.ChromeOptions()
    options.binary_location = find("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for option in (*OPTIONS, f"--user-data-dir={folder}"):
            options.add_argument(option)
        # Whatever proxy the surroundings name, loopback needs none.
        environment = {**os.environ, "no_proxy": "*", "NO_PROXY": "*"}
        environment.pop("LD_PRELOAD", None)  # the address sanitizer, which is for our programs
        driver = webdriver.Chrome(options=options, service=Service(find("chromedriver"), env=environment))
        try:
            driver.set_script_timeout(SECONDS)
            driver.set_page_load_timeout(SECONDS)
            size(driver, width, height)
            yield driver
        finally:
            driver.quit()


def size(driver: webdriver.Chrome, width: int, height: int) -> None:
    """The inside of the window, whatever stands around it."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def wait(driver: webdriver.Chrome, condition: str) -> Any:
    """Waits until the JavaScript expression is true, and returns its value."""
    script = """
    const done = arguments[arguments.length - 1];
    const value = () => { try { return %s; } catch (e) { return null; } };
    const look = () => { const found = value(); if (found) done(found); else setTimeout(look, 5); };
    look();
    """
    return driver.execute_async_script(script % condition)


def errors(driver: webdriver.Chrome) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def screenshot(driver: webdriver.Chrome, path: Path) -> Path:
    path.write_bytes(driver.get_screenshot_as_png())
    return path
