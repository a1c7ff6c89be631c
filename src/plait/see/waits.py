"""What a suspended task waits for, read from its frames and futures without running anything of the program.

Local variables are read of asyncio's and plait's own functions only: on Python 3.11 and 3.12 looking at a frame's locals keeps what
they hold alive until the frame ends, which must not happen to the program's.
"""

import asyncio
import gc
import socket
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from plait import standard
from plait.core.standins import Timeout
from plait.net.reader import ReadCall
from plait.net.sockets import SocketCall
from plait.see.kinds import MODULES
from plait.see.model import WaitKind
from plait.see.peers import kind_of_peer, show_address

__all__ = ["Wait", "coroutine_chain", "held_locks", "timeout_ends", "wait_of"]

CHAIN_MAX = 200  # awaits inside each other that are followed
PACKAGE_FOLDER = __file__.removesuffix("see/waits.py")
# What a library may turn out to be behind: a lock or a timer is one, whoever waits for it.
VAGUE = (WaitKind.NETWORK, WaitKind.FUTURE, WaitKind.THREAD, WaitKind.DEVICE)
# What an __aexit__ is, bound or not: that of a compiled class is a kind of its own.
EXITS = (types.MethodType, types.FunctionType, type(Timeout.__aexit__))
AWAITABLES = (types.CoroutineType, types.AsyncGeneratorType, types.GeneratorType)


@dataclass
class Wait:
    """What it waits for. `tasks` are those that must end (`any_of`: one of them), `lock` is what somebody else may hold.

    `ends` is when (in loop.time()) its own timeout ends it.
    """

    kind: WaitKind = WaitKind.FUTURE
    text: str = "a future"
    tasks: list[Any] = field(default_factory=list)
    any_of: bool = False
    lock: Any = None
    due: float | None = None  # in loop.time()
    ends: float | None = None


