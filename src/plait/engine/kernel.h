/* What both engines ask of the kernel. Every call answers as io_uring does: a result, or -errno. */
#ifndef PLAIT_KERNEL_H
#define PLAIT_KERNEL_H

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef __NR_epoll_pwait2
#define __NR_epoll_pwait2 441 /* Linux 5.11, the same number on every architecture */
#endif

#define PLAIT_NS_PER_S 1000000000LL
#define PLAIT_TIMEOUT_MAX_NS (INT64_MAX / 4) /* 73 years: nothing in the kernel overflows on it */

struct plait_timespec {
    int64_t tv_sec;
    int64_t tv_nsec;
};

/* Tells the core that this is a loop that looks, so that its other thread has the execution units. */
static inline void plait_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

static inline struct plait_timespec plait_timespec(long long ns)
{
    struct plait_timespec ts;
    if (ns > PLAIT_TIMEOUT_MAX_NS)
        ns = PLAIT_TIMEOUT_MAX_NS;
    ts.tv_sec = ns / PLAIT_NS_PER_S;
    ts.tv_nsec = ns % PLAIT_NS_PER_S;
    return ts;
}

static inline long long plait_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * PLAIT_NS_PER_S + now.tv_nsec;
}

/* Not pthread_self(): that one is given to the next thread as soon as its thread has ended, and the kernel tells them apart. */
static inline int plait_thread(void)
{
    return (int)syscall(SYS_gettid);
}

static inline int plait_epoll_create(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static inline int plait_eventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* Watched edge-triggered, an eventfd is never read: each write is an edge, and the counter has room for 2^64 of them. */
static inline void plait_eventfd_write(int fd)
{
    uint64_t one = 1;
    int saved = errno; /* a signal handler may call this */
    if (write(fd, &one, sizeof one) < 0) {
    }
    errno = saved;
}

static inline int plait_epoll_ctl(int epoll, int op, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event;
    event.events = events;
    event.data.u64 = data;
    return epoll_ctl(epoll, op, fd, &event) < 0 ? -errno : 0;
}

/* Register or change `fd`. The user may have closed it and opened another file under the number since the last time:
   then the kernel has dropped the registration (ENOENT), or a duplicate keeps the old one alive (EEXIST). */
static inline int plait_epoll_set(int epoll, int fd, uint32_t events, uint64_t data, int known)
{
    int result = plait_epoll_ctl(epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, events, data);
    if (result == -ENOENT)
        result = plait_epoll_ctl(epoll, EPOLL_CTL_ADD, fd, events, data);
    else if (result == -EEXIST)
        result = plait_epoll_ctl(epoll, EPOLL_CTL_MOD, fd, events, data);
    return result;
}

/* timeout_ns: -1 for ever. `exact`: the kernel has epoll_pwait2, else milliseconds, rounded up so as never to be early. */
static inline int plait_epoll_wait(int epoll, struct epoll_event *events, int room, long long timeout_ns, int exact)
{
    int count, ms;
    if (timeout_ns > 0 && exact) {
        struct plait_timespec ts = plait_timespec(timeout_ns);
        count = (int)syscall(__NR_epoll_pwait2, epoll, events, room, &ts, NULL, (size_t)0);
    } else {
        if (timeout_ns < 0)
            ms = -1;
        else if (timeout_ns / 1000000 >= INT_MAX)
            ms = INT_MAX;
        else
            ms = (int)((timeout_ns + 999999) / 1000000);
        count = epoll_wait(epoll, events, room, ms);
    }
    return count < 0 ? -errno : count;
}

/* Whether the kernel has epoll_pwait2 and no seccomp filter stands before it. */
static inline int plait_epoll_exact(int epoll)
{
    struct epoll_event event;
    struct plait_timespec zero = {0, 0};
    return syscall(__NR_epoll_pwait2, epoll, &event, 1, &zero, NULL, (size_t)0) >= 0;
}

/* 0 if `fd` can be waited for, else -EPERM (regular files, directories, /dev/null) or -EBADF. */
static inline int plait_pollable(int fd)
{
    struct stat status;
    int epoll, result;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (S_ISSOCK(status.st_mode) || S_ISFIFO(status.st_mode))
        return 0;
    /* Only the file itself knows whether it can be waited for, and only epoll asks it. */
    epoll = plait_epoll_create();
    if (epoll < 0)
        return epoll;
    result = plait_epoll_ctl(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, 0);
    close(epoll);
    return result;
}

#endif
