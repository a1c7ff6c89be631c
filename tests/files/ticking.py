"""A tick every millisecond beside what is tested: timers go on. That nothing blocks them is shown in test_faulty.py."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def ticker() -> AsyncIterator[None]:
    async def tick() -> None:
        while True:
            ticked.clear()
            await asyncio.sleep(0.001)
            ticked.set()

    ticked = asyncio.Event()
    ticking = asyncio.ensure_future(tick())
    try:
        yield
        ticked.clear()
        await ticked.wait()
    finally:
        assert ticking.cancel()
