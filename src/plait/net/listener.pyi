import asyncio
import socket
from collections.abc import Callable
from contextvars import Context
from typing import Any

from plait.engine.contract import Source
from plait.net.sending import Network

class Listener(Source):
    def __init__(
        self,
        network: Network,
        sock: socket.socket,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        server: Any,
        backlog: int,
        context: Context | None = None,
    ) -> None: ...
    @property
    def stopped(self) -> bool: ...
    def stop(self) -> None: ...
