"""Shows a page in the browser of the user who asked, and to nobody else: on loopback, under an address that cannot be guessed."""

from __future__ import annotations

import http.server
import os
import secrets
import webbrowser
from http import HTTPStatus

__all__ = ["PageServer", "has_browser", "open_browser"]


class PageServer(http.server.ThreadingHTTPServer):
    """Serves one page at `url`. Other users of the machine can reach the port, but not the page without its word."""

    daemon_threads = True

    def __init__(self, page: str, port: int = 0) -> None:
        self.page = page.encode()
        self.word = secrets.token_urlsafe(18)
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{self.word}/"


class Handler(http.server.BaseHTTPRequestHandler):
    """Knows one path."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version = "plait"
    sys_version = ""

    def do_GET(self) -> None:
        if not secrets.compare_digest(self.path.encode(), f"/{self.server.word}/".encode()):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.server.page)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(self.server.page)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the terminal belongs to the user."""


def has_browser() -> bool:
    """Whether there is a screen to show a page on; a terminal browser cannot draw."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER"))


def open_browser(url: str) -> bool:
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False
