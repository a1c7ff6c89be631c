"""What the side thread does while somebody looks: one line of JSON is a question, one line of JSON is the answer.

Several clients at once, none can hold up another: all descriptors are non-blocking, what does not fit waits in memory. A client
that asks nonsense is told so and let go.
"""

import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from plait.see import side, snapshot

__all__ = ["QUESTIONS", "serve"]

CLIENTS_MAX = 16
LOOK_MS = 1000  # so often it is looked whether what was begun for a client that has gone can end
QUESTION_MAX = 4096  # bytes
UNSENT_MAX = 256 * 1024 * 1024  # bytes: of a client that asks and does not read
READ_SIZE = 4096

Answer = Callable[[dict[str, Any]], Any]


class Client:
    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)
        self.heard = b""
        self.unsent = memoryview(b"")
        self.leaving = False  # once all is sent, and it has read that

    def wants(self) -> int:
        return select.POLLOUT if self.unsent else select.POLLIN

    def read(self) -> None:
        """Answer what it asks; OSError and EOFError when it has gone."""
        data = self.socket.recv(READ_SIZE)
        if not data:
            raise EOFError
        if self.leaving:
            return
        self.heard += data
        while b"\n" in self.heard and not self.leaving:
            line, self.heard = self.heard.split(b"\n", 1)
            self.say(answer(line))
        if len(self.heard) > QUESTION_MAX:
            self.refuse("a question is one line of JSON")

    def say(self, value: dict[str, Any]) -> None:
        text = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        self.unsent = memoryview(bytes(self.unsent) + text)
        if "error" in value or len(self.unsent) > UNSENT_MAX:
            self.leaving = True

    def refuse(self, why: str) -> None:
        self.say({"error": why})

    def write(self) -> None:
        if not self.unsent:
            return
        self.unsent = self.unsent[self.socket.send(self.unsent) :]
        if not self.unsent and self.leaving:
            # Not closed before it has: what it still sends would take the answer away from it.
            self.socket.shutdown(socket.SHUT_WR)


def answer(line: bytes) -> dict[str, Any]:
    try:
        question = json.loads(line)
        name = question["ask"]
        handler = QUESTIONS[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {"error": f"asked for {line[:60]!r}; known are {', '.join(QUESTIONS)}"}
    try:
        return {"answer": handler(question)}
    except Exception as error:
        return {"error": f"{name}: {type(error).__name__}: {error}"}


def serve(first: int, asked: int) -> None:
    """Until the last client has gone, or the thread is to stop."""
    clients = {first: Client(first)} if first >= 0 else {}
    try:
        while True:
            do_what_was_asked(asked)
            if not clients or asked & side.STOP:
                return
            if "plait.see.weaving" in sys.modules:
                sys.modules["plait.see.weaving"].end_unwanted()
            turn(clients)
            asked = side.asked()
    finally:
        for client in clients.values():
            client.socket.close()
        if "plait.see.weaving" in sys.modules:
            sys.modules["plait.see.weaving"].end_all()


def turn(clients: dict[int, Client]) -> None:
    """Wait for one of them or a new one, and serve them."""
    poll = select.poll()
    listener = side.listener()
    if listener >= 0:
        poll.register(listener, select.POLLIN)
    for client in clients.values():
        poll.register(client.socket, client.wants())
    for fd, _ in poll.poll(LOOK_MS):
        if fd == listener:
            new = side.accept()
            if new >= 0:
                clients[new] = Client(new)
                if len(clients) > 2 * CLIENTS_MAX:
                    clients.pop(new).socket.close()
                elif len(clients) > CLIENTS_MAX:
                    clients[new].refuse(f"{CLIENTS_MAX} clients are looking at this process already")
            continue
        client = clients[fd]
        try:
            if not client.unsent:
                client.read()
            client.write()
        except BlockingIOError:
            continue
        except (OSError, EOFError):
            clients.pop(fd).socket.close()


def do_what_was_asked(asked: int) -> None:
    if asked & side.DUMP:
        from plait.see import tree

        write_error(tree.text_of(snapshot.take()))
    if asked & side.REPORT:
        from plait.see import watchdog

        watchdog.report_taken()
    if asked & side.SCAN:
        from plait.see import watchdog

        watchdog.scan()


def write_error(text: str) -> None:
    """To standard error as it is now, without the program's own stream, which the loop may hold locked."""
    try:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, text.encode(errors="backslashreplace"))
    except (OSError, ValueError):
        pass


def ask_dump(question: dict[str, Any]) -> Any:
    return snapshot.take()


def ask_top(question: dict[str, Any]) -> Any:
    from plait.see import counters

    return counters.take()


def ask_weave(question: dict[str, Any]) -> Any:
    from plait.see import weaving

    return weaving.take(question)


def ask_ping(question: dict[str, Any]) -> Any:
    return {"pid": os.getpid(), "time": time.time()}


QUESTIONS: dict[str, Answer] = {"dump": ask_dump, "top": ask_top, "weave": ask_weave, "ping": ask_ping}
