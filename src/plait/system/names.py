"""Names and addresses: getaddrinfo(3) and getnameinfo(3), in threads of their own.

asyncio looks names up in the default executor, where as many blocking calls of the program as it has threads keep every new
connection waiting (python/cpython#112169). What needs no look-up, an address in digits, is answered at once.
"""

import asyncio
import concurrent.futures  # its parts are imported when they are used
import contextlib
import socket
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from plait.system.host import Host

if TYPE_CHECKING:

    class Base(Host):
        """What asyncio.BaseEventLoop has for its executor and its own getaddrinfo."""

        _debug: bool
        _default_executor: concurrent.futures.Executor | None
        _executor_shutdown_called: bool
        _getaddrinfo_debug: Callable[..., Any]  # the call with its duration in the log

        def _check_default_executor(self) -> None: ...
else:
    Base = Host

# More than that many slow servers at once make the next look-up wait. Threads are started one by one, as they are needed.
THREADS_MAX = 16
DIGITS_ONLY = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class NameFactories(Base):
    """getaddrinfo and getnameinfo of the loop."""

    _name_threads: "concurrent.futures.ThreadPoolExecutor | None"

    def _names_init(self) -> None:
        self._name_threads = None

    def _names_close(self) -> None:
        threads, self._name_threads = self._name_threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    def _names_forget(self) -> None:
        """In the child of a fork: its threads are the parent's."""
        self._name_threads = None

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """socket.getaddrinfo() off the loop. Cancelled, the look-up that has begun goes on in its thread, and nobody hears of it."""
        look_up = self._getaddrinfo_debug if self._debug else socket.getaddrinfo
        found: list[Any]
        if needs_no_look_up(host, port):
            found = look_up(host, port, family, type, proto, flags)
        else:
            found = await self._in_name_thread(look_up, host, port, family, type, proto, flags)
        return found

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """socket.getnameinfo() off the loop."""
        if flags & DIGITS_ONLY == DIGITS_ONLY:
            return socket.getnameinfo(sockaddr, flags)
        found: tuple[str, str] = await self._in_name_thread(socket.getnameinfo, sockaddr, flags)
        return found

    def _in_name_thread(self, call: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        self._check_default_executor()  # as asyncio's, it raises after shutdown_default_executor()
        if self._name_threads is None:
            self._name_threads = concurrent.futures.ThreadPoolExecutor(THREADS_MAX, "plait-names")
        return self.run_in_executor(self._name_threads, call, *args)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads of the default executor and for those that look names up; after that both refuse work.

        RuntimeWarning when they did not end in `timeout` seconds. Cancelled, it leaves them to end by themselves.
        """
        self._executor_shutdown_called = True
        executors = [executor for executor in (self._default_executor, self._name_threads) if executor is not None]
        self._name_threads = None
        if not executors:
            return
        ended: asyncio.Future[None] = self.create_future()
        joining = threading.Thread(target=self._join, args=(executors, ended), name="plait-join")
        joining.start()
        try:
            async with asyncio.timeout(timeout):
                await ended
        except TimeoutError:
            warnings.warn(
                f"The executor did not finishing joining its threads within {timeout} seconds.",
                RuntimeWarning,
                stacklevel=2,
            )
            for executor in executors:
                executor.shutdown(wait=False)
        else:
            joining.join()

    def _join(self, executors: list[concurrent.futures.Executor], ended: "asyncio.Future[None]") -> None:
        error = None
        try:
            for executor in executors:
                executor.shutdown(wait=True)
        except Exception as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self.call_soon_threadsafe(tell, ended, error)


def needs_no_look_up(host: Any, port: Any) -> bool:
    """Whether getaddrinfo(3) asks neither a server nor a file: the host is left open or in digits, and so is the port."""
    if not (port is None or isinstance(port, int)):
        return False
    if host is None:
        return True
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.decode("ascii") if isinstance(host, bytes) else host)
        except (OSError, TypeError, ValueError):
            continue
        return True
    return False


def tell(future: "asyncio.Future[None]", error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