def coroutine_chain(task: Any) -> Iterator[tuple[Any, types.FrameType]]:
    """The coroutines that await each other, the task's own first, each with its frame."""
    awaited = task.get_coro()
    for _ in range(CHAIN_MAX):
        if awaited is None:
            return
        if type(awaited) is types.CoroutineType:
            if (frame := awaited.cr_frame) is None:
                return
            yield awaited, frame
            awaited = awaited.cr_await
            continue
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{prefix}_frame", None)
            if frame is not None:
                yield awaited, frame
                awaited = getattr(awaited, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await", None)
                break
        else:
            awaited = inside(awaited)


def inside(iterator: Any) -> Any:
    """What an iterator of C goes through: `coroutine.__await__()`, `generator.__anext__()`, `asend()`."""
    if asyncio.isfuture(iterator):
        return None
    return next((each for each in gc.get_referents(iterator) if isinstance(each, AWAITABLES)), None)


def innermost(task: Any) -> Any:
    """What the last of its coroutines awaits."""
    awaited = task.get_coro()
    for coroutine, _ in coroutine_chain(task):
        awaited = next(
            (getattr(coroutine, name) for name in ("cr_await", "gi_yieldfrom", "ag_await") if hasattr(coroutine, name)),
            None,
        )
    return awaited


def wait_of(task: Any, loop: Any, frames: list[types.FrameType]) -> Wait:
    """What the task waits for, in these frames (its coroutine_chain()); kind NONE when it is ready to go on."""
    future = standard.awaited_by_task(task)
    if future is None or future.done():
        return Wait(WaitKind.NONE, "ready to run")
    if isinstance(future, asyncio.Task):
        return Wait(WaitKind.TASK, "", [future])
    wait = Wait(WaitKind.THREAD, "a thread") if standard.is_given_to_thread(future) else Wait()
    called = of_call(innermost(task))
    if called is not None:
        name_library(called, frames)
        return called
    for frame in reversed(frames):
        if is_library(frame) and (found := by_function(frame, loop)) is not None:
            wait = found
            break
    if wait.kind in VAGUE:
        name_library(wait, frames)
    return wait


def of_call(call: Any) -> Wait | None:
    """What one of our calls without a frame waits for."""
    if type(call) is ReadCall:
        return of_stream(call.reader, "reads from")
    if type(call) is SocketCall and call.__name__.startswith("sock_"):
        return of_socket(call.sock, call.__name__)
    return None


def is_library(frame: types.FrameType) -> bool:
    return frame.f_code.co_filename.startswith((standard.ASYNCIO_FOLDER, PACKAGE_FOLDER))


def name_library(wait: Wait, frames: list[types.FrameType]) -> None:
    """A wait of a library that is known is of the library's kind."""
    for frame in reversed(frames):
        module = str(frame.f_globals.get("__name__", ""))
        known = MODULES.get(module.partition(".")[0])
        if known is not None:
            kind, label = known
            place = f"{label}: {frame.f_code.co_qualname}"
            wait.text = place if wait.kind == WaitKind.FUTURE else f"{place}, {wait.text}"
            wait.kind = kind
            return


def by_function(frame: types.FrameType, loop: Any) -> Wait | None:
    """What a function of asyncio's or ours waits for, by its name and locals; None for one that only passes on."""
    name = frame.f_code.co_qualname
    module = str(frame.f_globals.get("__name__", ""))
    if module == "plait.net.waiting":
        return of_stream(frame.f_locals.get("reader"), "reads from")
    if module.startswith("plait.files."):
        return Wait(WaitKind.FILE, f"{module.rpartition('.')[2]}: {name}")
    owner, _, method = name.rpartition(".")
    if owner in ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier", "Queue"):
        return of_lock(frame.f_locals.get("self"), method)
    if method == "getaddrinfo":
        return Wait(WaitKind.DNS, f"getaddrinfo {frame.f_locals.get('host')!r}")
    if method.startswith("sock_"):
        return of_socket(frame.f_locals.get("sock"), method)
    handler = BY_NAME.get(name)
    return handler(frame.f_locals, loop) if handler is not None else None


def of_lock(lock: Any, method: str) -> Wait:
    kind = type(lock).__name__
    name = f"{kind}.{method}" if kind.endswith("Queue") else kind
    # What a condition waits for is to be notified: its lock is free meanwhile.
    wait = Wait(WaitKind.LOCK, name, lock=None if isinstance(lock, asyncio.Condition) else lock)
    try:
        if kind.endswith("Queue"):
            wait.text += " (empty)" if method == "get" else f" (full: {lock.qsize()})" if method == "put" else ""
    except Exception:
        pass  # a subclass of the program's, in a state of its own
    return wait


def of_socket(sock: Any, method: str) -> Wait:
    if not isinstance(sock, socket.socket):
        return Wait(WaitKind.NETWORK, method)
    return Wait(*named_peer(sock, method))


def named_peer(sock: Any, doing: str) -> tuple[WaitKind, str]:
    try:
        kind, text = kind_of_peer(sock.getpeername())
    except OSError:
        try:
            kind, text = WaitKind.NETWORK, show_address(sock.getsockname())
        except OSError:
            kind, text = WaitKind.NETWORK, "a closed socket"
    return kind, f"{doing} {text}"


def of_sleep(values: dict[str, Any], loop: Any) -> Wait:
    return Wait(WaitKind.TIMER, f"sleep({values.get('delay')!r:.12})", due=when_of(values.get("h")))


def when_of(timer: Any) -> float | None:
    return timer.when() if isinstance(timer, asyncio.TimerHandle) else None


def of_stream(stream: Any, doing: str) -> Wait:
    transport = standard.stream_transport(stream)
    if transport is None:
        return Wait(WaitKind.NETWORK, doing)
    try:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            return Wait(*named_peer(sock, doing))
        pipe = transport.get_extra_info("pipe")
        return Wait(WaitKind.DEVICE, f"{doing} {getattr(pipe, 'name', '') or 'a pipe'}")
    except Exception:  # a transport of the program's own, or one that is being closed
        return Wait(WaitKind.NETWORK, doing)


def of_group(values: dict[str, Any], loop: Any) -> Wait:
    tasks = [task for task in list(getattr(values.get("self"), "_tasks", ())) if not task.done()]
    return Wait(WaitKind.TASK, "TaskGroup", tasks)


def of_wait(values: dict[str, Any], loop: Any) -> Wait:
    tasks = [task for task in list(values.get("fs") or ()) if not task.done()]
    any_of = values.get("return_when") != asyncio.ALL_COMPLETED
    return Wait(WaitKind.TASK, "wait()", tasks, any_of=any_of, ends=when_of(values.get("timeout_handle")))


def of_wait_for(values: dict[str, Any], loop: Any) -> Wait | None:
    future = values.get("fut")
    if not asyncio.isfuture(future) or future.done():
        return None
    text = f"wait_for(timeout={values.get('timeout')!r:.12})"
    return Wait(WaitKind.TASK, text, [future], ends=when_of(values.get("timeout_handle")))


def of_process(values: dict[str, Any], loop: Any) -> Wait:
    pid = getattr(values.get("self"), "pid", None)
    return Wait(WaitKind.PROCESS, f"process {pid}" if pid else "a process")


def of_server(values: dict[str, Any], loop: Any) -> Wait:
    try:
        addresses = ", ".join(show_address(sock.getsockname()) for sock in values["self"].sockets)
    except Exception:
        addresses = ""
    return Wait(WaitKind.NETWORK, f"serves {addresses}".rstrip())


def of_thread(values: dict[str, Any], loop: Any) -> Wait:
    function = values.get("func")
    return Wait(WaitKind.THREAD, f"to_thread({getattr(function, '__qualname__', None) or type(function).__name__})")


def reading(values: dict[str, Any], loop: Any) -> Wait:
    return of_stream(values.get("self"), "reads from")


def writing(values: dict[str, Any], loop: Any) -> Wait:
    return of_stream(values.get("self"), "writes to")


BY_NAME = {
    "sleep": of_sleep,
    "StreamReader._wait_for_data": reading,
    "FlowControlMixin._drain_helper": writing,
    "StreamWriter.drain": writing,
    "StreamWriter.wait_closed": writing,
    "TaskGroup.__aexit__": of_group,
    "_wait": of_wait,
    "wait_for": of_wait_for,
    "Process.wait": of_process,
    "BaseSubprocessTransport._wait": of_process,
    "Server.serve_forever": of_server,
    "to_thread": of_thread,
}


def held_locks(task: Any, locks: dict[int, Any]) -> list[Any]:
    """Which of the locks, by id, the task holds by `async with`."""
    held = []
    chain = list(coroutine_chain(task))
    # The last awaits nothing; a task that has ended since it was listed has no chain at all.
    inner = [frame for _, frame in chain[1:]] + [None] * bool(chain)
    for (coroutine, _), awaited in zip(chain, inner, strict=True):
        managers = managers_of(coroutine)
        entering = entered(awaited)
        if entering is not None and any(each is entering for each in managers):
            # Not held yet: its exit is put on the stack before it is entered.
            managers.pop(next(place for place, each in enumerate(managers) if each is entering))
        held += [each for each in managers if id(each) in locks]
    return held


def managers_of(coroutine: Any) -> list[Any]:
    """What it is inside of by `async with`: the suspended frame keeps their __aexit__ on its stack.

    Up to 3.13 that is a bound method; from 3.14 the function, and next to it what it is a method of.
    """
    held = gc.get_referents(coroutine)
    managers = []
    for each, after in zip(held, [*held[1:], None], strict=True):
        if is_exit(each):
            managers.append(getattr(each, "__self__", after))
    return managers


def entered(frame: types.FrameType | None) -> Any:
    """The lock whose `__aenter__` this is, or None."""
    if frame is None or not is_library(frame) or frame.f_code.co_name != "__aenter__":
        return None
    return frame.f_locals.get("self")


def is_exit(value: Any) -> bool:
    return isinstance(value, EXITS) and value.__name__ == "__aexit__"


def timeout_ends(task: Any) -> float | None:
    """When (in loop.time()) an `asyncio.timeout` around the task's wait ends it, if one does."""
    ends = []
    for coroutine, _ in coroutine_chain(task):
        for each in managers_of(coroutine):
            if isinstance(each, asyncio.Timeout) and not each.expired():
                ends.append(each.when())
    return min((when for when in ends if when is not None), default=None)
