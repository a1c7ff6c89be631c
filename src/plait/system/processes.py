"""Child processes, waited for by a descriptor of their own (pidfd_open(2), Linux 5.3): no SIGCHLD, no watcher, no
thread.

A pidfd becomes readable when its process ends, so it is one more descriptor for the engine. Where it cannot be had (an
older kernel, a seccomp filter, no descriptor left) one thread per child waits in its stead.
"""

import asyncio
import contextlib
import functools
import logging
import os
import threading
from typing import Any, NamedTuple

from plait import standard
from plait.engine.contract import CallbackSource
from plait.system.host import Host

logger = logging.getLogger("asyncio")

# What asyncio reports for a child whose status somebody else has read.
STATUS_LOST = 255


class Child(NamedTuple):
    """A child whose end the engine waits for."""

    transport: standard.SubprocessTransport
    source: CallbackSource


class ProcessFactories(Host):
    """What BaseEventLoop.subprocess_exec and subprocess_shell ask the loop for."""

    _children: dict[int, Child]  # by pidfd

    def _processes_init(self) -> None:
        self._children = {}

    def _processes_close(self) -> None:
        """Stop watching. The children go on; Popen reaps them later, as after asyncio's loop. In the child of a fork they are the
        parent's, and only the descriptors are given back."""
        while self._children:
            self._unwatch(next(iter(self._children)))

    async def _make_subprocess_transport(
        self,
        protocol: asyncio.SubprocessProtocol,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> asyncio.SubprocessTransport:
        waiter: asyncio.Future[None] = self.create_future()
        transport = standard.SubprocessTransport(
            self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **kwargs
        )
        try:
            self._watch(transport)
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await reaped(transport)
            raise
        return transport

    def _watch(self, transport: standard.SubprocessTransport) -> None:
        pid = transport.process.pid
        try:
            self._watch_pidfd(transport, os.pidfd_open(pid))
        except ProcessLookupError:
            # Reaped already: SIGCHLD is ignored, or somebody called wait() for any child.
            self.call_soon(self._reap, transport)
        except OSError:
            threading.Thread(
                target=self._wait_in_thread, args=(transport,), name=f"plait-waitpid-{pid}", daemon=True
            ).start()

    def _watch_pidfd(self, transport: standard.SubprocessTransport, pidfd: int) -> None:
        try:
            source = self._arm(pidfd, functools.partial(self._exited, pidfd))
        except BaseException:
            os.close(pidfd)
            raise
        self._children[pidfd] = Child(transport, source)

    def _unwatch(self, pidfd: int) -> None:
        self._disarm(self._children.pop(pidfd).source)
        os.close(pidfd)

    def _exited(self, pidfd: int, events: int) -> None:
        """The engine says that the child has ended."""
        transport = self._children[pidfd].transport
        if has_ended(pidfd):
            self._unwatch(pidfd)
            # In a callback, where errors of a protocol are reported as those of a protocol. It is reaped there, too: till the
            # transport knows that it has ended, send_signal() must not reach another process that got its pid.
            self.call_soon(self._reap, transport)

    def _reap(self, transport: standard.SubprocessTransport) -> None:
        """A child that has ended, and that no descriptor watches any more."""
        status = exit_status(transport)
        assert status is not None
        transport.process_exited(status)

    def _wait_in_thread(self, transport: standard.SubprocessTransport) -> None:
        # The status stays to be read by the loop's own thread, where the pid is also signalled: it cannot be reused
        # before.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, transport.process.pid, os.WEXITED | os.WNOWAIT)
        try:
            self.call_soon_threadsafe(self._reap, transport)
        except RuntimeError:
            transport.process.poll()
            logger.warning("Loop %r that handles pid %r is closed", self, transport.process.pid)


async def reaped(transport: standard.SubprocessTransport) -> None:
    """Wait for the end of a child that was killed, however often this is cancelled: a cancel scope of anyio does so in every turn.

    Given up in between, the child would stay a zombie if the loop ends by then.
    """
    ended = asyncio.ensure_future(transport.exit())
    cancelled = None
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def has_ended(pidfd: int) -> bool:
    """Whether the child has ended, for an engine may tell of a descriptor once too often. Its status stays to be read."""
    try:
        return os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # reaped by somebody else
        return True


def exit_status(transport: standard.SubprocessTransport) -> int | None:
    """Reap the child; None while it runs."""
    process = transport.process
    # Popen reads the status itself in poll(), wait() and send_signal().
    if process.returncode is not None:
        return process.returncode
    try:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        logger.warning(
            "child process pid %d exit status already read:  will report returncode %d", process.pid, STATUS_LOST
        )
        return STATUS_LOST
    return os.waitstatus_to_exitcode(status) if pid else None
