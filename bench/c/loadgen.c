// Closed-loop TCP load for an echo server, or for one that answers a request always alike.
//
//   loadgen --port P [--size BYTES] [--conns N] [--outstanding K] [--secs S] [--warmup S] [--pid SERVER] [--epoll]
//           [--message FILE --answer BYTES --begins FILE [--greeting FILE]]
//
// Every connection keeps K messages outstanding. During the warm-up every byte that comes back is compared with
// what was sent, so that a server that mixes up or loses bytes is never measured. Latency is taken per message,
// from the submission of its send to the wake-up that brought its last byte. load.h has the other options. With --pid the CPU time of that
// process, and how long it waited for its core, are taken over the measured window.
// The client runs on io_uring, because it must cost less than what it measures; --epoll is for kernels and
// containers that refuse io_uring. Prints one JSON object.
#define _GNU_SOURCE
#define PROGRAM "loadgen"
#include <sys/epoll.h>

#include "load.h"
#include "ring.h"

enum { BUFFER_MEMORY = 2 << 20, EPOLL_BUFFER = 256 * 1024 };

// ---- the two ways to wait --------------------------------------------------------------------------------------

static void on_uring(struct ring *ring)
{
	struct buffers buffers;
	int bytes = answer * outstanding, each = bytes >= 65536 ? 65536 : bytes > 4096 ? 16384 : 4096;
	int rc = buffers_open(ring, &buffers, BUFFER_MEMORY / each, each); // 2 MiB in all stay in the L2 cache
	if (rc) die("loadgen: provided buffers (Linux 5.19)", -rc);
	for (int i = 0; i < conns; i++) {
		struct connection *c = &connections[i];
		struct io_uring_sqe *s = ring_sqe(ring, IORING_OP_RECV, c->fd, (uint64_t)i * 2);
		s->ioprio = IORING_RECV_MULTISHOT;
		s->flags = IOSQE_BUFFER_SELECT;
	}
	now = read_clock(CLOCK_MONOTONIC);
	for (int i = 0; i < conns; i++) {
		struct io_uring_sqe *s = ring_sqe(ring, IORING_OP_SEND, connections[i].fd, (uint64_t)i * 2 + 1);
		s->addr = (uintptr_t)connections[i].pattern;
		s->len = take_due(&connections[i]);
		s->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
		connections[i].sending = 1;
	}
	for (;;) {
		rc = ring_enter(ring, 1);
		if (rc < 0 && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN) die("loadgen: io_uring_enter", -rc);
		if (!running()) return;
		for (struct io_uring_cqe *e; (e = ring_peek(ring)); ring_seen(ring)) {
			int i = e->user_data >> 1, again = 0;
			struct connection *c = &connections[i];
			if (e->user_data & 1) {
				if (e->res < 0) lost(-1, -e->res);
				c->sending = 0;
			} else if (e->res == -ENOBUFS) {
				again = 1;
			} else {
				if (e->res <= 0) lost(e->res, -e->res);
				int id = e->flags >> IORING_CQE_BUFFER_SHIFT;
				arrived(c, buffers_at(&buffers, id), e->res);
				buffers_give(&buffers, id);
				again = !(e->flags & IORING_CQE_F_MORE);
			}
			if (again) {
				struct io_uring_sqe *s = ring_sqe(ring, IORING_OP_RECV, c->fd, (uint64_t)i * 2);
				s->ioprio = IORING_RECV_MULTISHOT;
				s->flags = IOSQE_BUFFER_SELECT;
			}
			if (!c->sending && c->due) {
				struct io_uring_sqe *s = ring_sqe(ring, IORING_OP_SEND, c->fd, (uint64_t)i * 2 + 1);
				s->addr = (uintptr_t)c->pattern;
				s->len = take_due(c);
				s->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
				c->sending = 1;
			}
		}
		buffers_publish(&buffers);
	}
}

static void push(int ep, int i)
{
	struct connection *c = &connections[i];
	int was_full = c->unsent > 0;
	if (!was_full) {
		c->unsent_at = 0;
		c->unsent = take_due(c);
	}
	while (c->unsent) {
		ssize_t n = send(c->fd, c->pattern + c->unsent_at, c->unsent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) break;
		if (n < 0) lost(n, errno);
		c->unsent_at += n;
		c->unsent -= n;
	}
	if (was_full == (c->unsent > 0)) return;
	struct epoll_event e = {.events = c->unsent ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.u32 = i};
	epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

static void on_epoll(void)
{
	static char buffer[EPOLL_BUFFER];
	struct epoll_event events[1024];
	int ep = epoll_create1(0);
	now = read_clock(CLOCK_MONOTONIC);
	for (int i = 0; i < conns; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
		if (epoll_ctl(ep, EPOLL_CTL_ADD, connections[i].fd, &e)) die("loadgen: epoll_ctl", errno);
		push(ep, i);
	}
	for (;;) {
		int n = epoll_wait(ep, events, 1024, 100);
		if (!running()) return;
		for (int k = 0; k < n; k++) {
			int i = events[k].data.u32;
			struct connection *c = &connections[i];
			if (events[k].events & ~EPOLLOUT) {
				ssize_t got = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
				if (got == 0 || (got < 0 && errno != EAGAIN)) lost(got, errno);
				if (got > 0) arrived(c, buffer, got);
			}
			if (c->due || c->unsent) push(ep, i);
		}
	}
}

// ----------------------------------------------------------------------------------------------------------------

int main(int argc, char **argv)
{
	begin_load(argc, argv);
	struct ring ring;
	if (!use_epoll && ring_open(&ring, 4096, 16384)) use_epoll = 1;
	connect_all();
	begin_window();
	if (use_epoll) on_epoll();
	else on_uring(&ring);
	return end_load();
}
