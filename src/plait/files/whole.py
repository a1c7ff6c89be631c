"""Whole files: opened, read to the end and closed as one operation, which comes back into Python only when it is done."""

import errno
import os
import sys

import cython
from cython.cimports.cpython.ref import Py_XDECREF
from cython.cimports.libc.stdlib import calloc, free, malloc, realloc
from cython.cimports.plait.core.futures import OperationFuture
from cython.cimports.plait.engine.kernel import close
from cython.cimports.plait.net.linux import PyBytes_AS_STRING, new_bytes, resize_bytes
from cython.cimports.plait.system.operations import Files
from cython.cimports.plait.system.requests import (
    AT_FDCWD,
    IORING_OP_CLOSE,
    IORING_OP_OPENAT,
    IORING_OP_READ,
    IOSQE_ASYNC,
    O_CLOEXEC,
    S_IFMT,
    S_IFREG,
    plait_look_at,
    plait_open_cached,
    plait_read_cached,
    statx_result,
)
from cython.cimports.plait.system.traffic import CloseOperation

S_IFDIR = cython.declare(cython.uint, 0o040000)
# A named pipe without a writer would hold a worker until there is one.
FLAGS = cython.declare(cython.uint, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
# The most that read(2) gives.
PART_MAX = cython.declare(cython.Py_ssize_t, 0x7FFFF000)
# What is larger is copied by a kernel thread instead of by the one that submits, which is the loop's.
COPIED_BY_LOOP_MAX = cython.declare(cython.Py_ssize_t, 256 * 1024)
# Room for files that do not say their size, those of /proc.
ROOM_MIN = cython.declare(cython.Py_ssize_t, 4096)
# Of Found.size: to be read as an operation, being large, or not a regular file, which must not be opened twice.
LATER = cython.declare(cython.Py_ssize_t, -100_000)
strerror = cython.declare(object, os.strerror)
audit = cython.declare(object, sys.audit)


class WholeOperation(FileOperation):
    """Completes with all bytes of a regular file; with the open descriptor of anything else, which may have no end."""

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        self.release()

    def release(self):
        Py_XDECREF(self.data)  # taken by new_bytes(), unless it was given away
        self.data = cython.NULL
        return 0

    def complete(self, result, flags):
        files = self.files
        self.landed()
        if result == -errno.EINTR and self.future is not None and not files.closed:
            return self.again()
        try:
            if self.request.entry.opcode == IORING_OP_OPENAT and result >= 0:
                self.fd = result
            if self.future is None or files.closed:
                self.close_file()
                self.release()
            elif result == -errno.EAGAIN and self.request.entry.opcode == IORING_OP_OPENAT:
                # Somebody has a lease on it, see fcntl(2), and is asked to give it back.
                self.request.entry.rw_flags = os.O_RDONLY | O_CLOEXEC
                files.launch(self)
            elif result < 0:
                raise OSError(-result, strerror(-result), self.path)
            else:
                self.go_on(result)
        except BaseException as error:
            self.close_file()
            self.fail(error)
        finally:
            if files.waiting:
                files.launch_waiting()
        return 0

    def go_on(self, result):
        """A step was done: what comes next."""
        if self.request.entry.opcode == IORING_OP_OPENAT:
            if self.begin_reading():
                return self.finish()
        else:
            self.done += result
            if result == 0 or self.is_whole():
                return self.finish()
        return self.read_more()

    def begin_reading(self):
        """It is open: make room, and read what is cached. Whether that is all, or all that can be done here."""
        found = cython.declare(statx_result)
        code: cython.int = plait_look_at(self.fd, cython.address(found))
        if code < 0:
            raise OSError(-code, strerror(-code), self.path)
        if found.stx_mode & S_IFMT == S_IFDIR:
            raise OSError(errno.EISDIR, strerror(errno.EISDIR), self.path)
        if found.stx_mode & S_IFMT != S_IFREG:
            return True
        # One more than there is: the read that finds the end fits.
        self.make_room(max(cython.cast(cython.Py_ssize_t, found.stx_size) + 1, ROOM_MIN))
        self.request.entry.opcode = IORING_OP_READ
        self.request.entry.fd = self.fd
        self.request.entry.rw_flags = 0
        if self.size > COPIED_BY_LOOP_MAX:
            return False
        data: cython.p_char = PyBytes_AS_STRING(cython.cast(object, self.data))
        count: cython.long = self.files.try_cached(self.fd, data, self.size, 0)
        if count > 0:
            self.done = count
            # A file that says its size, and gave just that, has ended. Those of /sys say more than they give.
            return count == cython.cast(cython.longlong, found.stx_size) or self.is_whole()
        return count == 0

    def is_whole(self):
        """Whether nothing comes behind what was read, as far as that is known without waiting."""
        if self.done == self.size:
            self.make_room(2 * self.size)
        data: cython.p_char = PyBytes_AS_STRING(cython.cast(object, self.data))
        return plait_read_cached(self.fd, data + self.done, 1, self.done) == 0

    def read_more(self):
        """Read on behind what is there."""
        data: cython.p_char = PyBytes_AS_STRING(cython.cast(object, self.data))
        room: cython.Py_ssize_t = min(self.size - self.done, PART_MAX)
        self.request.entry.addr = cython.cast(cython.size_t, data + self.done)
        self.request.entry.len = room
        self.request.entry.off = self.done
        self.request.entry.flags = IOSQE_ASYNC if room > COPIED_BY_LOOP_MAX else 0
        self.files.launch(self)
        return 0

    def make_room(self, size):
        if self.data == cython.NULL:
            self.data = new_bytes(cython.NULL, size)
        else:
            # Only this operation knows the object: its length may change still. Freed and NULL if that fails.
            resize_bytes(cython.address(self.data), size)
        self.size = size
        return 0

    def take(self):
        """What was read, or the descriptor of what is not a file."""
        if self.data == cython.NULL:
            fd = self.fd
            self.fd = -1
            return fd
        self.make_room(self.done)
        value = cython.cast(object, self.data)
        self.release()  # `value` holds its own
        return value

    def finish(self):
        value = self.take()
        self.close_file()
        future: OperationFuture = self.future
        self.end(future)
        future.finish(value)
        return 0

    def close_file(self):
        """Nobody waits for it: a file that was only read has nothing to tell."""
        if self.fd < 0:
            return 0
        fd: cython.int = self.fd
        self.fd = -1
        files = self.files
        if files.closed:
            close(fd)
            return 0
        operation: CloseOperation = CloseOperation.__new__(CloseOperation)
        operation.begin(files, IORING_OP_CLOSE, fd)
        files.launch(operation)
        return 0

    def name_it(self, files, path):
        self.begin(files, IORING_OP_OPENAT, AT_FDCWD)
        self.path = path
        self.name = os.fsencode(path)
        if b"\0" in self.name:
            raise ValueError("embedded null byte")
        self.request.entry.addr = cython.cast(cython.size_t, PyBytes_AS_STRING(self.name))
        self.request.entry.rw_flags = FLAGS
        return 0


def begin_read(files: Files, path):
    """A future of all that is in the file, or of its descriptor if it is not a regular one."""
    audit("open", path, None, FLAGS)
    operation: WholeOperation = WholeOperation.__new__(WholeOperation)
    operation.name_it(files, path)
    return files.start(operation)


def read_cached(files: Files, path):
    """What begin_read() would give, if the kernel has it in memory and it is this task's turn; else None.

    Opened as io_uring opens it when it does not want to wait, and read within what a turn may read on the spot.
    """
    if files.calls_left <= 0 or files.bytes_left <= 0 or not files.loop.thread:
        return None
    operation: WholeOperation = WholeOperation.__new__(WholeOperation)
    operation.name_it(files, path)
    operation.fd = plait_open_cached(operation.name, FLAGS)
    if operation.fd < 0:
        return None
    try:
        audit("open", path, None, FLAGS)
        if operation.begin_reading():
            return operation.take()
    except OSError:
        pass  # begin_read() will tell
    finally:
        # Here, as it was opened here: a file that was only read has nothing to wait for.
        if operation.fd >= 0:
            close(operation.fd)
    return None


def turn_is_over(files: Files):
    """Whether read_cached() gives nothing more in this turn."""
    return files.calls_left <= 0 or files.bytes_left <= 0


def read_batch(names: list) -> list:
    """Of each file its bytes, the OSError that it met, or None if it is to be read by begin_read(). Blocks: it is for a worker.

    For engines without a ring: several small files then cost one change of threads, and none waits for the interpreter in between.
    """
    count: cython.Py_ssize_t = len(names)
    encoded: list = [os.fsencode(name) for name in names]
    paths = cython.cast(cython.pp_char, calloc(count + 1, cython.sizeof(cython.p_char)))
    found = cython.cast(cython.pointer(Found), calloc(count + 1, cython.sizeof(Found)))
    number: cython.Py_ssize_t
    try:
        if paths == cython.NULL or found == cython.NULL:
            raise MemoryError
        for number in range(count):
            # What is no name at all is for begin_read() to refuse.
            paths[number] = cython.NULL if b"\0" in encoded[number] else PyBytes_AS_STRING(encoded[number])
        with cython.nogil:
            for number in range(count):
                read_now(paths[number], cython.address(found[number]))
        results: list = []
        for number in range(count):
            size: cython.Py_ssize_t = found[number].size
            if size >= 0:
                results.append(found[number].data[:size])
            elif size == LATER:
                results.append(None)
            else:
                results.append(OSError(-size, strerror(-size), names[number]))
        return results
    finally:
        if found != cython.NULL:
            for number in range(count):
                free(found[number].data)
        free(found)
        free(paths)


def read_now(name, found):
    status = cython.declare(file_status)
    if name == cython.NULL:
        found.size = LATER
        return
    if stat_file(name, cython.address(status)) < 0:
        found.size = -errno_now
        return
    if status.st_mode & S_IFMT != S_IFREG or status.st_size > COPIED_BY_LOOP_MAX:
        found.size = LATER
        return
    fd: cython.int = -1
    while fd < 0:
        fd = open_file(name, O_RDONLY | O_CLOEXEC)
        if fd < 0 and errno_now != EINTR:
            found.size = -errno_now
            return
    code: cython.int = read_open(fd, found)
    if code:
        found.size = code
    close(fd)


def read_open(fd, found):
    """Read to the end; 0 or -errno."""
    status = cython.declare(file_status)
    if fstat_file(fd, cython.address(status)) < 0:
        return -errno_now
    room: cython.Py_ssize_t = max(cython.cast(cython.Py_ssize_t, status.st_size) + 1, ROOM_MIN)
    found.data = cython.cast(cython.p_char, malloc(room))
    if found.data == cython.NULL:
        return -ENOMEM
    while True:
        if found.size == room:
            room *= 2
            larger: cython.p_char = cython.cast(cython.p_char, realloc(found.data, room))
            if larger == cython.NULL:
                return -ENOMEM
            found.data = larger
        count: cython.Py_ssize_t = read_file(fd, found.data + found.size, room - found.size)
        if count == 0:
            return 0
        if count > 0:
            found.size += count
        elif errno_now != EINTR:
            return -errno_now
