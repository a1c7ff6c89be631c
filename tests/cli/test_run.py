"""`plait run` beside `python`: the same program, the same results, on another loop."""

import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SECONDS = 30

PYTHON = [sys.executable]
PLAIT = [sys.executable, "-m", "plait", "run"]

SEES = """\
import sys
print(sys.argv, sys.path[0], sys.modules["__main__"].__dict__ is globals())
print(__name__, globals().get("__file__"), __spec__ and __spec__.name, __package__, sorted(globals()))
print(getattr(__loader__, "__name__", type(__loader__).__name__), __builtins__)
"""


def start(command: list[str], folder: Path, **options: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def run(command: list[str], folder: Path, stdin: str = "") -> tuple[int, str, str]:
    ended = subprocess.run(command, cwd=folder, text=True, capture_output=True, input=stdin, timeout=SECONDS)
    return ended.returncode, ended.stdout, ended.stderr


def write(folder: Path, code: str, name: str = "app.py") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(code)


@pytest.mark.parametrize(
    "how",
    [
        ["app.py", "one", "--two", "-m", "--engine", "x"],
        ["./app.py"],
        ["package/../app.py"],
        ["{folder}/app.py"],
        ["link.py"],
        ["folder"],
        ["app.zip", "one"],
        ["-m", "app", "one", "--two", "-m"],
        ["-m", "package", "one"],
        ["-mapp", "one"],
        ["-", "one"],
    ],
    ids=" ".join,
)
def test_a_program_sees_what_it_sees_under_python(tmp_path: Path, how: list[str]) -> None:
    """argv, __main__ with all its names, and the folder from which it imports first."""
    write(tmp_path, SEES)
    write(tmp_path, SEES, "folder/__main__.py")
    write(tmp_path, SEES, "package/__main__.py")
    write(tmp_path, "", "package/__init__.py")
    write(tmp_path, SEES, "elsewhere/target.py")
    (tmp_path / "link.py").symlink_to(tmp_path / "elsewhere/target.py")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", SEES)
    words = [word.format(folder=tmp_path) for word in how]
    expected = run([*PYTHON, *words], tmp_path, SEES)
    assert (0, "") == (expected[0], expected[2])
    assert expected == run([*PLAIT, *words], tmp_path, SEES)


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(3)",
        "import sys; sys.exit()",
        "import sys; sys.exit('gone')",
        "raise SystemExit(300)",
        "import os; os._exit(5)",
        "def f():\n    1 / 0\n\nf()",
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('x') from e",
        "import asyncio\n\nraise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
        "import json\njson.loads('{')",
        "x = = 1",
        "from __future__ import annotations\nimport sys\nprint(sys.flags)\nassert False",
        "import sys\nsys.excepthook = lambda *given: print('hook', given[0], given[2].tb_lineno)\nraise ValueError",
        "raise KeyboardInterrupt",
        "import atexit, threading\natexit.register(print, 'at exit')\n"
        "threading.Thread(target=lambda: print('thread')).start()\nraise KeyboardInterrupt",
        "import sys, traceback\ntry:\n    raise OSError(2, 'no')\nexcept OSError:\n    traceback.print_exc()",
    ],
)
def test_a_program_ends_as_under_python(tmp_path: Path, code: str) -> None:
    """Exit status, death by SIGINT, and tracebacks in which nothing of plait is seen."""
    write(tmp_path, code)
    assert run([*PYTHON, "app.py"], tmp_path) == run([*PLAIT, "app.py"], tmp_path)


@pytest.mark.parametrize("how", [["-m", "app"], ["-"]], ids=" ".join)
@pytest.mark.parametrize(
    "code", ["import sys; sys.exit('gone')", "def f():\n    1 / 0\n\nf()", "raise KeyboardInterrupt"]
)
def test_a_module_and_stdin_end_as_under_python(tmp_path: Path, how: list[str], code: str) -> None:
    """In a module's traceback Python's runpy is seen, as always; plait is not."""
    write(tmp_path, code)
    assert run([*PYTHON, *how], tmp_path, code) == run([*PLAIT, *how], tmp_path, code)


def test_the_last_traceback_is_the_programs(tmp_path: Path) -> None:
    """What a debugger finds after death (sys.last_traceback) begins in the program."""
    write(
        tmp_path,
        "import atexit, sys\natexit.register(lambda: print(sys.last_traceback.tb_frame.f_code))\nraise ValueError",
    )
    outputs = [run([*command, "app.py"], tmp_path)[1] for command in (PYTHON, PLAIT)]
    expected, ours = (re.sub("0x[0-9a-f]+", "", output) for output in outputs)
    assert expected == ours


