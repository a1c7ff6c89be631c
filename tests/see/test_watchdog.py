"""The watchdog: what it reports while a slice blocks, what it advises, and what it leaves alone."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import plait
from plait.see import hints, watchdog
from plait.see.findings import find
from plait.see.model import STARVED
from plait.see.recording import read
from plait.see.summary import summarize

from snippets import TAKE, run_program

pytestmark = pytest.mark.usefixtures("engine")

# `told` has what was reported, in order; `wait_until(condition)` waits, blocking the loop, and looks at it after each report.
PROLOGUE = """
import contextlib, subprocess, time
told, changed = [], threading.Condition()
def report(found):
    with changed:
        told.append(found)
        changed.notify_all()
def blocks():
    return [each for each in told if isinstance(each, plait.Block)]
def suspicions():
    return [each for each in told if isinstance(each, plait.Suspicion)]
def wait_until(condition):
    with changed:
        assert changed.wait_for(condition, 20), told
def is_told(scene):
    # Not when one of several times it is not: other processes may hold a slice up, but not each time.
    for _ in range(20):
        told.clear()
        scene()
        if not told:
            return False
    return True
@contextlib.contextmanager
def scarce_processor(others):
    # This process shares one with so many that compute.
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    burn = [sys.executable, "-c", "print(flush=True)\\nwhile True: pass"]
    burning = [subprocess.Popen(burn, stdout=subprocess.PIPE) for _ in range(others)]
    try:
        for each in burning:
            each.stdout.readline()
        yield
    finally:
        for each in burning:
            each.kill()
            each.communicate()
        os.sched_setaffinity(0, before)
"""


def run(code: str) -> str:
    ended = run_program(PROLOGUE + code)
    assert ("", 0) == (ended.errors, ended.status), ended.errors
    return ended.output


def test_a_block_is_reported_while_it_lasts_with_the_line_and_the_advice() -> None:
    """The slice ends only after the report has come; then the whole of it is told."""
    output = run("""
began = time.monotonic()
async def rude():
    wait_until(blocks)
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        pass
async def main():
    await asyncio.create_task(rude(), name="the rude one")
    while len(blocks()) < 2:
        await asyncio.sleep(0.001)
with plait.watchdog(50, report):
    plait.run(main())
first, last = blocks()
print(first.task, first.coroutine, first.ended, first.function, first.stack[0][2])
print(0.05 <= first.seconds < time.monotonic() - began)
print(last.ended, last.seconds > first.seconds, last.line == first.line)
""")
    assert "the rude one rude False wait_until rude\nTrue\nTrue True True\n" == output


def test_a_slice_that_had_no_processor_is_not_to_blame(tmp_path: Path) -> None:
    """Others have it meanwhile, which the loop's thread, of the lowest priority for so long, cannot get it from; even if they are nice."""
    path = tmp_path / "out.plait"
    output = run(f"""
from plait.see import serving, watchdog
reports, take = 0, watchdog.report_taken
def count_reports():
    global reports
    take()
    reports += 1
watchdog.report_taken = count_reports
def pushed_aside():
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        pass
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
async def main():
    with plait.record({str(path)!r}), plait.watchdog(50, report):
        for _ in range(3):
            await asyncio.sleep(0.01)
            before = reports
            pushed_aside()
            while reports == before:
                await asyncio.sleep(0.001)
with scarce_processor(3):
    plait.run(main())
print([block for block in blocks() if block.function == "pushed_aside"])
""")
    assert "[]\n" == output
    recording = read(path)
    summary = summarize(recording)
    # What else was slow in a slow build is a block, rightly.
    assert all(recording.slices.duration_ns[index] < 300_000_000 for index in summary.blocked)
    told = [finding for finding in find(recording, summary) if finding.text.startswith("the thread had no processor")]
    long = [finding for finding in told if finding.duration_ns > 300_000_000]
    assert ["info"] * 3 == [finding.level for finding in long]


