"""What to do instead: advice for a call that blocks the loop, by the name of what is called."""

import ast
import builtins
import inspect
import linecache
import types
from typing import Any

__all__ = ["advice", "call_text", "called_name"]

TO_THREAD = "await asyncio.to_thread(...)"
COMPUTE = f"it computes: {TO_THREAD} when it gives up the interpreter lock, else loop.run_in_executor with a ProcessPoolExecutor"
WEB = f"use an asynchronous client (httpx.AsyncClient, aiohttp), or {TO_THREAD}"

# The first prefix that fits decides.
ADVICE: list[tuple[str, str]] = [
    ("time.sleep", "use await asyncio.sleep(...)"),
    ("requests", WEB),
    ("urllib3", WEB),
    ("urllib.request", WEB),
    ("http.client", WEB),
    ("httpx", WEB),
    ("subprocess", "use asyncio.create_subprocess_exec(...)"),
    ("os.system", "use asyncio.create_subprocess_shell(...)"),
    ("os.popen", "use asyncio.create_subprocess_shell(...)"),
    ("posix.system", "use asyncio.create_subprocess_shell(...)"),
    ("posix.wait", "use asyncio.create_subprocess_exec(...) and await process.wait()"),
    ("psycopg2", f"use asyncpg or psycopg.AsyncConnection, or {TO_THREAD}"),
    ("psycopg", f"use psycopg.AsyncConnection, or {TO_THREAD}"),
    ("pymysql", f"use asyncmy or aiomysql, or {TO_THREAD}"),
    ("MySQLdb", f"use asyncmy or aiomysql, or {TO_THREAD}"),
    ("mysql", f"use mysql.connector.aio, or {TO_THREAD}"),
    ("sqlite3", f"use aiosqlite, or {TO_THREAD}"),
    ("sqlalchemy", f"use sqlalchemy.ext.asyncio, or {TO_THREAD}"),
    ("django", f"use the ORM's asynchronous methods (aget, acreate, async for), or {TO_THREAD}"),
    ("pymongo", f"use pymongo.AsyncMongoClient, or {TO_THREAD}"),
    ("redis", "use redis.asyncio"),
    ("boto3", f"use aiobotocore, or {TO_THREAD}"),
    ("botocore", f"use aiobotocore, or {TO_THREAD}"),
    ("kafka", f"use aiokafka, or {TO_THREAD}"),
    ("pika", f"use aio-pika, or {TO_THREAD}"),
    ("paramiko", f"use asyncssh, or {TO_THREAD}"),
    ("smtplib", f"use aiosmtplib, or {TO_THREAD}"),
    ("ftplib", TO_THREAD),
    ("grpc", "use grpc.aio"),
    ("socket.getaddrinfo", "use await loop.getaddrinfo(...)"),
    ("socket.gethostby", "use await loop.getaddrinfo(...)"),
    ("_socket.getaddrinfo", "use await loop.getaddrinfo(...)"),
    ("_socket.gethostby", "use await loop.getaddrinfo(...)"),
    (
        "socket",
        "use asyncio.open_connection(...), or a non-blocking socket with loop.sock_recv, sock_sendall, sock_connect",
    ),
    (
        "_socket",
        "use asyncio.open_connection(...), or a non-blocking socket with loop.sock_recv, sock_sendall, sock_connect",
    ),
    ("ssl", "use asyncio.open_connection(..., ssl=True)"),
    ("select", "use loop.add_reader(...), or await loop.sock_recv(...)"),
    ("selectors", "use loop.add_reader(...), or await loop.sock_recv(...)"),
    ("builtins.input", "use await asyncio.to_thread(input, ...)"),
    ("builtins.open", f"read and write files in a thread: {TO_THREAD}"),
    ("io", f"read and write files in a thread: {TO_THREAD}"),
    ("_io", f"read and write files in a thread: {TO_THREAD}"),
    ("pathlib", f"read and write files in a thread: {TO_THREAD}"),
    ("shutil", f"copy and remove files in a thread: {TO_THREAD}"),
    ("queue", "use asyncio.Queue, or await asyncio.to_thread(queue.get)"),
    ("_queue", "use asyncio.Queue, or await asyncio.to_thread(queue.get)"),
    ("concurrent.futures", "use await asyncio.wrap_future(future)"),
    ("threading.Thread", "use await asyncio.to_thread(thread.join)"),
    ("threading", "use asyncio's Lock, Event, Condition or Semaphore inside the loop"),
    ("_thread", "use asyncio's Lock, Event, Condition or Semaphore inside the loop"),
    ("multiprocessing", f"wait for processes in a thread: {TO_THREAD}"),
    ("importlib", "import at the top of the module, before the loop runs"),
    ("_frozen_importlib", "import at the top of the module, before the loop runs"),
    ("builtins", COMPUTE),
    ("json", COMPUTE),
    ("pickle", COMPUTE),
    ("_pickle", COMPUTE),
    ("re", COMPUTE),
    ("gzip", COMPUTE),
    ("zlib", COMPUTE),
    ("bz2", COMPUTE),
    ("lzma", COMPUTE),
    ("hashlib", COMPUTE),
    ("_hashlib", COMPUTE),
    ("bcrypt", COMPUTE),
    ("argon2", COMPUTE),
    ("cryptography", COMPUTE),
    ("numpy", COMPUTE),
    ("pandas", COMPUTE),
    ("PIL", COMPUTE),
]


