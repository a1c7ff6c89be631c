"""A loop in a background thread of an ordinary program, and the portal through which any thread hands it work.

    with plait.background() as portal:
        page = portal.call(fetch, url)              # waits here for the result
        later = portal.start(fetch, other_url)      # goes on; later.result() waits

The block is structured, like a task group. At its normal end it waits for what was started; when its body raises, or
Ctrl-C comes while it waits, that is cancelled instead, and waited for. Then the loop ends as asyncio.run ends one:
tasks that the work left behind are cancelled, asynchronous generators and the default executor are shut down, the loop
is closed, the thread joined.

The thread is a daemon, so that a program which dies does not hang on it. A portal that is still open when the
interpreter exits (entered by hand in a console) is closed then: its work is cancelled and given a few seconds to clean
up.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import contextvars
import functools
import inspect
import logging
import os
import threading
import typing
import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, TypeVarTuple, overload

from plait.loop import Loop
from plait.running import EngineName, new_event_loop

__all__ = ["Background", "BackgroundFuture", "Portal", "background"]

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger = logging.getLogger("plait")

EXIT_GRACE_S = 5.0
WAIT_SLICE_S = 0.2


def signal_slice_s() -> float | None:
    """How long to wait at a stretch. A Ctrl-C that comes between CPython's last look for signals and the wait interrupts it only at
    its end; signals are the main thread's, so others wait without end."""
    return WAIT_SLICE_S if threading.current_thread() is threading.main_thread() else None


def wait_until(event: threading.Event) -> None:
    while not event.wait(signal_slice_s()):
        pass


class BackgroundFuture(concurrent.futures.Future[T]):
    """The result to come of `Portal.start`. `cancel()` cancels the task, from any thread.

    As every cancelled concurrent.futures.Future it is cancelled at once, while the task may still clean up; the end of
    the portal's block waits for that. An exception that nobody asks for is logged when the future is forgotten.
    """

    def __init__(self, job: "Job[T]", name: str) -> None:
        super().__init__()
        self.name = name
        self._job: Job[T] | None = job  # until its end
        self._unseen: BaseException | None = None

    def cancel(self) -> bool:
        """Cancel the task, or take it back if it has not begun. False when it has ended already; once more changes nothing."""
        again = self.cancelled()
        cancelled = super().cancel()
        job = self._job
        if cancelled and not again and job is not None:
            job.portal._soon(job.cancel_task)
        return cancelled

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result and return it, or raise what the task raised; TimeoutError after so many seconds."""
        try:
            self.exception(timeout)
            return super().result()
        finally:
            # The exception's traceback holds this frame, and the future the exception: no cycle for the collector.
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return what the task raised, or None; TimeoutError after so many seconds."""
        if timeout is None:
            while not self.done():
                with contextlib.suppress(TimeoutError):
                    super().exception(signal_slice_s())
        error = super().exception(timeout)
        self._unseen = None
        return error

    def _fail(self, error: BaseException) -> None:
        self._unseen = error
        self.set_exception(error)

    def __del__(self) -> None:
        if self._unseen is not None:
            logger.error("what portal.start() of %s raised was never asked for", self.name, exc_info=self._unseen)


class Job(Generic[T]):
    """One piece of work and the future that tells of it. Made in the thread that asks, all else in the loop's."""

    def __init__(
        self, portal: "Portal", function: Callable[..., Any], args: Any, kwargs: Any, name: str | None
    ) -> None:
        self.portal = portal
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.name = name
        self.context = contextvars.copy_context()
        self.future: BackgroundFuture[T] = BackgroundFuture(self, name or name_of(function))
        self.task: asyncio.Task[T] | None = None
        self.ended = threading.Event()

    def begin(self) -> None:
        """Call the function, in the caller's context; what it gives to await becomes a task."""
        if self.portal._cancelling:
            self.future.cancel()
        if self.future.cancelled():
            self.cancelled()
            return
        try:
            value = self.context.run(self.function, *self.args, **self.kwargs)
        except BaseException as error:
            self.fail(error)
            del self  # as in BackgroundFuture.result
            return
        if inspect.isawaitable(value):
            coroutine = value if inspect.iscoroutine(value) else wait_for(value)
            self.task = self.portal.loop.create_task(coroutine, name=self.future.name, context=self.context)
            self.task.add_done_callback(self.mirror)
        else:
            self.succeed(value)

    def mirror(self, task: "asyncio.Task[T]") -> None:
        """The task has ended: so does the future."""
        if task.cancelled():
            self.cancelled()
        elif (error := task.exception()) is not None:
            self.portal._told(error)
            self.fail(error)
        else:
            self.succeed(task.result())

    def succeed(self, value: T) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(value)
        self.end()

    def fail(self, error: BaseException) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future._fail(error)
        self.end()

    def cancelled(self) -> None:
        self.future.cancel()
        # Only now do concurrent.futures.wait() and as_completed() take it for done.
        self.future.set_running_or_notify_cancel()
        self.end()

    def end(self) -> None:
        self.task = None
        self.future._job = None
        self.ended.set()
        self.portal._job_ended(self)

    def cancel_task(self) -> None:
        if self.task is not None:
            self.task.cancel()


