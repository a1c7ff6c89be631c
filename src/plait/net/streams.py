"""How unmodified asyncio.open_connection() and start_server() come to the compiled reader and writer."""

from typing import Any

from plait.core.turn import Core
from plait.net.reader import StreamReader
from plait.net.stream import Stream
from plait.net.writer import StreamWriter
from plait.standard import replace_streams

__all__: list[str] = []


def choose_reader(loop: Any, transport: Any) -> type | None:
    """Debug mode, which remembers where a reader was made, keeps asyncio's own."""
    return StreamReader if isinstance(loop, Core) and not loop.get_debug() else None


def choose_writer(loop: Any, transport: Any) -> type | None:
    return StreamWriter if type(transport) is Stream and choose_reader(loop, transport) else None


replace_streams(choose_reader, choose_writer)
