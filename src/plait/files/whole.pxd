from cpython.ref cimport PyObject

from plait.core.futures cimport OperationFuture
from plait.system.operations cimport Files
from plait.system.traffic cimport FileOperation

cdef extern from "<errno.h>" nogil:
    int errno_now "errno"
    int EINTR, ENOMEM, EISDIR

cdef extern from "<fcntl.h>" nogil:
    int O_RDONLY
    int open_file "open"(const char* path, int flags, ...)

cdef extern from "<unistd.h>" nogil:
    ssize_t read_file "read"(int fd, void* buffer, size_t size)

cdef extern from "<sys/stat.h>" nogil:
    struct file_status "stat":
        unsigned int st_mode
        long long st_size
    int stat_file "stat"(const char* path, file_status* status)
    int fstat_file "fstat"(int fd, file_status* status)

cdef struct Found:
    char* data                          # owned; NULL when it was not read
    Py_ssize_t size                     # of what was read; or -errno, or LATER

cdef class WholeOperation(FileOperation):
    cdef object path                    # as given, for the error
    cdef bytes name                     # what the kernel reads
    cdef int fd                         # -1 until it is open, and when it is closed or given away
    cdef PyObject* data                 # a bytes object that nobody else knows; owned
    cdef Py_ssize_t size, done          # of `data`; what of it is read
    cdef int go_on(self, int result) except -1
    cdef bint begin_reading(self) except -1
    cdef bint is_whole(self) except -1
    cdef object take(self)
    cdef int read_more(self) except -1
    cdef int name_it(self, Files files, object path) except -1
    cdef int make_room(self, Py_ssize_t size) except -1
    cdef int close_file(self) except -1
    cdef int finish(self) except -1

cdef void read_now(const char* name, Found* found) noexcept nogil
cdef int read_open(int fd, Found* found) noexcept nogil
