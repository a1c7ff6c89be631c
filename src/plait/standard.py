"""The private parts of asyncio that plait touches, all of them, with what differs between releases and why each is needed.

Nothing else in plait names an underscore of asyncio or imports one of its internal modules.
"""

import asyncio
import fcntl
import functools
import inspect
import os
import reprlib
import stat
import subprocess
import sys
import threading
import weakref
from asyncio import (
    base_events,
    base_futures,
    base_subprocess,
    base_tasks,
    constants,
    coroutines,
    events,
    format_helpers,
    futures,
    protocols,
    runners,
    selector_events,
    sslproto,
    streams,
    tasks,
    timeouts,
    transports,
    trsock,
    unix_events,
)
from collections.abc import Callable, Iterator
from typing import Any

# What Future and Task show in repr(), and a Task's stack: the same words as the standard library's own.
future_repr = base_futures._future_repr
task_get_stack = base_tasks._task_get_stack
task_print_stack = base_tasks._task_print_stack

# Handles: "callback at file:line" for repr(), the creation stack in debug mode, and the slow-callback report.
format_callback_source = format_helpers._format_callback_source
extract_stack = format_helpers.extract_stack
format_handle = base_events._format_handle

# 3.14 and newer: what call_soon_threadsafe() returns, whose cancel() waits in other threads for a callback that runs.
ThreadSafeHandleFace: Any = getattr(events, "_ThreadSafeHandle", None)

# Marks coroutines that debug mode tracks; also true for Cython's coroutines.
iscoroutine = coroutines.iscoroutine

# Bytes that were received before their protocol was replaced by one with a buffer of its own.
feed_buffered_protocol = protocols._feed_data_to_buffered_proto

# What must happen before the interpreter joins its threads at exit; atexit comes too late for that. As concurrent.futures does it.
at_thread_shutdown = threading._register_atexit

# A loop is "running" in a thread when the standard library says so.
set_running_loop = standard_set_running_loop = events._set_running_loop
get_running_loop_or_none = events._get_running_loop
standard_get_running_loop = events.get_running_loop
standard_get_event_loop = events.get_event_loop


if sys.version_info >= (3, 12):
    task_repr = base_tasks._task_repr
else:

    @reprlib.recursive_repr()  # of tasks that await each other
    def task_repr(task):  # type: ignore[no-untyped-def]
        return f"<{task.__class__.__name__} {' '.join(base_tasks._task_repr_info(task))}>"


# all_tasks() asks one WeakSet for the tasks that are not asyncio's own. It is taught to tell our loops' tasks too: entering each
# new task there would cost more than all the rest of making it. 3.11 shares the set as _all_tasks, 3.12 and 3.13 as _scheduled_tasks;
# from 3.14 it is hidden in C, and reached through the callback of the weak reference that registering something makes.
loops_with_tasks: "weakref.WeakSet[Any]" = weakref.WeakSet()


class TaskSet(weakref.WeakSet):  # type: ignore[type-arg]
    """asyncio's set of tasks, with the live tasks of our loops."""

    def ours(self) -> list[Any]:
        return [task for loop in list(loops_with_tasks) for task in loop._live_tasks()]

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        yield from self.ours()

    def __len__(self) -> int:
        return super().__len__() + len(self.ours())

    def __contains__(self, task: object) -> bool:
        return super().__contains__(task) or task in self.ours()


class Probe:
    """Something that can be registered as a task."""


def asyncio_task_set() -> "weakref.WeakSet[Any]":
    if sys.version_info >= (3, 14):
        probe = Probe()
        tasks._register_task(probe)
        try:
            return weakref.getweakrefs(probe)[0].__callback__.__defaults__[0]()
        finally:
            tasks._unregister_task(probe)
    return tasks._scheduled_tasks if sys.version_info >= (3, 12) else tasks._all_tasks


def show_live_tasks(loop: Any) -> None:
    """From now on asyncio.all_tasks() knows the tasks that loop._live_tasks() gives."""
    if not loops_with_tasks:
        asyncio_task_set().__class__ = TaskSet
    loops_with_tasks.add(loop)


