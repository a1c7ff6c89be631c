"""add_reader() and add_writer(): a user's descriptor, watched level-triggered, with one handle for each direction."""

import cython
from cython.cimports.plait.core.cpython import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from cython.cimports.plait.core.recorder import recorder_of
from cython.cimports.plait.engine.record import PLAIT_BY_KERNEL, plait_record_pushes


class Watch:
    """One descriptor. Its handles are put into the ready ring in every turn in which the descriptor is ready."""

    def __cinit__(self, loop, fd):
        self.loop = loop
        self.fd = fd

    def ready(self, events):
        if self.loop.record != cython.NULL:
            plait_record_pushes(
                self.loop.record, PLAIT_BY_KERNEL, recorder_of(self.loop.record).descriptor_actor(self.fd)
            )
        if self.reader is not None and events & (EPOLLIN | EPOLLHUP | EPOLLERR):
            self.loop.push(self.reader)
        if self.writer is not None and events & (EPOLLOUT | EPOLLHUP | EPOLLERR):
            self.loop.push(self.writer)
        return 0

    def wanted(self):
        return (EPOLLIN if self.reader is not None else 0) | (EPOLLOUT if self.writer is not None else 0)

    def update(self):
        """Tell the engine what is wanted now. Raises OSError for what cannot be waited for (a regular file: EPERM)."""
        if self.loop.engine is None:
            return 0
        if self.wanted():
            return self.loop.engine.arm(self, self.wanted(), True)
        if self.engine is not None:
            return self.engine.disarm(self)
        return 0
