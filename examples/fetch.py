"""Fetch many web pages at once, politely: a few at a time from each host, and so many a second in all.

    python examples/fetch.py --per-host 2 --rate 5 https://example.org/ https://example.com/
    python examples/fetch.py < addresses.txt

Prints a line per page as it arrives: status, bytes, seconds, address. Ends with status 1 when a page could not be fetched.
"""

import argparse
import asyncio
import sys
import time
from collections import defaultdict
from urllib.parse import urlsplit

import plait

PAGE_SECONDS = 30
PAGE_BYTES_MAX = 50 * 1024 * 1024


class Pace:
    """Lets one go on every `1 / rate` seconds, in the order in which they came."""

    def __init__(self, rate: float) -> None:
        self.interval = 1 / rate
        self.next = 0.0

    async def turn(self) -> None:
        now = asyncio.get_running_loop().time()
        mine = max(now, self.next)
        self.next = mine + self.interval
        await asyncio.sleep(mine - now)


async def fetch(url: str) -> tuple[str, int]:
    """The status that the server answered with, and the length of its page."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http or https address")
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    async with asyncio.timeout(PAGE_SECONDS):
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=secure or None)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            # HTTP/1.0: the page ends where the connection does.
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\nUser-Agent: plait-example\r\n\r\n".encode())
            status_line = await reader.readline()
            while await reader.readline() not in (b"\r\n", b"\n", b""):
                pass
            length = 0
            while data := await reader.read(64 * 1024):
                length += len(data)
                if length > PAGE_BYTES_MAX:
                    raise ValueError(f"larger than {PAGE_BYTES_MAX} bytes")
        finally:
            writer.close()
    version, _, status = status_line.decode("latin-1").strip().partition(" ")
    if not version.startswith("HTTP/"):
        raise ValueError("the answer is not HTTP")
    return status, length


async def fetch_all(urls: list[str], per_host: int, rate: float) -> int:
    """Returns how many pages could not be fetched."""
    pace = Pace(rate)
    hosts: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(per_host))
    failures = 0

    async def one(url: str) -> None:
        nonlocal failures
        async with hosts[urlsplit(url).netloc]:
            await pace.turn()
            start = time.perf_counter()
            try:
                status, length = await fetch(url)
            except (OSError, ValueError) as error:  # TimeoutError is an OSError
                failures += 1
                print(f"failed: {error or type(error).__name__}  {url}", flush=True)
            else:
                print(f"{status}  {length} bytes  {time.perf_counter() - start:.2f} s  {url}", flush=True)

    async with asyncio.TaskGroup() as group:
        for url in urls:
            group.create_task(one(url))
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch many web pages at once, politely.")
    parser.add_argument("--per-host", type=int, default=4, help="pages at once from one host (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=20, help="pages a second in all (default: %(default)s)")
    parser.add_argument("url", nargs="*", help="addresses; without any they are read from stdin, one a line")
    options = parser.parse_args()
    if options.per_host < 1 or options.rate <= 0:
        parser.error("--per-host and --rate must be above zero")
    urls = options.url or [line.strip() for line in sys.stdin if line.strip()]
    return 1 if plait.run(fetch_all(urls, options.per_host, options.rate)) else 0


if __name__ == "__main__":
    sys.exit(main())
