"""Operations on files: what can be asked, and the memory that the kernel reads or writes meanwhile.

Each is written down as a request (requests.h), which the ring carries out, or a worker; how it goes there and ends is in traffic.py.
"""

import errno
import os
import sys

import cython
from cython.cimports.cpython.ref import Py_XDECREF
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.plait.engine.kernel import close
from cython.cimports.plait.net.linux import (
    Buffer,
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyBytes_AS_STRING,
    PyObject_GetBuffer,
    new_bytes,
    resize_bytes,
)
from cython.cimports.plait.system.requests import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    IORING_FSYNC_DATASYNC,
    IORING_OP_CLOSE,
    IORING_OP_FALLOCATE,
    IORING_OP_FSYNC,
    IORING_OP_LINKAT,
    IORING_OP_MKDIRAT,
    IORING_OP_OPENAT,
    IORING_OP_READ,
    IORING_OP_READV,
    IORING_OP_RENAMEAT,
    IORING_OP_SPLICE,
    IORING_OP_STATX,
    IORING_OP_SYMLINKAT,
    IORING_OP_UNLINKAT,
    IORING_OP_WRITE,
    IORING_OP_WRITEV,
    IOSQE_ASYNC,
    O_CLOEXEC,
    PLAIT_OP_CALL,
    PLAIT_OP_FGETXATTR,
    PLAIT_OP_FSETXATTR,
    PLAIT_OP_FTRUNCATE,
    PLAIT_OP_GETXATTR,
    PLAIT_OP_SETXATTR,
    S_IFMT,
    S_IFREG,
    STATX_BASIC_STATS,
    iovec,
    makedev,
    plait_look_at,
    plait_open_cached,
    plait_request_path,
    statx_result,
)

# The most that one call reads or writes, as read(2) and os.pread.
PART_MAX = cython.declare(cython.Py_ssize_t, 0x7FFFF000)
# What is larger is copied by a kernel thread instead of by the one that submits, which is the loop's.
COPIED_BY_LOOP_MAX = cython.declare(cython.Py_ssize_t, 256 * 1024)
# What is larger does not wait for a turn that has room for it, but is copied by a kernel thread meanwhile, too.
PUT_OFF_MAX = cython.declare(cython.Py_ssize_t, 16 * 1024)
PARTS_MAX = cython.declare(cython.Py_ssize_t, 1024)  # IOV_MAX
XATTR_SIZE_FIRST = cython.declare(cython.Py_ssize_t, 256)
XATTR_SIZE_MAX = cython.declare(cython.Py_ssize_t, 64 * 1024)
EMPTY = cython.declare(bytes, b"")
strerror = cython.declare(object, os.strerror)
stat_result = cython.declare(object, os.stat_result)
audit = cython.declare(object, sys.audit)