def test_what_cannot_be_run_is_said_as_python_says_it(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words in (["missing.py"], ["-m", "missing"], ["-m", "empty"], ["empty"]):
        expected = run([*PYTHON, *words], tmp_path)
        status, output, error = run([*PLAIT, *words], tmp_path)
        assert (expected[0], expected[1]) == (status, output)
        assert expected[2].partition(": ")[2] == error.partition(": ")[2]


def test_safe_path_puts_no_folder_in_front(tmp_path: Path) -> None:
    """Under -P the interpreter leaves sys.path as it is, and so do we."""
    write(tmp_path, "import sys; print(sys.path)")
    python = [sys.executable, "-P"]
    assert run([*python, "app.py"], tmp_path) == run([*python, "-m", "plait", "run", "app.py"], tmp_path)


WAYS = {
    "run": "asyncio.run(main())",
    "runner": "with asyncio.Runner() as runner: runner.run(main())",
    "new_event_loop": "loop = asyncio.new_event_loop(); loop.run_until_complete(main()); loop.close()",
    "set_event_loop": "loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop); "
    "asyncio.get_event_loop().run_until_complete(main()); loop.close()",
    "class": "loop = asyncio.SelectorEventLoop(); loop.run_until_complete(main()); loop.close()",
    "selector": "import selectors; loop = asyncio.SelectorEventLoop(selectors.SelectSelector()); "
    "loop.run_until_complete(main()); loop.close()",
    "factory": "with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner: runner.run(main())",
    "thread": "import threading; t = threading.Thread(target=asyncio.run, args=(main(),)); t.start(); t.join()",
    "plait": "import plait; plait.run(main())",
    "uvloop": "import uvloop; uvloop.run(main())",
    "uvloop factory": "import uvloop; asyncio.Runner(loop_factory=uvloop.Loop).run(main())",
}
if sys.version_info < (3, 14):
    WAYS |= {
        "get_event_loop": "import warnings; warnings.simplefilter('ignore'); "
        "loop = asyncio.get_event_loop(); loop.run_until_complete(main()); loop.close()",
        "policy": "asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy()); asyncio.run(main())",
        "own policy": "class Policy(asyncio.DefaultEventLoopPolicy): pass\n"
        "asyncio.set_event_loop_policy(Policy()); asyncio.run(main())",
    }

# Has uvloop's shape: a class in Python over a compiled one, made by a factory.
UVLOOP = """\
import asyncio
class Base: pass
class Loop(Base, asyncio.AbstractEventLoop): pass
def new_event_loop(): return Loop()
def run(main): return asyncio.Runner(loop_factory=new_event_loop).run(main)
"""


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_make_a_loop_makes_ours(tmp_path: Path, way: str) -> None:
    write(tmp_path, UVLOOP, "uvloop.py")
    write(
        tmp_path,
        "import asyncio\nasync def main():\n    loop = asyncio.get_running_loop()\n"
        f"    print(type(loop).__module__, loop.get_debug())\n{WAYS[way]}\n",
    )
    assert (0, "plait.loop False\n", "") == run([*PLAIT, "app.py"], tmp_path)


def test_a_loop_of_the_programs_own_stays_its_own(tmp_path: Path) -> None:
    """A subclass, or a selector that is not the standard library's, is there for a reason."""
    write(
        tmp_path,
        "import asyncio, selectors\n"
        "class Loop(asyncio.SelectorEventLoop): pass\n"
        "class Selector(selectors.DefaultSelector): pass\n"
        "for loop in Loop(), Loop(selectors.SelectSelector()), asyncio.SelectorEventLoop(Selector()):\n"
        "    print(type(loop).__name__)\n"
        "    loop.close()\n",
    )
    assert (0, "Loop\nLoop\n_UnixSelectorEventLoop\n", "") == run([*PLAIT, "app.py"], tmp_path)


ENGINE = "import asyncio\nasync def main(): print(asyncio.get_running_loop().engine.name, asyncio.get_running_loop().get_debug())\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--engine", "epoll"], "epoll False"),
        (["--engine=uring"], "uring False"),
        (["--debug", "--engine", "epoll"], "epoll True"),
    ],
)
def test_options_stand_before_the_program(tmp_path: Path, options: list[str], expected: str) -> None:
    write(tmp_path, ENGINE + "asyncio.run(main())")
    for words in (["app.py"], ["-m", "app"]):
        assert (0, f"{expected}\n", "") == run([*PLAIT, *options, *words], tmp_path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "plait run: no program given (see plait run --help)\n"),
        (["--engine"], "plait run: argument --engine: expected one argument (see plait run --help)\n"),
        (["-m"], "plait run: argument -m: expected one argument (see plait run --help)\n"),
        (["--fast", "app.py"], "plait run: unrecognized arguments: --fast (see plait run --help)\n"),
    ],
)
def test_misuse_is_one_line(tmp_path: Path, words: list[str], expected: str) -> None:
    assert (2, "", expected) == run([*PLAIT, *words], tmp_path)


