"""A file system whose files fail or dawdle as their names say, mounted for one program: it speaks FUSE (linux/fuse.h) by itself.

    python faulty.py FOLDER PROGRAM...

The names:
    read-N, write-N             200,000 bytes, or none; a READ or WRITE that goes beyond N fails with EIO
    open, getattr, fsync, flush such a request fails with EIO; `flush` is what close(2) asks
    slow                        100,000 bytes; each request waits until PROGRAM writes a byte to the descriptor FAULTY_RELEASE

Every name is there, as a regular file that begins as above. The program ends the file system, and its status is the server's.
"""

import contextlib
import ctypes
import errno
import os
import select
import struct
import sys
from collections import deque

LOOKUP, FORGET, GETATTR, SETATTR = 1, 2, 3, 4
OPEN, READ, WRITE, RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, BATCH_FORGET = 14, 15, 16, 18, 20, 25, 26, 36, 42
UNANSWERED = (FORGET, INTERRUPT, BATCH_FORGET)
NAMES = {"open": OPEN, "getattr": GETATTR, "fsync": FSYNC, "flush": FLUSH, "read": READ, "write": WRITE}
FATTR_SIZE = 1 << 3
WRITE_BYTES = 64 * 1024
ROOT = 1
HEADER = struct.Struct("=IIQQIIIHH")
ANSWER = struct.Struct("=IiQ")
ATTRIBUTES = struct.Struct("=QQQQQQIIIIIIIIII")


class Server:
    def __init__(self, fuse: int, releases: int, program: int) -> None:
        self.fuse = fuse
        self.releases = releases
        self.program = os.pidfd_open(program)
        self.names: dict[int, str] = {}
        self.contents: dict[str, bytearray] = {}
        self.held: deque[tuple[int, int, int, bytes]] = deque()

    def serve(self) -> None:
        poll = select.poll()
        for fd in (self.fuse, self.releases, self.program):
            poll.register(fd, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            # Releases first, and all that have come: none is for a request that came after it.
            if self.releases in ready and os.read(self.releases, 4096) and self.held:
                self.answer(*self.held.popleft())
            if self.fuse in ready:
                # Nothing is there when who asked was interrupted since, and has taken the request back.
                with contextlib.suppress(BlockingIOError):
                    self.take(os.read(self.fuse, WRITE_BYTES + 4096))
            if self.program in ready:
                return

    def take(self, request: bytes) -> None:
        size, opcode, unique, node, *_ = HEADER.unpack_from(request)
        body = request[HEADER.size : size]
        name = body[:-1].decode() if opcode == LOOKUP else self.names.get(node)
        if name == "slow" and opcode not in UNANSWERED:
            self.held.append((opcode, unique, node, body))
        else:
            self.answer(opcode, unique, node, body)

    def answer(self, opcode: int, unique: int, node: int, body: bytes) -> None:
        if opcode in UNANSWERED:
            return
        try:
            data = self.carry_out(opcode, node, body)
            code = 0
        except OSError as error:
            data, code = b"", error.errno
        os.write(self.fuse, ANSWER.pack(ANSWER.size + len(data), -code, unique) + data)

    def carry_out(self, opcode: int, node: int, body: bytes) -> bytes:
        if opcode == INIT:
            # Version 7.31, no flags, and how much a WRITE may bring.
            return struct.pack("=IIIIHHIIHHI28x", 7, 31, 0, 0, 8, 6, WRITE_BYTES, 1, 0, 0, 0)
        if opcode == LOOKUP:
            return self.look_up(body[:-1].decode())
        if opcode in (GETATTR, SETATTR) and node == ROOT:
            return self.attributes(node)
        name = self.names.get(node, "")
        what, _, most = name.partition("-")
        if NAMES.get(what) == opcode and not most:
            raise OSError(errno.EIO, name)
        content = self.contents.get(name, bytearray())
        if opcode == GETATTR:
            return self.attributes(node)
        if opcode == SETATTR:
            valid, _, _, size = struct.unpack_from("=IIQQ", body)
            if valid & FATTR_SIZE:
                content[size:] = bytes(max(0, size - len(content)))
            return self.attributes(node)
        if opcode == OPEN:
            return struct.pack("=QII", 0, 0, 0)
        if opcode in (READ, WRITE):
            _, offset, size = struct.unpack_from("=QQI", body)
            if NAMES.get(what) == opcode and offset + size > int(most):
                raise OSError(errno.EIO, name)
            if opcode == READ:
                return bytes(content[offset : offset + size])
            content[offset : offset + size] = body[40:]
            return struct.pack("=II", size, 0)
        if opcode in (RELEASE, FSYNC, FLUSH):
            return b""
        raise OSError(errno.ENOSYS, name)

    def look_up(self, name: str) -> bytes:
        if name not in self.contents:
            size = 200_000 if name.startswith("read") else 100_000 if name == "slow" else 0
            self.contents[name] = bytearray(i // 256 % 251 for i in range(size))
            self.names[ROOT + len(self.contents)] = name
        node = next(node for node, known in self.names.items() if known == name)
        # What is said about names and sizes is valid for no time: each use asks again.
        return struct.pack("=QQQQII", node, 0, 0, 0, 0, 0) + self.attributes(node)[16:]

    def attributes(self, node: int) -> bytes:
        mode, size = (0o40755, 0) if node == ROOT else (0o100644, len(self.contents[self.names[node]]))
        fields = ATTRIBUTES.pack(node, size, 0, 0, 0, 0, 0, 0, 0, mode, 1, os.getuid(), os.getgid(), 0, 4096, 0)
        return struct.pack("=QII", 0, 0, 0) + fields


def mount(folder: str) -> int:
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)
    options = f"fd={fuse},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"faulty", folder.encode(), b"fuse", 0, options.encode()) < 0:
        raise OSError(ctypes.get_errno(), f"mount: {os.strerror(ctypes.get_errno())}", folder)
    return fuse


def unmount(folder: str) -> None:
    detach = 2  # MNT_DETACH: at once, whoever still uses it
    ctypes.CDLL(None).umount2(folder.encode(), detach)


def main() -> int:
    folder, *command = sys.argv[1:]
    fuse = mount(folder)
    releases, release = os.pipe()
    program = os.fork()
    if program == 0:
        os.set_inheritable(release, True)
        os.environ["FAULTY_RELEASE"] = str(release)
        os.execvp(command[0], command)
    try:
        Server(fuse, releases, program).serve()
    finally:
        unmount(folder)
    return os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