class Files(Traffic):
    """What can be asked of the file system, for one loop."""

    # Descriptors are ints, paths str, bytes or os.PathLike; errors are OSErrors as those of os.

    def openat(self, path, flags: cython.int, mode: cython.uint, dir_fd):
        audit("open", path, None, flags)
        operation: OpenOperation = OpenOperation.__new__(OpenOperation)
        operation.begin(self, IORING_OP_OPENAT, folder(dir_fd))
        operation.opened = -1
        operation.name(path, None)
        operation.request.entry.rw_flags = flags | O_CLOEXEC
        operation.request.entry.len = mode
        return self.start(operation)

    def open_cached(self, path, flags: cython.int):
        """Open for reading on the spot, if the kernel has the path in memory and it is this task's turn: the descriptor, else -1."""
        if self.calls_left <= 0 or not self.loop.thread or self.closed:
            return -1
        name: bytes = encoded(path)
        fd: cython.int = plait_open_cached(PyBytes_AS_STRING(name), flags | O_CLOEXEC)
        if fd == -errno.EMFILE or fd == -errno.ENFILE:
            raise OSError(-fd, strerror(-fd), path)  # not to be answered by opening what a worker needs
        if fd < 0:
            return -1  # openat() will tell
        try:
            audit("open", path, None, flags)
        except BaseException:
            close(fd)
            raise
        self.count_call(0)
        self.at_once += 1
        return fd

    def close_read(self, fd: cython.int):
        """Close what open_cached() opened: there is nothing to wait for. False if a worker still uses it."""
        if self.lingering is not None and fd in self.lingering:
            return False
        close(fd)
        return True

    def close_fd(self, fd: cython.int):
        operation: CloseOperation = CloseOperation.__new__(CloseOperation)
        operation.begin(self, IORING_OP_CLOSE, fd)
        if self.lingering is not None and fd in self.lingering:
            return self.close_later(operation, fd)
        return self.start(operation)

    def pread(self, fd: cython.int, size: cython.Py_ssize_t, offset: cython.longlong):
        if size < 0:
            raise OSError(errno.EINVAL, strerror(errno.EINVAL))
        operation: ReadOperation = ReadOperation.__new__(ReadOperation)
        operation.begin(self, IORING_OP_READ, fd)
        operation.size = min(size, PART_MAX)
        operation.data = new_bytes(cython.NULL, operation.size)
        operation.offset = offset
        if operation.size <= COPIED_BY_LOOP_MAX:
            if self.must_wait(operation.size):
                if operation.size <= PUT_OFF_MAX or not self.later:
                    return self.put_off(operation)
                operation.aside = True
            elif operation.try_now():
                return self.done(operation.take())
        return operation.go_on()

    def preadv(self, fd: cython.int, buffers, offset: cython.longlong):
        operation: CountOperation = CountOperation.__new__(CountOperation)
        operation.begin(self, IORING_OP_READV, fd)
        operation.hold(buffers, True)
        operation.request.entry.off = offset
        return self.start(operation)

    def pwrite(self, fd: cython.int, data, offset: cython.longlong):
        operation: WriteOperation = WriteOperation.__new__(WriteOperation)
        operation.begin(self, IORING_OP_WRITE, fd)
        PyObject_GetBuffer(data, cython.address(operation.view), PyBUF_SIMPLE)
        operation.held = True
        operation.request.entry.addr = cython.cast(cython.size_t, operation.view.buf)
        operation.request.entry.len = min(operation.view.len, PART_MAX)
        operation.request.entry.off = offset
        if operation.view.len > COPIED_BY_LOOP_MAX:
            operation.request.entry.flags = IOSQE_ASYNC
        return self.start(operation)

    def pwritev(self, fd: cython.int, buffers, offset: cython.longlong):
        operation: CountOperation = CountOperation.__new__(CountOperation)
        operation.begin(self, IORING_OP_WRITEV, fd)
        operation.hold(buffers, False)
        operation.request.entry.off = offset
        return self.start(operation)

    def fsync(self, fd: cython.int, data_only: cython.bint):
        operation: FileOperation = FileOperation.__new__(FileOperation)
        operation.begin(self, IORING_OP_FSYNC, fd)
        operation.request.entry.rw_flags = IORING_FSYNC_DATASYNC if data_only else 0
        return self.start(operation)

    def fallocate(self, fd: cython.int, mode: cython.int, offset: cython.longlong, length: cython.longlong):
        operation: FileOperation = FileOperation.__new__(FileOperation)
        operation.begin(self, IORING_OP_FALLOCATE, fd)
        operation.request.entry.off = offset
        operation.request.entry.addr = length
        operation.request.entry.len = mode
        return self.start(operation)

    def ftruncate(self, fd: cython.int, length: cython.longlong):
        audit("os.truncate", fd, length)
        operation: FileOperation = FileOperation.__new__(FileOperation)
        operation.begin(self, PLAIT_OP_FTRUNCATE, fd)
        operation.request.entry.off = length
        return self.start(operation)

    def splice(
        self,
        fd_in: cython.int,
        fd_out: cython.int,
        count: cython.Py_ssize_t,
        offset_in: cython.longlong,
        offset_out: cython.longlong,
    ):
        if count < 0:
            raise ValueError(f"count must be positive, not {count}")
        operation: CountOperation = CountOperation.__new__(CountOperation)
        operation.begin(self, IORING_OP_SPLICE, fd_out)
        operation.request.entry.file_index = fd_in  # splice_fd_in
        operation.request.entry.addr = offset_in  # splice_off_in
        operation.request.entry.off = offset_out
        operation.request.entry.len = min(count, PART_MAX)
        return self.start(operation)

    def statx(self, path, dir_fd, follow_symlinks: cython.bint):
        if isinstance(path, int):
            return self.fstat(path)
        operation: StatOperation = StatOperation.__new__(StatOperation)
        operation.begin(self, IORING_OP_STATX, folder(dir_fd))
        operation.name(path, None)
        return operation.go(0 if follow_symlinks else AT_SYMLINK_NOFOLLOW)

    def fstat(self, fd: cython.int):
        operation: StatOperation = StatOperation.__new__(StatOperation)
        operation.begin(self, IORING_OP_STATX, fd)
        operation.first_bytes = EMPTY
        operation.request.entry.addr = cython.cast(cython.size_t, PyBytes_AS_STRING(EMPTY))
        return operation.go(AT_EMPTY_PATH)

    def path_call(self, opcode, fd, first, second_fd, second, flags):
        """Those whose request is one or two paths, with a number where the second folder stands."""
        operation: PathOperation = PathOperation.__new__(PathOperation)
        operation.begin(self, opcode, fd)
        operation.name(first, second)
        operation.request.entry.len = second_fd
        operation.request.entry.rw_flags = flags
        return self.start(operation)

    def rename(self, source, target, source_dir_fd, target_dir_fd):
        audit("os.rename", source, target, told(source_dir_fd), told(target_dir_fd))
        return self.path_call(IORING_OP_RENAMEAT, folder(source_dir_fd), source, folder(target_dir_fd), target, 0)

    def unlink(self, path, dir_fd):
        audit("os.remove", path, told(dir_fd))
        return self.path_call(IORING_OP_UNLINKAT, folder(dir_fd), path, 0, None, 0)

    def rmdir(self, path, dir_fd):
        audit("os.rmdir", path, told(dir_fd))
        return self.path_call(IORING_OP_UNLINKAT, folder(dir_fd), path, 0, None, AT_REMOVEDIR)

    def mkdir(self, path, mode: cython.int, dir_fd):
        audit("os.mkdir", path, mode, told(dir_fd))
        return self.path_call(IORING_OP_MKDIRAT, folder(dir_fd), path, mode, None, 0)

    def symlink(self, source, target, dir_fd):
        audit("os.symlink", source, target, told(dir_fd))
        return self.path_call(IORING_OP_SYMLINKAT, folder(dir_fd), source, 0, target, 0)

    def link(self, source, target, follow_symlinks: cython.bint):
        audit("os.link", source, target, -1, -1)
        flags: cython.uint = AT_SYMLINK_FOLLOW if follow_symlinks else 0
        return self.path_call(IORING_OP_LINKAT, AT_FDCWD, source, AT_FDCWD, target, flags)

    def getxattr(self, path, name):
        audit("os.getxattr", path, name)
        operation: GetXattrOperation = GetXattrOperation.__new__(GetXattrOperation)
        operation.begin(self, PLAIT_OP_GETXATTR, -1)
        operation.attribute(path, name)
        operation.size = XATTR_SIZE_FIRST
        return operation.go()

    def setxattr(self, path, name, value, flags: cython.int):
        audit("os.setxattr", path, name, value, flags)
        operation: SetXattrOperation = SetXattrOperation.__new__(SetXattrOperation)
        operation.begin(self, PLAIT_OP_SETXATTR, -1)
        operation.attribute(path, name)
        PyObject_GetBuffer(value, cython.address(operation.view), PyBUF_SIMPLE)
        operation.held = True
        operation.request.entry.off = cython.cast(cython.size_t, operation.view.buf)
        operation.request.entry.len = operation.view.len
        operation.request.entry.rw_flags = flags
        return self.start(operation)

    def file_call(self, function, arguments):
        operation: CallOperation = CallOperation.__new__(CallOperation)
        operation.begin(self, PLAIT_OP_CALL, -1)
        operation.function = function
        operation.arguments = arguments
        return self.start(operation)


