"""A chat server: everybody who connects by TCP reads what the others write.

    python examples/chat.py --port 8888        then, as often as you like:   nc 127.0.0.1 8888

The first line that one sends is one's name. `/who` lists who is there, `/quit` leaves. Whoever does not read what is sent is
disconnected after a while instead of holding up the others. Ctrl-C says goodbye to all and ends.
"""

import argparse
import asyncio
import signal

import plait

LINES_WAITING_MAX = 1000
LINE_BYTES_MAX = 4096
GOODBYE_SECONDS = 2


class Guest:
    """Somebody who is connected: what is to be sent waits in a queue of its own, so that nobody holds up the others."""

    def __init__(self, name: str, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self.writer = writer
        self.lines: asyncio.Queue[str | None] = asyncio.Queue(LINES_WAITING_MAX)

    def tell(self, line: str | None) -> None:
        """Send a line as soon as the ones before are read; None is the end."""
        try:
            self.lines.put_nowait(line)
        except asyncio.QueueFull:
            self.writer.transport.abort()

    async def send(self) -> None:
        try:
            while (line := await self.lines.get()) is not None:
                self.writer.write(f"{line}\n".encode())
                await self.writer.drain()
        except ConnectionError:
            pass  # the reading side notices as well


class Room:
    def __init__(self) -> None:
        self.guests: dict[str, Guest] = {}
        self.conversations: set[asyncio.Task[None]] = set()

    def tell_all(self, line: str) -> None:
        for guest in self.guests.values():
            guest.tell(line)

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection from its first line to its last."""
        conversation = asyncio.current_task()
        assert conversation is not None
        self.conversations.add(conversation)
        try:
            writer.write(b"your name?\n")
            name = (await reader.readline()).decode(errors="replace").strip()
            if name in self.guests:
                writer.write(b"that name is taken\n")
            elif name:
                await self.converse(Guest(name, writer), reader)
        except (ConnectionError, ValueError, asyncio.CancelledError):
            pass  # it is gone, or sent a line without end; or the server ends
        finally:
            self.conversations.discard(conversation)
            await close(writer)

    async def converse(self, guest: Guest, reader: asyncio.StreamReader) -> None:
        self.guests[guest.name] = guest
        sending = asyncio.create_task(guest.send())
        self.tell_all(f"* {guest.name} is here")
        try:
            while (line := (await reader.readline()).decode(errors="replace").rstrip("\r\n")) != "/quit":
                if line == "/who":
                    guest.tell("* here are " + ", ".join(sorted(self.guests)))
                elif line:
                    self.tell_all(f"{guest.name}: {line}")
                elif reader.at_eof():
                    break
        finally:
            del self.guests[guest.name]
            self.tell_all(f"* {guest.name} left")
            guest.tell(None)
            await asyncio.wait([sending], timeout=GOODBYE_SECONDS)
            sending.cancel()

    async def close(self) -> None:
        """Say goodbye to all, and wait until they have heard it or have not for too long."""
        self.tell_all("* the server ends")
        if self.conversations:
            for conversation in self.conversations:
                conversation.cancel()
            await asyncio.wait(self.conversations)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close when all is sent; whoever does not read it in time loses it."""
    writer.close()
    try:
        async with asyncio.timeout(GOODBYE_SECONDS):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except ConnectionError:
        pass


async def serve(host: str, port: int) -> None:
    room = Room()
    server = await asyncio.start_server(room.welcome, host, port, limit=LINE_BYTES_MAX)
    print("listening on {}:{}".format(*server.sockets[0].getsockname()[:2]), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    server.close()
    await room.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat server.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8888, help="port to listen on, 0 for any (default: %(default)s)")
    options = parser.parse_args()
    plait.run(serve(options.host, options.port))


if __name__ == "__main__":
    main()
