"""`plait run`: runs a program as the interpreter itself would, after plait took the place of the loops it may make.

The program runs in this process and sees what it would see under `python`: its own `__main__`, `sys.argv`, `sys.path[0]`. An
exception that it does not catch passes through to the interpreter, which knows best how to end (SystemExit's codes, death by
SIGINT after Ctrl-C); only the traceback is shortened by the frames that are ours.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import pkgutil
import runpy
import signal
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

from plait.engine.choice import new_engine
from plait.running import new_event_loop

__all__ = ["prepare", "recorded", "run_module", "run_path", "take_over"]


def prepare(*, engine: str | None, debug: bool, watchdog_ms: float | None = None) -> None:
    """Settle how loops are made from here on, in this process and in the children that it starts with multiprocessing.

    Raises SystemExit with one line when the engine that was asked for cannot run here.
    """
    if engine is not None:
        os.environ["PLAIT_ENGINE"] = engine
    if debug:
        os.environ["PYTHONASYNCIODEBUG"] = "1"  # asyncio reads it whenever a loop is made
    if watchdog_ms is not None:
        os.environ["PLAIT_WATCHDOG"] = f"{watchdog_ms:g}"
    try:
        new_engine()
    except (RuntimeError, ValueError, OSError) as error:
        raise SystemExit(f"plait run: {error}") from None
    take_over()


def recorded(
    record: str | None, flight: str | None, name: str, arguments: Sequence[str]
) -> contextlib.AbstractContextManager[object]:
    """What `plait run --record` and `--flight` put around the program of that name."""
    from plait.see import watchdog
    from plait.see.flight import FlightRecorder, flight_recorder
    from plait.see.recorders import FileRecording
    from plait.see.recorders import record as record_into

    recording: FileRecording | FlightRecorder
    if record is not None:
        recording = record_into(record)
    elif flight is not None:
        recording = flight_recorder(flight, signum=signal.SIGUSR2)
    else:
        return contextlib.nullcontext()
    recording.program, recording.arguments = os.path.basename(name), arguments
    try:
        if not {"PLAIT_WATCHDOG", "PLAIT_ATTACH"} & os.environ.keys():
            # Only it sees the line of what blocks, and what is never retrieved, never awaited, never woken.
            with contextlib.suppress(OSError):
                watchdog.watchdog(report=watchdog.silent)
        return recording.begun()
    except OSError as error:
        raise SystemExit(f"plait run: cannot write to {record or flight}: {error.strerror}") from None
    except RuntimeError as error:
        raise SystemExit(f"plait run: {error}") from None


def run_path(path: str, arguments: Sequence[str]) -> int:
    """Run a file, a folder or zip archive with a `__main__.py`, or stdin (`-`)."""
    sys.argv = [path, *arguments]
    if path == "-":
        set_first_import_folder("")
        return execute(sys.stdin.buffer.read(), "<stdin>", importlib.machinery.BuiltinImporter)
    # As the interpreter does it: made absolute, but neither normalised nor resolved.
    absolute = os.path.join(os.getcwd(), path)
    if pkgutil.get_importer(absolute) is not None:
        set_first_import_folder(absolute)
        return run_module("__main__")
    try:
        with io.open_code(absolute) as file:
            source = file.read()
    except OSError as error:
        print(f"plait: can't open file {absolute!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        return 2
    set_first_import_folder(os.path.dirname(os.path.realpath(path)))
    return execute(source, absolute, importlib.machinery.SourceFileLoader("__main__", absolute))


def run_module(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a module as `python -m` does; without arguments (a folder's `__main__`), `sys.argv` is left as it is."""
    if arguments is not None:
        sys.argv = ["-m", *arguments]
        set_first_import_folder(os.getcwd())
    new_main_module()
    with_own_traceback(runpy._run_module_as_main, name, arguments is not None)  # type: ignore[attr-defined]
    return 0