class CountOperation(FileOperation):
    """Vectored reads and writes, and splice: completes with a count of bytes."""

    def __dealloc__(self):
        self.release()

    def hold(self, buffers, writable):
        """Export each buffer, so that it can neither be resized nor freed while the kernel has its address."""
        if not isinstance(buffers, (list, tuple)):
            buffers = list(buffers)
        count: cython.Py_ssize_t = len(buffers)
        if count > PARTS_MAX:
            raise OSError(errno.EINVAL, f"{strerror(errno.EINVAL)}: {count} buffers, and the kernel takes {PARTS_MAX}")
        self.views = cython.cast(cython.pointer(Buffer), calloc(count + 1, cython.sizeof(Buffer)))
        self.parts = cython.cast(cython.pointer(iovec), calloc(count + 1, cython.sizeof(iovec)))
        if self.views == cython.NULL or self.parts == cython.NULL:
            raise MemoryError
        size: cython.Py_ssize_t = 0
        for buffer in buffers:
            PyObject_GetBuffer(
                buffer, cython.address(self.views[self.count]), PyBUF_WRITABLE if writable else PyBUF_SIMPLE
            )
            self.parts[self.count].iov_base = self.views[self.count].buf
            self.parts[self.count].iov_len = self.views[self.count].len
            size += self.views[self.count].len
            self.count += 1
        self.request.entry.addr = cython.cast(cython.size_t, self.parts)
        self.request.entry.len = count
        if size > COPIED_BY_LOOP_MAX:
            self.request.entry.flags = IOSQE_ASYNC
        return 0

    def release(self):
        while self.count > 0:
            self.count -= 1
            PyBuffer_Release(cython.address(self.views[self.count]))
        free(self.views)
        free(self.parts)
        self.views = cython.NULL
        self.parts = cython.NULL
        return 0

    def value(self, result):
        return result


