import asyncio
import socket
from contextvars import Context
from typing import Any

from plait.net.sending import Network

# The objects are no instances of it by layout, only by isinstance().
class Stream(asyncio.Transport):
    def __init__(
        self,
        network: Network,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
    ) -> None: ...
    @property
    def _sock_fd(self) -> int: ...
    def _make_empty_waiter(self) -> asyncio.Future[None]: ...
    def _reset_empty_waiter(self) -> None: ...
    def _room(self) -> asyncio.Future[None]: ...
