from cpython.buffer cimport Py_buffer
from plait.core.ready cimport Scheduler
from plait.net.pieces cimport Pieces
from plait.net.sending cimport Layer
from plait.net.stream cimport Stream

cdef enum State:
    UNWRAPPED                           # before the handshake, and after the end
    DO_HANDSHAKE
    WRAPPED
    FLUSHING                            # close() or the peer's end: what was written leaves
    SHUTDOWN                            # our close_notify is out, the peer's is waited for

cdef class Window:
    cdef const void* start
    cdef Py_ssize_t size
    cdef bint readonly
    cdef int point(self, const void* start, Py_ssize_t size, bint readonly) except -1

cdef class Encryptor(Layer):
    cdef readonly Scheduler _loop
    cdef readonly object _outgoing      # the BIO that OpenSSL writes to
    cdef object ssl_write, bio_read     # bound methods
    cdef bint plain                     # ssl_read and ssl_write are the C type's own, which take a Window
    cdef readonly object _transport     # below, until connection_lost()
    cdef Stream stream                  # the same, if it is one of ours
    cdef object protocol                # above, until connection_lost()
    cdef State state
    cdef unsigned int conn_lost         # > 0 after connection_lost(); counts the writes after the close
    cdef bytes head                     # what was written and is not yet encrypted begins at head[at]
    cdef Py_ssize_t at
    cdef Pieces more                    # and goes on here, or None
    cdef Py_ssize_t unsent              # in all
    cdef Py_ssize_t high_water, low_water
    cdef bint reading                   # the protocol is being told; what it writes is looked after when it returns
    cdef bint protocol_paused
    cdef bint below_paused              # we must not write

    cdef int queue(self, bytes data) except -1
    cdef int after_queue(self) except -1
    cdef int gather(self) except -1
    cdef int consume(self, Py_ssize_t size) except -1
    cdef int encrypt(self) except -1
    cdef int hand_on(self) except -1
    cdef int write_was_lost(self) except -1
    cdef int control_writing(self) except -1
    cdef int fatal(self, object error, str message) except -1
    cdef int report(self, str message, object error) except -1
