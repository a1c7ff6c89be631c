# The frames of running coroutines (frames.h), and fstat(2).
from cpython.object cimport PyObject

from plait.engine.record cimport plait_record

cdef extern from "frames.h":
    ctypedef struct PyCodeObject:
        int co_flags
    void** plait_current_frame() noexcept
    PyCodeObject* plait_frame_code(const plait_record* record, void** frame) noexcept
    unsigned int plait_frame_place(const plait_record* record, void** frame, PyCodeObject* code) noexcept
    PyCodeObject* plait_coroutine_code(const plait_record* record, object coroutine) noexcept
    unsigned int plait_coroutine_place(const plait_record* record, object coroutine) noexcept
    bint plait_find_words(plait_record* record, object code, object coroutine, void** caller) noexcept

cdef extern from "Python.h":
    ctypedef struct PyCFunctionObject:
        void* m_ml

cdef extern from "sys/stat.h":
    ctypedef struct stat_result "struct stat":
        unsigned long st_ino
    int fstat(int fd, stat_result* status) noexcept
