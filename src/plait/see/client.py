"""Looking into a process of plait from outside: find its socket, ask, and say in one line what is wrong."""

import contextlib
import json
import os
import pwd
import socket
import struct
import time
from types import TracebackType
from typing import Any

from plait.see.attach import PROTOCOL, pid_namespace, socket_name

__all__ = ["Attached", "CannotAttach"]

ANSWER_SECONDS = 10.0  # the answer needs the interpreter lock, which C code may keep
HELLO_SECONDS = 3.0
AGAIN_SECONDS = (0.0, 0.01, 0.05, 0.2)
CREDENTIALS = struct.Struct("iII")
READ_SIZE = 1 << 20


class CannotAttach(Exception):
    """Says why in one line, with what to do where something can be done."""


class Ended(CannotAttach):
    """The connection is closed from the other side, or nobody listens there now."""


class Attached:
    """A connection to a process that runs on plait. Raises CannotAttach, with the reason, wherever it ends."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        for seconds in AGAIN_SECONDS:
            try:
                return self.begin()
            except Ended:
                # It forked, or closed "all" descriptors and noticed just now: it listens again in a moment.
                time.sleep(seconds)
        self.begin()

    def begin(self) -> None:
        self.received = b""
        self.socket = connect(self.pid)
        try:
            self.check_peer()
            self.check_hello()
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> "Attached":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def check_peer(self) -> None:
        """The name is free for anybody to take: believe nobody but the process itself."""
        length = CREDENTIALS.size
        pid, uid, _ = CREDENTIALS.unpack(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, length))
        if pid != self.pid:
            raise CannotAttach(
                f"process {self.pid} cannot be looked at: its socket was taken by process {pid} of user {user_name(uid)}"
            )

    def check_hello(self) -> None:
        words = self.line(HELLO_SECONDS).split()
        if words[:1] == [b"refused"]:
            owner = user_name(int(words[2])) if len(words) > 2 else "another user"
            raise CannotAttach(
                f"process {self.pid} is {owner}'s and may be looked at by {who_may(owner)} only, not by "
                f"{user_name(os.geteuid())}"
            )
        if words[:1] != [b"plait"] or words[1:2] != [b"%d" % PROTOCOL]:
            raise CannotAttach(
                f"process {self.pid} runs another release of plait: use the plait command of its environment"
            )

    def ask(self, name: str, **options: Any) -> Any:
        """The answer to a question, see serving.QUESTIONS."""
        question = json.dumps({"ask": name, **options}).encode() + b"\n"
        try:
            self.socket.sendall(question)
        except OSError:
            raise self.ended() from None
        told = json.loads(self.line(ANSWER_SECONDS))
        if "error" in told:
            raise CannotAttach(f"process {self.pid} says: {told['error']}")
        return told["answer"]

    def line(self, seconds: float) -> bytes:
        parts = [self.received]
        self.socket.settimeout(seconds)
        while b"\n" not in parts[-1]:
            try:
                part = self.socket.recv(READ_SIZE)
            except TimeoutError:
                raise self.silent(seconds) from None
            except OSError:
                part = b""
            if not part:
                raise self.ended()
            parts.append(part)
        line, _, self.received = b"".join(parts).partition(b"\n")
        return line

    def ended(self) -> CannotAttach:
        if alive(self.pid):
            return Ended(f"process {self.pid} closed the connection (it forked, or is about to end): try again")
        return CannotAttach(f"process {self.pid} has ended")

    def silent(self, seconds: float) -> CannotAttach:
        return CannotAttach(
            f"process {self.pid} does not answer for {seconds:g} s: C code in it keeps the interpreter lock, or it is "
            f"stopped (state {state(self.pid)}); `plait run --watchdog` shows the stack of such a block"
        )


def connect(pid: int) -> socket.socket:
    if not alive(pid):
        raise CannotAttach(f"there is no process {pid}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(HELLO_SECONDS)
        sock.connect(b"\0" + socket_name(inner_pid(pid), pid_namespace(pid) or pid_namespace()))
    except OSError:
        sock.close()
        raise Ended(why_no_socket(pid)) from None
    return sock


def who_may(owner: str) -> str:
    return owner if owner == "root" else f"{owner} and root"


def why_no_socket(pid: int) -> str:
    owner = owner_of(pid)
    if owner is not None and owner != os.geteuid() and os.geteuid() != 0:
        return (
            f"process {pid} is {user_name(owner)}'s and may be looked at by {who_may(user_name(owner))} only, not by "
            f"{user_name(os.geteuid())}"
        )
    if other_network(pid):
        return (
            f"process {pid} is in a container with a network of its own: run plait in there (docker exec, nsenter -n)"
        )
    return (
        f"process {pid} ({command(pid)}) cannot be looked at: it does not run on plait, has not run a loop yet, or was "
        "started with PLAIT_ATTACH=0"
    )


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return os.path.exists(f"/proc/{pid}")
    return state(pid) not in ("Z", "X")


def state(pid: int) -> str:
    """The letter of ps: R, S, D, T, Z."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except (OSError, IndexError):
        return "?"


def inner_pid(pid: int) -> int:
    """The process's own number, which differs from ours when it is in a container."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("NSpid:"):
                    return int(line.split()[-1])
    return pid


def other_network(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return False


def owner_of(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "?"


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
