// The least an echo server on io_uring can cost.
//   echo_uring buffers   multishot receives into provided buffers, sends as submissions: best for small messages
//   echo_uring poll      multishot poll, then recv and send into one large buffer: best for bulk
// BENCH_BUFFERS=COUNTxKIB changes the provided buffers. Their memory is used in turn, so all of it must fit in the
// L2 cache: 128 x 16 KiB.
#define _GNU_SOURCE
#include <poll.h>
#include <sys/uio.h>

#include "net.h"
#include "ring.h"

enum { FD_MAX = 65536, IOV = 64, BULK = 256 * 1024 };
enum kind { ACCEPT, RECEIVE, SEND, READABLE, WRITABLE, IGNORE };

struct connection {
	int open, sending;             // sending: a send is in flight, its buffers begin at `sent`
	int first, last, sent;         // lists of filled buffers, linked in `next`; -1 is none
	struct iovec *iov;
	struct msghdr message;
	char *rest;                    // poll mode: what a full socket did not take
	size_t rest_n;
};
static struct connection *connections[FD_MAX];
static struct ring ring;
static struct buffers buffers;
static int *next_of, *length_of;       // per provided buffer
static int *starved, starved_n;        // connections whose receive found no buffer
static char bulk[BULK];
static int polls;                      // the mode: poll instead of buffers
static int connected;

static uint64_t tag(enum kind kind, int fd) { return (uint64_t)fd << 4 | kind; }

static void arm(int fd)
{
	struct io_uring_sqe *s;
	if (polls) {
		s = ring_sqe(&ring, IORING_OP_POLL_ADD, fd, tag(READABLE, fd));
		s->len = IORING_POLL_ADD_MULTI;
		s->poll32_events = POLLIN;
	} else {
		s = ring_sqe(&ring, IORING_OP_RECV, fd, tag(RECEIVE, fd));
		s->ioprio = IORING_RECV_MULTISHOT;
		s->flags = IOSQE_BUFFER_SELECT;
	}
}

static void give_list(int id)
{
	for (; id >= 0; id = next_of[id]) buffers_give(&buffers, id);
}

static void send_waiting(int fd)
{
	struct connection *c = connections[fd];
	if (c->sending || c->first < 0) return;
	int n = 0, last = -1, id;
	for (id = c->first; id >= 0 && n < IOV; last = id, id = next_of[id]) n++;
	c->sent = c->first;
	c->sending = 1;
	struct io_uring_sqe *s;
	if (n == 1) {
		s = ring_sqe(&ring, IORING_OP_SEND, fd, tag(SEND, fd));
		s->addr = (uintptr_t)buffers_at(&buffers, c->first);
		s->len = length_of[c->first];
	} else {
		if (!c->iov) c->iov = malloc(IOV * sizeof *c->iov);
		int i = 0;
		for (int k = c->first; i < n; k = next_of[k], i++)
			c->iov[i] = (struct iovec){buffers_at(&buffers, k), length_of[k]};
		c->message = (struct msghdr){.msg_iov = c->iov, .msg_iovlen = n};
		s = ring_sqe(&ring, IORING_OP_SENDMSG, fd, tag(SEND, fd));
		s->addr = (uintptr_t)&c->message;
		s->len = 1;
	}
	s->msg_flags = MSG_WAITALL | MSG_NOSIGNAL; // WAITALL: one completion when all of it has left
	c->first = id;
	if (id < 0) c->last = -1;
	next_of[last] = -1;
}

static void drop(int fd)
{
	struct connection *c = connections[fd];
	if (!c->open) return;
	c->open = 0;
	connected--;
	give_list(c->first);
	c->first = c->last = -1;
	free(c->rest);
	c->rest = NULL;
	if (c->sending) return;        // closed by the send's completion
	if (polls) {                   // an armed poll would keep the socket open
		struct io_uring_sqe *s = ring_sqe(&ring, IORING_OP_POLL_REMOVE, -1, tag(IGNORE, 0));
		s->addr = tag(READABLE, fd);
		ring_enter(&ring, 0);
	}
	close(fd);
}

static void accepted(int fd)
{
	if (fd < 0) die("accept", -fd);
	if (fd >= FD_MAX) { close(fd); return; }
	if (!connections[fd]) connections[fd] = calloc(1, sizeof **connections);
	struct connection *c = connections[fd];
	c->open = 1;
	connected++;
	c->sending = 0;
	c->first = c->last = c->sent = -1;
	arm(fd);
}

