/* Opening a file whose path the kernel has in memory, as io_uring tries it: without waiting for a disk. */
#ifndef PLAIT_WHOLE_H
#define PLAIT_WHOLE_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than some headers (5.6, 5.12); the numbers are the kernel's ABI. */
#define PLAIT_SYS_OPENAT2 437
#define PLAIT_RESOLVE_CACHED 0x20

struct plait_open_how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};

/* A descriptor or -errno: EAGAIN if it is not cached, and whatever kernels and sandboxes say that have no openat2(2). */
static inline int plait_open_cached(const char *path, unsigned int flags)
{
    struct plait_open_how how = {flags, 0, PLAIT_RESOLVE_CACHED};
    long fd = syscall(PLAIT_SYS_OPENAT2, AT_FDCWD, path, &how, sizeof how);
    return fd < 0 ? -errno : (int)fd;
}

#endif
