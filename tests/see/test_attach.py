"""Looking into running programs that know nothing of it: what they wait for, what blocks them, and who may look."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plait import standard
from plait.see import attach, client, serving, snapshot, tree, waits
from plait.see.client import Attached, CannotAttach

from snippets import TAKE, Ended, run_program, sends

pytestmark = pytest.mark.usefixtures("engine")
NOBODY = 65534

TWO_LOCKS = f"""{TAKE}
async def main():
    a, b = asyncio.Lock(), asyncio.Lock()
    met = asyncio.Barrier(2)
    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
        group.create_task(take(a, b, met), name="left")
        group.create_task(take(b, a, met), name="right")
        asyncio.get_running_loop().call_later(0.01, ready)
plait.run(main())
"""


def looked_at(code: str, look: Callable[[int], Any]) -> Any:
    """Runs the program until it says ready(), and returns what `look(pid)` returns; then ends the program."""
    seen: list[Any] = []

    def then(process: "subprocess.Popen[str]") -> None:
        try:
            seen.append(look(process.pid))
        finally:
            process.kill()

    ended = run_program(code, then)
    assert (-signal.SIGKILL, "") == (ended.status, ended.errors)
    return seen[0]


def dump(pid: int) -> dict[str, Any]:
    with Attached(pid) as attached:
        snapshot: dict[str, Any] = attached.ask("dump")
        return snapshot


def dumped(code: str) -> dict[str, Any]:
    """The first loop of the program when it says ready()."""
    loop: dict[str, Any] = looked_at(code, dump)["loops"][0]
    return loop


def text_of_dump(code: str) -> str:
    return str(looked_at(code, lambda pid: tree.text_of(dump(pid))))


def named(loop: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(task for task in loop["tasks"] if task["name"] == name)
    return found


def command(*words: str) -> tuple[int, str, str]:
    """`plait` with these words: status, output, errors."""
    done = subprocess.run(
        [sys.executable, "-m", "plait", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30
    )
    return done.returncode, done.stdout, done.stderr


# What tasks wait for.


@pytest.mark.parametrize(
    ("awaitable", "kind", "text"),
    [
        ("asyncio.sleep(100)", "TIMER", "sleep(100)"),
        ("asyncio.Lock().acquire()", "NONE", "ready to run"),
        ("locked()", "LOCK", "Lock"),
        ("asyncio.Event().wait()", "LOCK", "Event"),
        ("asyncio.Queue().get()", "LOCK", "Queue.get (empty)"),
        ("full()", "LOCK", "Queue.put (full: 1)"),
        ("asyncio.to_thread(signal.pause)", "THREAD", "to_thread(pause)"),
        ("asyncio.get_running_loop().create_future()", "FUTURE", "a future"),
        ("child()", "PROCESS", None),
        ("read()", "NETWORK", None),
        ("asyncio.wait_for(asyncio.sleep(100), 50)", "TIMER", "sleep(100)"),
        ("asyncio.gather(asyncio.sleep(100), asyncio.sleep(100))", "TASK", "gather()"),
        ("asyncio.shield(asyncio.sleep(100))", "TASK", "shield()"),
        ("asyncio.wait([asyncio.ensure_future(asyncio.sleep(100))])", "TASK", "wait()"),
        ("group()", "TASK", "TaskGroup"),
    ],
)
def test_a_wait_is_told_with_its_kind_and_what_it_is(awaitable: str, kind: str, text: str | None) -> None:
    if "wait_for" in awaitable and sys.version_info < (3, 12):
        kind, text = "TASK", "wait_for(timeout=50)"  # it makes a task of what it waits for
    loop = dumped(f"""
import socket
async def locked():
    lock = asyncio.Lock()
    await lock.acquire()
    await lock.acquire()
async def full():
    queue = asyncio.Queue(1)
    queue.put_nowait(1)
    await queue.put(2)
async def child():
    await (await asyncio.create_subprocess_exec("cat", stdin=-1)).wait()
async def read():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    await asyncio.get_running_loop().sock_recv(ours, 1)
async def group():
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(100))
async def subject():
    await {awaitable}
    await asyncio.sleep(0)
    ready()
    await asyncio.sleep(100)
async def main():
    task = asyncio.create_task(subject(), name="subject")
    # A child or a thread is started before it is waited for.
    asyncio.get_running_loop().call_later(0.3, ready)
    await task
