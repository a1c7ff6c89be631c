from cpython.ref cimport PyObject

from plait.core.futures cimport OperationFuture
from plait.net.linux cimport Buffer
from plait.system.requests cimport iovec, statx_result
from plait.system.traffic cimport CloseOperation, FileOperation, Traffic

cdef class Files(Traffic):
    cdef OperationFuture path_call(self, unsigned char opcode, int fd, object first, int second_fd, object second, unsigned int flags)

cdef class CountOperation(FileOperation):
    cdef Buffer* views                          # what the kernel reads or writes cannot be resized or freed till the end
    cdef iovec* parts
    cdef Py_ssize_t count
    cdef int hold(self, object buffers, bint writable) except -1

cdef class WriteOperation(FileOperation):
    cdef Buffer view
    cdef bint held

cdef class ReadOperation(FileOperation):
    cdef PyObject* data                         # a bytes object that nobody else knows; owned
    cdef Py_ssize_t size, done
    cdef long long offset
    cdef bint aside                             # for a kernel thread: the loop has copied enough in this turn
    cdef bint try_now(self) except -1
    cdef OperationFuture go_on(self)
    cdef int ask(self) except -1
    cdef bytes take(self)

cdef class PathOperation(FileOperation):
    cdef object first, second                   # as given, for the error; the second None or a path
    cdef bytes first_bytes, second_bytes        # what the kernel reads
    cdef int name(self, object first, object second) except -1
    cdef int attribute(self, object path, object name) except -1

cdef class OpenOperation(PathOperation):
    cdef int opened                             # the descriptor, from the completion on; -1 before

cdef class StatOperation(PathOperation):
    cdef statx_result found
    cdef OperationFuture go(self, unsigned int flags)

cdef class GetXattrOperation(PathOperation):
    cdef PyObject* data
    cdef Py_ssize_t size
    cdef int make_room(self) except -1
    cdef OperationFuture go(self)

cdef class SetXattrOperation(PathOperation):
    cdef Buffer view
    cdef bint held

cdef class CallOperation(FileOperation):
    cdef object function, arguments, outcome, failure

cdef object stat_of(const statx_result* found)
