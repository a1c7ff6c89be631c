// The load of loadgen.c over TLS 1.3, with the same options and the same answer.
//
// All handshakes are done before the window, each of them in full. The client is OpenSSL on memory buffers and epoll: all
// that is due leaves in one send, and one receive takes all that waits. Whose certificate the server shows is not asked.
#define _GNU_SOURCE
#define PROGRAM "loadtls"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>

#include "load.h"

enum { BUFFER = 256 * 1024 };

struct tls { SSL *ssl; BIO *in, *out; };

static struct tls *sessions;
static char encrypted[BUFFER], plain[BUFFER];

static void refused(const char *what)
{
	fprintf(stderr, PROGRAM ": %s: %s\n", what, ERR_error_string(ERR_get_error(), NULL));
	exit(1);
}

// Encrypted bytes are with the kernel: all of them, or `unsent` of them are left behind `unsent_at`.
static void send_encrypted(struct connection *c, struct tls *t, int flags)
{
	char *bytes;
	c->unsent = BIO_get_mem_data(t->out, &bytes) - c->unsent_at;
	while (c->unsent) {
		ssize_t n = send(c->fd, bytes + c->unsent_at, c->unsent, MSG_NOSIGNAL | flags);
		if (n < 0 && errno == EAGAIN) return;
		if (n < 0) lost(n, errno);
		c->unsent_at += n;
		c->unsent -= n;
	}
	c->unsent_at = 0;
	(void)BIO_reset(t->out);
}

static int receive_encrypted(struct connection *c, struct tls *t, int flags)
{
	ssize_t n = recv(c->fd, encrypted, sizeof encrypted, flags);
	if (n < 0 && errno == EAGAIN) return 0;
	if (n <= 0) lost(n, errno);
	BIO_write(t->in, encrypted, n);
	return 1;
}

static void handshake(SSL_CTX *context, struct connection *c, struct tls *t)
{
	t->ssl = SSL_new(context);
	t->in = BIO_new(BIO_s_mem());
	t->out = BIO_new(BIO_s_mem());
	if (!t->ssl || !t->in || !t->out) refused("out of memory");
	SSL_set_bio(t->ssl, t->in, t->out);
	SSL_set_tlsext_host_name(t->ssl, "localhost");
	for (int rc; (rc = SSL_connect(t->ssl)) != 1;) {
		if (SSL_get_error(t->ssl, rc) != SSL_ERROR_WANT_READ) refused("handshake");
		send_encrypted(c, t, 0);
		receive_encrypted(c, t, 0);
	}
	send_encrypted(c, t, 0);
}

static void handshake_all(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION)) refused("TLS 1.3");
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	sessions = calloc(conns, sizeof *sessions);
	for (int i = 0; i < conns; i++) handshake(context, &connections[i], &sessions[i]);
}

static void push(int ep, int i)
{
	struct connection *c = &connections[i];
	struct tls *t = &sessions[i];
	int was_full = c->unsent > 0;
	size_t n = was_full ? 0 : take_due(c);
	if (n && SSL_write(t->ssl, c->pattern, n) != (int)n) refused("encrypting");
	send_encrypted(c, t, MSG_DONTWAIT);
	if (was_full == (c->unsent > 0)) return;
	struct epoll_event e = {.events = c->unsent ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.u32 = i};
	epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

static void pull(int i)
{
	struct connection *c = &connections[i];
	struct tls *t = &sessions[i];
	int n;
	if (!receive_encrypted(c, t, MSG_DONTWAIT)) return;
	while ((n = SSL_read(t->ssl, plain, sizeof plain)) > 0) arrived(c, plain, n);
	int error = SSL_get_error(t->ssl, n);
	if (error == SSL_ERROR_ZERO_RETURN) lost(0, 0);
	if (error != SSL_ERROR_WANT_READ) refused("decrypting");
}

static void run(void)
{
	struct epoll_event events[1024];
	int ep = epoll_create1(0);
	now = read_clock(CLOCK_MONOTONIC);
	for (int i = 0; i < conns; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
		if (epoll_ctl(ep, EPOLL_CTL_ADD, connections[i].fd, &e)) die(PROGRAM ": epoll_ctl", errno);
		push(ep, i);
	}
	for (;;) {
		int n = epoll_wait(ep, events, 1024, 100);
		if (!running()) return;
		for (int k = 0; k < n; k++) {
			int i = events[k].data.u32;
			if (events[k].events & ~EPOLLOUT) pull(i);
			if (connections[i].due || connections[i].unsent) push(ep, i);
		}
	}
}

int main(int argc, char **argv)
{
	begin_load(argc, argv);
	use_epoll = 1;
	connect_all();
	handshake_all();
	begin_window();
	run();
	return end_load();
}