plait.run(main())
""")
    task = named(loop, "subject")
    if kind == "NONE":
        assert ("TIMER", "sleep(100)") == (task["kind"], task["text"])
        return
    assert ("waits", kind) == (task["state"], task["kind"])
    if text is not None:
        assert text == task["text"]
    assert bool(task["on"]) == (kind == "TASK")


def test_a_stream_is_told_with_its_peer_and_what_listens_there() -> None:
    """By the port: a database's here, on which nobody needs to be one."""
    loop = dumped("""
async def main():
    kept = []
    server = await asyncio.start_server(lambda *pair: kept.append(pair), "127.0.0.1", 6379)
    reader, writer = await asyncio.open_connection("127.0.0.1", 6379)
    asyncio.get_running_loop().call_soon(ready)
    await reader.read()
plait.run(main())
""")
    task = loop["tasks"][0]
    assert ("DATABASE", "reads from redis 127.0.0.1:6379") == (task["kind"], task["text"])
    assert "main" == task["place"][2]


def test_the_tree_says_who_waits_for_whom_and_puts_equal_tasks_together() -> None:
    text = text_of_dump("""
async def leaf():
    await asyncio.sleep(100)
async def branch():
    await asyncio.gather(*(leaf() for _ in range(3000)))
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(branch(), name="left")
        group.create_task(branch(), name="right")
        asyncio.get_running_loop().call_later(0.01, ready)
plait.run(main())
""")
    lines = text.splitlines()
    assert 60 > len(lines), text
    assert any("6003 tasks; 6003 wait (6000 timer, 3 task)" in line for line in lines), text
    assert any(line.startswith("└─ 2 x left, right  branch  waits: task gather()") for line in lines), text
    assert any(line.startswith("   └─ 6000 x ") and "sleep(100)" in line for line in lines), text


def test_what_blocks_the_loop_is_named_while_it_does() -> None:
    loop = dumped("""
import time
async def polite():
    await asyncio.sleep(100)
async def rude():
    await asyncio.sleep(0)
    ready()
    time.sleep(100)
async def main():
    await asyncio.gather(polite(), rude())
plait.run(main())
""")
    current = next(task for task in loop["tasks"] if task["id"] == loop["current"])
    assert ("blocked", "rude") == (loop["state"], current["coroutine"])
    assert "rude" == loop["stack"][-1][2]
    waiting = next(task for task in loop["tasks"] if task["coroutine"] == "polite")
    assert ("waits", "TIMER") == (waiting["state"], waiting["kind"])


def test_a_callback_that_blocks_is_named_too() -> None:
    loop = dumped("""
import time
def rude():
    ready()
    time.sleep(100)
loop = plait.new_event_loop()
loop.call_soon(rude)
loop.run_forever()
""")
    assert ("blocked", 0) == (loop["state"], loop["current"])
    assert "rude" == loop["stack"][-1][2]


def test_a_loop_in_another_thread_is_told_with_its_name() -> None:
    loop = dumped("""
with plait.background() as portal:
    portal.call(asyncio.sleep, 0)
    ready()
    signal.pause()
""")
    assert "waits" == loop["state"]
    assert "MainThread" != loop["thread"] != ""


def test_debug_modes_tasks_of_the_standard_library_are_seen_as_well() -> None:
    loop = dumped("""
async def main():
    asyncio.get_running_loop().call_soon(ready)
    await asyncio.sleep(100)
plait.run(main(), debug=True)
""")
    assert [("main", "TIMER")] == [(task["coroutine"], task["kind"]) for task in loop["tasks"]]
    assert loop["debug"]


def test_a_recorded_program_also_tells_since_when(tmp_path: Path) -> None:
    """From what its ring has, for the tasks that went to wait while it was recorded."""

    def look(pid: int) -> dict[str, Any]:
        status, output, errors = command("dump", "--json", str(pid))
        assert (0, "") == (status, errors)
        loop: dict[str, Any] = json.loads(output)["loops"][0]
        return loop

    loop = looked_at(
        f"""
async def subject():
    await asyncio.sleep(0)
    await asyncio.sleep(100)
async def main():
    with plait.record({str(tmp_path / "out.plait")!r}):
        task = asyncio.create_task(subject(), name="subject")
        asyncio.get_running_loop().call_later(0.2, ready)
        await task
plait.run(main())
""",
        look,
    )
    assert 0.2 <= named(loop, "subject")["since_s"] < 60


# Deadlocks.


