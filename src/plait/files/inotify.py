"""inotify(7): the kernel tells what happens to the files of a folder."""

import os

import cython

# From <sys/inotify.h>.
MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
UNMOUNT, Q_OVERFLOW, IGNORED = 0x2000, 0x4000, 0x8000
ONLYDIR, DONT_FOLLOW, EXCL_UNLINK, ISDIR = 0x1000000, 0x2000000, 0x4000000, 0x40000000

# Read at once; an event has 16 bytes and a name of up to 256.
BATCH_BYTES = cython.declare(cython.int, 16 * 1024)


class Inotify:
    """One inotify instance. add() may wait for a disk and is for a worker; the rest does not wait."""

    def __cinit__(self):
        self.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        if self.fd < 0:
            code: cython.int = errno
            remedy = ""
            if code == EMFILE:
                remedy = (
                    ": this user has fs.inotify.max_user_instances of them, or the process all descriptors that it may have; "
                    "raise it by `sysctl fs.inotify.max_user_instances=512`, or `ulimit -n`"
                )
            raise OSError(code, f"{os.strerror(code)}{remedy}")

    def __dealloc__(self):
        if self.fd >= 0:
            close_fd(self.fd)

    def add(self, path, mask: cython.uint) -> int:
        """Watch a folder; returns the number that its events carry."""
        name: bytes = os.fsencode(path)
        if b"\0" in name:
            raise ValueError("embedded null byte")
        text: cython.p_char = name
        code: cython.int = 0
        watch: cython.int
        with cython.nogil:
            watch = inotify_add_watch(self.fd, text, mask)
            if watch < 0:
                code = errno
        if code == ENOSPC:
            raise OSError(
                code,
                "No more folders can be watched: this user watches fs.inotify.max_user_watches of them; "
                "raise it by `sysctl fs.inotify.max_user_watches=1048576`, or leave folders out with `ignore`",
                path,
            )
        if code:
            raise OSError(code, os.strerror(code), path)
        return watch

    def remove(self, watch: cython.int) -> None:
        """End a watch; it may have ended by itself already."""
        inotify_rm_watch(self.fd, watch)

    def read(self) -> list:
        """What happened since: (watch, mask, cookie, name), or nothing."""
        buffer = cython.declare(cython.char[16 * 1024])
        found: list = []
        size: cython.Py_ssize_t = read_events(self.fd, buffer, BATCH_BYTES)
        if size < 0:
            if errno in (EAGAIN, EINTR):
                return found
            raise OSError(errno, os.strerror(errno))
        place: cython.Py_ssize_t = 0
        while place < size:
            event: cython.pointer(inotify_event) = cython.cast(
                cython.pointer(inotify_event), cython.address(buffer[place])
            )
            name = PyUnicode_DecodeFSDefault(event.name) if event.len else ""
            found.append((event.wd, event.mask, event.cookie, name))
            place += cython.sizeof(inotify_event) + event.len
        return found
