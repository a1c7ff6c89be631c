# Listing folders with getdents64(2); see folders.py.

cdef extern from "<errno.h>" nogil:
    int errno
    int EINVAL, EINTR, ENOENT

cdef extern from "<fcntl.h>" nogil:
    int O_RDONLY, O_DIRECTORY, O_CLOEXEC
    int open_fd "open"(const char* path, int flags, ...)

cdef extern from "<unistd.h>" nogil:
    int close_fd "close"(int fd)

cdef extern from "<sys/syscall.h>" nogil:
    long SYS_getdents64

cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...)

cdef extern from "<dirent.h>" nogil:
    # The kernel's linux_dirent64, which glibc's dirent64 mirrors.
    struct dirent64:
        unsigned short d_reclen
        unsigned char d_type
        char* d_name

cdef extern from "Python.h":
    object PyUnicode_DecodeFSDefault(const char* text)

cdef class Folder:
    cdef readonly object path       # what is listed, as it was given
    cdef readonly bint ended        # the last batch was read, or it could not be read
    cdef bytes encoded              # the same as the kernel wants it
    cdef const char* name           # in `encoded`
    cdef int fd                     # open between two batches, else -1
    cdef int failure                # the errno that came behind what was read, told by the next read()
    cdef int fill(self, char* buffer, int size) noexcept nogil
    cdef list entries(self, char* buffer, int size)
