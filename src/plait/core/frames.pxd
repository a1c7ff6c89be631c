# The frames of running coroutines (frames.h), and fstat(2).
from cpython.object cimport PyObject

from plait.engine.record cimport plait_record

cdef extern from "frames.h":
    ctypedef struct PyCodeObject:
        int co_flags
    bint plait_record_task(plait_record* record, unsigned int* actor, void* coroutine, long long number) noexcept
    bint plait_record_awaits(plait_record* record, unsigned int awaited) noexcept
    void* plait_key_of_callback(object callback) noexcept
    unsigned int plait_record_callback(const plait_record* record, object callback) noexcept
    void** plait_current_frame() noexcept
    void* plait_word(void* start, long long offset) noexcept
    PyCodeObject* plait_frame_code(const plait_record* record, void** frame) noexcept
    unsigned int plait_frame_place(const plait_record* record, void** frame, PyCodeObject* code) noexcept
    PyCodeObject* plait_coroutine_code(const plait_record* record, void* coroutine) noexcept
    unsigned int plait_coroutine_place(const plait_record* record, void* coroutine) noexcept
    bint plait_find_words(plait_record* record, object code, object coroutine, void** caller) noexcept

cdef extern from "sys/stat.h":
    ctypedef struct stat_result "struct stat":
        unsigned long st_ino
    int fstat(int fd, stat_result* status) noexcept
