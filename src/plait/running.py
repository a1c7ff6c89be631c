"""The ways into a loop: run a program's main coroutine, make a loop, or have the whole program get ours from asyncio."""

import asyncio
import sys
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from plait import standard

if TYPE_CHECKING:
    from plait.loop import Loop

__all__ = ["EngineName", "EventLoopPolicy", "install", "new_event_loop", "run"]

T = TypeVar("T")
EngineName = Literal["auto", "uring", "epoll"]


def new_event_loop(engine: EngineName | None = None, *, spin_us: float | None = None) -> "Loop":
    """Make a loop. `engine` is "uring", "epoll" or "auto"; None asks the variable PLAIT_ENGINE, and without it means
    "auto". `spin_us` is for how many microseconds it looks for events before it sleeps, with a busy core, as long as they come that
    quickly; None asks the variable PLAIT_SPIN_US, and without it means 0: it sleeps at once.

    Raises RuntimeError with the reason and the remedy when an engine that was asked for by name cannot run here.
    """
    from plait.loop import Loop

    return Loop(engine, spin_us=spin_us)


def run(
    main: Coroutine[Any, Any, T],
    *,
    debug: bool | None = None,
    engine: EngineName | None = None,
    spin_us: float | None = None,
) -> T:
    """Run a coroutine on a new loop to its end, and return its result: asyncio.run on plait.

    As asyncio.run: the tasks that are left are cancelled, asynchronous generators and the default executor shut down,
    and the loop is closed; Ctrl-C cancels `main`, which may clean up, and then raises KeyboardInterrupt. For `engine` and
    `spin_us` see `new_event_loop`.
    """
    if standard.get_running_loop_or_none() is not None:
        main.close()
        raise RuntimeError(
            "plait.run() cannot be called from a running event loop: await the coroutine instead, "
            "or in an ordinary function use plait.background() for a loop in a thread of its own"
        )
    with asyncio.Runner(debug=debug, loop_factory=partial(new_event_loop, engine, spin_us=spin_us)) as runner:
        return runner.run(main)


if standard.DefaultPolicy is not None:

    class EventLoopPolicy(standard.DefaultPolicy):  # type: ignore[misc]
        """asyncio's default policy, with plait's loops in it."""

        def __init__(self, engine: EngineName | None = None) -> None:
            super().__init__()
            self.engine = engine

        def new_event_loop(self) -> "Loop":
            return new_event_loop(self.engine)


def install(engine: EngineName | None = None) -> None:
    """From now on asyncio.run(), asyncio.new_event_loop() and all that call them get a loop of plait.

    It sets an event loop policy, which asyncio deprecates from Python 3.14 (no warning is shown for this one) and drops
    in 3.16, where this raises RuntimeError. Loops that exist already are not touched.
    """
    if standard.set_policy is None:
        raise RuntimeError(
            f"Python {sys.version_info.major}.{sys.version_info.minor} has no event loop policies any more: "
            "start the program with plait.run(main()), or give loop_factory=plait.new_event_loop to asyncio.run, "
            "asyncio.Runner or the library that runs the loop; `plait run program.py` does it for an unmodified program"
        )
    standard.set_policy(EventLoopPolicy(engine))
