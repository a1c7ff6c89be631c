"""What the recorder writes of functions, classes, addresses and descriptors: read once for each, and not on the hot path."""

import os
import socket
import types

#: Modules whose coroutines wait in the name of those that call them.
PASSED_OVER = frozenset(
    (
        "aiohappyeyeballs",
        "anyio",
        "asgiref",
        "async_timeout",
        "asyncio",
        "contextlib",
        "functools",
        "plait",
        "sniffio",
        "ssl",
        "tenacity",
        "types",
        "uvloop",
        "wrapt",
    )
)
#: Those of asyncio and plait that say what is waited for.
TELLING = frozenset(
    (
        "asyncio.base_subprocess",
        "asyncio.locks",
        "asyncio.queues",
        "asyncio.taskgroups",
        "asyncio.tasks",
        "plait.system.names",
    )
)
TELLING_FUNCTIONS = frozenset(
    ("to_thread", "BaseEventLoop.getaddrinfo", "BaseEventLoop.getnameinfo", "SubprocessTransport.exit")
)


def describe(target, module):
    """What a reader wants to know of a function or class; `t` are pairs of first code unit and line."""
    code = target if isinstance(target, types.CodeType) else getattr(target, "__code__", None)
    if not isinstance(code, types.CodeType):
        name = getattr(target, "__qualname__", None) or type(target).__qualname__
        return {"q": str(name), "m": module}
    lines: list = []
    for start, _, line in code.co_lines():
        if line is not None and (not lines or lines[-1] != line):
            lines += [start // 2, line]
    return {"q": code.co_qualname, "m": module, "p": code.co_filename, "l": code.co_firstlineno, "t": lines}


def is_passed_over(known):
    """Whether a wait in this code is told as one of its caller's."""
    module = known["m"]
    if module in TELLING or known["q"] in TELLING_FUNCTIONS:
        return False
    return module.partition(".")[0] in PASSED_OVER and not module.startswith("plait.demo")


def address_text(address):
    """host:port, or the path of a Unix socket."""
    if isinstance(address, tuple) and len(address) >= 2:
        return f"[{address[0]}]:{address[1]}" if ":" in str(address[0]) else f"{address[0]}:{address[1]}"
    if isinstance(address, bytes):
        return "@" + address[1:].decode("utf-8", "replace")
    return "" if address is None else str(address)


def describe_descriptor(fd):
    """What a descriptor is: side, peer and local address of a socket, else what the kernel calls it."""
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return "closed"
    if not target.startswith("socket:"):
        return target
    try:
        with socket.socket(fileno=os.dup(fd)) as copy:
            kind = "udp" if copy.type == socket.SOCK_DGRAM else "client"
            local = address_text(copy.getsockname())
            try:
                peer = address_text(copy.getpeername())
            except OSError:
                peer = ""
    except OSError:
        return target
    return f"{kind}\t{peer}\t{local}\t"


def words_of(value):
    """str() of something that is a program's."""
    try:
        return str(value)
    except Exception:
        return ""
