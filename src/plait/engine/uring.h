/* io_uring without liburing: the kernel's ABI is stable, and what Cython cannot say of it is the mapping and the barriers.
   Every call answers a result, or -errno. See io_uring(7), io_uring_setup(2), io_uring_enter(2). */
#ifndef PLAIT_URING_H
#define PLAIT_URING_H

#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "kernel.h"

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425 /* the same numbers on every architecture */
#define __NR_io_uring_enter 426
#define __NR_io_uring_register 427
#endif

/* Flags newer than some headers. */
#ifndef IORING_SETUP_SUBMIT_ALL
#define IORING_SETUP_SUBMIT_ALL (1U << 7) /* 5.18: a bad entry does not stop the ones behind it */
#endif
#ifndef IORING_SETUP_TASKRUN_FLAG
#define IORING_SETUP_TASKRUN_FLAG (1U << 9) /* 5.19: memory says when the kernel wants to be entered */
#define IORING_SQ_TASKRUN (1U << 2)
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12) /* 6.0 */
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13) /* 6.1: completions are made when we ask, not when they interrupt */
#endif

#ifndef IORING_CQE_F_SOCK_NONEMPTY
#define IORING_CQE_F_SOCK_NONEMPTY (1U << 2) /* 5.19: a receive left something in the socket */
#endif
#ifndef IORING_RECV_MULTISHOT
#define IORING_RECV_MULTISHOT (1U << 1) /* 6.0 */
#endif

/* NODROP and EXT_ARG (5.11) are what the engine stands on; SINGLE_MMAP (5.4) comes with them. */
#define PLAIT_FEATURES_NEEDED (IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG)

#define PLAIT_OPCODES_MAX 256
#define PLAIT_LOOKS 4 /* pauses between two looks at memory and the clock */
#define PLAIT_REGISTER_PBUF_RING 22 /* 5.19 */

struct plait_ring {
    int fd;
    unsigned setup_flags, features;
    unsigned sq_entries, sq_mask, sq_tail; /* sq_tail: ours, ahead of the kernel's by what is not published */
    unsigned cq_entries, cq_mask;
    unsigned *sq_khead, *sq_ktail, *sq_kflags;
    unsigned *cq_khead, *cq_ktail;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    void *rings;
    size_t rings_size, sqes_size;
};

/* Buffers that receives take in order and that come back in any order: struct io_uring_buf_ring (5.19), whose tail stands in the
   first entry's last two bytes. */
struct plait_buffer {
    uint64_t address;
    uint32_t length;
    uint16_t id, tail;
};
struct plait_buffers {
    struct plait_buffer *entries; /* NULL: there are none */
    char *memory;
    unsigned count, size;
    uint16_t tail;
};

/* Sends on their way, in order of submission. Only one that was not done has a completion, whose key says which it was. */
struct plait_send {
    void *operation; /* a reference that is owned */
    int result;      /* all of it, unless its completion says otherwise */
};
struct plait_sends {
    struct plait_send *list;
    unsigned first, end, room; /* [first, end) is not told yet */
    uint32_t number;           /* of list[0], counted from the engine's beginning */
};
#define PLAIT_SEND_KEY 0x80000000U /* the lower half of such a key: no slot has this index */

static inline void plait_ring_init(struct plait_ring *ring)
{
    memset(ring, 0, sizeof *ring);
    ring->fd = -1;
}

static inline void plait_ring_unmap(struct plait_ring *ring)
{
    if (ring->rings)
        munmap(ring->rings, ring->rings_size);
    if (ring->sqes)
        munmap(ring->sqes, ring->sqes_size);
    if (ring->fd >= 0)
        close(ring->fd);
    plait_ring_init(ring);
}

/* In a forked child the mapping does not exist (MADV_DONTFORK): something else may stand at its address by now. */
static inline void plait_ring_forget(struct plait_ring *ring)
{
    if (ring->fd >= 0)
        close(ring->fd);
    plait_ring_init(ring);
}

static inline void *plait_ring_map(int fd, size_t size, off_t offset)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
    int saved;
    if (memory == MAP_FAILED)
        return NULL;
    if (madvise(memory, size, MADV_DONTFORK) < 0) {
        saved = errno;
        munmap(memory, size);
        errno = saved;
        return NULL;
    }
    return memory;
}

