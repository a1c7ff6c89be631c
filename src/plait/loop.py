"""The event loop: plait's compiled core, transports and processes under asyncio's own BaseEventLoop."""

import asyncio
from collections.abc import Callable

from plait.core.standins import serve_timeouts
from plait.core.turn import Core
from plait.engine.choice import EngineReport, new_engine, open_engine, spin_ns
from plait.net.factories import NetFactories
from plait.standard import show_live_tasks
from plait.system.factories import SystemFactories

__all__ = ["Loop"]

# Called with a loop, in its thread, before it first runs there; they must not raise.
opening: "list[Callable[[Loop], None]]" = []


class Loop(Core, NetFactories, SystemFactories, asyncio.BaseEventLoop):
    """A drop-in asyncio event loop on io_uring or epoll.

    `engine` is "uring", "epoll" or "auto"; None asks the variable PLAIT_ENGINE. `spin_us` is for how many microseconds a loop that has
    nothing to do looks for events before it sleeps (see docs/spinning.md); None asks PLAIT_SPIN_US. As with asyncio, only
    call_soon_threadsafe(), asyncio.run_coroutine_threadsafe(), add_reader() and its like may be used in other threads than the
    one that the loop runs in; the rest raises RuntimeError there.
    """

    def __init__(self, engine: str | None = None, *, spin_us: float | None = None) -> None:
        spins = spin_ns(spin_us)
        chosen = new_engine(engine)
        chosen.spin_ns = spins
        super().__init__()
        self._set_engine(chosen)
        self._net_init()
        show_live_tasks(self)

    @property
    def engine(self) -> EngineReport:
        """Which engine runs this loop, why, and what was refused."""
        report: EngineReport = self._get_engine().report
        return report

    def _open_engine(self) -> None:
        """Open the engine in this thread; an automatic choice that the kernel refuses here after all is replaced."""
        self._set_engine(open_engine(self._get_engine()))
        for tell in opening:
            tell(self)


serve_timeouts(Loop)
