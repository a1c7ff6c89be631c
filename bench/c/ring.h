// One thread's io_uring without liburing: set up, map, submit, wait, provided buffers.
//
// The kernel's interface is stable and small, and the liburing of Debian 12 is too old for
// what is needed here. What headers of Linux 5.15 lack is named below with its number.
// Every function returns 0 or a positive count, or a negative errno.
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IORING_SETUP_SUBMIT_ALL
#define IORING_SETUP_SUBMIT_ALL (1U << 7) // 5.18
#endif
#ifndef IORING_ACCEPT_MULTISHOT
#define IORING_ACCEPT_MULTISHOT (1U << 0) // 5.19
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12) // 6.0
#endif
#ifndef IORING_RECV_MULTISHOT
#define IORING_RECV_MULTISHOT (1U << 1) // 6.0
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13) // 6.1
#endif
enum { RING_REGISTER_PBUF_RING = 22 }; // 5.19; the kernel's name is an enumerator, which #ifndef cannot see

struct ring {
	int fd;
	unsigned *sq_head, *sq_tail, sq_mask, sq_entries, sq_local; // sq_local: our tail, published by ring_enter
	struct io_uring_sqe *sqes;
	unsigned *cq_head, *cq_tail, cq_mask;
	struct io_uring_cqe *cqes;
};

static int ring_setup(struct ring *r, unsigned entries, unsigned cq_entries, unsigned flags)
{
	struct io_uring_params p = {.flags = flags | IORING_SETUP_CQSIZE, .cq_entries = cq_entries};
	r->fd = syscall(__NR_io_uring_setup, entries, &p);
	if (r->fd < 0) return -errno;
	size_t sq = p.sq_off.array + p.sq_entries * sizeof(unsigned);
	size_t cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	// one mapping holds both queues since 5.4 (IORING_FEAT_SINGLE_MMAP)
	char *q = mmap(NULL, sq > cq ? sq : cq, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	if (q == MAP_FAILED) return -errno;
	r->sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
	               MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	if (r->sqes == MAP_FAILED) return -errno;
	r->sq_head = (unsigned *)(q + p.sq_off.head);
	r->sq_tail = (unsigned *)(q + p.sq_off.tail);
	r->sq_mask = p.sq_entries - 1;
	r->sq_entries = p.sq_entries;
	r->sq_local = *r->sq_tail;
	r->cq_head = (unsigned *)(q + p.cq_off.head);
	r->cq_tail = (unsigned *)(q + p.cq_off.tail);
	r->cq_mask = p.cq_entries - 1;
	r->cqes = (struct io_uring_cqe *)(q + p.cq_off.cqes);
	unsigned *array = (unsigned *)(q + p.sq_off.array);
	for (unsigned i = 0; i < p.sq_entries; i++) array[i] = i; // entries are submitted in their own order
	return 0;
}

// The fastest set of flags that this kernel takes.
static int ring_open(struct ring *r, unsigned entries, unsigned cq_entries)
{
	static const unsigned flags[] = {
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_SUBMIT_ALL,
		0,
	};
	int rc = -EINVAL;
	for (unsigned i = 0; i < sizeof flags / sizeof *flags && rc == -EINVAL; i++)
		rc = ring_setup(r, entries, cq_entries, flags[i]);
	return rc;
}

// Submit what was prepared and wait for `wait` completions.
static int ring_enter(struct ring *r, unsigned wait)
{
	__atomic_store_n(r->sq_tail, r->sq_local, __ATOMIC_RELEASE);
	unsigned ready = r->sq_local - __atomic_load_n(r->sq_head, __ATOMIC_ACQUIRE);
	// GETEVENTS always: under DEFER_TASKRUN it is what makes completions appear
	int rc = syscall(__NR_io_uring_enter, r->fd, ready, wait, IORING_ENTER_GETEVENTS, NULL, 0);
	return rc < 0 ? -errno : rc;
}

// A cleared submission entry; a full queue is submitted first.
static struct io_uring_sqe *ring_sqe(struct ring *r, int op, int fd, uint64_t tag)
{
	while (r->sq_local - __atomic_load_n(r->sq_head, __ATOMIC_ACQUIRE) >= r->sq_entries) ring_enter(r, 0);
	struct io_uring_sqe *s = &r->sqes[r->sq_local++ & r->sq_mask];
	memset(s, 0, sizeof *s);
	s->opcode = op;
	s->fd = fd;
	s->user_data = tag;
	return s;
}

// The oldest completion, or NULL. Give it back with ring_seen.
static struct io_uring_cqe *ring_peek(struct ring *r)
{
	unsigned head = *r->cq_head;
	if (head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE)) return NULL;
	return &r->cqes[head & r->cq_mask];
}
static void ring_seen(struct ring *r)
{
	__atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
}

// Provided buffers: receives take them in order, we give them back in any order.
// struct io_uring_buf_ring (5.19) in our own words: 16-byte entries, the tail in the first one's last two bytes.
struct provided { uint64_t address; uint32_t length; uint16_t id, tail; };
struct buffers {
	struct provided *entries;
	char *memory;
	unsigned count, size;
	uint16_t tail;
};
struct buffers_registration { uint64_t address; uint32_t entries; uint16_t group, flags; uint64_t reserved[3]; };

static char *buffers_at(struct buffers *b, unsigned id)
{
	return b->memory + (size_t)id * b->size;
}
static void buffers_give(struct buffers *b, unsigned id)
{
	struct provided *e = &b->entries[b->tail++ & (b->count - 1)];
	e->address = (uintptr_t)buffers_at(b, id);
	e->length = b->size;
	e->id = id;
}
static void buffers_publish(struct buffers *b)
{
	__atomic_store_n(&b->entries[0].tail, b->tail, __ATOMIC_RELEASE);
}
// `count` (a power of two) buffers of `size` bytes as group 0
static int buffers_open(struct ring *r, struct buffers *b, unsigned count, unsigned size)
{
	*b = (struct buffers){.count = count, .size = size};
	b->entries = mmap(NULL, count * sizeof *b->entries, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	b->memory = malloc((size_t)count * size);
	if (b->entries == MAP_FAILED || !b->memory) return -ENOMEM;
	memset(b->memory, 1, (size_t)count * size); // touched now, not while measuring
	struct buffers_registration reg = {.address = (uintptr_t)b->entries, .entries = count};
	if (syscall(__NR_io_uring_register, r->fd, RING_REGISTER_PBUF_RING, &reg, 1) < 0) return -errno;
	for (unsigned i = 0; i < count; i++) buffers_give(b, i);
	buffers_publish(b);
	return 0;
}

#endif
