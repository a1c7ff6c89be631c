from plait.core.ready cimport Runnable
from plait.net.addresses cimport Address
from plait.net.sending cimport Network, Sender

cdef class StreamTurn(Runnable):
    cdef Stream stream

cdef class Stream(Sender):
    cdef object __weakref__
    cdef dict __dict__
    cdef object on_data                 # protocol.data_received, or protocol.buffer_updated
    cdef object on_buffer               # protocol.get_buffer of a BufferedProtocol, else None
    cdef object context                 # contextvars.Context of all callbacks
    cdef object sock                    # the Python socket that owns the descriptor; None: it is ours alone
    cdef dict extra
    cdef object server
    cdef object waiter                  # to be told after connection_made
    cdef object error                   # what connection_lost will be told
    cdef Address peer, local
    cdef int family
    cdef bint start_due, watch_due, read_due, lost_due      # why it stands in the ready ring
    cdef bint paused
    cdef bint readable                  # there may be something to receive, and no edge will tell
    cdef bint hung_up                   # the peer has ended or broken: receive to the end
    cdef bint cut_short                 # a receive that gave less than asked, though more waits
    cdef bint at_eof
    cdef bint bulk                      # much has come at once
    cdef bint lost                      # the descriptor is given back

    cdef int open(self, Network network, int fd, object protocol, object server, object context) except -1
    cdef int told(self, object protocol) except -1
    cdef int start(self) except -1
    cdef int started(self) except -1
    cdef int watch(self) except -1
    cdef int later(self) except -1
    cdef int turn(self) except -1
    cdef int read(self) except -1
    cdef int after_read(self) except -1
    cdef int receive(self) except -1
    cdef int receive_bulk(self) except -1
    cdef int receive_into(self) except -1
    cdef Py_ssize_t receive_unix(self, void* buffer, size_t size) noexcept
    cdef int deliver(self, object data) except -1
    cdef int receive_failed(self, int code) except -1
    cdef int end_of_file(self) except -1
    cdef int connection_lost(self) except -1
    cdef int release(self) except -1
    cdef int learn_addresses(self, object sock) except -1
    cdef object address_of(self, str name)
    cdef object python_socket(self)
