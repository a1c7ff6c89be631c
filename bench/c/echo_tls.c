// The least an echo server over TLS can cost: OpenSSL on memory buffers, as loops in Python have it, and nothing else.
//   echo_tls epoll   epoll, recv and send: best for bulk
//   echo_tls uring   multishot receives into provided buffers, sends as submissions: best for small messages
//   echo_tls version the OpenSSL that it has: it is a limit only for those who have the same
// SSL_set_fd was measured as well: it saves two copies and sends each record of 16 KiB by itself, which is no gain for small
// messages and a third slower for bulk.
#define _GNU_SOURCE
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>

#include "net.h"
#include "ring.h"

enum { FD_MAX = 65536, EVENTS = 1024, BUFFER = 256 * 1024, RECORD_MAX = 16 * 1024 };
enum kind { ACCEPT, RECEIVE, SEND };

struct session {
	SSL *ssl;
	BIO *in, *out;
	size_t sent;                   // epoll: so much of `out` has left
	int sending, ended;            // sending: `out` waits for room, or is the kernel's. ended: nothing more comes
};
static struct session sessions[FD_MAX];
static SSL_CTX *context;
static char plain[BUFFER];

// ---- TLS -------------------------------------------------------------------------------------------------------

static void refused(const char *what)
{
	fprintf(stderr, "echo_tls: %s: %s\n", what, ERR_error_string(ERR_get_error(), NULL));
	exit(1);
}

// With a certificate that nobody checks, of the kind that the servers in Python have.
static void make_context(void)
{
	context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	if (!context || !key || !certificate) refused("a context");
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 60 * 60);
	X509_set_pubkey(certificate, key);
	if (!X509_sign(certificate, key, EVP_sha256()) || SSL_CTX_use_certificate(context, certificate) != 1
	    || SSL_CTX_use_PrivateKey(context, key) != 1)
		refused("a certificate");
}

static void begin_session(int fd)
{
	struct session *s = &sessions[fd];
	*s = (struct session){.ssl = SSL_new(context), .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem())};
	if (!s->ssl || !s->in || !s->out) refused("a session");
	SSL_set_bio(s->ssl, s->in, s->out);
	SSL_set_accept_state(s->ssl);
}

static void end_session(int fd)
{
	SSL_free(sessions[fd].ssl);
	close(fd);
}

// What has come goes back into `out`; 0: the peer has ended, or does not speak TLS. The first reads are the handshake. An empty
// `in` after a read with room enough spares the read that would only say so.
static int answer(struct session *s)
{
	int n, error;
	do {
		int total = 0;
		do {
			n = SSL_read(s->ssl, plain + total, BUFFER - total);
			if (n > 0) total += n;
		} while (n > 0 && BIO_ctrl_pending(s->in) && BUFFER - total >= RECORD_MAX);
		error = SSL_get_error(s->ssl, n); // of the read, before the write
		if (total && SSL_write(s->ssl, plain, total) != total) error = SSL_ERROR_SSL;
	} while (error == SSL_ERROR_NONE && BIO_ctrl_pending(s->in));
	ERR_clear_error();
	return error == SSL_ERROR_NONE || error == SSL_ERROR_WANT_READ;
}

// ---- epoll -----------------------------------------------------------------------------------------------------

static int ep;

static void watch(int fd, int op, unsigned events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};
	if (epoll_ctl(ep, op, fd, &e)) die("epoll_ctl", errno);
}

static void accept_all(int listener)
{
	int fd;
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		if (fd >= FD_MAX) { close(fd); continue; }
		begin_session(fd);
		watch(fd, EPOLL_CTL_ADD, EPOLLIN);
	}
}

static void send_encrypted(int fd)
{
	struct session *s = &sessions[fd];
	char *bytes;
	size_t size = BIO_get_mem_data(s->out, &bytes);
	ssize_t n = size ? send(fd, bytes + s->sent, size - s->sent, MSG_NOSIGNAL) : 0;
	if (n < 0 && errno != EAGAIN) { end_session(fd); return; }
	if (n > 0) s->sent += n;
	int was_sending = s->sending;
	s->sending = s->sent < size;
	if (s->sending != was_sending) watch(fd, EPOLL_CTL_MOD, s->sending ? EPOLLOUT : EPOLLIN);
	if (s->sending) return;
	s->sent = 0;
	(void)BIO_reset(s->out);
}

static void echo(int fd)
{
	static char encrypted[BUFFER];
	struct session *s = &sessions[fd];
	if (!s->sending) {
		ssize_t n = recv(fd, encrypted, BUFFER, 0);
		if (n < 0 && errno == EAGAIN) return;
		if (n > 0) BIO_write(s->in, encrypted, n);
		if (n <= 0 || !answer(s)) { end_session(fd); return; }
	}
	send_encrypted(fd);
}