class WriteOperation(FileOperation):
    """Completes with the number of bytes written. A cancelled one may have written all, a part, or nothing."""

    def __dealloc__(self):
        self.release()

    def release(self):
        if self.held:
            self.held = False
            PyBuffer_Release(cython.address(self.view))
        return 0

    def value(self, result):
        return result


class ReadOperation(FileOperation):
    """Completes with bytes: as many as were asked for, fewer at the end of a regular file, or where another file gives fewer."""

    def __dealloc__(self):
        self.release()

    def release(self):
        Py_XDECREF(self.data)  # taken by new_bytes(), unless take() gave it away
        self.data = cython.NULL
        return 0

    def try_now(self):
        """Whether it is done, from the page cache."""
        data: cython.p_char = PyBytes_AS_STRING(cython.cast(object, self.data))
        fd: cython.int = self.request.entry.fd
        found: cython.long = self.files.try_cached(fd, data, self.size, self.offset)
        if found < 0:
            return False
        self.done = found
        return found == 0 or found == self.size or self.offset < 0 or not goes_on(fd, self.offset + found)

    def have_turn(self):
        """It was put off to a turn with room for it, which is this one."""
        future = self.future
        if self.try_now():
            self.files.at_once += 1
            value = self.take()
            self.end(future)
            future.finish(value)
        else:
            self.ask()
            self.files.resume(self)
        return 0

    def go_on(self):
        """Ask for what is not there yet, behind what is."""
        self.ask()
        return self.files.start(self)

    def ask(self):
        data: cython.p_char = PyBytes_AS_STRING(cython.cast(object, self.data))
        self.request.entry.addr = cython.cast(cython.size_t, data + self.done)
        self.request.entry.len = self.size - self.done
        self.request.entry.off = self.offset if self.offset < 0 else self.offset + self.done
        if self.aside or self.size - self.done > COPIED_BY_LOOP_MAX:
            self.request.entry.flags = IOSQE_ASYNC
        return 0

    def complete(self, result, flags):
        """A part of what a regular file has is no answer: the rest is asked for. An error there is for who reads on behind the part."""
        fd: cython.int = self.request.entry.fd
        left: cython.Py_ssize_t = self.size - self.done - result
        wanted: cython.bint = self.future is not None and not self.files.closed
        if wanted and result > 0 and left > 0 and self.offset >= 0 and goes_on(fd, self.offset + self.done + result):
            self.done += result
            self.landed()
            self.ask()
            return self.again()
        if result < 0 and result != -errno.EINTR and self.done > 0:
            result = 0
        return FileOperation.complete(self, result, flags)

    def value(self, result):
        self.done += result
        return self.take()

    def take(self):
        """The bytes read, in a bytes object of their own."""
        if self.done < self.size:
            # Only this operation knows the object: its length may change still. Freed and NULL if that fails.
            resize_bytes(cython.address(self.data), self.done)
        found = cython.cast(object, self.data)
        self.release()  # `found` holds its own
        return found


