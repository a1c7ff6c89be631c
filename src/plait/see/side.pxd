from cpython.object cimport PyObject
from plait.core.turn cimport Core

cdef extern from "side.h":
    int plait_side_start(const char* name, Py_ssize_t name_length, const char* hello, object serve) noexcept
    bint plait_side_stop(double seconds) noexcept
    void plait_side_forget() noexcept
    int plait_side_accept() noexcept
    int plait_side_asked() noexcept
    bint plait_side_is_ours() noexcept
    void plait_side_ring(int asked) noexcept
    void plait_take_quit() noexcept
    void plait_give_quit_back() noexcept
    int plait_monitor_start(long long threshold_ns, long long scan_every_ns, int stack_signal) noexcept
    void plait_monitor_stop() noexcept
    bint plait_monitor_watch(void* loop, const unsigned int* head, const unsigned long long* turns,
                             const unsigned long long* told, const int* sleeping, const unsigned long* thread) noexcept
    void plait_monitor_unwatch(void* loop) noexcept
    struct plait_block:
        void* loop
        long long since_ns, until_ns, starved_ns
        int lock_kept, still
    plait_block plait_monitor_take() noexcept
    int plait_soon(object function) except -1
    int plait_side_started "plait_side.started"
    int plait_monitor_started "plait_monitor.started"
    int plait_side_listener "plait_side.listener"
