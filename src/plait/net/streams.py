"""How unmodified asyncio.open_connection() and start_server() come to the compiled reader and writer."""

from typing import Any

from plait.core.turn import Core
from plait.net.reader import StreamReader
from plait.net.stream import Stream
from plait.net.tls import TLSTransport
from plait.net.writer import StreamWriter
from plait.standard import replace_streams

__all__: list[str] = []


def choose_reader(loop: Any, transport: Any) -> type | None:
    """Debug mode, which remembers where a reader was made, keeps asyncio's own."""
    ours = isinstance(loop, Core)
    return StreamReader if ours and not loop.get_debug() else None


def choose_writer(loop: Any, transport: Any) -> type | None:
    return StreamWriter if type(transport) in (Stream, TLSTransport) and choose_reader(loop, transport) else None


replace_streams(choose_reader, choose_writer)