class PathOperation(FileOperation):
    """Calls by path; the error names the paths as os does. Completes with None."""

    def name(self, first, second):
        self.first = first
        self.first_bytes = encoded(first)
        self.request.entry.addr = cython.cast(cython.size_t, PyBytes_AS_STRING(self.first_bytes))
        if second is not None:
            self.second = second
            self.second_bytes = encoded(second)
            self.request.entry.off = cython.cast(cython.size_t, PyBytes_AS_STRING(self.second_bytes))
        return 0

    def attribute(self, path, name):
        """An extended attribute of a path, or of a descriptor."""
        self.second_bytes = encoded(name)
        self.request.entry.addr = cython.cast(cython.size_t, PyBytes_AS_STRING(self.second_bytes))
        self.first = path
        if isinstance(path, int):
            self.request.entry.fd = path
            is_get: cython.bint = self.request.entry.opcode == PLAIT_OP_GETXATTR
            self.request.entry.opcode = PLAIT_OP_FGETXATTR if is_get else PLAIT_OP_FSETXATTR
        else:
            self.first_bytes = encoded(path)
            plait_request_path(cython.address(self.request), PyBytes_AS_STRING(self.first_bytes))
        return 0

    def error(self, code):
        if self.first is None:
            return OSError(code, strerror(code))
        if self.second is None:
            return OSError(code, strerror(code), shown(self.first))
        return OSError(code, strerror(code), shown(self.first), None, shown(self.second))


class OpenOperation(PathOperation):
    """Completes with the descriptor, which is closed again if nobody takes it."""

    def value(self, result):
        self.opened = result
        return result

    def end(self, future):
        self.future = None
        if self.opened < 0:
            future.operation = None
        return 0

    def abandon(self):
        if self.opened < 0:
            return FileOperation.abandon(self)
        self.too_late(self.opened)
        return 0

    def too_late(self, result):
        """Close it, without waiting: even for a file that was only opened, a file server may want to be asked."""
        files = self.files
        if files.closed:
            close(result)
            return 0
        operation: CloseOperation = CloseOperation.__new__(CloseOperation)
        operation.begin(files, IORING_OP_CLOSE, result)
        return files.resume(operation)


class StatOperation(PathOperation):
    """Completes with an os.stat_result."""

    def go(self, flags):
        self.request.entry.rw_flags = flags
        self.request.entry.len = STATX_BASIC_STATS
        self.request.entry.off = cython.cast(cython.size_t, cython.address(self.found))
        return self.files.start(self)

    def value(self, result):
        return stat_of(cython.address(self.found))


class GetXattrOperation(PathOperation):
    """Completes with bytes. Most values are small; a larger one is asked for again with all the room that there can be."""

    def __dealloc__(self):
        self.release()

    def release(self):
        Py_XDECREF(self.data)  # taken by new_bytes()
        self.data = cython.NULL
        return 0

    def make_room(self):
        self.data = new_bytes(cython.NULL, self.size)
        data: cython.p_char = PyBytes_AS_STRING(cython.cast(object, self.data))
        self.request.entry.off = cython.cast(cython.size_t, data)
        self.request.entry.len = self.size
        return 0

    def go(self):
        self.make_room()
        return self.files.start(self)

    def complete(self, result, flags):
        if result == -errno.ERANGE and self.size < XATTR_SIZE_MAX and self.future is not None and not self.files.closed:
            self.landed()
            self.release()
            self.size = XATTR_SIZE_MAX
            self.make_room()
            return self.again()
        return FileOperation.complete(self, result, flags)

    def value(self, result):
        return cython.cast(bytes, cython.cast(object, self.data))[:result]


