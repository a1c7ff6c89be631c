from plait.core.ready cimport Scheduler
from plait.engine.contract cimport Source
from plait.net.linux cimport sockaddr_storage, socklen_t
from plait.net.sending cimport Network

cdef class Listener(Source):
    cdef Network network
    cdef Scheduler loop
    cdef object sock                # the server's, which closes it after stop()
    cdef object protocol_factory
    cdef object server
    cdef object context
    cdef object retry               # the timer of the next attempt while descriptors are short
    cdef int batch
    cdef bint short
    cdef readonly bint stopped
    cdef int refused(self, int code) except -1
    cdef int connected(self, int fd, const sockaddr_storage* address, socklen_t length) except -1
