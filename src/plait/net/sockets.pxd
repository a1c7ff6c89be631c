from plait.core.futures cimport Future
from plait.core.turn cimport Core
from plait.core.watches cimport Watch
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

cdef enum Stage:
    NEW
    WAITING
    ENDED

cdef class SocketCall:
    cdef object __weakref__
    cdef Core loop
    cdef readonly object sock
    cdef object first, second           # the call's arguments behind the socket
    cdef Kind kind
    cdef Stage stage
    cdef bint plain                     # an object of socket.socket itself: its calls are made without it
    cdef bint lent                      # `view` is held
    cdef int fd                         # of this step
    cdef Py_ssize_t sent
    cdef Buffer view                    # what is to be sent
    cdef Future waiter                  # what it waits for, while it does
    cdef Watch watch                    # of its descriptor, if there is one
    cdef object step(self)
    cdef int begin(self) except -1
    cdef object attempt(self)
    cdef object receive(self)
    cdef object receive_large(self, Py_ssize_t size)
    cdef object receive_into(self)
    cdef object send_bytes(self)
    cdef object by_methods(self)
    cdef object send_by_method(self)
    cdef int received(self, Py_ssize_t size, Py_ssize_t asked) except -1
    cdef int wait(self) except -1
    cdef int refused(self) except -1
    cdef int end(self) except -1