def execute(source: bytes, filename: str, loader: Any) -> int:
    main = new_main_module()
    main.__loader__ = loader
    main.__file__ = filename
    if sys.version_info < (3, 15):  # later ones have no such name
        main.__dict__["__cached__"] = None
    with_own_traceback(compile_and_run, source, filename, main.__dict__)
    return 0


def compile_and_run(source: bytes, filename: str, namespace: dict[str, Any]) -> None:
    exec(compile(source, filename, "exec", dont_inherit=True), namespace)


def new_main_module() -> types.ModuleType:
    """A fresh `__main__`, so that nothing of ours is seen in it, and pickle and multiprocessing find the program's."""
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    if sys.version_info < (3, 14):  # later ones make it when a module has annotations
        main.__annotations__ = {}
    sys.modules["__main__"] = main
    return main


def set_first_import_folder(folder: str) -> None:
    """Put the program's folder where the interpreter put ours; it put none under `-P`."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def with_own_traceback(function: Callable[..., object], *arguments: object) -> None:
    """Call it; what it raises will be reported as if the program had been started by the interpreter itself."""
    try:
        function(*arguments)
    except SystemExit:
        raise
    except BaseException as exception:
        traceback = exception.__traceback__
        while traceback is not None and traceback.tb_frame.f_globals is globals():
            traceback = traceback.tb_next
        hook = sys.excepthook

        def report(kind: type[BaseException], value: BaseException, _: types.TracebackType | None) -> None:
            sys.last_traceback = traceback
            hook(kind, value.with_traceback(traceback), traceback)

        sys.excepthook = report
        raise


def take_over() -> None:
    """Make plait's loop where a program asks for a loop of asyncio or uvloop, by whatever way.

    Everything in asyncio that makes a loop on Linux (run, Runner, new_event_loop, each policy) ends in a call of
    `asyncio.SelectorEventLoop`, so that its `__new__` is the one place to stand in: what it returns is not of that class, hence
    not initialised a second time. Subclasses and selectors of the program's own stay as they are.
    """
    if "__new__" in vars(asyncio.SelectorEventLoop):
        return

    def __new__(cls: type[asyncio.SelectorEventLoop], selector: Any = None) -> asyncio.AbstractEventLoop:
        if cls is not asyncio.SelectorEventLoop or type(selector).__module__ not in ("builtins", "selectors"):
            return object.__new__(cls)
        if selector is not None:
            selector.close()
        return new_event_loop()

    asyncio.SelectorEventLoop.__new__ = __new__  # type: ignore[method-assign, assignment]
    after_import("uvloop", take_over_uvloop)
    after_import("multiprocessing.spawn", take_over_children)


def take_over_uvloop(uvloop: types.ModuleType) -> None:
    original = uvloop.Loop.__new__

    def __new__(cls: type, *arguments: object, **options: object) -> object:
        return new_event_loop() if cls is uvloop.Loop else original(cls)

    uvloop.Loop.__new__ = __new__


class TakeOver:
    """Is pickled into what multiprocessing sends to a new child, and unpickles by taking over there."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return take_over, ()


def take_over_children(spawn: types.ModuleType) -> None:
    """Children started by `spawn` and `forkserver` are fresh interpreters; they unpickle these data first."""
    original = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, object]:
        return {**original(name), "plait": TakeOver()}

    spawn.get_preparation_data = get_preparation_data  # type: ignore[attr-defined]


def after_import(name: str, change: Callable[[types.ModuleType], None]) -> None:
    """Change the module as soon as it is imported, which may be never."""
    if name in sys.modules:
        change(sys.modules[name])
    else:
        sys.meta_path.insert(0, ChangingFinder(name, change))


class ChangingFinder(importlib.abc.MetaPathFinder):
    """Lets the other finders find one module, and changes it after it was executed."""

    def __init__(self, name: str, change: Callable[[types.ModuleType], None]) -> None:
        self.name = name
        self.change = change

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute_module = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            execute_module(module)
            self.change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