def test_two_tasks_that_hold_what_the_other_wants_are_a_deadlock() -> None:
    text = text_of_dump(TWO_LOCKS.replace("TIMEOUT", "None"))
    assert "DEADLOCK: 2 tasks wait for each other" in text, text
    assert "left (take) waits for Lock held by right" in text, text
    assert "right (take) waits for Lock held by left" in text, text


def test_a_circle_that_a_timeout_will_end_is_no_deadlock() -> None:
    """The timeout of the tasks that wait: that of their group does not end a wait of theirs by itself."""
    code = TWO_LOCKS.replace("TIMEOUT", "None").replace("async with second", "async with asyncio.timeout(1000), second")
    text = text_of_dump(code)
    assert "DEADLOCK" not in text, text
    assert "circle of 2 tasks, which a timeout ends in" in text, text


def test_a_lock_taken_twice_is_a_deadlock_of_one() -> None:
    text = text_of_dump("""
async def main():
    lock = asyncio.Lock()
    asyncio.get_running_loop().call_later(0.01, ready)
    async with lock:
        async with lock:
            pass
plait.run(main())
""")
    assert "DEADLOCK: a task waits for itself" in text, text


def test_tasks_that_await_each_other_are_a_deadlock() -> None:
    text = text_of_dump("""
async def main():
    tasks = {}
    async def wait_for(name):
        await tasks[name]
    tasks["a"] = asyncio.create_task(wait_for("b"), name="a")
    tasks["b"] = asyncio.create_task(wait_for("a"), name="b")
    asyncio.get_running_loop().call_later(0.01, ready)
    await asyncio.sleep(100)
plait.run(main())
""")
    assert "DEADLOCK: 2 tasks wait for each other" in text, text


def test_tasks_that_merely_queue_for_a_lock_are_none() -> None:
    text = text_of_dump("""
async def work(lock):
    async with lock:
        await asyncio.sleep(100)
async def main():
    lock = asyncio.Lock()
    asyncio.get_running_loop().call_later(0.01, ready)
    await asyncio.gather(*(work(lock) for _ in range(10)))
plait.run(main())
""")
    assert "DEADLOCK" not in text, text
    assert "9 x " in text, text
    assert "Lock held by" in text, text


def test_waiters_of_a_condition_hold_no_lock() -> None:
    """What `async with` takes for them is given back while they wait to be notified."""
    text = text_of_dump("""
async def consume(condition):
    async with condition:
        await condition.wait()
async def main():
    condition = asyncio.Condition()
    asyncio.get_running_loop().call_later(0.01, ready)
    await asyncio.gather(*(consume(condition) for _ in range(2)))
plait.run(main())
""")
    assert "DEADLOCK" not in text, text
    assert "waits: lock Condition\n" in text, text


def test_a_semaphore_may_be_given_back_by_any_that_hold_it() -> None:
    text = text_of_dump("""
async def main():
    gate, tasks = asyncio.Semaphore(2), {}
    async def work():
        async with gate:
            await asyncio.sleep(100)
    async def waits_for_c():
        async with gate:
            await asyncio.sleep(0)
            await tasks["c"]
    for name, coroutine in (("a", waits_for_c()), ("b", work()), ("c", work())):
        tasks[name] = asyncio.create_task(coroutine, name=name)
    asyncio.get_running_loop().call_later(0.01, ready)
    await asyncio.sleep(100)
plait.run(main())
""")
    assert "DEADLOCK" not in text, text
    assert "waits: lock Semaphore held by " in text, text


def test_a_chain_of_a_thousand_tasks_is_told_without_going_too_deep() -> None:
    text = text_of_dump("""
async def link(depth):
    if depth:
        await asyncio.create_task(link(depth - 1))
    else:
        ready()
        await asyncio.sleep(100)
plait.run(link(1000))
""")
    assert "1001 tasks" in text


# Who may look, and how often.


