"""What the parts of this folder are mixed into."""

from typing import TYPE_CHECKING

# The loop, for the type checker; at run time nothing, for Loop itself inherits from BaseEventLoop.
if TYPE_CHECKING:
    from asyncio import BaseEventLoop as Base
else:
    Base = object


class Host(Base):
    """The loop."""

    def _forget_reader(self, fd: int) -> None:
        """In the child of a fork, whose engine is closed: a loop that was not running can be run here, without this descriptor."""
        if not self.is_running():
            self.remove_reader(fd)
