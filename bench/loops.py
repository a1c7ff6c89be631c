"""Event loops by name: for the driver (what to start, with which environment) and for the measured process."""

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """Something that is measured: an event loop (`factory` is "module:function") or a C program (no factory)."""

    name: str
    factory: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def is_floor(self) -> bool:
        return not self.factory


C_EPOLL = Subject("c-epoll")
C_URING = Subject("c-uring")
FLOORS = (C_EPOLL, C_URING)

DEFAULT_LOOPS = ("uvloop", "asyncio", "plait-uring", "plait-epoll")

_ENGINES = {
    "plait": {},
    "plait-uring": {"PLAIT_ENGINE": "uring"},
    "plait-epoll": {"PLAIT_ENGINE": "epoll"},
}


def subject(name: str) -> Subject:
    """`asyncio`, `uvloop`, `rloop` or another module with a new_event_loop, `plait-uring`, `plait-epoll`,
    or `module:factory`."""
    if name in _ENGINES:
        return Subject(name, "plait:new_event_loop", _ENGINES[name])
    return Subject(name, name if ":" in name else f"{name}:new_event_loop")


def run(factory: str, main: Callable[..., Coroutine[Any, Any, T]], *arguments: object) -> T:
    """asyncio.run(main(*arguments)) on the loop that "module:function" makes."""
    module, _, function = factory.partition(":")
    make: Callable[[], asyncio.AbstractEventLoop] = getattr(importlib.import_module(module), function)
    with asyncio.Runner(loop_factory=make) as runner:
        return runner.run(main(*arguments))