def test_several_look_at_once_and_one_that_reads_nothing_holds_up_nobody() -> None:
    code = """
async def main():
    tasks = [asyncio.create_task(asyncio.sleep(100)) for _ in range(500)]
    asyncio.get_running_loop().call_soon(ready)
    await asyncio.sleep(100)
plait.run(main())
"""

    def look(pid: int) -> list[int]:
        lazy = [Attached(pid) for _ in range(3)]
        for each in lazy:
            each.socket.sendall(b'{"ask":"dump"}\n' * 5)
        counts = [len(dump(pid)["loops"][0]["tasks"]) for _ in range(3)]
        for each in lazy:
            each.socket.close()
        return counts

    assert [501, 501, 501] == looked_at(code, look)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b'{"ask": []}\n',
        b'{"ask": "nonsense"}\n',
        b"\xff\xfe\n",
        b"x" * 5000,
        b"[" * 4000 + b"\n",
        b"",
    ],
    ids=["empty", "object", "list", "kind", "name", "bytes", "long", "deep", "nothing"],
)
def test_garbage_is_answered_and_harms_nobody(garbage: bytes) -> None:
    code = """
async def main():
    asyncio.get_running_loop().call_soon(ready)
    await asyncio.sleep(100)
plait.run(main())
"""

    def look(pid: int) -> bytes:
        attached = Attached(pid)
        with attached.socket as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            told = b""
            while part := sock.recv(4096):
                told += part
        assert 1 == len(dump(pid)["loops"])
        return told

    told = looked_at(code, look)
    assert b"" == garbage if told == b"" else "error" in json.loads(told)


def test_too_many_are_refused_and_those_before_go_on() -> None:
    def look(pid: int) -> str:
        crowd = [Attached(pid) for _ in range(16)]
        try:
            with pytest.raises(CannotAttach) as refused:
                dump(pid)
            assert pid == crowd[0].ask("ping")["pid"]
        finally:
            for each in crowd:
                each.socket.close()
        return str(refused.value)

    code = "async def main():\n    ready()\n    await asyncio.sleep(100)\nplait.run(main())"
    assert "16 clients are looking at this process already" in looked_at(code, look)


# Another user: run in a process that becomes one, after all imports, as it may not be able to read this checkout.
AS_ANOTHER = """
import os, socket, sys
from plait.see import attach, client
import encodings.idna, pwd
pid, name = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
os.setgroups([]); os.setgid(NOBODY); os.setuid(NOBODY)
try:
    client.Attached(pid)
except client.CannotAttach as error:
    print(error)
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(b"\\0" + name)
    told = b""
    while part := sock.recv(4096):
        told += part
    print(told)
""".replace("NOBODY", str(NOBODY))


def test_another_user_is_refused() -> None:
    if os.geteuid() != 0:  # nobody else to become; a process of root's is looked at instead
        status, _, errors = command("dump", "1")
        assert (1, True) == (status, "is root's and may be looked at by root only" in errors)
        return

    def look(pid: int) -> str:
        name = attach.socket_name(pid, attach.pid_namespace()).hex()
        done = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER, str(pid), name], capture_output=True, text=True, timeout=30
        )
        assert 1 == len(dump(pid)["loops"])
        return done.stdout + done.stderr

    code = "async def main():\n    ready()\n    await asyncio.sleep(100)\nplait.run(main())"
    lines = looked_at(code, look).splitlines()
    assert 2 == len(lines), lines
    first, second = lines
    assert first.endswith("is root's and may be looked at by root only, not by nobody")
    assert "b'refused uid 0\\n'" == second


def test_a_name_taken_by_somebody_else_is_not_believed() -> None:
    """Abstract names are anybody's; what counts is which process listens."""
    process = subprocess.Popen(["sleep", "100"])
    try:
        with socket.socket(socket.AF_UNIX) as fake:
            fake.bind(b"\0" + attach.socket_name(process.pid, attach.pid_namespace()))
            fake.listen()
            with pytest.raises(CannotAttach, match=f"its socket was taken by process {os.getpid()}"):
                Attached(process.pid)
    finally:
        process.kill()
        process.wait()


def test_what_cannot_be_looked_at_is_one_line_and_the_status_1() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert (1, "", f"plait dump: there is no process {gone.pid}\n") == command("dump", str(gone.pid))
    other = subprocess.Popen(["sleep", "100"])
    try:
        status, output, errors = command("top", str(other.pid))
    finally:
        other.kill()
        other.wait()
    assert (1, "", 1) == (status, output, errors.count("\n"))
    assert errors.startswith(f"plait top: process {other.pid} (sleep) cannot be looked at: it does not run on plait")


@pytest.mark.parametrize("word", ["", "x", "-1", "0", "99999999999999999999"])
def test_a_pid_that_is_none_is_refused_as_such(word: str) -> None:
    status, output, errors = command("dump", word)
    assert (2, "", 1) == (status, output, errors.count("\n"))


