"""The loop, as the parts of this folder see it that are mixed into it."""

from collections.abc import Callable
from select import EPOLLIN
from typing import TYPE_CHECKING

from plait.engine.contract import CallbackSource

# For the type checker the loop; at run time nothing, for Loop itself inherits from BaseEventLoop.
if TYPE_CHECKING:
    from asyncio import BaseEventLoop, Handle
    from contextvars import Context
    from typing import Any

    from plait.engine.contract import Engine

    class Base(BaseEventLoop):
        def _get_engine(self) -> Engine: ...
        def _call_soon_by_signal(
            self, signum: int, callback: Callable[..., object], args: tuple[Any, ...], context: Context
        ) -> Handle: ...
else:
    Base = object


class Host(Base):
    """Waiting for descriptors that are the loop's own, straight from the engine."""

    def _arm(self, fd: int, readable: Callable[[int], object]) -> CallbackSource:
        """`readable(events)` is called, within the engine's wait, whenever there is more to read than before."""
        source = CallbackSource(fd, readable)
        self._get_engine().arm(source, EPOLLIN, False)
        return source

    def _disarm(self, source: CallbackSource) -> None:
        """Before its descriptor is closed. In the child of a fork a loop that was running is dead, and stays as it is."""
        if not self._get_engine().forgotten or not self.is_running():
            self._get_engine().disarm(source)