def advice(names: list[str], computes: bool) -> str:
    """For the names of what is called, the innermost call last; `computes` tells whether the thread used the processor."""
    for name in reversed(names):
        for prefix, text in ADVICE:
            if name == prefix or name.startswith((f"{prefix}.", prefix if "." in prefix else f"{prefix}.")):
                return text
    if computes:
        return (
            "it computes: give others a turn with await asyncio.sleep(0), or move it out of the loop with " + TO_THREAD
        )
    return f"move what waits there out of the loop: {TO_THREAD}"


def call_text(frame: types.FrameType) -> tuple[str, str]:
    """(source line, the expression that runs), as far as the source is there; the expression may be empty."""
    line = frame.f_lineno or 0
    file = frame.f_code.co_filename
    linecache.checkcache(file)
    source = linecache.getline(file, line).strip()
    positions = list(frame.f_code.co_positions())
    at = frame.f_lasti // 2
    if not 0 <= at < len(positions):
        return source, ""
    first, last, start, end = positions[at]
    if first is None or last is None or start is None or end is None or last - first > 20:
        return source, ""
    lines = [linecache.getline(file, number).encode() for number in range(first, last + 1)]
    if not all(lines):
        return source, ""
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    return source, b"".join(lines).decode(errors="replace").strip()


def called_name(frame: types.FrameType, expression: str) -> str:
    """The full name of what an expression calls ("time.sleep", "psycopg2.extensions.cursor.execute"); empty when it is not known.

    Looks names up, and runs nothing of the program: no properties, no __getattr__.
    """
    try:
        node = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    parts: list[str] = []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    if not isinstance(function, ast.Name):
        return ".".join(["", *reversed(parts)]).strip(".")
    value = look_up(frame, function.id)
    for part in reversed(parts):
        if value is None:
            return ""
        inner = value.__dict__.get(part) if isinstance(value, types.ModuleType) else static(value, part)
        if inner is None or not callable(inner) or isinstance(inner, types.ModuleType | type):
            value = inner
            continue
        return name_of(inner, value)
    return name_of(value, None)


def look_up(frame: types.FrameType, name: str) -> Any:
    if name in frame.f_globals:
        return frame.f_globals[name]
    if name in frame.f_code.co_varnames or name in frame.f_code.co_freevars or name in frame.f_code.co_cellvars:
        return frame.f_locals.get(name)
    return vars(builtins).get(name)


def static(value: Any, name: str) -> Any:
    try:
        return inspect.getattr_static(value, name)
    except AttributeError:
        return None


def name_of(value: Any, owner: Any) -> str:
    """The module and name under which something is known; of a method, with its class."""
    if value is None:
        return ""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str):
        return f"{module}.{name}"
    if owner is not None and not isinstance(owner, types.ModuleType):
        kind = owner if isinstance(owner, type) else type(owner)
        return f"{kind.__module__}.{kind.__qualname__}.{name or getattr(value, '__name__', '')}".rstrip(".")
    return f"{type(value).__module__}.{type(value).__qualname__}"
