/* A request is one call of the file system, written down as io_uring wants to hear it (struct io_uring_sqe). The ring carries it out,
   or a worker thread does, by the system call of the same meaning. Answers are a result, or -errno, from both. */
#ifndef PLAIT_REQUESTS_H
#define PLAIT_REQUESTS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"

/* Newer than some headers; the numbers are the kernel's ABI. */
#define PLAIT_OP_FSETXATTR 41 /* 5.19 */
#define PLAIT_OP_SETXATTR 42
#define PLAIT_OP_FGETXATTR 43
#define PLAIT_OP_GETXATTR 44
#define PLAIT_OP_FTRUNCATE 55 /* 6.9 */
#define PLAIT_SYS_OPENAT2 437 /* 5.6 */
#define PLAIT_RESOLVE_CACHED 0x20 /* 5.12 */
#define PLAIT_OP_CALL 255     /* ours: a Python function, which only a worker can call */

struct plait_request {
    struct io_uring_sqe entry; /* all but user_data */
    void *owner;               /* the FileOperation that this is part of */
    struct plait_request *following;
    int result;
};

/* The last eight bytes but eight of an entry: `addr3` (5.19), where an xattr's path stands. */
static inline void plait_request_path(struct plait_request *request, const char *path)
{
    ((uint64_t *)&request->entry)[6] = (uint64_t)(uintptr_t)path;
}

/* O_NONBLOCK was for the opening only, unless the flags have it. */
static inline int plait_blocking_again(int fd, int flags)
{
    int status = fd < 0 || flags & O_NONBLOCK ? -1 : fcntl(fd, F_GETFL);
    if (status >= 0)
        fcntl(fd, F_SETFL, status & ~O_NONBLOCK);
    return fd;
}

/* As the ring opens: a FIFO does not wait for its other end (for writing it answers ENXIO), so that none holds a worker. */
static inline int plait_open(int folder, const char *path, int flags, mode_t mode)
{
    int fd = openat(folder, path, flags | O_NONBLOCK, mode);
    if (fd < 0 && errno == EWOULDBLOCK) /* a lease, which its holder must give up */
        return openat(folder, path, flags, mode);
    return plait_blocking_again(fd, flags);
}

struct plait_open_how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};

/* Open for reading what the kernel has in memory, as io_uring tries it: without waiting for a disk. A descriptor or -errno: EAGAIN if it is
   not cached, and whatever kernels and sandboxes say that have no openat2(2). */
static inline int plait_open_cached(const char *path, int flags)
{
    struct plait_open_how how = {(uint64_t)(flags | O_NONBLOCK), 0, PLAIT_RESOLVE_CACHED};
    long fd = syscall(PLAIT_SYS_OPENAT2, AT_FDCWD, path, &how, sizeof how);
    return fd < 0 ? -errno : plait_blocking_again((int)fd, flags);
}

