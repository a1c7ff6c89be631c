// What the echo servers and the load generator share: listening, connecting, saying why not.
#ifndef BENCH_NET_H
#define BENCH_NET_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	exit(1);
}

// As many descriptors as we may have, and no life after the benchmark's own process.
static void begin_program(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

// Whether a server that has connections looks for what comes, instead of sleeping until it does.
__attribute__((unused)) static int spinning(void)
{
	return getenv("BENCH_SPIN") != NULL;
}

// A listening socket on a free port of 127.0.0.1; the port is printed, as every server of this bench does.
// `flags` is SOCK_NONBLOCK or 0.
__attribute__((unused)) static int listen_and_tell(int flags)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	struct sockaddr_in a = loopback(0);
	socklen_t n = sizeof a;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); // accepted sockets inherit it
	if (bind(fd, (void *)&a, sizeof a) || listen(fd, 4096)) die("listen", errno);
	getsockname(fd, (void *)&a, &n);
	printf("ready %d\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

#endif