def test_a_slice_in_which_the_process_was_stopped_is_not_to_blame(tmp_path: Path) -> None:
    """The monitor stood still as well: that it did is how it knows, if it sees the slice before and after."""
    path = tmp_path / "out.plait"
    # For how long is what is tested: the slice lasts for some looks of the monitor, is stopped, and lasts for some more.
    stop = """
import os, signal, sys, time
print(flush=True)
sys.stdin.readline()
time.sleep(0.05)
os.kill(os.getppid(), signal.SIGSTOP)
time.sleep(0.6)
os.kill(os.getppid(), signal.SIGCONT)
time.sleep(0.05)
print(flush=True)
"""
    output = run(f"""
async def main():
    with plait.record({str(path)!r}), plait.watchdog(200, report):
        await asyncio.sleep(0.01)
        os.write(other.stdin.fileno(), b"\\n")
        other.stdout.readline()
        await asyncio.sleep(0.1)
with subprocess.Popen([sys.executable, "-c", {stop!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
    other.stdout.readline()
    plait.run(main())
print(blocks())
""")
    assert "[]\n" == output
    [duration_ns] = [mark.duration_ns for mark in read(path).marks if mark.text == STARVED]
    assert duration_ns > 500_000_000


def test_a_slice_that_begins_to_be_watched_and_then_computes_is_reported() -> None:
    output = run("""
async def main():
    with plait.watchdog(50, report):
        while not told:
            pass
plait.run(main())
print(blocks()[0].function, blocks()[0].ended)
""")
    assert "main False\n" == output


def test_the_report_comes_within_20_ms_of_the_threshold() -> None:
    """Of several blocks at least one: other processes may hold a report up, but not all of them."""
    output = run("""
def begun():
    return [block.seconds for block in blocks() if not block.ended]
async def main():
    for number in range(1, 21):
        wait_until(lambda: len(begun()) >= number)
        if min(begun()) < 0.07:
            break
        await asyncio.sleep(0.02)
with plait.watchdog(50, report):
    plait.run(main())
print(min(begun()) < 0.07)
""")
    assert "True\n" == output


def test_many_short_slices_in_one_turn_are_no_block() -> None:
    """What counts is the slice, not the turn: a hundred callbacks of 2 ms each."""
    output = run("""
def short():
    until = time.monotonic() + 0.002
    while time.monotonic() < until:
        pass
async def main():
    loop = asyncio.get_running_loop()
    for _ in range(100):
        loop.call_soon(short)
    await asyncio.sleep(0.3)
with plait.watchdog(50, report):
    print(is_told(lambda: plait.run(main())))
""")
    assert "False\n" == output


def test_many_events_told_to_protocols_in_one_wait_are_no_block() -> None:
    """They are told within the engine's wait, which moves as well."""
    output = run("""
import socket
class Slow(asyncio.Protocol):
    def data_received(self, data):
        until = time.monotonic() + 0.002
        while time.monotonic() < until:
            pass
async def main():
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(60)]
    for ours, _ in pairs:
        await loop.create_connection(Slow, sock=ours)
    for _, theirs in pairs:
        theirs.send(b"x")
    await asyncio.sleep(0.3)
    for _, theirs in pairs:
        theirs.close()
    await asyncio.sleep(0.01)
with plait.watchdog(50, report):
    print(is_told(lambda: plait.run(main())))
""")
    assert "False\n" == output


def test_a_loop_that_sleeps_or_stands_still_is_no_block() -> None:
    output = run("""
def main():
    plait.run(asyncio.sleep(0.1))
    time.sleep(0.1)
    plait.run(asyncio.sleep(0.1))
with plait.watchdog(20, report):
    print(is_told(main))
""")
    assert "False\n" == output


def test_c_code_that_keeps_the_interpreter_lock_is_told_by_its_stack_meanwhile() -> None:
    """No thread of Python's can look then; the stack is written by the blocked thread itself, in a signal's handler."""
    ended = run_program("""
async def main():
    sum(range(20_000_000))
with plait.watchdog():
    plait.run(main())
""")
    assert 0 == ended.status
    first, *rest = ended.errors.splitlines()
    assert first.startswith("plait: the loop is blocked for ")
    assert first.endswith("by C code that keeps the interpreter lock:")
    assert any('File "<string>"' in line and "in main" in line for line in rest[:3]), ended.errors


def test_scarce_processors_are_not_taken_for_c_code_that_keeps_the_lock() -> None:
    """The report is late as all threads share one processor with programs that compute, and says nothing of C code: run() sees that."""
    output = run("""
async def main():
    with plait.watchdog(50, report):
        for number in range(1, 4):
            while sum(not block.ended for block in blocks()) < number:
                pass
            await asyncio.sleep(0)
with scarce_processor(3):
    plait.run(main())
print(len([block for block in blocks() if not block.ended]) >= 3)
""")
    assert "True\n" == output