# Functions of asyncio that its own code calls by these names, in every sleep, wait_for, gather and ensure_future. Ours do the same, for any
# loop. __sleep0 is what sleep(0) awaits: a generator with a bare yield, two more entries of the interpreter and memory of its own.
# isfuture raises and forgets an AttributeError for each coroutine that it is asked about. The two with an underscore are callbacks.
def replace_functions(pause: Any, isfuture: Any, set_result_unless_cancelled: Any, release_waiter: Any) -> None:
    """Have asyncio call these, where it has such functions."""
    replace("__sleep0", pause, tasks)
    replace("isfuture", isfuture, asyncio, futures, base_futures)
    replace("_set_result_unless_cancelled", set_result_unless_cancelled, futures)
    replace("_release_waiter", release_waiter, tasks)


def replace(name: str, function: Any, *modules: Any) -> None:
    for module in modules:
        if hasattr(module, name):
            function.__module__ = (
                module.__name__
            )  # where it is found again, by those who pickle it, and by readers of recordings
            setattr(module, name, function)


def replace_running_loop(get: Any, get_or_none: Any, get_event_loop: Any, set_: Any) -> None:
    """Have the running loop told and asked by these. asyncio's own are told, too: its C code asks them."""
    replace("get_running_loop", get, asyncio, events)
    replace("_get_running_loop", get_or_none, asyncio, events)
    replace("get_event_loop", get_event_loop, asyncio, events)
    replace("_set_running_loop", set_, asyncio, events)


# asyncio.timeout() makes its Timeout by this name. Two coroutines, an enum's members and the interpreter's way to both cost more than the
# loop's work for it by far. The class itself stays, and so do its methods for whatever is not the usual course.
StandardTimeout = asyncio.Timeout
TIMEOUT_CREATED = timeouts._State.CREATED
TIMEOUT_ENTERED = timeouts._State.ENTERED
TIMEOUT_EXITED = timeouts._State.EXITED


def make_by(cls: Any, new: Callable[..., Any]) -> None:
    """Have a class of asyncio's, which others know by name, made by new(cls, ...), also where it was imported before."""
    cls.__new__ = staticmethod(new)


def replace_timeout(new: Callable[..., Any]) -> None:
    """Have asyncio.Timeout made by new(cls, when)."""
    make_by(asyncio.Timeout, new)


class LoopBut:
    """A loop, but for what a subclass does in its own way."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


# Pipes: asyncio's own transports, which need nothing of a loop but call_soon, _add_reader and its like.
class ReadPipeTransport(unix_events._UnixReadPipeTransport):  # type: ignore[misc, name-defined]
    """asyncio's own, which begins to read in a callback: refused there, nobody heard of it, and it waited for ever."""

    _pipe: Any = None  # until __init__ is through, which may fail

    def __init__(self, loop: Any, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None) -> None:
        super().__init__(ReadingLoop(loop, self), pipe, protocol, waiter, extra)

    def refused(self, error: OSError) -> None:
        self._fatal_error(error, "Fatal error: the engine cannot watch the pipe")


class ReadingLoop(LoopBut):
    """For the reading side of a pipe, which is told when it cannot be watched."""

    def __init__(self, loop: Any, transport: ReadPipeTransport) -> None:
        super().__init__(loop)
        self._transport = transport

    def _add_reader(self, *args: Any) -> None:
        try:
            self._loop._add_reader(*args)
        except OSError as error:
            self._transport.refused(error)


class WritingLoop(LoopBut):
    """A loop without reading, for the writing side of a descriptor that others may read from."""

    def _add_reader(self, fd: int, callback: Callable[..., object], *args: object) -> None: ...

    def _remove_reader(self, fd: int) -> bool:
        return False


