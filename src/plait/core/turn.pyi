from typing import Any

from plait.engine.contract import Engine

# What it overrides of asyncio.BaseEventLoop has asyncio's own signatures and stands there.
class Core:
    slow_callback_duration: float
    def _get_engine(self) -> Engine: ...
    def _set_engine(self, engine: Engine) -> None: ...
    def _held(self) -> dict[str, Any]: ...