static void serve_epoll(void)
{
	struct epoll_event events[EVENTS];
	ep = epoll_create1(0);
	int listener = listen_and_tell(SOCK_NONBLOCK);
	watch(listener, EPOLL_CTL_ADD, EPOLLIN);
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener) accept_all(fd);
			else echo(fd);
		}
	}
}

// ---- io_uring --------------------------------------------------------------------------------------------------

static struct ring ring;
static struct buffers buffers;
static int starved[FD_MAX], starved_n; // connections whose receive found no buffer

static uint64_t tag(enum kind kind, int fd) { return (uint64_t)fd << 4 | kind; }

static void arm(int fd)
{
	struct io_uring_sqe *e = ring_sqe(&ring, IORING_OP_RECV, fd, tag(RECEIVE, fd));
	e->ioprio = IORING_RECV_MULTISHOT;
	e->flags = IOSQE_BUFFER_SELECT;
}

// While `out` is the kernel's, OpenSSL does not touch it, and what comes waits in `in`.
static void answer_later(int fd)
{
	struct session *s = &sessions[fd];
	if (s->sending) return;
	if (!answer(s)) shutdown(fd, SHUT_RDWR); // its receive ends, and with it the session
	char *bytes;
	size_t size = BIO_get_mem_data(s->out, &bytes);
	if (!size) return;
	struct io_uring_sqe *e = ring_sqe(&ring, IORING_OP_SEND, fd, tag(SEND, fd));
	e->addr = (uintptr_t)bytes;
	e->len = size;
	e->msg_flags = MSG_WAITALL | MSG_NOSIGNAL; // WAITALL: one completion when all of it has left
	s->sending = 1;
}

static void accepted(int fd)
{
	if (fd < 0) die("accept", -fd);
	if (fd >= FD_MAX) { close(fd); return; }
	begin_session(fd);
	arm(fd);
}

static void received(int fd, int n, unsigned flags)
{
	struct session *s = &sessions[fd];
	if (n == -ENOBUFS) { starved[starved_n++] = fd; return; }
	if (n <= 0) {
		s->ended = 1;
		if (!s->sending) end_session(fd);
		return;
	}
	int id = flags >> IORING_CQE_BUFFER_SHIFT;
	BIO_write(s->in, buffers_at(&buffers, id), n);
	buffers_give(&buffers, id);
	if (!(flags & IORING_CQE_F_MORE)) arm(fd);
	answer_later(fd);
}

static void sent(int fd)
{
	struct session *s = &sessions[fd];
	s->sending = 0;
	(void)BIO_reset(s->out);
	if (s->ended) end_session(fd);
	else if (BIO_ctrl_pending(s->in)) answer_later(fd);
}

static void completed(struct io_uring_cqe *e)
{
	int fd = e->user_data >> 4;
	switch (e->user_data & 15) {
	case ACCEPT: accepted(e->res); break;
	case RECEIVE: received(fd, e->res, e->flags); break;
	case SEND: sent(fd); break;
	}
}

static void serve_uring(void)
{
	int rc = ring_open(&ring, 4096, 16384);
	if (rc) die("io_uring_setup", -rc);
	if ((rc = buffers_open(&ring, &buffers, 128, 16 * 1024))) die("provided buffers (Linux 5.19)", -rc);
	int listener = listen_and_tell(0);
	ring_sqe(&ring, IORING_OP_ACCEPT, listener, tag(ACCEPT, listener))->ioprio = IORING_ACCEPT_MULTISHOT;
	for (;;) {
		rc = ring_enter(&ring, 1);
		if (rc < 0 && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN) die("io_uring_enter", -rc);
		struct io_uring_cqe *e;
		while ((e = ring_peek(&ring))) {
			completed(e);
			ring_seen(&ring);
		}
		uint16_t known = buffers.entries[0].tail;
		buffers_publish(&buffers);
		if (known != buffers.tail)     // buffers came back: the starved may receive again
			while (starved_n) arm(starved[--starved_n]);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc == 2 ? argv[1] : "";
	begin_program();
	make_context();
	if (!strcmp(mode, "epoll")) serve_epoll();
	if (!strcmp(mode, "uring")) serve_uring();
	if (!strcmp(mode, "version")) return puts(OpenSSL_version(OPENSSL_VERSION)) < 0;
	fprintf(stderr, "usage: echo_tls epoll|uring|version\n");
	return 2;
}