static inline long plait_perform_once(const struct io_uring_sqe *e)
{
    void *address = (void *)(uintptr_t)e->addr, *second = (void *)(uintptr_t)e->off;
    const char *path = (const char *)(uintptr_t)((const uint64_t *)e)[6];
    int here = e->off == (uint64_t)-1; /* at the file's own position */

    switch (e->opcode) {
    case IORING_OP_OPENAT:
        return plait_open(e->fd, (const char *)address, (int)e->open_flags, (mode_t)e->len);
    case IORING_OP_CLOSE:
        return close(e->fd);
    case IORING_OP_READ:
        return here ? read(e->fd, address, e->len) : pread(e->fd, address, e->len, (off_t)e->off);
    case IORING_OP_WRITE:
        return here ? write(e->fd, address, e->len) : pwrite(e->fd, address, e->len, (off_t)e->off);
    case IORING_OP_READV:
        return preadv2(e->fd, (const struct iovec *)address, (int)e->len, (off_t)e->off, 0);
    case IORING_OP_WRITEV:
        return pwritev2(e->fd, (const struct iovec *)address, (int)e->len, (off_t)e->off, 0);
    case IORING_OP_FSYNC:
        return e->fsync_flags & IORING_FSYNC_DATASYNC ? fdatasync(e->fd) : fsync(e->fd);
    case IORING_OP_FALLOCATE:
        return fallocate(e->fd, (int)e->len, (off_t)e->off, (off_t)e->addr);
    case PLAIT_OP_FTRUNCATE:
        return ftruncate(e->fd, (off_t)e->off);
    case IORING_OP_STATX:
        return statx(e->fd, (const char *)address, (int)e->statx_flags, e->len, (struct statx *)second);
    case IORING_OP_RENAMEAT:
        return renameat2(e->fd, (const char *)address, (int)e->len, (const char *)second, e->rename_flags);
    case IORING_OP_UNLINKAT:
        return unlinkat(e->fd, (const char *)address, (int)e->unlink_flags);
    case IORING_OP_MKDIRAT:
        return mkdirat(e->fd, (const char *)address, (mode_t)e->len);
    case IORING_OP_SYMLINKAT:
        return symlinkat((const char *)address, e->fd, (const char *)second);
    case IORING_OP_LINKAT:
        return linkat(e->fd, (const char *)address, (int)e->len, (const char *)second, (int)e->hardlink_flags);
    case PLAIT_OP_GETXATTR:
        return getxattr(path, (const char *)address, second, e->len);
    case PLAIT_OP_FGETXATTR:
        return fgetxattr(e->fd, (const char *)address, second, e->len);
    case PLAIT_OP_SETXATTR:
        return setxattr(path, (const char *)address, second, e->len, (int)e->rw_flags);
    case PLAIT_OP_FSETXATTR:
        return fsetxattr(e->fd, (const char *)address, second, e->len, (int)e->rw_flags);
    case IORING_OP_SPLICE: {
        off_t in = (off_t)e->splice_off_in, out = (off_t)e->off;
        return splice(e->splice_fd_in, in == -1 ? NULL : &in, e->fd, out == -1 ? NULL : &out, e->len, e->splice_flags);
    }
    default:
        errno = ENOSYS;
        return -1;
    }
}

/* As Python's os functions: a call that a signal interrupted is made again (PEP 475), but for close(2), which is done by then. */
static inline int plait_perform(const struct io_uring_sqe *entry)
{
    long result;
    do
        result = plait_perform_once(entry);
    while (result < 0 && errno == EINTR && entry->opcode != IORING_OP_CLOSE);
    if (result < 0)
        return errno == EINTR ? 0 : -errno;
    return (int)result;
}

/* What the page cache has, now, without waiting for a disk: a count, 0 at the end of the file, or -errno (EAGAIN: not cached). */
static inline long plait_read_cached(int fd, void *buffer, size_t size, long long offset)
{
    struct iovec part = {buffer, size};
    ssize_t count = preadv2(fd, &part, 1, (off_t)offset, RWF_NOWAIT);
    return count < 0 ? -errno : count;
}

/* Type, size and the best size of reads, as far as they are known here: a file server is not asked. */
static inline int plait_look_at(int fd, struct statx *found)
{
    int result = statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, found);
    return result < 0 ? -errno : 0;
}

/* Look until somebody puts something there, for `ns_max` at most. */
static inline void plait_look_for(void **where, long long ns_max)
{
    struct timespec now;
    long long until = 0;
    while (!__atomic_load_n(where, __ATOMIC_RELAXED)) {
        for (int i = 0; i < 16; i++)
            plait_pause();
        clock_gettime(CLOCK_MONOTONIC, &now);
        long long ns = now.tv_sec * 1000000000LL + now.tv_nsec;
        if (until == 0)
            until = ns + ns_max;
        else if (ns >= until)
            return;
    }
}

/* Whether it is a large write into the page cache. To copy is all that is to be done then, and a worker of ours, which looks for the next
   piece before it sleeps, is sooner there than a thread of the ring. Direct writes wait for a disk, streams for their readers. */
static inline int plait_only_copies(const struct io_uring_sqe *entry)
{
    struct statx found;
    return entry->opcode == IORING_OP_WRITE && entry->flags & IOSQE_ASYNC && !(fcntl(entry->fd, F_GETFL) & O_DIRECT) &&
           plait_look_at(entry->fd, &found) == 0 && S_ISREG(found.stx_mode);
}

/* Signals are for the threads that run Python. */
static inline void plait_block_signals(void)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
}

#endif