class Portal:
    """The way into a background loop, for any thread. Made by `background()`.

    `loop` is the event loop, `thread` the thread it runs in.
    """

    loop: Loop
    thread: threading.Thread

    def __init__(self) -> None:
        self._process = os.getpid()
        # Reentrant: a signal handler may use the portal while its thread is in here.
        self._lock = threading.RLock()
        self._jobs: set[Job[Any]] = set()
        self._ending = False  # the block has ended; work may still come from work that is running
        self._cancelling = False  # it ended with an error
        self._open = True  # false once nothing can be handed over any more
        self._escaped: BaseException | None = None

    @overload
    def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run function(*args, **kwargs) in the loop and wait for its result, which is returned, or raised with its
        traceback.

        An async function becomes a task, a plain one is simply called in the loop's thread; both see the caller's
        context variables. When the waiting thread is interrupted (Ctrl-C), the task is cancelled, and its end waited
        for, before KeyboardInterrupt goes on.
        """
        self._check("call", function)
        if threading.get_ident() == self.thread.ident:
            raise RuntimeError(
                "portal.call() in the portal's own loop would wait for itself for ever: "
                "await the function instead, or use portal.start()"
            )
        job: Job[Any] = Job(self, function, args, kwargs, None)
        self._submit(job)
        try:
            return job.future.result()
        except BaseException:
            # Interrupted here, or ended there: in the first case the task is ended too, so that nothing goes on unseen.
            if not job.ended.is_set():
                job.future.cancel()
                wait_until(job.ended)
            raise
        finally:
            del job

    @overload
    def start(
        self, function: Callable[[*Ts], Awaitable[T]], /, *args: *Ts, name: str | None = None
    ) -> BackgroundFuture[T]: ...
    @overload
    def start(self, function: Callable[[*Ts], T], /, *args: *Ts, name: str | None = None) -> BackgroundFuture[T]: ...
    def start(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
        self, function: Callable[..., Any], /, *args: Any, name: str | None = None
    ) -> BackgroundFuture[Any]:
        """Start function(*args) in the loop and go on; the future gives its result and can cancel it.

        `name` names the task; without it the function's name does. For keyword arguments use functools.partial.
        """
        self._check("start", function)
        job: Job[Any] = Job(self, function, args, {}, name)
        self._submit(job)
        return job.future

    def __repr__(self) -> str:
        state = "open" if self._open else "closed"
        return f"<plait portal {state} thread={self.thread.name!r} jobs={len(self._jobs)}>"

    def _check(self, method: str, function: object) -> None:
        if inspect.isawaitable(function):
            if inspect.iscoroutine(function):
                function.close()
            raise TypeError(
                f"portal.{method}() takes the function and its arguments, not what the function gave: "
                f"write portal.{method}(fetch, url) instead of portal.{method}(fetch(url))"
            )
        if not callable(function):
            raise TypeError(f"portal.{method}() takes a function and its arguments, not {function!r}")
        if os.getpid() != self._process:
            raise RuntimeError(
                "this portal belongs to the process that forked this one, and its thread is not here: "
                "open another with plait.background() in the child"
            )

    def _submit(self, job: Job[Any]) -> None:
        with self._lock:
            if not self._open:
                raise RuntimeError(
                    "this portal is closed, for its `with plait.background()` block has ended: "
                    "do the work inside the block, or open another"
                )
            self._jobs.add(job)
            self.loop.call_soon_threadsafe(job.begin)

    def _soon(self, callback: Callable[[], object]) -> None:
        """Call it in the loop, if that is still open."""
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._open:
                self.loop.call_soon_threadsafe(callback)

    def _job_ended(self, job: Job[Any]) -> None:
        with self._lock:
            self._jobs.discard(job)
        self._stop_when_idle()

    def _end(self, cancel: bool) -> None:
        """In any thread: no work from outside any more; the loop stops after the last job."""

        def end() -> None:
            self._ending = True
            if cancel:
                self._cancelling = True
                with self._lock:
                    jobs = list(self._jobs)
                for job in jobs:
                    if job.future.cancelled():
                        job.cancel_task()  # it goes on though it was cancelled before
                    else:
                        job.future.cancel()
            self._stop_when_idle()

        self._soon(end)

    def _stop_when_idle(self) -> None:
        with self._lock:
            if self._ending and self._open and not self._jobs:
                self._open = False
                self.loop.stop()

    def _run(self) -> None:
        """The loop's life in its thread, until the last job has ended."""
        while self._open:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                if self._escaped is None:
                    self._escaped = error

    def _told(self, error: BaseException) -> None:
        """A job's future tells of this one: the block's end need not."""
        if self._escaped is error:
            self._escaped = None

    def _broken(self, error: BaseException) -> None:
        """The loop itself failed: nobody may wait for ever."""
        with self._lock:
            self._open = False
            jobs = list(self._jobs)
        for job in jobs:
            job.fail(error)


