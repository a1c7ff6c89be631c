"""I/O-driven concurrency for Python: a drop-in asyncio event loop on io_uring and epoll, fast and visible."""

from plait.bridge import Portal, background
from plait.loop import Loop
from plait.running import EngineName, install, new_event_loop, run

__all__ = ["EngineName", "Loop", "Portal", "background", "install", "new_event_loop", "run"]
__version__ = "0.1.0"
