// The least an echo server on readiness can cost: epoll, recv, send, nothing else.
#define _GNU_SOURCE
#include <sys/epoll.h>

#include "net.h"

enum { BUFFER = 256 * 1024, FD_MAX = 65536, EVENTS = 1024 };

static struct { char *bytes; size_t n; } rest[FD_MAX]; // what a full socket did not take
static char buffer[BUFFER];
static int ep, connected;

static void watch(int fd, int op, unsigned events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};
	if (epoll_ctl(ep, op, fd, &e)) die("epoll_ctl", errno);
}

static void drop(int fd)
{
	free(rest[fd].bytes);
	rest[fd].bytes = NULL;
	close(fd);
	connected--;
}

static void accept_all(int listener)
{
	int fd;
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		if (fd >= FD_MAX) { close(fd); continue; }
		watch(fd, EPOLL_CTL_ADD, EPOLLIN);
		connected++;
	}
}

static void finish_rest(int fd)
{
	ssize_t n = send(fd, rest[fd].bytes, rest[fd].n, MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN) drop(fd);
		return;
	}
	rest[fd].n -= n;
	memmove(rest[fd].bytes, rest[fd].bytes + n, rest[fd].n);
	if (rest[fd].n) return;
	free(rest[fd].bytes);
	rest[fd].bytes = NULL;
	watch(fd, EPOLL_CTL_MOD, EPOLLIN);
}

static void echo(int fd)
{
	ssize_t n = recv(fd, buffer, BUFFER, 0);
	if (n <= 0) {
		if (n == 0 || errno != EAGAIN) drop(fd);
		return;
	}
	ssize_t sent = send(fd, buffer, n, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN) { drop(fd); return; }
	if (sent < 0) sent = 0;
	if (sent == n) return;
	rest[fd].n = n - sent;
	rest[fd].bytes = malloc(n - sent);
	memcpy(rest[fd].bytes, buffer + sent, n - sent);
	watch(fd, EPOLL_CTL_MOD, EPOLLOUT);
}

int main(void)
{
	begin_program();
	ep = epoll_create1(0);
	int listener = listen_and_tell(SOCK_NONBLOCK);
	watch(listener, EPOLL_CTL_ADD, EPOLLIN);
	struct epoll_event events[EVENTS];
	int spins = spinning();
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, spins && connected ? 0 : -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener) accept_all(fd);
			else if (rest[fd].bytes) finish_rest(fd);
			else echo(fd);
		}
	}
}