static inline int plait_ring_setup(struct plait_ring *ring, unsigned entries, unsigned completions, unsigned flags)
{
    struct io_uring_params p;
    unsigned i, *array;
    size_t sq_size, cq_size;
    int result;

    plait_ring_init(ring);
    memset(&p, 0, sizeof p);
    p.flags = flags | IORING_SETUP_CQSIZE;
    p.cq_entries = completions;
    ring->fd = (int)syscall(__NR_io_uring_setup, entries, &p);
    if (ring->fd < 0)
        return -errno;
    if ((p.features & PLAIT_FEATURES_NEEDED) != PLAIT_FEATURES_NEEDED) {
        plait_ring_unmap(ring);
        return -EOPNOTSUPP;
    }
    sq_size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    ring->rings_size = sq_size > cq_size ? sq_size : cq_size;
    ring->sqes_size = p.sq_entries * sizeof(struct io_uring_sqe);
    ring->rings = plait_ring_map(ring->fd, ring->rings_size, IORING_OFF_SQ_RING);
    if (ring->rings)
        ring->sqes = (struct io_uring_sqe *)plait_ring_map(ring->fd, ring->sqes_size, IORING_OFF_SQES);
    if (!ring->rings || !ring->sqes) {
        result = -errno;
        plait_ring_unmap(ring);
        return result;
    }
    ring->setup_flags = p.flags;
    ring->features = p.features;
    ring->sq_entries = p.sq_entries;
    ring->cq_entries = p.cq_entries;
#define PLAIT_AT(offset) ((unsigned *)((char *)ring->rings + (offset)))
    ring->sq_khead = PLAIT_AT(p.sq_off.head);
    ring->sq_ktail = PLAIT_AT(p.sq_off.tail);
    ring->sq_kflags = PLAIT_AT(p.sq_off.flags);
    ring->sq_mask = *PLAIT_AT(p.sq_off.ring_mask);
    ring->cq_khead = PLAIT_AT(p.cq_off.head);
    ring->cq_ktail = PLAIT_AT(p.cq_off.tail);
    ring->cq_mask = *PLAIT_AT(p.cq_off.ring_mask);
    ring->cqes = (struct io_uring_cqe *)PLAIT_AT(p.cq_off.cqes);
    array = PLAIT_AT(p.sq_off.array);
#undef PLAIT_AT
    for (i = 0; i < p.sq_entries; i++)
        array[i] = i; /* entry i is always at place i */
    return 0;
}

/* Entries queued and not yet taken by the kernel. */
static inline unsigned plait_ring_queued(struct plait_ring *ring)
{
    return ring->sq_tail - __atomic_load_n(ring->sq_khead, __ATOMIC_ACQUIRE);
}

/* The next free entry, zeroed, or NULL when the queue is full. It is filled in before the next enter, which publishes it. */
static inline struct io_uring_sqe *plait_ring_next(struct plait_ring *ring)
{
    struct io_uring_sqe *sqe;
    if (plait_ring_queued(ring) >= ring->sq_entries)
        return NULL;
    sqe = &ring->sqes[ring->sq_tail++ & ring->sq_mask];
    memset(sqe, 0, sizeof *sqe);
    return sqe;
}

static inline unsigned plait_ring_completions(struct plait_ring *ring)
{
    return __atomic_load_n(ring->cq_ktail, __ATOMIC_ACQUIRE) - *ring->cq_khead;
}

