from plait.engine.contract cimport Operation
from plait.net.reader cimport StreamReader
from plait.engine.record cimport plait_record
from plait.net.sending cimport Sender

cdef class Receiving(Operation):
    cdef Receiver stream
    cdef bint ending                    # cancelled; its last completion is on its way

cdef class Receiver(Sender):
    cdef object on_data                 # protocol.data_received, or protocol.buffer_updated
    cdef object on_buffer               # protocol.get_buffer of a BufferedProtocol, else None
    cdef StreamReader reader            # that gets what the protocol would be told, or None
    cdef object context                 # contextvars.Context of all callbacks
    cdef Receiving receiving            # the receive that the engine holds, or None
    cdef list kept                      # received while reading was paused, or None
    cdef int family
    cdef int full                       # buffers received full, in a row
    cdef int calm                       # receives by readiness since the last large one
    cdef bint read_due, watch_due       # why it stands in the ready ring
    cdef bint paused
    cdef bint readable                  # there may be something to receive, and no edge will tell
    cdef bint hung_up                   # the peer has ended or broken: receive to the end
    cdef bint cut_short                 # a receive that gave less than asked, though more waits
    cdef bint at_eof
    cdef bint bulk                      # much has come at once

    cdef unsigned int identify(self, plait_record* record) except 0
    cdef bint begin_slice(self) except -1
    cdef int told(self, object protocol) except -1
    cdef int begin_receiving(self) except -1
    cdef int end_receiving(self) except -1
    cdef int received(self, int result, unsigned int flags) except -1
    cdef int receive_again(self) except -1
    cdef int keep(self, object piece) except -1
    cdef int hand_over(self, object piece, const char* data, Py_ssize_t size) except -1
    cdef int take(self, object piece) except -1
    cdef int take_kept(self) except -1
    cdef int read(self) except -1
    cdef int after_read(self) except -1
    cdef int receive(self) except -1
    cdef int receive_bulk(self) except -1
    cdef int receive_into(self) except -1
    cdef Py_ssize_t receive_unix(self, void* buffer, size_t size) noexcept
    cdef int deliver(self, object data) except -1
    cdef int deliver_to_layer(self, const char* data, Py_ssize_t size) except -1
    cdef int delivery_failed(self, object error) except -1
    cdef int receive_failed(self, int code) except -1
    cdef int end_of_file(self) except -1
    cdef int watch(self) except -1
    cdef int later(self) except -1

cdef tuple ways_of(object protocol)
