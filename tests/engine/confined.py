"""A program in surroundings that refuse something: `python confined.py '{"when": "start", ...}'` prints JSON of what it got.

when: "start" (before the engine is chosen) or "chosen" (after it; the loop's thread opens it later).
deny: {system call number: errno} answered by a seccomp filter. memlock: RLIMIT_MEMLOCK in bytes, as an ordinary user.
nofile: RLIMIT_NOFILE. engine: what is asked for.
"""

import ctypes
import json
import os
import resource
import socket
import struct
import sys
from select import EPOLLIN
from typing import Any

# All imports before the surroundings change: an ordinary user may not be able to read this checkout.
import plait.engine.choice as choice
from plait.engine.contract import CallbackSource

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[os.uname().machine]
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
NOBODY = 65534
IO_URING_SETUP = 425

libc = ctypes.CDLL(None, use_errno=True)


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def deny(calls: dict[int, int]) -> None:
    """Install a real filter of this kernel; see seccomp(2)."""
    code = [struct.pack("HBBI", LOAD_WORD, 0, 0, 4)]  # seccomp_data.arch
    code += [struct.pack("HBBI", JUMP_EQUAL, 1, 0, AUDIT_ARCH), struct.pack("HBBI", RETURN, 0, 0, RET_ALLOW)]
    code += [struct.pack("HBBI", LOAD_WORD, 0, 0, 0)]  # seccomp_data.nr
    for number, error in calls.items():
        code += [struct.pack("HBBI", JUMP_EQUAL, 0, 1, number), struct.pack("HBBI", RETURN, 0, 0, RET_ERRNO | error)]
    code.append(struct.pack("HBBI", RETURN, 0, 0, RET_ALLOW))
    memory = ctypes.create_string_buffer(b"".join(code))
    program = Program(len(code), ctypes.cast(memory, ctypes.c_void_p))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


def become_ordinary(memlock: int) -> None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (memlock, memlock))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def confine(case: dict[str, Any]) -> None:
    if "memlock" in case:
        become_ordinary(case["memlock"])
    if "deny" in case:
        deny({int(number): error for number, error in case["deny"].items()})
    if "nofile" in case:
        resource.setrlimit(resource.RLIMIT_NOFILE, (case["nofile"], case["nofile"]))


def kernel_says() -> int:
    """The errno of the smallest ring that anybody could ask for, 0 if it is given."""
    fd = libc.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(120))
    if fd < 0:
        return ctypes.get_errno()
    os.close(fd)
    return 0


def main(case: dict[str, Any]) -> dict[str, Any]:
    told: list[int] = []
    ours, theirs = socket.socketpair()
    try:
        if case["when"] == "start":
            confine(case)
        engine = choice.new_engine(case.get("engine"))
        chosen = engine.report
        if case["when"] == "chosen":
            confine(case)
        # Armed before the engine is open, as by a loop that has not run yet.
        engine.arm(CallbackSource(ours.fileno(), told.append), EPOLLIN, False)
        engine = choice.open_engine(engine)
    except (choice.EngineUnavailable, OSError) as error:
        return {"error": type(error).__name__, "text": str(error)}
    theirs.send(b"a")
    while not told:
        engine.wait(-1)
    answer = {
        "chosen": chosen.name,
        "name": engine.name,
        "entries": getattr(engine, "entries", 0),
        "reason": engine.report.reason,
        "features": engine.report.features,
        "refused": [[each.configuration, each.error, each.explanation, each.fix] for each in engine.report.refused],
        "told": told,
        "kernel_says": kernel_says(),
    }
    engine.close()
    return answer


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
