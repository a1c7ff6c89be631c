"""Child processes, waited for by a descriptor of their own (pidfd_open(2), Linux 5.3): no SIGCHLD, no watcher, no
thread.

A pidfd becomes readable when its process ends, so it is one more descriptor for the engine. Where it cannot be had (an
older kernel, a seccomp filter, no descriptor left) one thread per child waits in its stead.
"""

import asyncio
import contextlib
import logging
import os
import threading
from typing import Any

from plait import standard
from plait.system.host import Host

logger = logging.getLogger("asyncio")

# What asyncio reports for a child whose status somebody else has read.
STATUS_LOST = 255


class ProcessFactories(Host):
    """What BaseEventLoop.subprocess_exec and subprocess_shell ask the loop for."""

    _children: dict[int, standard.SubprocessTransport]  # by pidfd

    def _processes_init(self) -> None:
        self._children = {}

    def _processes_close(self) -> None:
        """Stop watching. The children go on; Popen reaps them later, as after asyncio's loop."""
        while self._children:
            self._unwatch(next(iter(self._children)))

    def _processes_forget(self) -> None:
        """In the child of a fork: give back the descriptors; the processes are the parent's children."""
        while self._children:
            pidfd, _ = self._children.popitem()
            self._forget_reader(pidfd)
            os.close(pidfd)

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
        self._watch(transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            # Shielded: a second cancellation must not leave the killed child unreaped by giving up its transport.
            await asyncio.shield(transport.exit())
            raise
        return transport

    def _watch(self, transport: standard.SubprocessTransport) -> None:
        pid = transport.process.pid
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            # Reaped already: SIGCHLD is ignored, or somebody called wait() for any child.
            self.call_soon(self._reap, transport)
        except OSError:
            threading.Thread(
                target=self._wait_in_thread, args=(transport,), name=f"plait-waitpid-{pid}", daemon=True
            ).start()
        else:
            self._children[pidfd] = transport
            self.add_reader(pidfd, self._exited, pidfd)

    def _unwatch(self, pidfd: int) -> standard.SubprocessTransport:
        transport = self._children.pop(pidfd)
        self.remove_reader(pidfd)
        os.close(pidfd)
        return transport

    def _exited(self, pidfd: int) -> None:
        self._reap(self._unwatch(pidfd))

    def _reap(self, transport: standard.SubprocessTransport) -> None:
        """Read the status of a child that has ended, and tell its transport."""
        if not transport.finished:
            transport.process_exited(exit_status(transport))

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


def exit_status(transport: standard.SubprocessTransport) -> int:
    process = transport.process
    # Popen reads the status itself in poll(), wait() and send_signal().
    if process.returncode is not None:
        return process.returncode
    try:
        _, status = os.waitpid(process.pid, 0)
    except ChildProcessError:
        logger.warning(
            "child process pid %d exit status already read:  will report returncode %d", process.pid, STATUS_LOST
        )
        return STATUS_LOST
    try:
        return os.waitstatus_to_exitcode(status)
    except ValueError:
        # Neither exited nor killed, which waitpid(2) without WUNTRACED never says; the bare number helps whoever sees
        # it.
        return status