def test_the_default_report_goes_to_standard_error() -> None:
    def answer(process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stderr.readline().startswith("plait: Task-1 (main) blocks the loop, for ")
        process.stdin.write("\n")
        process.stdin.flush()

    ended = run_program(
        """
import time
async def main():
    ready()
    sys.stdin.readline()
    time.sleep(0.1)  # its end is told when it took twice the time
with plait.watchdog(20):
    plait.run(main())
""",
        answer,
    )
    assert 0 == ended.status
    assert "has blocked the loop for " in ended.errors


@pytest.mark.parametrize("way", ["--watchdog", "--watchdog=20", "PLAIT_WATCHDOG=20", "PLAIT_WATCHDOG=1"])
def test_it_is_had_from_outside(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "program.py"
    program.write_text("import asyncio, time\nasync def main():\n    time.sleep(1000)\nasyncio.run(main())\n")
    words = [way] if way.startswith("--") else []
    if not words:
        monkeypatch.setenv(*way.split("="))
    with subprocess.Popen(
        [sys.executable, "-m", "plait", "run", *words, str(program)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = []
        try:
            while "use await asyncio.sleep" not in "".join(lines[-1:]):
                lines.append(process.stderr.readline())
                assert lines[-1], lines
        finally:
            process.kill()
    place = f'  File "{program}", line 3, in main\n'
    assert [place, "    time.sleep(1000)\n"] == lines[-3:-1]
    assert lines[-1].startswith("  time.sleep: use await asyncio.sleep")


@pytest.mark.parametrize("value", ["x", "0.1", "nan", "-5"])
def test_a_threshold_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_WATCHDOG", value)
    ended = run_program("plait.run(asyncio.sleep(0))")
    assert (0, 1) == (ended.status, ended.errors.count("\n")), ended.errors
    assert ended.errors.startswith(f"plait: PLAIT_WATCHDOG='{value}'")
    done = subprocess.run(
        [sys.executable, "-m", "plait", "run", f"--watchdog={value}", "x.py"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (2, 1) == (done.returncode, done.stderr.count("\n"))


def test_a_threshold_below_a_millisecond_is_refused_with_the_value() -> None:
    with pytest.raises(ValueError, match=r"not 0\.5"):
        plait.watchdog(0.5)


def test_it_goes_on_in_the_parent_and_begins_again_in_the_child_of_a_fork() -> None:
    output = run("""
async def rude():
    wait_until(lambda: any(block.function == "wait_until" for block in blocks()))
async def main():
    child = os.fork()
    if child == 0:
        try:
            plait.run(rude())
        finally:
            os._exit(0 if blocks() else 1)
    print(os.waitpid(child, 0)[1])
    await asyncio.sleep(0)  # of one slice only one block is told
    await rude()
with plait.watchdog(50, report):
    plait.run(main())
""")
    assert "0\n" == output


def test_one_watchdog_takes_the_place_of_the_other_and_stopping_is_idempotent() -> None:
    output = run("""
first = plait.watchdog(1000, report)
second = plait.watchdog(20, report)
first.stop()
async def main():
    wait_until(blocks)
plait.run(main())
second.stop()
second.stop()
before = len(told)
plait.run(asyncio.sleep(0))
print(len(second.blocks) > 0, len(first.blocks), len(os.listdir("/proc/self/task")))
""")
    assert "True 0 2\n" == output


def test_a_report_that_raises_is_told_and_does_not_end_the_watchdog() -> None:
    ended = run_program(
        PROLOGUE
        + """
def bad(found):
    report(found)
    raise ValueError("bad report")
async def main():
    wait_until(blocks)
    await asyncio.sleep(0.01)
    count = len(blocks())
    wait_until(lambda: len(blocks()) > count)
with plait.watchdog(20, bad):
    plait.run(main())
print("end")
"""
    )
    assert ("end\n", 0) == (ended.output, ended.status)
    assert "ValueError: bad report" in ended.errors


# What looks wrong, though nothing blocks.

SUSPECTS = {
    "never wakes": """
async def lost():
    await asyncio.get_running_loop().create_future()
async def scene():
    return asyncio.create_task(lost())
""",
    "deadlock": f"""{TAKE}
async def scene():
    a, b, met = asyncio.Lock(), asyncio.Lock(), asyncio.Barrier(2)
    return asyncio.gather(take(a, b, met), take(b, a, met))
""",
    "cancel ignored": """
async def stubborn():
    for _ in range(2):
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass
async def scene():
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    task.cancel()
    return task
""",
    "fan-out": """
async def scene():
    async def all():
        await asyncio.gather(*(asyncio.sleep(1000) for _ in range(1000)))
    return asyncio.create_task(all())
""",
    "executor full": """
async def scene():
    go = threading.Event()
    loop = asyncio.get_running_loop()
    ended.append(go)
    return asyncio.gather(*(loop.run_in_executor(None, go.wait) for _ in range(100)))
""",
    "never retrieved": """
async def fails():
    raise ValueError("nobody will know")
async def scene():
    return asyncio.create_task(fails())
""",
    "never awaited": """
async def forgotten():
    pass
async def scene():
    import warnings
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        forgotten()
""",
}

FINE = {
    "an event that somebody holds": """
async def scene():
    event = asyncio.Event()
    ended.append(event)
    return asyncio.create_task(event.wait())
""",
    "a future that a thread holds": """
async def scene():
    go = threading.Event()
    ended.append(go)
    return asyncio.create_task(asyncio.to_thread(go.wait))
""",
    "a cancel that a timeout takes back": """
async def scene():
    async def patient():
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(1000)
        except TimeoutError:
            await asyncio.sleep(1000)
    return asyncio.create_task(patient())
""",
    "a thousand that a semaphore holds back": """
async def scene():
    gate = asyncio.Semaphore(10)
    async def one():
        async with gate:
            await asyncio.sleep(1000)
    async def all():
        await asyncio.gather(*(one() for _ in range(1500)))
    return asyncio.create_task(all())
""",
    "a thousand connections that nobody waits for together": """
async def scene():
    return [asyncio.create_task(asyncio.sleep(1000)) for _ in range(1500)]
""",
    "tasks that queue for a lock": """
async def scene():
    lock = asyncio.Lock()
    async def work():
        async with lock:
            await asyncio.sleep(1000)
    return asyncio.gather(*(work() for _ in range(3)))
""",
    "an exception that is retrieved": """
async def scene():
    async def fails():
        raise ValueError
    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert task.exception()
    return task
""",
}

AROUND = """
ended = []
async def main():
    kept = await scene()
    for _ in range(SCANS):
        await asyncio.get_running_loop().run_in_executor(watcher, looked.acquire)
    for go in ended:
        go.set()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
    if isinstance(kept, asyncio.Future):
        try:
            await kept
        except BaseException:
            pass
import concurrent.futures
from plait.see import watchdog
watcher = concurrent.futures.ThreadPoolExecutor(1)
looked = threading.Semaphore(0)
scan = watchdog.scan
def scanned():
    scan()
    looked.release()
watchdog.scan = scanned
watchdog.SCAN_SECONDS = watchdog.RETRIEVE_SECONDS = 0.05
watchdog.SCAN_PART = 1
with plait.watchdog(10_000, report):
    plait.run(main())
print(sorted({each.kind for each in suspicions()}))
"""


@pytest.mark.parametrize("kind", SUSPECTS)
def test_what_hardly_anybody_wants_is_told_of(kind: str) -> None:
    assert f"[{kind!r}]\n" == run(SUSPECTS[kind] + AROUND.replace("SCANS", "6"))


@pytest.mark.parametrize("scene", FINE)
def test_what_is_usual_is_not(scene: str) -> None:
    assert "[]\n" == run(FINE[scene] + AROUND.replace("SCANS", "6"))


# Advice.


@pytest.mark.parametrize(
    ("names", "computes", "advice"),
    [
        (["time.sleep"], False, "asyncio.sleep"),
        (["requests.api.get"], False, "httpx.AsyncClient"),
        (["psycopg2.extensions.cursor.execute"], False, "psycopg.AsyncConnection"),
        (["psycopg.Connection.execute"], False, "psycopg.AsyncConnection"),
        (["subprocess.run"], False, "create_subprocess_exec"),
        (["socket.getaddrinfo"], False, "loop.getaddrinfo"),
        (["sqlite3.Connection.execute"], False, "aiosqlite"),
        (["json.loads"], True, "ProcessPoolExecutor"),
        (["redistribute.work"], False, "to_thread"),
        (["timeit.sleep"], True, "sleep(0)"),
        ([], True, "sleep(0)"),
        ([], False, "to_thread"),
        (["urllib3.connection", "app.fetch"], False, "httpx.AsyncClient"),
    ],
)
def test_advice_fits_what_is_called(names: list[str], computes: bool, advice: str) -> None:
    assert advice in hints.advice(names, computes)


class Cursor:
    """Stands for a driver's: what it calls is found without running a property."""

    @property
    def trap(self) -> Callable[[], None]:
        raise AssertionError("a property of the program was run")

    def execute(self, text: str) -> Any:
        return sys._getframe(1), hints.call_text(sys._getframe(1))


def calls_by_local() -> Any:
    cursor = Cursor()
    return cursor.execute(
        "select 1",
    )


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("cursor.execute('x')", f"{__name__}.Cursor.execute"),
        ("cursor.trap()", f"{__name__}.Cursor.trap"),
        ("subprocess.run([])", "subprocess.run"),
        ("print()", "builtins.print"),
        ("len", ""),
        ("unknown()", ""),
        ("a b", ""),
        ("f()()", ""),
    ],
)
def test_what_is_called_is_found_by_looking_only(expression: str, name: str) -> None:
    assert "property" not in name
    found = hints.called_name(calls_by_local()[0], expression)
    assert found == name or (expression == "cursor.trap()" and "property" in found)


def test_the_expression_that_runs_is_cut_out_of_the_source() -> None:
    _, (source, expression) = calls_by_local()
    assert "return cursor.execute(" == source
    assert expression.startswith("cursor.execute(")


def test_the_watchdog_of_this_process_is_off() -> None:
    assert watchdog.current is None


def test_what_is_seen_stands_in_the_recording_with_its_line(tmp_path: Path) -> None:
    """At the time of the slice that blocks; what is only suspected names its task, and no slice that happens to run."""
    path = tmp_path / "out.plait"
    output = run(f"""
import warnings
path = {str(path)!r}
async def forgotten():
    pass
async def rude():
    wait_until(blocks)
async def main():
    await asyncio.create_task(rude(), name="the rude one")
    warnings.simplefilter("ignore")
    forgotten()
with plait.watchdog(50, report), plait.record(path):
    plait.run(main())
print(len(blocks()) > 0, len(suspicions()))
""")
    assert "True 1\n" == output
    recording = read(path)
    # Other processes may hold other slices up.
    block = next(mark for mark in recording.marks if mark.text.startswith("the rude one blocks the thread: "))
    [suspected] = [mark for mark in recording.marks if mark.level == "warning" and not mark.duration_ns]
    assert block.place.endswith(" in wait_until")
    assert block.duration_ns >= 50_000_000
    slices = recording.slices
    [around] = [
        recording.actors[slices.actor[i]].name
        for i in range(len(slices))
        if slices.start_ns[i] <= block.time_ns <= slices.start_ns[i] + slices.duration_ns[i]
    ]
    assert "the rude one" == around
    assert ("coroutine forgotten was made and never awaited", -1) == (suspected.text, suspected.actor)
    blocked = [each for each in find(recording, summarize(recording)) if each.kind == "blocked"]
    assert [block.place] == [each.place for each in blocked if "rude" in each.text]


def test_a_recorded_program_is_watched_in_silence(tmp_path: Path) -> None:
    """`plait run --record` says nothing more than the program does, and the warning of Python names the program's line."""
    program = tmp_path / "app.py"
    program.write_text("""
import asyncio, time
from plait.see import watchdog
async def forgotten():
    pass
async def main():
    deadline = time.monotonic() + 20
    while not watchdog.current.blocks and time.monotonic() < deadline:
        pass
    forgotten()
asyncio.run(main())
""")
    path = tmp_path / "out.plait"
    command = [sys.executable, "-m", "plait", "run", "--record", str(path), str(program)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    warning = f"{program}:10: RuntimeWarning: coroutine 'forgotten' was never awaited"
    assert (0, "", warning) == (ended.returncode, ended.stdout, ended.stderr.splitlines()[0])
    assert 3 >= len(ended.stderr.splitlines())
    recording = read(path)
    texts = [finding.text for finding in find(recording, summarize(recording))]
    assert "coroutine forgotten was made and never awaited" in texts
    [text] = [text for text in texts if "main blocks the thread" in text]
    [blocked] = [each for each in find(recording, summarize(recording)) if each.text == text]
    assert blocked.place in (f"{program}:8 in main", f"{program}:9 in main")
