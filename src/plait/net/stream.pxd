from plait.core.ready cimport Runnable
from plait.engine.record cimport plait_record
from plait.net.addresses cimport Address
from plait.net.receiving cimport Receiver
from plait.net.sending cimport Network

cdef class StreamTurn(Runnable):
    cdef Stream stream

cdef class Stream(Receiver):
    cdef object __weakref__
    cdef dict __dict__
    cdef object sock                    # the Python socket that owns the descriptor; None: it is ours alone
    cdef dict extra
    cdef object server
    cdef object waiter                  # to be told after connection_made
    cdef object error                   # what connection_lost will be told
    cdef Address peer, local
    cdef bint start_due, lost_due       # why it stands in the ready ring, too
    cdef bint lost                      # the descriptor is given back

    cdef int introduce(self, plait_record* record) except -1
    cdef int open(self, Network network, int fd, object protocol, object server, object context) except -1
    cdef int start(self) except -1
    cdef int started(self) except -1
    cdef int turn(self) except -1
    cdef int connection_lost(self) except -1
    cdef int release(self) except -1
    cdef int learn_addresses(self, object sock) except -1
    cdef object address_of(self, str name)
    cdef object python_socket(self)