def test_an_unknown_engine_is_one_line_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "print('ran')")
    status, output, error = run([*PLAIT, "--engine", "kqueue", "app.py"], tmp_path)
    assert (2, "", 1) == (status, output, len(error.splitlines()))
    monkeypatch.setenv("PLAIT_ENGINE", "kqueue")
    status, output, error = run([*PLAIT, "app.py"], tmp_path)
    assert (1, "", 1) == (status, output, len(error.splitlines()))
    assert "kqueue" in error


PROCESSES = """\
import asyncio, multiprocessing, pickle, sys

class Question:
    def __init__(self, value): self.value = value

async def which():
    return type(asyncio.get_running_loop()).__module__

def answer(question):
    return question.value, asyncio.run(which())

if __name__ == "__main__":
    print(pickle.loads(pickle.dumps(Question(1))).value, Question.__module__)
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(pool.apply(answer, (Question(2),)))
        pool.close()
        pool.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("how", [["app.py"], ["-m", "app"]], ids=" ".join)
def test_children_find_the_programs_classes_and_run_on_plait(tmp_path: Path, method: str, how: list[str]) -> None:
    """multiprocessing imports __main__ again in fresh interpreters, which have to make our loops as well."""
    write(tmp_path, PROCESSES)
    assert (0, "1 __main__\n(2, 'plait.loop')\n", "") == run([*PLAIT, *how, method], tmp_path)


WAITS = """\
import asyncio
async def main():
    try:
        print("ready", flush=True)
        await asyncio.Event().wait()
    finally:
        print("cleaned up")
asyncio.run(main())
"""


def test_ctrl_c_cancels_main_and_ends_by_the_signal(tmp_path: Path, engine: str) -> None:
    """As under python: clean-up runs, the traceback ends in KeyboardInterrupt, and the shell sees a death by SIGINT."""
    write(tmp_path, WAITS)
    for command in (PYTHON, PLAIT):
        process = start([*command, "app.py"], tmp_path)
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=SECONDS)
        assert (-signal.SIGINT, "cleaned up\n") == (process.returncode, output)
        assert "KeyboardInterrupt" == error.splitlines()[-1]
        assert 'app.py", line 8, in <module>' in error
        assert "plait/cli" not in error


def test_the_console_command_is_the_module(tmp_path: Path) -> None:
    """`plait` as pip installs it, whose own folder must not be where the program imports from."""
    write(tmp_path, SEES)
    command = Path(sys.executable).parent / "plait"
    assert run([*PLAIT, "app.py"], tmp_path) == run([str(command), "run", "app.py"], tmp_path)


def test_the_command_says_what_it_can(tmp_path: Path) -> None:
    status, output, error = run([sys.executable, "-m", "plait", "--help"], tmp_path)
    assert (0, "") == (status, error)
    for command in ("run", "doctor", "demo"):
        assert f"\n  {command}" in output
        assert 0 == run([sys.executable, "-m", "plait", command, "--help"], tmp_path)[0]
    assert (2, "") == run([sys.executable, "-m", "plait"], tmp_path)[:2]
    status, output, error = run([sys.executable, "-m", "plait", "fly"], tmp_path)
    assert (2, "", 1) == (status, output, len(error.splitlines()))
    assert run([sys.executable, "-m", "plait", "--version"], tmp_path)[1].startswith("plait ")


def test_the_programs_environment_names_the_engine(tmp_path: Path) -> None:
    """Programs that the program starts run on the same engine, if they run on plait."""
    write(tmp_path, "import os; print(os.environ['PLAIT_ENGINE'])")
    assert "epoll\n" == run([*PLAIT, "--engine", "epoll", "app.py"], tmp_path)[1]
    assert "PLAIT_ENGINE" not in os.environ
