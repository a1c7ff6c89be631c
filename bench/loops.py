"""Event loops by name: for the driver (what to start, with which environment) and for the measured process."""

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """Something that is measured: an event loop (`factory` is "module:function") or a C program (no factory)."""

    name: str
    factory: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    library: str = ""
    """What it uses for files, of bench.workloads.files."""
    files_only: bool = False
    """It is no loop, but a library for files on asyncio's."""

    @property
    def is_floor(self) -> bool:
        return not self.factory


C_EPOLL = Subject("c-epoll")
C_URING = Subject("c-uring")
FLOORS = (C_EPOLL, C_URING)

FILE_PEERS = tuple(
    Subject(name, "asyncio:new_event_loop", library=name, files_only=True)
    for name in ("sync", "aiofiles", "anyio", "caio")
)

DEFAULT_LOOPS = ("uvloop", "asyncio", "plait-uring", "plait-epoll")

_ENGINES: dict[str, dict[str, str]] = {
    "plait": {},
    "plait-uring": {"PLAIT_ENGINE": "uring"},
    "plait-epoll": {"PLAIT_ENGINE": "epoll"},
    "plait-spin": {"PLAIT_ENGINE": "uring", "PLAIT_SPIN_US": "50"},
}


def subject(name: str) -> Subject:
    """`asyncio`, `uvloop`, `rloop` or another module with a new_event_loop, `plait-uring`, `plait-epoll`,
    or `module:factory`.

    `NAME@FOLDER` is the loop as it is in another checkout, built in place: the way to see what a change brings.
    """
    known, _, folder = name.partition("@")
    environment = dict(_ENGINES.get(known, {}))
    if folder:
        environment["PYTHONPATH"] = str(Path(folder).resolve() / "src")
    factory = "plait:new_event_loop" if known in _ENGINES else known if ":" in known else f"{known}:new_event_loop"
    return Subject(name, factory, environment, "plait" if known in _ENGINES else "to_thread")


def run(factory: str, main: Callable[..., Coroutine[Any, Any, T]], *arguments: object) -> T:
    """asyncio.run(main(*arguments)) on the loop that "module:function" makes."""
    module, _, function = factory.partition(":")
    make: Callable[[], asyncio.AbstractEventLoop] = getattr(importlib.import_module(module), function)
    with asyncio.Runner(loop_factory=make) as runner:
        return runner.run(main(*arguments))
