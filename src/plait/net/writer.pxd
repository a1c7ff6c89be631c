from plait.net.stream cimport Stream
from plait.net.tls cimport TLSTransport

cdef class StreamWriter:
    cdef object __weakref__
    cdef dict __dict__
    cdef public object _protocol, _reader, _loop, _complete_fut
    cdef object transport_of            # whatever it is
    cdef Stream stream                  # the same, if it is one of ours
    cdef TLSTransport tls               # or that
