# inotify(7); see inotify.py.

cdef extern from "<errno.h>" nogil:
    int errno
    int EAGAIN, EINTR, EINVAL, EMFILE, ENFILE, ENOSPC

cdef extern from "<unistd.h>" nogil:
    int close_fd "close"(int fd)
    ssize_t read_events "read"(int fd, void* buffer, size_t size)

cdef extern from "<sys/inotify.h>" nogil:
    struct inotify_event:
        int wd
        unsigned int mask
        unsigned int cookie
        unsigned int len
        char* name
    int IN_NONBLOCK, IN_CLOEXEC
    int inotify_init1(int flags)
    int inotify_add_watch(int fd, const char* path, unsigned int mask)
    int inotify_rm_watch(int fd, int watch)

cdef extern from "Python.h":
    object PyUnicode_DecodeFSDefault(const char* text)

cdef class Inotify:
    cdef readonly int fd            # closed when nobody holds the object: a worker may be in a call with it
