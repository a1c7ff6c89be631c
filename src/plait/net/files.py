"""sendfile(2): the kernel copies a file to a socket."""

from __future__ import annotations

import asyncio
import errno
import io
import os
from collections.abc import Awaitable, Callable
from typing import IO

# What the call says of files that it cannot copy: then the caller reads and writes instead.
NOT_POSSIBLE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSOCK}
PART_MAX = 0x7FFFF000  # the most that Linux copies in one call


async def send_file(
    fd: int, file: IO[bytes], offset: int, count: int | None, room: Callable[[], Awaitable[None]]
) -> int:
    """Copy `count` bytes (None: all) from `offset` to the socket; the number copied. `room` waits until it takes more.

    The file's position is behind what was sent, also after an error. asyncio.SendfileNotAvailableError when nothing was
    sent and the kernel cannot copy from this file.
    """
    try:
        source = file.fileno()
        size = os.fstat(source).st_size
    except (AttributeError, io.UnsupportedOperation, OSError):
        raise asyncio.SendfileNotAvailableError("not a regular file") from None
    if not (count or size):
        return 0
    sent = 0
    try:
        while count is None or sent < count:
            try:
                part = os.sendfile(fd, source, offset + sent, min(PART_MAX, count - sent if count else size))
            except (BlockingIOError, InterruptedError):
                await room()
                continue
            except OSError as error:
                if sent == 0 and error.errno in NOT_POSSIBLE:
                    raise asyncio.SendfileNotAvailableError(f"sendfile cannot copy from this file: {error}") from error
                raise
            if part == 0:
                break
            sent += part
    except BaseException:
        if sent:
            os.lseek(source, offset + sent, os.SEEK_SET)
        raise
    # Also when nothing was left to send from there: so from Python 3.14 on.
    os.lseek(source, offset + sent, os.SEEK_SET)
    return sent
