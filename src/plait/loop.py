"""The event loop: plait's compiled core, transports and processes under asyncio's own BaseEventLoop."""

from __future__ import annotations

import asyncio
from typing import Any

from plait.core.turn import Core
from plait.engine.choice import EngineReport, fallback, new_engine
from plait.net.factories import NetFactories
from plait.standard import show_live_tasks
from plait.system.factories import SystemFactories


class Loop(Core, NetFactories, SystemFactories, asyncio.BaseEventLoop):  # type: ignore[misc]
    """A drop-in asyncio event loop on io_uring or epoll.

    `engine` is "auto" (the default, or PLAIT_ENGINE), "uring" or "epoll"; `loop.engine` tells which one runs and why.
    As with asyncio, only call_soon_threadsafe() and run_coroutine_threadsafe() may be used from other threads than the one
    that the loop runs in; the others raise RuntimeError there.
    """

    def __init__(self, engine: str | None = None) -> None:
        super().__init__()
        self._set_engine(new_engine(engine))
        show_live_tasks(self)
