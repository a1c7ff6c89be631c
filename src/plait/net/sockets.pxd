from plait.core.turn cimport Core
from plait.core.watches cimport Watch
from plait.net.calls cimport Call
from plait.net.linux cimport Buffer

cdef enum Kind:
    RECEIVE
    RECEIVE_INTO
    RECEIVE_FROM
    RECEIVE_FROM_INTO
    SEND_ALL
    SEND_TO
    ACCEPT
    ROOM

cdef class SocketCall(Call):
    cdef Core loop
    cdef readonly object sock
    cdef object first, second           # the call's arguments behind the socket
    cdef Kind kind
    cdef bint plain                     # an object of socket.socket itself: its calls are made without it
    cdef bint lent                      # `view` is held
    cdef int fd                         # of this step
    cdef Py_ssize_t sent
    cdef Buffer view                    # what is to be sent
    cdef Watch watch                    # of its descriptor, if there is one
    cdef object receive(self)
    cdef object receive_large(self, Py_ssize_t size)
    cdef object receive_into(self)
    cdef object send_bytes(self)
    cdef object by_methods(self)
    cdef object send_by_method(self)
    cdef int received(self, Py_ssize_t size, Py_ssize_t asked) except -1
    cdef int refused(self) except -1
