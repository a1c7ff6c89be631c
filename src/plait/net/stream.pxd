from plait.core.ready cimport Runnable, Scheduler
from plait.engine.contract cimport Source
from plait.net.addresses cimport Address

cdef class Network(Runnable):
    cdef readonly Scheduler loop
    cdef list unflushed                 # streams with writes of this turn
    cdef void** holders                 # by descriptor: the stream that holds it, borrowed
    cdef size_t holders_size
    cdef int hold(self, Stream stream) except -1
    cdef int release(self, Stream stream) except -1
    cdef int flush_later(self, Stream stream) except -1

cdef class StreamTurn(Runnable):
    cdef Stream stream

cdef class Stream(Source):
    cdef object __weakref__
    cdef dict __dict__
    cdef Network network
    cdef Scheduler loop
    cdef object protocol                # None after connection_lost
    cdef object on_data                 # protocol.data_received, or protocol.buffer_updated
    cdef object on_buffer               # protocol.get_buffer of a BufferedProtocol, else None
    cdef object context                 # contextvars.Context of all callbacks
    cdef object sock                    # the Python socket that owns the descriptor; None: it is ours alone
    cdef dict extra
    cdef object server
    cdef object error                   # what connection_lost will be told
    cdef object waiter                  # to be told after connection_made
    cdef object on_empty                # future: all is written (sendfile)
    cdef object on_writable             # future: the descriptor takes more (sendfile)
    cdef object head                    # first queued chunk, bytes
    cdef list tail                      # further chunks, or None
    cdef Py_ssize_t tail_next           # first of `tail` that is still to be sent
    cdef Py_ssize_t head_sent           # bytes of `head` that are sent
    cdef Py_ssize_t queued              # bytes that are queued in all
    cdef Py_ssize_t high_water, low_water
    cdef Address peer, local
    cdef int family
    cdef unsigned int conn_lost         # > 0: connection_lost is under way; counts the writes after that
    cdef bint closing, paused, hung_up, readable, blocked, at_eof, eof_due, dispatching
    cdef bint flush_due, read_due, start_due, watch_due, lost_due, protocol_paused, bulk, lost

    cdef int open(self, Network network, int fd, object protocol, object server, object context) except -1
    cdef int start(self) except -1
    cdef int watch(self) except -1
    cdef int told(self, object protocol) except -1
    cdef int turn(self) except -1
    cdef int later(self) except -1
    cdef int read(self) except -1
    cdef int receive(self) except -1
    cdef int receive_bulk(self) except -1
    cdef int receive_into(self) except -1
    cdef Py_ssize_t receive_unix(self, void* buffer, size_t size) noexcept
    cdef int deliver(self, object data) except -1
    cdef int receive_failed(self, int code) except -1
    cdef int end_of_file(self) except -1
    cdef int queue(self, bytes data) except -1
    cdef int after_queue(self) except -1
    cdef int queue_changeable(self, object data) except -1
    cdef Py_ssize_t send_now(self, object data) except -2
    cdef int refuse(self, str call) except -1
    cdef int write_was_lost(self) except -1
    cdef int tell(self, object waiter) except -1
    cdef int learn_addresses(self, object sock) except -1
    cdef int flush(self) except -1
    cdef Py_ssize_t send_gathered(self, Py_ssize_t* asked) noexcept
    cdef int consume(self, Py_ssize_t sent) except -1
    cdef int drained(self) except -1
    cdef int send_failed(self, int code) except -1
    cdef int drop_queue(self) except -1
    cdef int pause_protocol(self) except -1
    cdef int resume_protocol(self) except -1
    cdef int report(self, str message, object error) except -1
    cdef int fail(self, object error, str message) except -1
    cdef int lose(self, object error) except -1
    cdef int connection_lost(self) except -1
    cdef int release(self) except -1
    cdef object address_of(self, str name)
    cdef object python_socket(self)
