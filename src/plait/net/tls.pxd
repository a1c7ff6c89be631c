from plait.net.encrypting cimport Encryptor, State
from plait.net.reader cimport StreamReader
from plait.net.sending cimport Layer

cdef enum Told:
    NOTHING
    MADE
    END_OF_FILE
    LOST

cdef class TLSTransport(Encryptor):
    cdef object __weakref__
    cdef dict __dict__
    cdef readonly object _sslcontext, _sslobj
    cdef readonly object _incoming      # the BIO that OpenSSL reads from
    cdef object ssl_read, bio_write     # bound methods
    cdef bint server_side
    cdef str hostname
    cdef dict extra
    cdef object below                   # _transport, also after connection_lost()
    cdef object on_data, on_buffer      # as in Receiver
    cdef StreamReader reader
    cdef Layer inner                    # another TLS in this one
    cdef object waiter                  # of create_connection() or start_tls(): the handshake is done
    cdef object handshake_timer, shutdown_timer
    cdef object handshake_s, shutdown_s
    cdef double began_s
    cdef Told told_app
    cdef Py_ssize_t incoming_high, incoming_low              # of what is received and not decrypted
    cdef bint closed                    # close(), abort() or the end
    cdef bint done_with                 # close() was called after that: nobody asks about it any more
    cdef bint eof                       # the stream below has ended
    cdef bint reading_paused            # by the protocol
    cdef bint stream_paused             # we have paused it

    cdef int told(self, object protocol) except -1
    cdef int switch(self, State state) except -1
    cdef int take(self, Py_ssize_t size) except -1
    cdef int start_handshake(self) except -1
    cdef int do_handshake(self) except -1
    cdef int handshake_done(self, object error) except -1
    cdef int wake(self, object error) except -1
    cdef int do_read(self, Py_ssize_t fresh) except -1
    cdef int read_all(self) except -1
    cdef int read_bulk(self) except -1
    cdef bint stopped(self) except -1
    cdef int read_into(self) except -1
    cdef Py_ssize_t decrypt(self, void* buffer, Py_ssize_t size) except -2
    cdef bint undecrypted(self) except -1
    cdef int tell(self, bytes data) except -1
    cdef int deliver(self, const char* data, Py_ssize_t size) except -1
    cdef int end_of_data(self) except -1
    cdef int tell_eof(self) except -1
    cdef int control_reading(self) except -1
    cdef int start_shutdown(self) except -1
    cdef int do_flush(self) except -1
    cdef int do_shutdown(self) except -1
    cdef int shutdown_done(self, object error) except -1
    cdef int abort_with(self, object error) except -1
    cdef int forget_timers(self) except -1