class SetXattrOperation(PathOperation):
    """Completes with None."""

    def __dealloc__(self):
        self.release()

    def release(self):
        if self.held:
            self.held = False
            PyBuffer_Release(cython.address(self.view))
        return 0


class CallOperation(FileOperation):
    """A Python function, called by a worker: for what the ring lacks. Completes with what it returns."""

    def call(self):
        if self.future is None:
            return 0
        try:
            self.outcome = self.function(*self.arguments)
        except StopIteration as error:
            self.failure = RuntimeError(f"{self.function!r} raised StopIteration, which no future can hold")
            self.failure.__cause__ = error
        except BaseException as error:
            self.failure = error
        if self.future is None:
            # Nobody waits any more. What goes with it may close files, which is for this thread to wait for.
            self.release()
        return 0

    def value(self, result):
        if self.failure is not None:
            raise self.failure
        return self.outcome

    def release(self):
        self.function = self.arguments = self.outcome = self.failure = None
        return 0


@cython.cfunc
@cython.exceptval(check=False)
def goes_on(fd: cython.int, position: cython.longlong) -> cython.bint:
    """Whether there is more behind this of a regular file, so far as it is known without asking a file server."""
    found = cython.declare(statx_result)
    if plait_look_at(fd, cython.address(found)) < 0:
        return False
    return found.stx_mode & S_IFMT == S_IFREG and position < cython.cast(cython.longlong, found.stx_size)


def look_at(fd: cython.int):
    """(st_mode, st_size) of an open file, so far as they are known without asking a file server: it never waits."""
    found = cython.declare(statx_result)
    result: cython.int = plait_look_at(fd, cython.address(found))
    if result < 0:
        raise OSError(-result, strerror(-result))
    return found.stx_mode, found.stx_size


@cython.cfunc
def encoded(path) -> bytes:
    """The path as the kernel wants it."""
    found: bytes = os.fsencode(path)
    if b"\0" in found:
        raise ValueError("embedded null byte")
    return found


@cython.cfunc
def shown(path):
    """As os shows it in an error: str and bytes as they are given, of a PathLike its path."""
    return path if isinstance(path, (str, bytes, int)) else os.fspath(path)


@cython.cfunc
@cython.exceptval(-1, check=True)
def folder(dir_fd) -> cython.int:
    return AT_FDCWD if dir_fd is None else dir_fd


@cython.cfunc
def told(dir_fd):
    """As os tells it to audit hooks."""
    return -1 if dir_fd is None else dir_fd


def stat_of(found):
    """As os.stat gives it."""
    atime_ns = found.stx_atime.tv_sec * 1_000_000_000 + found.stx_atime.tv_nsec
    mtime_ns = found.stx_mtime.tv_sec * 1_000_000_000 + found.stx_mtime.tv_nsec
    ctime_ns = found.stx_ctime.tv_sec * 1_000_000_000 + found.stx_ctime.tv_nsec
    return stat_result(
        (
            found.stx_mode,
            found.stx_ino,
            makedev(found.stx_dev_major, found.stx_dev_minor),
            found.stx_nlink,
            found.stx_uid,
            found.stx_gid,
            found.stx_size,
            found.stx_atime.tv_sec,
            found.stx_mtime.tv_sec,
            found.stx_ctime.tv_sec,
        ),
        {
            "st_atime": found.stx_atime.tv_sec + 1e-9 * found.stx_atime.tv_nsec,
            "st_mtime": found.stx_mtime.tv_sec + 1e-9 * found.stx_mtime.tv_nsec,
            "st_ctime": found.stx_ctime.tv_sec + 1e-9 * found.stx_ctime.tv_nsec,
            "st_atime_ns": atime_ns,
            "st_mtime_ns": mtime_ns,
            "st_ctime_ns": ctime_ns,
            "st_blksize": found.stx_blksize,
            "st_blocks": found.stx_blocks,
            "st_rdev": makedev(found.stx_rdev_major, found.stx_rdev_minor),
        },
    )
