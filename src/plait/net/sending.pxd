from plait.core.ready cimport Runnable, Scheduler
from plait.engine.contract cimport Operation, Source
from plait.net.pieces cimport Pieces

cdef class Network(Runnable):
    cdef readonly Scheduler loop
    cdef list unflushed                 # streams with writes of this turn
    cdef public bint others             # transports that are not Streams have been made
    cdef void** holders                 # by descriptor: the stream that holds it, borrowed
    cdef size_t holders_size
    cdef int hold(self, Sender stream) except -1
    cdef int release(self, Sender stream) except -1
    cdef int flush_later(self, Sender stream) except -1

cdef class Layer:
    cdef int feed(self, const char* data, Py_ssize_t size) except -1
    cdef int leaving(self) except -1

cdef class Sending(Operation):
    cdef Sender stream
    cdef bytes data                     # what the kernel reads from

cdef class Sender(Source):
    cdef Network network
    cdef Scheduler loop
    cdef object protocol                # None after connection_lost
    cdef Layer layer                    # the same if it is one, else None
    cdef object head                    # first queued chunk, bytes
    cdef Pieces tail                    # further chunks, or None
    cdef Py_ssize_t head_sent           # bytes of `head` that are sent
    cdef Py_ssize_t queued              # bytes that are queued in all
    cdef Py_ssize_t high_water, low_water
    cdef object on_empty                # future: all is written (sendfile)
    cdef object on_writable             # future: the descriptor takes more (sendfile)
    cdef unsigned int conn_lost         # > 0: connection_lost is under way; counts the writes after that
    cdef bint closing                   # close() or an error: nothing is received any more
    cdef Sending sending                # the send that was submitted to the engine; `blocked` until it completes
    cdef bint dispatching               # the protocol is being told; what it writes is looked after when it returns
    cdef bint blocked                   # the kernel takes no more until an edge says so
    cdef bint by_completion             # the engine receives, and is asked for edges of writability only while they are needed
    cdef bint flush_due                 # stands in network.unflushed
    cdef bint eof_due                   # write_eof() was called
    cdef bint protocol_paused

    cdef int queue(self, bytes data) except -1
    cdef int queue_changeable(self, object data) except -1
    cdef int after_queue(self) except -1
    cdef int hurry(self) except -1
    cdef Py_ssize_t send_now(self, object data) except -2
    cdef int pass_on(self, bytes data) except -1
    cdef int flush(self) except -1
    cdef int leave(self) except -1
    cdef int await_room(self) except -1
    cdef int sent(self, int result) except -1
    cdef int after_sending(self) except -1
    cdef Py_ssize_t send_gathered(self, Py_ssize_t* asked) noexcept
    cdef int consume(self, Py_ssize_t sent) except -1
    cdef int drained(self) except -1
    cdef int drop_queue(self) except -1
    cdef int refuse(self, str call) except -1
    cdef int write_was_lost(self) except -1
    cdef int send_failed(self, int code) except -1
    cdef int pause_protocol(self) except -1
    cdef int resume_protocol(self) except -1
    cdef int report(self, str message, object error) except -1
    cdef int fail(self, object error, str message) except -1
    cdef int lose(self, object error) except -1
    cdef int tell(self, object waiter) except -1
