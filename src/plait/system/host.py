"""The loop that the parts of this folder are mixed into: asyncio's base class for the type checker, nothing at run
time.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import BaseEventLoop as Host
else:
    Host = object

__all__ = ["Host"]
