"""A call of `calls` that fails at its first system call, at its second, ... : `python faults.py NAME ENGINE` prints JSON, a line a try.

Each try is a child of its own. A seccomp filter hands the child's system calls to this process (seccomp_unotify(2)), which answers one
of them with an error and lets all others go on.
"""

import asyncio
import ctypes
import fcntl
import json
import os
import select
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from errno import ENOMEM
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from sweep.attempt import Attempt, Outcome, Strangers, left_as_it_was, limited
from sweep.calls import calls

import plait

X86 = os.uname().machine == "x86_64"
SECCOMP = 317 if X86 else 277
# (x86-64, aarch64) by name. Without what cannot fail on an open descriptor (close, fcntl, FIONBIO), and the waits of the engines.
NUMBERS = {
    "socket": (41, 198),
    "connect": (42, 203),
    "accept": (43, 202),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "bind": (49, 200),
    "listen": (50, 201),
    "socketpair": (53, 199),
    "setsockopt": (54, 208),
    "getsockopt": (55, 209),
    "vfork": (58, 220),
    "newfstatat": (262, 79),
    "sendfile": (40, 71),
    "epoll_ctl": (233, 21),
    "openat": (257, 56),
    "accept4": (288, 242),
    "pipe2": (293, 59),
    "dup": (32, 23),
    "pidfd_open": (434, 434),
    "eventfd2": (290, 19),
    "epoll_create1": (291, 20),
}
NAMES = {numbers[0 if X86 else 1]: name for name, numbers in NUMBERS.items()}
THE_CALL_IS_OVER = 146 if X86 else 125  # sched_get_priority_max(2), which nobody calls, as a mark
RET_ALLOW, RET_NOTIFY = 0x7FFF0000, 0x7FC00000
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, FIRST_ARGUMENT_AT, SECOND_ARGUMENT_AT = 0, 16, 24
EPOLL_CTL_DEL = 2
NEW_LISTENER, SET_FILTER, PR_SET_NO_NEW_PRIVS = 8, 1, 38
RECEIVE, ANSWER, CONTINUE = 0xC0502100, 0xC0182101, 1

libc = ctypes.CDLL(None, use_errno=True)


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def listener(control: int) -> int:
    """Install the filter in this thread; the descriptor on which its calls are told. `control` may be written to all the same."""

    def load(offset: int) -> bytes:
        return struct.pack("HBBI", LOAD_WORD, 0, 0, offset)

    def skip_unless(value: int, count: int) -> bytes:
        return struct.pack("HBBI", JUMP_EQUAL, 0, count, value)

    def give(value: int) -> bytes:
        return struct.pack("HBBI", RETURN, 0, 0, value)

    code = [load(NUMBER_AT)]
    sendmsg, epoll_ctl = (NUMBERS[name][0 if X86 else 1] for name in ("sendmsg", "epoll_ctl"))
    code += [
        skip_unless(sendmsg, 4),
        load(FIRST_ARGUMENT_AT),
        skip_unless(control, 1),
        give(RET_ALLOW),
        give(RET_NOTIFY),
    ]
    code += [
        skip_unless(epoll_ctl, 4),
        load(SECOND_ARGUMENT_AT),
        skip_unless(EPOLL_CTL_DEL, 1),
        give(RET_ALLOW),
        give(RET_NOTIFY),
    ]
    for number in (*NAMES, THE_CALL_IS_OVER):
        code += [skip_unless(number, 1), give(RET_NOTIFY)]
    code.append(give(RET_ALLOW))
    memory = ctypes.create_string_buffer(b"".join(code))
    program = Program(len(code), ctypes.cast(memory, ctypes.c_void_p))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    fd: int = libc.syscall(SECCOMP, SET_FILTER, NEW_LISTENER, ctypes.byref(program))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return fd


class Faulty(Attempt):
    """An attempt during which this process hands over its system calls."""

    def __init__(self, control: socket.socket, helper: ThreadPoolExecutor) -> None:
        super().__init__(0, "waiting", Strangers())
        self.control = control
        self.helper = helper
        self.result = "passed"

    async def __call__(self, call: Any, then: Callable[[], object] | None = None) -> Outcome:
        loop = asyncio.get_running_loop()
        fd = listener(self.control.fileno())
        socket.send_fds(self.control, [b"x"], [fd])
        os.close(fd)
        task = asyncio.ensure_future(call)
        if then is not None:
            # In a thread, whose calls are not counted.
            loop.call_soon(self.helper.submit, then)
        await asyncio.wait([task])
        libc.syscall(THE_CALL_IS_OVER)
        self.struck = True
        for _ in range(4):
            self.strangers.come()
            await asyncio.sleep(0)
        try:
            return Outcome(False, task.result())
        except OSError as error:
            self.result = "refused"
            return Outcome(False, error=error)


def child(name: str, engine: Any, control: socket.socket) -> str:
    with ThreadPoolExecutor(1) as helper:
        helper.submit(int).result()
        loop: Any = plait.new_event_loop(engine=engine)
        loop.run_until_complete(limited(calls[name](Attempt(0, "waiting", Strangers()))))
        with left_as_it_was(loop) as strangers:
            attempt = Faulty(control, helper)
            attempt.strangers = strangers
            loop.run_until_complete(limited(calls[name](attempt)))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    return attempt.result


def supervise(fd: int, pid: int, at: int) -> str | None:
    """Let the calls of the child's main thread go on, but for number `at`: which one that was, None if there were not so many."""
    seen, struck = 0, None
    over = False
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        if not all(events & select.POLLIN for _, events in poll.poll()):
            return struck
        told = bytearray(80)
        try:
            fcntl.ioctl(fd, RECEIVE, told)
        except FileNotFoundError:
            continue  # the caller was interrupted by a signal, and calls again
        identity, thread, _, number = struct.unpack_from("QIIi", told)
        over = over or number == THE_CALL_IS_OVER
        answer = struct.pack("QqiI", identity, 0, 0, CONTINUE)
        if thread == pid and not over:
            seen += 1
            if seen == at:
                struck = NAMES[number]
                answer = struct.pack("QqiI", identity, 0, -ENOMEM, 0)
        try:
            fcntl.ioctl(fd, ANSWER, answer)
        except FileNotFoundError:
            continue


def attempt(name: str, engine: str, at: int) -> dict[str, Any]:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        ours.close()
        os.close(reading)
        try:
            result = child(name, engine, theirs)
        except BaseException:
            result = traceback.format_exc()
        os.write(writing, result.encode())
        os._exit(0)
    theirs.close()
    os.close(writing)
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    struck = None
    if fds:
        struck = supervise(fds[0], pid, at)
        os.close(fds[0])
    with open(reading) as file:
        result = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        result += f"the process ended with {status}"
    ours.close()
    return {"at": at, "failed": struck, "result": result}


def main() -> None:
    name, engine = sys.argv[1:]
    at = 0
    while True:
        at += 1
        told = attempt(name, engine, at)
        print(json.dumps(told), flush=True)
        if told["failed"] is None:
            break


if __name__ == "__main__":
    main()