def test_the_program_ends_while_somebody_looks() -> None:
    ended_early: list[str] = []

    def then(process: "subprocess.Popen[str]") -> None:
        with Attached(process.pid) as attached:
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
            process.wait()
            with pytest.raises(CannotAttach) as error:
                attached.ask("dump")
            ended_early.append(str(error.value))

    ended = run_program("async def main():\n    ready()\n    sys.stdin.read()\nplait.run(main())\nprint('end')", then)
    assert ("end\n", "", 0) == (ended.output, ended.errors, ended.status)
    assert ended_early[0].endswith(("has ended", "try again"))


# The program knows nothing of it.


def test_nothing_of_it_is_seen_in_the_program() -> None:
    """One thread of C and one descriptor, made with the first loop; nothing is imported, no Python thread is there."""
    ended = run_program("""
def held():
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
before = held()
async def main():
    return held()
plait.run(main())
after = held()
print(after[0] - before[0], after[1] - before[1], threading.active_count(), "plait.see.serving" in sys.modules)
print(signal.getsignal(signal.SIGQUIT) == signal.SIG_DFL)
""")
    assert ("1 1 1 False\nTrue\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_it_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_ATTACH", "0")
    ended = run_program("""
async def main():
    return len(os.listdir("/proc/self/task"))
print(plait.run(main()))
""")
    assert ("1\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_a_fork_finds_one_thread_and_both_processes_can_be_looked_at() -> None:
    """Python warns of forks with threads, also of those that it did not make; here warnings are errors."""
    code = """
async def main():
    threads = os.listdir("/proc/self/task")
    child = os.fork()
    if child == 0:
        assert 1 == len(os.listdir("/proc/self/task"))
        async def inner():
            print("ready", flush=True)
            print(os.getpid(), flush=True)
            await asyncio.sleep(100)
        plait.run(inner())
    assert len(threads) == len(os.listdir("/proc/self/task")) == 2
    await asyncio.sleep(100)
plait.run(main())
"""
    seen: list[str] = []

    def then(process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        for pid in (process.pid, child):
            seen.append(dump(pid)["loops"][0]["tasks"][0]["coroutine"])
        os.kill(child, signal.SIGKILL)
        process.kill()

    ended = run_program(code, then)
    assert (["main", "main.<locals>.inner"], "") == (seen, ended.errors)


def test_forks_while_somebody_looks_are_quiet_as_well() -> None:
    code = """
async def main():
    ready()
    for _ in range(20):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        await asyncio.sleep(0.001)
    print("end")
plait.run(main())
"""

    def then(process: "subprocess.Popen[str]") -> None:
        while process.poll() is None:
            try:
                dump(process.pid)
            except CannotAttach:
                pass  # just then it forked, or has ended

    ended = run_program(code, then)
    assert ("end\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_a_program_that_closes_all_descriptors_can_still_be_looked_at() -> None:
    loop = dumped("""
async def main():
    listener = next(fd for fd in range(3, 100) if listens(fd))
    os.close(listener)
    taken = os.open("/dev/null", os.O_RDONLY)
    assert taken == listener
    asyncio.get_running_loop().call_soon(ready)
    await asyncio.sleep(100)
def listens(fd):
    try:
        return "socket" in os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False
plait.run(main())
""")
    assert ["main"] == [task["coroutine"] for task in loop["tasks"]]


# SIGQUIT.

QUIT_PROGRAM = """
async def waiter():
    await asyncio.sleep(100)
async def main():
    task = asyncio.create_task(waiter(), name="the waiter")
    await asyncio.sleep(0)
    ready()
    BLOCK
plait.run(main())
"""


@pytest.mark.parametrize(
    "block", ["import time; time.sleep(100)", "await asyncio.sleep(100)"], ids=["blocked", "waiting"]
)
def test_sigquit_prints_the_dump_and_a_second_one_ends_the_program(block: str) -> None:
    lines: list[str] = []

    def then(process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        process.send_signal(signal.SIGQUIT)
        while not lines or "the waiter" not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)
        assert process.poll() is None
        process.send_signal(signal.SIGQUIT)

    ended = run_program(QUIT_PROGRAM.replace("BLOCK", block), then)
    assert -signal.SIGQUIT == ended.status


@pytest.mark.parametrize("variable", ["PLAIT_SIGQUIT", "PLAIT_ATTACH"])
def test_sigquit_can_be_left_alone(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "0")
    ended = run_program(QUIT_PROGRAM.replace("BLOCK", "await asyncio.sleep(100)"), sends(signal.SIGQUIT))
    assert (-signal.SIGQUIT, "") == (ended.status, ended.errors)


@pytest.mark.parametrize("when", ["before", "inside"])
def test_a_handler_of_the_program_for_sigquit_stays(when: str) -> None:
    ended = run_program(
        f"""
def install():
    signal.signal(signal.SIGQUIT, lambda number, frame: (print("mine"), os._exit(3)))
if {when!r} == "before":
    install()
async def main():
    install()
    ready()
    await asyncio.sleep(100)
plait.run(main())
""",
        sends(signal.SIGQUIT),
    )
    assert ("mine\n", "", 3) == (ended.output, ended.errors, ended.status)


def test_sigquit_ends_a_forked_child_that_runs_no_loop() -> None:
    def check() -> Ended:
        return run_program("""
async def main():
    pass
plait.run(main())
child = os.fork()
if child == 0:
    signal.pause()
os.kill(child, signal.SIGQUIT)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")

    ended = check()
    assert (f"-{int(signal.SIGQUIT)}\n", "", 0) == (ended.output, ended.errors, ended.status)


# The commands.


def test_the_commands_print_what_they_see() -> None:
    code = """
import time
async def main():
    ready()
    time.sleep(100)
plait.run(main())
"""

    def look(pid: int) -> list[tuple[int, str, str]]:
        number = str(pid)
        return [
            command("dump", number),
            command("dump", "--json", number),
            command("top", "--once", "--every", "0.2", number),
        ]

    dump_told, json_told, top_told = looked_at(code, look)
    assert (0, "") == (dump_told[0], dump_told[2])
    assert "BLOCKED by Task-1 (main)" in dump_told[1]
    assert "blocked" == json.loads(json_told[1])["loops"][0]["state"]
    assert (0, "") == (top_told[0], top_told[2])
    assert "BLOCKED 0.2 s" in top_told[1]
    assert 80 >= max(map(len, top_told[1].splitlines()))


def test_how_late_its_timers_are_says_how_long_a_loop_is_stuck(tmp_path: Path) -> None:
    program = tmp_path / "stuck.py"
    program.write_text("""
import time
async def beat():
    await asyncio.sleep(0.01)
async def main():
    asyncio.create_task(beat(), name="beat")
    await asyncio.sleep(0)
    late = time.monotonic() + 0.25
    while time.monotonic() < late:
        pass
    ready()
    time.sleep(100)
plait.run(main())
""")
    code = f"import runpy; runpy.run_path({str(program)!r}, globals())"
    told = text_of_dump(code)
    assert re.search(r"BLOCKED by Task-1 \(main\) for \d+ ms at least; timers are late by \d+\.\d s", told)
    assert re.search(r"beat  beat  waits: timer sleep\(0\.01\), late by \d+\.\d s", told)
    assert "stuck.py:12 in main\n        time.sleep(100)\n" in told
    assert "-0." not in told


def test_a_task_that_has_ended_meanwhile_holds_no_lock(loop: Any) -> None:
    """It may end between being listed and being looked at."""

    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(0))
        await task
        lock = asyncio.Lock()
        assert [] == waits.held_locks(task, {id(lock): lock})

    loop.run_until_complete(main())


def test_a_gather_is_asked_once_however_many_it_waits_for(loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at all that it waits for: to ask it for each of them would take a second for two thousand."""
    asked: list[str] = []
    look = standard.gathers_tasks_only

    def counted(task: Any) -> bool:
        asked.append(task.get_name())
        return look(task)

    monkeypatch.setattr(standard, "gathers_tasks_only", counted)

    async def gathers() -> None:
        await asyncio.gather(*(asyncio.sleep(1000) for _ in range(50)))

    async def main() -> None:
        task = asyncio.create_task(gathers(), name="gathers")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        [told] = [each for each in snapshot.tasks_of(loop, 1000) if each["name"] == "gathers"]
        assert (50, ["gathers"]) == (len(told["on"]), asked)
        task.cancel()
        await asyncio.wait([task])

    loop.run_until_complete(main())


def test_a_deep_name_does_not_reach_the_terminal_as_a_command() -> None:
    """A task's name is anybody's text, also an escape sequence."""
    from plait.see.screen import paint

    assert "�[31mred" == paint([("\x1b[31mred", "")], False)


def test_a_process_can_look_at_itself() -> None:
    """This one runs loops too; what answers is no thread of Python's."""
    before = threading.active_count()
    assert {"ping", "dump", "top"} <= set(serving.QUESTIONS)
    with Attached(os.getpid()) as attached:
        assert os.getpid() == attached.ask("ping")["pid"]
    assert before == threading.active_count()
    assert client.alive(os.getpid())
