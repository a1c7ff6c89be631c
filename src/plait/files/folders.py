"""What stands in a folder, batch by batch: getdents64(2), which the ring has no operation for.

A batch is read without the interpreter's lock, so that a worker that lists a folder holds up neither the loop nor, on a disk that is slow,
any other thread. Only what it found becomes objects.
"""

import os

import cython
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import strcmp

# Where the names of one batch come to lie: some hundreds of them.
BATCH_BYTES = cython.declare(cython.int, 16 * 1024)


# DT_* of <dirent.h>: the kernel's types of files, which stand in st_mode shifted by twelve bits.
UNKNOWN, FOLDER, REGULAR, LINK = 0, 4, 8, 10


def kind_of(mode: cython.int) -> cython.int:
    """The DT_* of a file of this st_mode."""
    return (mode & 0o170000) >> 12


class Folder:
    """A folder that is being listed. It holds a descriptor between two batches only; one that fits a batch never does."""

    def __cinit__(self, path):
        self.fd = -1
        self.path = path
        self.encoded = os.fsencode(path)
        if b"\0" in self.encoded:
            raise ValueError("embedded null byte")
        self.name = self.encoded

    def __dealloc__(self):
        if self.fd >= 0:
            close_fd(self.fd)

    def read(self) -> list:
        """The next entries as (name, type), type being DT_* of readdir(3); OSError with the path when it cannot be read.

        Blocks: it is for a worker. After a batch either `ended` is true or there is more.
        """
        if self.ended:
            return []
        buffer: cython.p_char = cython.cast(cython.p_char, malloc(BATCH_BYTES))
        if buffer == cython.NULL:
            raise MemoryError
        try:
            size: cython.int
            with cython.nogil:
                size = self.fill(buffer, BATCH_BYTES)
            if size < 0:
                raise OSError(-size, os.strerror(-size), self.path)
            return self.entries(buffer, size)
        finally:
            free(buffer)

    def fill(self, buffer, size):
        """Read what fits; how many bytes it is, or a negative errno. Closes when the end was seen."""
        filled: cython.int = 0
        code: cython.int = self.failure
        if code == 0 and self.fd < 0:
            self.fd = open_fd(self.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            code = errno if self.fd < 0 else 0
        while code == 0:
            got: cython.long = syscall(SYS_getdents64, self.fd, buffer + filled, size - filled)
            if got > 0:
                filled += cython.cast(cython.int, got)
            elif got == 0 or errno == ENOENT:  # it was removed meanwhile, so that no more names are in it
                self.ended = True
                break
            elif errno == EINVAL and filled > 0:  # no room for the next name
                return filled
            elif errno != EINTR:
                code = errno
        if code and filled:
            self.failure = code
            return filled
        if self.fd >= 0:
            close_fd(self.fd)
            self.fd = -1
        if code:
            self.ended = True
            return -code
        return filled

    def entries(self, buffer, size):
        found: list = []
        place: cython.int = 0
        while place < size:
            entry: cython.pointer(dirent64) = cython.cast(cython.pointer(dirent64), buffer + place)
            place += entry.d_reclen
            if strcmp(entry.d_name, b".") != 0 and strcmp(entry.d_name, b"..") != 0:
                found.append((PyUnicode_DecodeFSDefault(entry.d_name), entry.d_type))
        return found


def read_folders(folders: list) -> list:
    """The next batch of each of several folders: its entries, or the OSError that it met. Blocks: it is for a worker."""
    results: list = []
    for folder in folders:
        try:
            results.append(cython.cast(Folder, folder).read())
        except OSError as error:
            results.append(error)
    return results
