"""The loop that file calls go through."""

from __future__ import annotations

import asyncio
import os
from typing import TypeAlias

from plait.loop import Loop

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
