"""A loop that stops has let go of what its last turn closed."""

import asyncio
import socket


def test_the_peer_sees_the_end_of_what_was_closed_in_the_last_turn(loop):
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)

    async def connect():
        _, writer = await asyncio.open_connection(sock=ours)
        await asyncio.sleep(0.001)  # the engine has told the kernel of it
        return writer

    writer = loop.run_until_complete(connect())
    writer.transport.abort()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert b"" == theirs.recv(1)
    theirs.close()
