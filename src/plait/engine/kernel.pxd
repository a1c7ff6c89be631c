# What both engines ask of the kernel (kernel.h): a result, or -errno.

cdef extern from "kernel.h" nogil:
    ctypedef union epoll_data_t:
        unsigned long long u64
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLL_CTL_DEL
    const unsigned int EPOLLET, EPOLLONESHOT
    struct plait_timespec:
        long long tv_sec
        long long tv_nsec
    plait_timespec make_timespec "plait_timespec"(long long ns)
    long long plait_now_ns()
    int plait_thread()
    int plait_epoll_create()
    int plait_eventfd()
    void plait_eventfd_write(int fd)
    int plait_epoll_ctl(int epoll, int op, int fd, unsigned int events, unsigned long long data)
    int plait_epoll_set(int epoll, int fd, unsigned int events, unsigned long long data, bint known)
    int plait_epoll_wait(int epoll, epoll_event* events, int room, long long timeout_ns, bint exact)
    bint plait_epoll_exact(int epoll)
    int plait_pollable(int fd)
    int close(int fd)

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_native_id() nogil
    int PyErr_CheckSignals() except -1
