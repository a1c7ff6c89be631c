"""I/O-driven concurrency for Python: a drop-in asyncio event loop on io_uring and epoll, fast and visible."""

import sys
from typing import TYPE_CHECKING

from plait.bridge import BackgroundFuture, Portal, background
from plait.engine.choice import EngineReport
from plait.engine.errors import EngineUnavailable
from plait.late import late
from plait.loop import Loop
from plait.running import EngineName, install, new_event_loop, run
from plait.see import attach as attach  # loops that run can be looked at

if TYPE_CHECKING:
    from plait.files import Path, copy_file, open, read_many, watch
    from plait.see.flight import flight_recorder
    from plait.see.recorders import mark, record
    from plait.see.watchdog import Block, Suspicion, Watchdog, watchdog

__all__ = [
    "BackgroundFuture",
    "Block",
    "EngineName",
    "EngineReport",
    "EngineUnavailable",
    "Loop",
    "Path",
    "Portal",
    "Suspicion",
    "Watchdog",
    "background",
    "copy_file",
    "flight_recorder",
    "install",
    "mark",
    "new_event_loop",
    "open",
    "read_many",
    "record",
    "run",
    "watch",
    "watchdog",
]
__version__ = "0.1.0"

if sys.version_info < (3, 16):  # asyncio has no policies from there on
    from plait.running import EventLoopPolicy

    __all__ += ["EventLoopPolicy"]

__getattr__, __dir__ = late(
    globals(),
    {
        "files": "plait.files",
        **dict.fromkeys(("Path", "copy_file", "open", "read_many", "watch"), "plait.files"),
        "flight_recorder": "plait.see.flight",
        **dict.fromkeys(("mark", "record"), "plait.see.recorders"),
        **dict.fromkeys(("Block", "Suspicion", "Watchdog", "watchdog"), "plait.see.watchdog"),
    },
)