class WritePipeTransport(unix_events._UnixWritePipeTransport):  # type: ignore[misc, name-defined]
    """asyncio's own, but for descriptors that can be read too. It watches those of pipes for reading, which tells when the other
    end is closed, and on closing stops whoever reads from the same descriptor: a terminal's other half, a FIFO open both ways.
    """

    _pipe: Any = None  # until __init__ is through, which may fail

    def __init__(self, loop: Any, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None) -> None:
        mode = os.fstat(pipe.fileno()).st_mode
        readable = fcntl.fcntl(pipe.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        if stat.S_ISCHR(mode) or (stat.S_ISFIFO(mode) and readable):
            loop = WritingLoop(loop)
        super().__init__(loop, pipe, protocol, waiter, extra)


class SubprocessTransport(base_subprocess.BaseSubprocessTransport):
    """asyncio's transport of a child process; the loop tells it the exit status by `process_exited`."""

    _closed: bool
    _proc: "subprocess.Popen[bytes]"
    _exit_waiters: Any
    _loop: Any
    _pipes: Any

    def _start(self, args, shell, stdin, stdout, stderr, bufsize, **kwargs):  # type: ignore[no-untyped-def]
        # A real pipe for stdin, as asyncio has on Linux: a child can open it again as /dev/stdin, which a socket refuses.
        self._proc = subprocess.Popen(
            args,
            shell=shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=False,
            bufsize=bufsize,
            **kwargs,
        )

    def close(self) -> None:
        """Up to 3.12.2 it closed its pipes' transports in a closed loop too, which fails (gh-114177)."""
        if self._loop is not None and self._loop.is_closed():
            self._pipes = {}
        super().close()

    async def _connect_pipes(self, waiter: Any) -> None:
        """Where its start is cancelled or fails, all pipes are closed. Before 3.15 those were forgotten that were connected after close(),
        which a grandchild keeps open, and those that were not connected yet.
        """
        await super()._connect_pipes(waiter)
        if waiter.cancelled() or waiter.exception() is not None or self._closed:
            for protocol in self._pipes.values():
                if protocol is not None:
                    protocol.pipe.close()
            for file in (self._proc.stdin, self._proc.stdout, self._proc.stderr):
                if file is not None:
                    file.close()

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        return self._proc

    def process_exited(self, returncode: int) -> None:
        """To be called once, in the loop."""
        self._process_exited(returncode)
        # Up to 3.12.0 wait() went on until the pipes closed too, so that a grandchild holding one kept it (gh-119710).
        if self._exit_waiters:
            waiters, self._exit_waiters = self._exit_waiters, type(self._exit_waiters)()
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(returncode)

    async def exit(self) -> int:
        """Wait for the end of the process."""
        return await self._wait()


# asyncio's own test also knows functions marked as coroutines by hand; from 3.14 it is deprecated in favour of inspect's.
iscoroutinefunction: Callable[[object], bool]
if sys.version_info >= (3, 14):
    iscoroutinefunction = inspect.iscoroutinefunction
else:
    iscoroutinefunction = coroutines.iscoroutinefunction


def is_runner_interrupt(handler: object) -> bool:
    """Whether a SIGINT handler is the one that asyncio.Runner.run installs (cancel the main task)."""
    method = getattr(handler, "func", None)
    return isinstance(handler, functools.partial) and isinstance(getattr(method, "__self__", None), runners.Runner)


# Policies: public up to 3.13, deprecated in 3.14 and 3.15 where the names without a warning have an underscore, gone in 3.16.
DefaultPolicy: Any
set_policy: Callable[[Any], None] | None
if sys.version_info >= (3, 16):
    DefaultPolicy = set_policy = None
elif sys.version_info >= (3, 14):
    DefaultPolicy = unix_events._DefaultEventLoopPolicy
    set_policy = events._set_event_loop_policy
else:
    DefaultPolicy = unix_events.DefaultEventLoopPolicy
    set_policy = events.set_event_loop_policy


# What isinstance() says a stream is: asyncio.Transport, and the private class under it that its sendfile asks for.
class StreamFace(transports._FlowControlMixin):
    """A stream transport. The objects are plait.net.stream.Stream, compiled, which cannot inherit this."""


# What streams show in repr(), and what a forgotten StreamWriter says (early releases of 3.11 have no __del__ there).
reader_repr = asyncio.StreamReader.__repr__
writer_repr = asyncio.StreamWriter.__repr__
writer_del = getattr(asyncio.StreamWriter, "__del__", lambda writer: None)


def replace_streams(
    choose_reader: Callable[[Any, Any], type | None], choose_writer: Callable[[Any, Any], type | None]
) -> None:
    """asyncio.StreamReader and StreamWriter, which asyncio.streams makes by these names, become other classes where `choose(loop,
    transport)` gives one. Subclasses are never replaced; nothing else can tell, for what is not an instance is not initialized.
    """

    def new_reader(cls: type, *args: Any, **kwargs: Any) -> Any:
        if cls is asyncio.StreamReader and len(args) < 3:
            loop = kwargs.get("loop", args[1] if len(args) > 1 else None)
            if loop is None:
                loop = get_running_loop_or_none()
            chosen = choose_reader(loop, None)
            if chosen is not None:
                limit = kwargs.get("limit", args[0] if args else streams._DEFAULT_LIMIT)
                return chosen(limit, loop)
        return object.__new__(cls)

    def new_writer(cls: type, *args: Any, **kwargs: Any) -> Any:
        if cls is asyncio.StreamWriter and len(args) == 4:
            chosen = choose_writer(args[3], args[0])
            if chosen is not None:
                return chosen(*args)
        return object.__new__(cls)

    make_by(asyncio.StreamReader, new_reader)
    make_by(asyncio.StreamWriter, new_writer)


def stream_reader_of(protocol: Any) -> Any:
    """The reader that gets all that this protocol is told, if it is asyncio's own for streams and does nothing else with it."""
    return protocol._stream_reader if type(protocol) is asyncio.StreamReaderProtocol else None


# The restricted socket that get_extra_info("socket") gives.
TransportSocket = trsock.TransportSocket

# "socket.send() raised exception." is logged from this many writes on a lost connection on.
LOST_WRITES_MAX = constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES
# How long a server waits after it ran out of descriptors.
ACCEPT_RETRY_SECONDS = constants.ACCEPT_RETRY_DELAY
# BaseEventLoop.sendfile looks at this attribute of a transport.
SENDFILE_TRY_NATIVE = constants._SendfileMode.TRY_NATIVE
SENDFILE_FALLBACK = constants._SendfileMode.FALLBACK

# 3.11, 3.12: a server counts its connections; from 3.13 it keeps weak references to them, for close_clients().
if sys.version_info >= (3, 13):

    def attach_to_server(server: Any, transport: Any) -> None:
        server._attach(transport)

    def detach_from_server(server: Any, transport: Any) -> None:
        server._detach(transport)

else:

    def attach_to_server(server: Any, transport: Any) -> None:
        server._attach()

    def detach_from_server(server: Any, transport: Any) -> None:
        server._detach()


# sock_*() refuse the sockets of ssl.SSLContext.wrap_socket().
check_not_ssl_socket = base_events._check_ssl_socket

# Found fit for any loop that has sock_connect(), _create_connection_transport() and _start_serving(). From 3.13 on
# create_unix_server() also notes in `_unix_server_sockets` which path is to be removed with the server.
create_unix_connection = unix_events._UnixSelectorEventLoop.create_unix_connection
create_unix_server = unix_events._UnixSelectorEventLoop.create_unix_server


# TLS: asyncio's limits (seconds, KiB), the exceptions by which memory says that it has no more, and the context of `ssl=True`.
SSL_HANDSHAKE_SECONDS = constants.SSL_HANDSHAKE_TIMEOUT
SSL_SHUTDOWN_SECONDS = constants.SSL_SHUTDOWN_TIMEOUT
SSL_READ_HIGH_KIB = constants.FLOW_CONTROL_HIGH_WATER_SSL_READ
SSL_WRITE_HIGH_KIB = constants.FLOW_CONTROL_HIGH_WATER_SSL_WRITE
SSL_AGAIN_ERRORS = sslproto.SSLAgainErrors if sslproto.ssl else ()
default_client_context = sslproto._create_transport_context


def ssl_calls(sslobj: Any) -> tuple[Callable[..., Any], Callable[..., Any], bool]:
    """read(size, buffer) and write(buffer) of an SSLObject, and whether they are those of the C type under it, which spares a frame
    per call. Subclasses that do it in their own way keep it.
    """
    inner: Any = getattr(sslobj, "_sslobj", None)
    kind = type(sslobj)
    plain = sslproto.ssl.SSLObject
    if kind.read is plain.read and kind.write is plain.write and type(inner).__module__ == "_ssl":
        return inner.read, inner.write, True
    return sslobj.read, sslobj.write, False


def check_ssl_context(context: Any) -> None:
    """As asyncio's start_tls()."""
    if sslproto.ssl is None:
        raise RuntimeError("Python ssl module is not available")
    if not isinstance(context, sslproto.ssl.SSLContext):
        raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {context!r}")


def take_buffered(protocol: Any) -> bytes:
    """What a StreamReader has received and nobody has read; it is taken away from it."""
    reader = getattr(protocol, "_stream_reader", None) if isinstance(protocol, asyncio.StreamReaderProtocol) else None
    if reader is None:
        return b""
    taken = bytes(reader._buffer)
    reader._buffer.clear()
    return taken


# What isinstance() says a TLS transport is.
class SSLTransport(sslproto._SSLProtocolTransport):
    """A TLS transport. The objects are plait.net.tls.TLSTransport, compiled, which cannot inherit this."""

    _app_protocol: Any


class DatagramTransport(selector_events._SelectorDatagramTransport, transports.DatagramTransport):
    """asyncio's own, which needs of its loop no more than the readers and writers of descriptors; but repr() asks a selector.

    Up to 3.11 it was no asyncio.DatagramTransport.
    """

    def __repr__(self) -> str:
        state = " closed" if self._sock is None else " closing" if self._closing else ""
        return f"<DatagramTransport{state} fd={self._sock_fd} bufsize={self.get_write_buffer_size()}>"


def make_datagram_transport(*args: Any) -> Any:
    """From (loop, sock, protocol, address, waiter, extra)."""
    return DatagramTransport(*args)


# The call graph (asyncio.capture_call_graph, 3.14): gather(), TaskGroup and their like tell who waits for what by two functions of
# asyncio.futures. Those leave out what is not a Future of the standard library itself, so ours take their place and pass the rest on.
Awaited = Callable[[Any, Any], None]


def replace_awaited_by(add: Awaited, discard: Awaited) -> tuple[Awaited | None, Awaited | None]:
    """Put these in the place of asyncio's pair; gives asyncio's own. Before 3.14 there is no such pair, and nothing happens."""
    if sys.version_info < (3, 14):
        return None, None
    native = futures.future_add_to_awaited_by, futures.future_discard_from_awaited_by
    for module in (asyncio, futures):
        for prefix in ("", "_c_"):
            for name, function in (("add_to", add), ("discard_from", discard)):
                if hasattr(module, f"{prefix}future_{name}_awaited_by"):
                    setattr(module, f"{prefix}future_{name}_awaited_by", function)
    return native


# Who waits for whom, for those who look at a program from outside. Read only, and only these: Task._fut_waiter, Future._callbacks
# (each entry is (function, context)), TaskGroup._tasks, Server.sockets. Up to 3.13 a gather(), wait() or shield() is known to nobody
# but the done callbacks of what it waits for, functions whose closures hold the future that they will complete.
ASYNCIO_FOLDER = os.path.dirname(asyncio.__file__) + os.sep


def awaited_by_task(task: Any) -> Any:
    """The future that a task waits for, or None."""
    return getattr(task, "_fut_waiter", None)


def completes(future: Any) -> list[Any]:
    """The futures that done callbacks of this one may complete: those of gather(), wait(), shield(), wait_for() and TaskGroup."""
    found = []
    for entry in getattr(future, "_callbacks", None) or ():
        callback = entry[0]
        while isinstance(callback, functools.partial):
            found += [argument for argument in callback.args if futures.isfuture(argument)]
            callback = callback.func
        for cell in getattr(callback, "__closure__", None) or ():
            try:
                content = cell.cell_contents
            except ValueError:
                continue
            if futures.isfuture(content):
                found.append(content)
        completed = getattr(getattr(callback, "__self__", None), "_on_completed_fut", None)  # TaskGroup._on_task_done
        if completed is not None:
            found.append(completed)
    return [each for each in found if each is not future]


def is_given_to_thread(future: Any) -> bool:
    """Whether a concurrent.futures.Future completes it: run_in_executor() and wrap_future()."""
    return any(
        getattr(entry[0], "__qualname__", "").startswith("_chain_future.")
        for entry in getattr(future, "_callbacks", None) or ()
    )


def stream_transport(reader_or_writer: Any) -> Any:
    """The transport under a StreamReader, StreamWriter or one of their protocols; None where there is none."""
    return getattr(reader_or_writer, "_transport", None)


def executor_of(loop: Any) -> Any:
    """The loop's default executor, or None while nothing has used it."""
    return getattr(loop, "_default_executor", None)


def is_gathering(task: Any) -> bool:
    """Whether a task waits for a gather()."""
    return type(awaited_by_task(task)).__name__ == "_GatheringFuture"


def gathers_tasks_only(task: Any) -> bool:
    """Whether a task waits for a gather() of tasks, and of no other futures."""
    return is_gathering(task) and all(isinstance(each, tasks.Task) for each in awaited_by_task(task)._children)


# What the recorder wants to know of asyncio's own objects.


def is_group_future(future: object) -> bool:
    """Whether it is what gather() returns, which waits for several."""
    return isinstance(future, tasks._GatheringFuture)


def tls_application(protocol: Any) -> Any:
    """The user's protocol behind the one that does TLS for it."""
    while isinstance(protocol, (sslproto.SSLProtocol, SSLTransport)):
        protocol = protocol._app_protocol
    return protocol


def wrapped_task(callback: Any) -> Any:
    """The standard Task whose step or wakeup this callback of a handle is, or None."""
    owner = getattr(callback, "__self__", None)
    return owner if isinstance(owner, tasks.Task) and type(callback).__name__ != "method" else None