class Background:
    """The context manager that `background()` gives; use it once, with `with`."""

    def __init__(self, engine: EngineName | None, name: str, debug: bool | None) -> None:
        self._engine = engine
        self._name = name
        self._debug = debug
        self._portal: Portal | None = None
        self._started = threading.Event()
        self._ended = threading.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> Portal:
        if self._portal is not None:
            raise RuntimeError("this plait.background() has been entered before: make another for each block")
        self._portal = portal = Portal()
        portal.thread = threading.Thread(target=self._main, args=(portal,), name=self._name, daemon=True)
        portal.thread.start()
        try:
            wait_until(self._started)
        except BaseException:
            wait_until(self._started)
            portal._end(cancel=True)
            raise
        if self._failure is not None:
            portal.thread.join()
            raise self._failure
        open_backgrounds.add(self)
        return portal

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        portal = self._portal
        if portal is None:
            raise RuntimeError("this plait.background() was never entered: use it with `with`")
        if os.getpid() != portal._process:
            # A forked child leaves the block: the thread is the parent's.
            return
        if threading.get_ident() == portal.thread.ident:
            raise RuntimeError("the portal's block cannot end in its own loop: leave it in the thread that entered it")
        open_backgrounds.discard(self)
        portal._end(cancel=error is not None)
        try:
            # Not join(): interrupted, that of Python 3.11 and 3.12 takes the thread for ended (bpo-45274).
            wait_until(self._ended)
        except BaseException:
            portal._end(cancel=True)
            wait_until(self._ended)
            raise
        finally:
            if self._ended.is_set():
                portal.thread.join()
        if self._failure is not None:
            raise self._failure
        if portal._escaped is not None and error is None:
            raise portal._escaped

    async def __aenter__(self) -> NoReturn:
        raise TypeError(
            "plait.background() is for code that is not asynchronous: use `with`, not `async with`; "
            "in a running loop just await, or make tasks with asyncio.TaskGroup"
        )

    async def __aexit__(self, *exc_info: object) -> None: ...

    def _main(self, portal: Portal) -> None:
        try:
            factory = functools.partial(new_event_loop, self._engine)
            with asyncio.Runner(debug=self._debug, loop_factory=factory) as runner:
                portal.loop = loop = typing.cast(Loop, runner.get_loop())
                loop.call_soon(self._started.set)
                portal._run()
        except BaseException as error:
            self._failure = error
            portal._broken(error)
        finally:
            self._started.set()
            self._ended.set()


def background(
    *, engine: EngineName | None = None, name: str = "plait-background", debug: bool | None = None
) -> Background:
    """A loop in a background thread: `with plait.background() as portal: portal.call(async_function, ...)`.

    `engine` as for `new_event_loop`, `name` is the thread's, `debug` asyncio's debug mode. See `Portal` for what can be
    done with it, and this module's text for how it ends. SystemExit or KeyboardInterrupt raised by a job goes to
    whoever waits for that job; raised by anything else in the loop it is raised again at the end of the block.
    """
    return Background(engine, name, debug)


async def wait_for(awaitable: Awaitable[T]) -> T:
    return await awaitable


def name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__qualname__", None) or type(function).__qualname__


open_backgrounds: "weakref.WeakSet[Background]" = weakref.WeakSet()


def close_all() -> None:
    """At the interpreter's exit: end what was entered by hand and never left."""
    for item in list(open_backgrounds):
        portal = item._portal
        if portal is not None and portal._process == os.getpid():
            portal._end(cancel=True)
            item._ended.wait(EXIT_GRACE_S)


atexit.register(close_all)