static void received(int fd, int n, unsigned flags)
{
	struct connection *c = connections[fd];
	if (n == -ENOBUFS) { starved[starved_n++] = fd; return; }
	if (n <= 0) { drop(fd); return; }
	int id = flags >> IORING_CQE_BUFFER_SHIFT;
	length_of[id] = n;
	next_of[id] = -1;
	if (c->last >= 0) next_of[c->last] = id;
	else c->first = id;
	c->last = id;
	if (!(flags & IORING_CQE_F_MORE)) arm(fd);
	send_waiting(fd);
}

static void sent(int fd)
{
	struct connection *c = connections[fd];
	give_list(c->sent);
	c->sent = -1;
	c->sending = 0;
	if (c->open) send_waiting(fd);
	else close(fd);
}

// Poll mode: echo until the socket is empty, or full.
static void echo(int fd)
{
	struct connection *c = connections[fd];
	for (ssize_t n = BULK; n == BULK;) {
		if (!c->open || c->rest) return;
		n = recv(fd, bulk, BULK, 0);
		if (n <= 0) {
			if (n == 0 || errno != EAGAIN) drop(fd);
			return;
		}
		ssize_t w = send(fd, bulk, n, MSG_NOSIGNAL);
		if (w < 0 && errno != EAGAIN) { drop(fd); return; }
		if (w < 0) w = 0;
		if (w == n) continue;
		c->rest_n = n - w;
		c->rest = malloc(c->rest_n);
		memcpy(c->rest, bulk + w, c->rest_n);
		ring_sqe(&ring, IORING_OP_POLL_ADD, fd, tag(WRITABLE, fd))->poll32_events = POLLOUT;
	}
}

static void writable(int fd)
{
	struct connection *c = connections[fd];
	if (!c->open || !c->rest) return;
	ssize_t w = send(fd, c->rest, c->rest_n, MSG_NOSIGNAL);
	if (w < 0 && errno != EAGAIN) { drop(fd); return; }
	if (w > 0) {
		c->rest_n -= w;
		memmove(c->rest, c->rest + w, c->rest_n);
	}
	if (c->rest_n) {
		ring_sqe(&ring, IORING_OP_POLL_ADD, fd, tag(WRITABLE, fd))->poll32_events = POLLOUT;
		return;
	}
	free(c->rest);
	c->rest = NULL;
	echo(fd);
}

static void completed(struct io_uring_cqe *e)
{
	int fd = e->user_data >> 4;
	switch (e->user_data & 15) {
	case ACCEPT: accepted(e->res); break;
	case RECEIVE: received(fd, e->res, e->flags); break;
	case SEND: sent(fd); break;
	case READABLE:
		if (e->res == -ECANCELED) break;
		if (!(e->flags & IORING_CQE_F_MORE) && connections[fd]->open) arm(fd);
		echo(fd);
		break;
	case WRITABLE: writable(fd); break;
	}
}

int main(int argc, char **argv)
{
	polls = argc > 1 && !strcmp(argv[1], "poll");
	if (argc != 2 || (!polls && strcmp(argv[1], "buffers"))) {
		fprintf(stderr, "usage: echo_uring buffers|poll\n");
		return 2;
	}
	begin_program();
	unsigned count = 128, kib = 16;
	char *size = getenv("BENCH_BUFFERS");
	if (size && sscanf(size, "%ux%u", &count, &kib) != 2) die("BENCH_BUFFERS is not COUNTxKIB", EINVAL);
	int rc = ring_open(&ring, 4096, 16384);
	if (rc) die("io_uring_setup", -rc);
	if (!polls) {
		if ((rc = buffers_open(&ring, &buffers, count, kib * 1024))) die("provided buffers (Linux 5.19)", -rc);
		next_of = calloc(count, sizeof *next_of);
		length_of = calloc(count, sizeof *length_of);
		starved = calloc(FD_MAX, sizeof *starved);
	}
	int listener = listen_and_tell(0);
	struct io_uring_sqe *s = ring_sqe(&ring, IORING_OP_ACCEPT, listener, tag(ACCEPT, listener));
	s->ioprio = IORING_ACCEPT_MULTISHOT;
	s->accept_flags = polls ? SOCK_NONBLOCK : 0;
	int spins = spinning();
	for (;;) {
		rc = ring_enter(&ring, !(spins && connected));
		if (rc < 0 && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN) die("io_uring_enter", -rc);
		struct io_uring_cqe *e;
		while ((e = ring_peek(&ring))) {
			completed(e);
			ring_seen(&ring);
		}
		if (polls) continue;
		uint16_t known = buffers.entries[0].tail;
		buffers_publish(&buffers);
		if (known != buffers.tail)     // buffers came back: the starved may receive again
			while (starved_n) arm(starved[--starved_n]);
	}
}
