"""Recordings in progress: into a file, or kept in memory to be dumped when something happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import select
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from plait.core import recorded
from plait.core import recorder as core
from plait.see import deadlocks
from plait.see.recording import END, EVENTS, describe_chunk, live_path, pack, write_block, write_head

if TYPE_CHECKING:
    from plait.loop import Loop

__all__ = ["RING_SIZE", "FileRecording", "mark", "record"]


RING_SIZE = 32 * 1024 * 1024
# The writer looks at least so often, and is told when a quarter of the ring is full.
LOOK_SECONDS = 1.0


def program_name() -> str:
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    return os.path.basename(path) if path else sys.argv[0] if sys.argv else ""


def new_meta(thread: str, program: str | None = None, arguments: Sequence[str] | None = None) -> dict[str, Any]:
    return {
        "program": program_name() if program is None else program,
        "arguments": " ".join(sys.argv[1:] if arguments is None else arguments)[:500],
        "python": platform.python_version(),
        "plait": version("plait"),
        "pid": os.getpid(),
        "host": platform.node(),
        "thread": thread,
    }


class FileRecording:
    """A recording of the loop of one thread into a file; `record` makes it."""

    # For `plait run`, which begins before the program is there.
    program: str | None = None
    arguments: Sequence[str] | None = None

    def __init__(self, path: str | os.PathLike[str], loop: Loop | None, size: int) -> None:
        self.path = os.fspath(path)
        self.lost = 0
        self._loop = loop
        self._size = size
        self._recorder: Any = None
        self._file: BinaryIO | None = None
        self._next = 0

    def __enter__(self) -> FileRecording:
        if self._recorder is None:
            self.start()
        return self

    def begun(self) -> FileRecording:
        """Begin at once; the with statement then only ends it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin. RuntimeError if the loop is not plait's, or is recorded already."""
        if self._recorder is not None:
            raise RuntimeError("this recording has begun already; each record() is used once")
        core.check_build()  # before the file is made
        loop = self._loop or running_loop()
        self._meta = new_meta(threading.current_thread().name, self.program, self.arguments)
        self._pid = os.getpid()
        self._file = open(self.path, "wb")  # noqa: SIM115 - closed by stop()
        self._wake = -1
        try:
            write_head(self._file)
            self._file.flush()
            self._recorder = core.Recorder(self._size, live_path(self.path), self._meta)
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._quarter = self._recorder.chunk_events * self._recorder.chunk_count // 4
            self._recorder.signal(self._wake, self._quarter)
            self._recorder.on_end = self._loop_ends
            recorded.begin(self._recorder, loop, threading.get_ident())
        except BaseException:
            self._close()
            raise
        self._ending = False
        self._thread = threading.Thread(target=self._write, name="plait-recording", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and write what is left. Idempotent."""
        if self._recorder is None or self._file is None:
            return
        if self._pid != os.getpid():  # the child of a fork: the recording is the parent's
            self._close()
            return
        self._end_ns = self._recorder.now_ns
        recorded.end(self._recorder)
        self._ending = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._close()

    def mark(self, text: str) -> None:
        """A named point in time, drawn in the picture."""
        self._recorder.mark(text)

    def _loop_ends(self, loop: Loop) -> None:
        """What waits for each other now will do so for ever. The events do not tell who is awaited."""
        self._end_ns = self._recorder.now_ns
        deadlocks.note(self._recorder, loop, self._end_ns)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._recorder is not None:
            recorded.end(self._recorder)
            self._recorder.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1
        if self._pid == os.getpid():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(live_path(self.path))

    # The writer's thread.

    def _write(self) -> None:
        waiting = select.poll()
        waiting.register(self._wake, select.POLLIN)
        while not self._ending:
            waiting.poll(LOOK_SECONDS * 1000)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            self._take(self._recorder.written // self._recorder.chunk_events)
            self._recorder.signal(self._wake, self._next * self._recorder.chunk_events + self._quarter)
        self._take(-(-self._recorder.written // self._recorder.chunk_events))
        self._put(END, {"end_ns": self._end_ns, "written": self._recorder.written, "lost": self.lost})

    def _take(self, until: int) -> None:
        """Write all chunks before this one."""
        while self._next < until:
            number = self._next
            self._next += 1
            found = describe_chunk(self._recorder, self._meta, number)
            if found is None:
                self.lost += self._recorder.chunk_events
            else:
                self._put(EVENTS, *found)

    def _put(self, kind: int, description: dict[str, Any], events: bytes = b"") -> None:
        assert self._file is not None
        write_block(self._file, kind, description.get("position", 0), pack(description, events))
        self._file.flush()


def running_loop() -> Loop | None:
    """The loop of this thread, or None. RuntimeError if it is not plait's."""
    from plait.loop import Loop

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    if not isinstance(loop, Loop):
        raise RuntimeError(
            f"only plait's loops can be recorded, and the running one is {type(loop).__module__}."
            f"{type(loop).__qualname__}: start the program with plait.run(main()) or `plait run`"
        )
    return loop


def record(path: str | os.PathLike[str], *, loop: Loop | None = None, size: int = RING_SIZE) -> FileRecording:
    """Record into a file, as a context manager: `with plait.record("out.plait"): ...`

    Inside a running loop that loop is recorded from here on; elsewhere every loop that runs in this thread within the block. `loop`
    names another one. `size` is the memory in bytes for events that are not written yet; what does not fit is lost and
    shown as a gap. An existing file is replaced.
    """
    return FileRecording(path, loop, size)


def mark(text: str) -> None:
    """Name this moment in whatever records the running loop; nothing happens when nothing does."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    recorder = getattr(loop, "recorder", None)
    if recorder is not None:
        recorder.mark(text)
