"""Pipes, FIFOs and character devices as transports: connect_read_pipe and connect_write_pipe."""

import asyncio
from typing import Any

from plait import standard
from plait.system.host import Host


class PipeFactories(Host):
    """What BaseEventLoop.connect_read_pipe and connect_write_pipe ask the loop for."""

    def _make_read_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: "asyncio.Future[Any] | None" = None,
        extra: dict[str, Any] | None = None,
    ) -> asyncio.ReadTransport:
        transport: asyncio.ReadTransport = standard.ReadPipeTransport(self, pipe, protocol, waiter, extra)
        return transport

    def _make_write_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: "asyncio.Future[Any] | None" = None,
        extra: dict[str, Any] | None = None,
    ) -> asyncio.WriteTransport:
        transport: asyncio.WriteTransport = standard.WritePipeTransport(self, pipe, protocol, waiter, extra)
        return transport
