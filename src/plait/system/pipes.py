"""Pipes, FIFOs and character devices as transports: connect_read_pipe and connect_write_pipe."""

import asyncio
from collections.abc import Callable
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

    # asyncio's pipe transports call the loop by these names.

    def _add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self.add_reader(fd, callback, *args)

    def _remove_reader(self, fd: int) -> bool:
        return self.remove_reader(fd)

    def _add_writer(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self.add_writer(fd, callback, *args)

    def _remove_writer(self, fd: int) -> bool:
        return self.remove_writer(fd)
