"""The loop that file calls go through."""

from __future__ import annotations

import asyncio
import os
from typing import Any, TypeAlias, TypeVar

from plait.loop import Loop

Result = TypeVar("Result")
StrPath: TypeAlias = str | os.PathLike[str]


def plait_loop() -> Loop:
    """The running loop, which must be plait's: no other has file calls."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, Loop):
        raise RuntimeError(
            f"plait's files need a loop of plait, and {type(loop).__module__}.{type(loop).__qualname__} is running: "
            "start the program with plait.run(main()), or call plait.install() before asyncio.run()"
        )
    return loop


def name_of(path: StrPath) -> str:
    return os.fspath(path)


async def kept(loop: Loop, future: asyncio.Future[Result]) -> Result:
    """The result of a future, which may be a descriptor: a task that was cancelled when it was there already does not lose it."""
    try:
        return await future
    except asyncio.CancelledError:
        drop(loop, future)
        raise


def drop(loop: Loop, future: asyncio.Future[Any]) -> None:
    """Nobody wants its result any more."""
    if future.cancel() or future.cancelled() or future.exception() is not None:
        return
    if isinstance(fd := future.result(), int):
        close_later(loop, fd)


def close_later(loop: Loop, fd: int) -> None:
    """For files that have nothing to tell any more, and where nobody can wait."""
    loop.close_fd(fd).add_done_callback(seen)


def seen(future: asyncio.Future[None]) -> None:
    """Its error is nobody's."""
    if not future.cancelled():
        future.exception()