/* Whether the kernel holds completions back until it is entered. */
static inline int plait_ring_wants_enter(struct plait_ring *ring)
{
    return (__atomic_load_n(ring->sq_kflags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* Whether completions wait outside the ring for want of room in it. */
static inline int plait_ring_overflows(struct plait_ring *ring)
{
    return (__atomic_load_n(ring->sq_kflags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW) != 0;
}

/* Take up to `room` completions out and give their places back: those of sends into their list, the others are copied. */
static inline unsigned plait_ring_reap(struct plait_ring *ring, struct io_uring_cqe *into, unsigned room, struct plait_sends *sends)
{
    unsigned head = *ring->cq_khead, count = plait_ring_completions(ring), copied = 0, i, at;
    if (count > room)
        count = room;
    for (i = 0; i < count; i++) {
        const struct io_uring_cqe *cqe = &ring->cqes[(head + i) & ring->cq_mask];
        if ((uint32_t)cqe->user_data != PLAIT_SEND_KEY) {
            into[copied++] = *cqe;
            continue;
        }
        at = (uint32_t)(cqe->user_data >> 32) - sends->number;
        if (at < sends->end)
            sends->list[at].result = cqe->res;
    }
    __atomic_store_n(ring->cq_khead, head + count, __ATOMIC_RELEASE);
    return copied;
}

/* Room for one more. */
static inline int plait_sends_grow(struct plait_sends *sends)
{
    unsigned room = sends->room ? 2 * sends->room : 64;
    struct plait_send *list = (struct plait_send *)realloc(sends->list, room * sizeof *list);
    if (!list)
        return -ENOMEM;
    sends->list = list;
    sends->room = room;
    return 0;
}

/* A send that is done while it is submitted, and never later (MSG_DONTWAIT). With WAITALL it has failed, and so has a completion, when
   less has left. */
static inline void plait_prepare_send(struct io_uring_sqe *sqe, int fd, const char *data, unsigned size, struct plait_sends *sends, void *operation)
{
    sqe->opcode = IORING_OP_SEND;
    sqe->fd = fd;
    sqe->addr = (uint64_t)(uintptr_t)data;
    sqe->len = size;
    sqe->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL;
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = (uint64_t)(sends->number + sends->end) << 32 | PLAIT_SEND_KEY;
    sends->list[sends->end].operation = operation;
    sends->list[sends->end++].result = (int)size;
}

/* Submit what is queued and look for completions. `least`: how many to wait for (0: do not sleep); timeout_ns: -1 for ever. */
static inline int plait_ring_enter(struct plait_ring *ring, unsigned least, long long timeout_ns)
{
    struct plait_timespec ts;
    struct io_uring_getevents_arg arg;
    unsigned flags = IORING_ENTER_GETEVENTS;
    void *argument = NULL;
    size_t size = 0;
    long result;

    __atomic_store_n(ring->sq_ktail, ring->sq_tail, __ATOMIC_RELEASE);
    if (least && timeout_ns >= 0) {
        ts = plait_timespec(timeout_ns);
        memset(&arg, 0, sizeof arg);
        arg.ts = (uint64_t)(uintptr_t)&ts;
        flags |= IORING_ENTER_EXT_ARG;
        argument = &arg;
        size = sizeof arg;
    }
    result = syscall(__NR_io_uring_enter, ring->fd, plait_ring_queued(ring), least, flags, argument, size);
    return result < 0 ? -errno : (int)result;
}

/* Submit what is queued, then look until there is something to gather, or the time is over; what is left of the timeout. 0: gather. */
static inline long long plait_ring_spin(struct plait_ring *ring, long long begin_ns, long long until_ns, long long timeout_ns)
{
    long long now = begin_ns;
    int i;
    if (plait_ring_queued(ring) && plait_ring_enter(ring, 0, 0) < 0)
        return timeout_ns; /* the sleep will say it again */
    while (!plait_ring_completions(ring) && !plait_ring_wants_enter(ring)) {
        if (now >= until_ns)
            return timeout_ns < 0 ? -1 : timeout_ns - (now - begin_ns) > 0 ? timeout_ns - (now - begin_ns) : 0;
        for (i = 0; i < PLAIT_LOOKS; i++)
            plait_pause();
        now = plait_now_ns();
    }
    return 0;
}

/* Fill `supported` with one byte per opcode; a kernel or filter that does not answer supports nothing beyond the basics. */
static inline int plait_ring_probe(struct plait_ring *ring, unsigned char *supported)
{
    size_t size = sizeof(struct io_uring_probe) + PLAIT_OPCODES_MAX * sizeof(struct io_uring_probe_op);
    struct io_uring_probe *probe = (struct io_uring_probe *)calloc(1, size);
    int result, i;

    memset(supported, 0, PLAIT_OPCODES_MAX);
    if (!probe)
        return -ENOMEM;
    result = (int)syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_PROBE, probe, PLAIT_OPCODES_MAX);
    if (result < 0)
        result = -errno;
    else
        for (i = 0; i < probe->ops_len && i < PLAIT_OPCODES_MAX; i++)
            supported[i] = (probe->ops[i].flags & IO_URING_OP_SUPPORTED) != 0;
    free(probe);
    return result;
}

static inline char *plait_buffers_at(struct plait_buffers *buffers, unsigned id)
{
    return buffers->memory + (size_t)id * buffers->size;
}

/* The kernel may receive into this one again. */
static inline void plait_buffers_give(struct plait_buffers *buffers, unsigned id)
{
    struct plait_buffer *entry = &buffers->entries[buffers->tail++ & (buffers->count - 1)];
    entry->address = (uint64_t)(uintptr_t)plait_buffers_at(buffers, id);
    entry->length = buffers->size;
    entry->id = (uint16_t)id;
    __atomic_store_n(&buffers->entries[0].tail, buffers->tail, __ATOMIC_RELEASE);
}

/* Make `count` buffers (a power of two) of `size` bytes known to the ring as group 0. */
static inline int plait_buffers_open(struct plait_buffers *buffers, struct plait_ring *ring, unsigned count, unsigned size)
{
    struct { uint64_t address; uint32_t entries; uint16_t group, flags; uint64_t reserved[3]; } registration;
    size_t length = count * sizeof *buffers->entries;
    void *entries = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned i;
    int result = 0;

    memset(buffers, 0, sizeof *buffers);
    if (entries == MAP_FAILED)
        return -errno;
    memset(&registration, 0, sizeof registration);
    registration.address = (uint64_t)(uintptr_t)entries;
    registration.entries = count;
    buffers->memory = (char *)malloc((size_t)count * size);
    if (!buffers->memory)
        result = -ENOMEM;
    /* The kernel has the page pinned; a child of a fork gets none of it. */
    else if (madvise(entries, length, MADV_DONTFORK) < 0
             || syscall(__NR_io_uring_register, ring->fd, PLAIT_REGISTER_PBUF_RING, &registration, 1) < 0)
        result = -errno;
    if (result < 0) {
        munmap(entries, length);
        free(buffers->memory);
        buffers->memory = NULL;
        return result;
    }
    buffers->entries = (struct plait_buffer *)entries;
    buffers->count = count;
    buffers->size = size;
    for (i = 0; i < count; i++)
        plait_buffers_give(buffers, i);
    return 0;
}

/* After the ring is gone and nothing receives any more. `inherited`: in the child of a fork, which has the memory only. */
static inline void plait_buffers_close(struct plait_buffers *buffers, int inherited)
{
    if (buffers->entries && !inherited)
        munmap(buffers->entries, buffers->count * sizeof *buffers->entries);
    free(buffers->memory);
    memset(buffers, 0, sizeof *buffers);
}

/* Receive into provided buffers, one completion each time something arrives, until it ends or is cancelled. */
static inline void plait_prepare_receive(struct io_uring_sqe *sqe, int fd)
{
    sqe->opcode = IORING_OP_RECV;
    sqe->fd = fd;
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags = IOSQE_BUFFER_SELECT; /* of group 0 */
}

/* Whether the kernel has not yet taken the entry that was number `at`. */
static inline int plait_ring_holds(struct plait_ring *ring, unsigned at)
{
    return (int)(at - __atomic_load_n(ring->sq_khead, __ATOMIC_ACQUIRE)) >= 0;
}

/* Tell each change of readiness of `fd`, until cancelled: with multishot the kernel polls edge-triggered (5.13). */
static inline void plait_prepare_watch(struct io_uring_sqe *sqe, int fd, uint32_t events, uint64_t key)
{
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->fd = fd;
    sqe->len = IORING_POLL_ADD_MULTI;
    sqe->poll32_events = events;
    sqe->user_data = key;
}

/* Tell once that `fd` is ready, at once if it is already. */
static inline void plait_prepare_look(struct io_uring_sqe *sqe, int fd, uint32_t events, uint64_t key)
{
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->fd = fd;
    sqe->poll32_events = events;
    sqe->user_data = key;
}

/* Not POLL_REMOVE: that one gives up (EALREADY) when an event is just on its way, and leaves the poll armed. */
static inline void plait_prepare_cancel(struct io_uring_sqe *sqe, uint64_t target, uint64_t key, int quiet)
{
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = target;
    sqe->user_data = key;
    if (quiet)
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS; /* 5.17 */
}

#endif
