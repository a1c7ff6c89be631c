// What the load generators share: options, the accounting of messages, what is measured and how it is told.
//
// The file that includes this names itself in PROGRAM first. With --message the file's bytes are sent, each is answered by
// --answer bytes, and the warm-up looks whether each answer begins as the file --begins; a --greeting is sent first, and
// answered by lines with an empty one at the end, as HTTP's are. Without them the server is one that echoes: a connection keeps `outstanding` messages on the way; its
// stream of bytes is `pattern`, again and again, so that what comes back can be compared with what was sent.
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <getopt.h>
#include <time.h>

#include "net.h"

enum { OUTSTANDING_MAX = 64, SUB = 32, MESSAGE_MAX = 64 * 1024 };
enum { PATIENCE_S = 10 };                  // so long it goes on beyond its window, until there is something to tell

struct connection {
	int fd, due;                           // due: messages that may be sent
	int64_t left;                          // bytes left of the current reply
	uint64_t sent_at[OUTSTANDING_MAX];     // ring of outstanding messages
	unsigned oldest, newest;
	const char *pattern;                   // this connection's stream is this, of period `size`
	int sending;                           // io_uring: a send is on its way
	size_t unsent_at, unsent;              // epoll: what a full socket did not take
};

static int port, size = 1024, conns = 10, outstanding = 1, pid, use_epoll;
static double secs = 1, warmup = 0.2;
static int answer;                             // bytes that come back for a message
static const char *message_path, *greeting_path, *begins_path;
static char *begins;
static int begins_size;
static struct connection *connections;
static char *pattern;

// ---- what is measured ------------------------------------------------------------------------------------------

static uint64_t histogram[64 * SUB], latencies, latency_max, messages;
static uint64_t now, begin, warm_until, end_at;
static int measuring;
static clockid_t server_clock;
struct usage { uint64_t cpu, wait, own_cpu, own_wait; long user, system; };
static struct usage at_begin, at_end;

static uint64_t read_clock(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

// Nanoseconds that the main thread was ready to run and had no core.
static uint64_t waited(int process)
{
	char path[64];
	unsigned long long run, wait = 0;
	if (process) snprintf(path, sizeof path, "/proc/%d/schedstat", process);
	else strcpy(path, "/proc/self/schedstat");
	FILE *f = fopen(path, "r");
	if (!f) return 0;
	if (fscanf(f, "%llu %llu", &run, &wait) != 2) wait = 0;
	fclose(f);
	return wait;
}

static void ticks(int process, long *user, long *system)
{
	char path[64], line[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", process);
	FILE *f = fopen(path, "r");
	if (!f) return;
	line[fread(line, 1, sizeof line - 1, f)] = 0;
	fclose(f);
	char *after_name = strrchr(line, ')');
	if (after_name)
		sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", user, system);
}

static void take(struct usage *u)
{
	u->own_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
	u->own_wait = waited(0);
	if (!pid) return;
	u->cpu = read_clock(server_clock);
	u->wait = waited(pid);
	ticks(pid, &u->user, &u->system);
}

// A histogram of 32 steps per power of two: exact to 3 %.
static void record(uint64_t ns)
{
	int e = ns < SUB ? 0 : 63 - __builtin_clzll(ns) - 5;
	histogram[e * SUB + (ns >> e)]++;      // ns >> e lies in [SUB, 2 * SUB) for e > 0
	latencies++;
	if (ns > latency_max) latency_max = ns;
}

static double percentile(double p)
{
	uint64_t wanted = latencies * p, seen = 0;
	for (int i = 0; i < 64 * SUB; i++) {
		seen += histogram[i];
		if (seen <= wanted) continue;
		int e = i < 2 * SUB ? 0 : i / SUB - 1;
		return ((double)(i - e * SUB) + 0.5) * (1ull << e) / 1000.0;
	}
	return latency_max / 1000.0;
}

// Of a short window on a busy machine nothing may come back, or only what the server had done before.
static int seen_enough(void)
{
	return messages && (!pid || read_clock(server_clock) > at_begin.cpu);
}

// Once per wake-up of the client; 0 when the window is over.
static int running(void)
{
	now = read_clock(CLOCK_MONOTONIC);
	if (!measuring && now >= warm_until) {
		take(&at_begin);
		measuring = 1;
		begin = now;
	}
	return now < end_at || (!seen_enough() && now < end_at + PATIENCE_S * 1e9);
}

static void report(void)
{
	take(&at_end);
	double elapsed = (now - begin) / 1e9, cpu = at_end.cpu - at_begin.cpu;
	long user = at_end.user - at_begin.user, system = at_end.system - at_begin.system;
	double system_share = user + system ? (double)system / (user + system) : 0;
	double per_message = messages ? cpu / 1e3 / messages : 0;
	printf("{\"rate\": %.1f, \"messages\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
	       "\"max_us\": %.1f, \"cpu_us\": %.4f, \"system_us\": %.4f, \"server_busy\": %.4f, \"client_busy\": %.4f, "
	       "\"server_waited\": %.4f, \"client_waited\": %.4f, \"client\": \"%s\"}\n",
	       messages / elapsed, (unsigned long long)messages, percentile(.5), percentile(.99), percentile(.999),
	       latency_max / 1000.0, per_message, per_message * system_share, cpu / 1e9 / elapsed,
	       (at_end.own_cpu - at_begin.own_cpu) / 1e9 / elapsed, (at_end.wait - at_begin.wait) / 1e9 / elapsed,
	       (at_end.own_wait - at_begin.own_wait) / 1e9 / elapsed, use_epoll ? "epoll" : "io_uring");
}

// ---- the protocol: bytes come back, messages become due --------------------------------------------------------

static void wrong(struct connection *c)
{
	fprintf(stderr, PROGRAM ": the server sent other bytes than it should have (connection %d)\n", (int)(c - connections));
	exit(1);
}

static void verify_echo(struct connection *c, const char *bytes, int64_t n)
{
	for (int64_t at = size - c->left; n > 0;) {
		int64_t k = n < size ? n : size;
		if (memcmp(bytes, c->pattern + at, k)) wrong(c);
		at = (at + k) % size;
		bytes += k;
		n -= k;
	}
}

static void verify_answers(struct connection *c, const char *bytes, int64_t n)
{
	int64_t at = answer - c->left;
	for (int64_t i = 0; i < n; i++, at = (at + 1) % answer)
		if (at < begins_size && bytes[i] != begins[at]) wrong(c);
}

static void arrived(struct connection *c, const char *bytes, int64_t n)
{
	if (!measuring && message_path) verify_answers(c, bytes, n);
	else if (!measuring) verify_echo(c, bytes, n);
	for (c->left -= n; c->left <= 0; c->left += answer) {
		if (c->oldest == c->newest) {
			fprintf(stderr, PROGRAM ": the server sent more bytes than it should have\n");
			exit(1);
		}
		uint64_t sent_at = c->sent_at[c->oldest++ % OUTSTANDING_MAX];
		c->due++;
		if (!measuring) continue;
		messages++;
		record(now - sent_at);
	}
}

static size_t take_due(struct connection *c)
{
	size_t n = (size_t)size * c->due;
	for (; c->due; c->due--) c->sent_at[c->newest++ % OUTSTANDING_MAX] = now;
	return n;
}

static void lost(ssize_t n, int error)
{
	if (n == 0) fprintf(stderr, PROGRAM ": the server closed a connection\n");
	else fprintf(stderr, PROGRAM ": recv or send: %s\n", strerror(error));
	exit(1);
}

// ----------------------------------------------------------------------------------------------------------------

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"port", 1, 0, 'p'}, {"size", 1, 0, 's'}, {"conns", 1, 0, 'n'}, {"outstanding", 1, 0, 'k'},
		{"secs", 1, 0, 't'}, {"warmup", 1, 0, 'w'}, {"pid", 1, 0, 'i'}, {"epoll", 0, 0, 'e'},
		{"message", 1, 0, 'm'}, {"answer", 1, 0, 'a'}, {"begins", 1, 0, 'b'}, {"greeting", 1, 0, 'g'}, {0}};
	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (o) {
		case 'p': port = atoi(optarg); break;
		case 's': size = atoi(optarg); break;
		case 'n': conns = atoi(optarg); break;
		case 'k': outstanding = atoi(optarg); break;
		case 't': secs = atof(optarg); break;
		case 'w': warmup = atof(optarg); break;
		case 'i': pid = atoi(optarg); break;
		case 'e': use_epoll = 1; break;
		case 'm': message_path = optarg; break;
		case 'a': answer = atoi(optarg); break;
		case 'b': begins_path = optarg; break;
		case 'g': greeting_path = optarg; break;
		default: exit(2);
		}
	}
	if (port <= 0 || size <= 0 || conns <= 0 || outstanding <= 0 || outstanding > OUTSTANDING_MAX || secs <= 0) {
		fprintf(stderr, PROGRAM ": needs --port, and positive --size, --conns, --secs, --outstanding up to %d\n",
		        OUTSTANDING_MAX);
		exit(2);
	}
	if (!!message_path != (answer > 0) || !!message_path != !!begins_path) {
		fprintf(stderr, PROGRAM ": --message, --answer and --begins belong together\n");
		exit(2);
	}
}

static char *contents(const char *path, int *length)
{
	FILE *f = fopen(path, "r");
	char *bytes = malloc(MESSAGE_MAX);
	if (!f) die(path, errno);
	*length = fread(bytes, 1, MESSAGE_MAX, f);
	fclose(f);
	return bytes;
}

// What is sent: the message, or random bytes of period `size`; as often as may be outstanding, and once more.
static void make_pattern(void)
{
	char *message = message_path ? contents(message_path, &size) : NULL;
	if (begins_path) begins = contents(begins_path, &begins_size);
	size_t length = (size_t)size * (outstanding + 1);
	pattern = malloc(length);
	uint32_t x = 2463534242u;
	for (int i = 0; i < size; i++) {
		x ^= x << 13, x ^= x >> 17, x ^= x << 5;
		pattern[i] = message ? message[i] : (char)x;
	}
	for (size_t i = size; i < length; i++) pattern[i] = pattern[i - size];
	free(message);
	if (!answer) answer = size;
}

static void greet(int fd, const char *greeting, int length)
{
	char last[4] = "";
	if (send(fd, greeting, length, MSG_NOSIGNAL) != length) die(PROGRAM ": send", errno);
	while (memcmp(last, "\r\n\r\n", 4)) {
		memmove(last, last + 1, 3);
		ssize_t n = recv(fd, last + 3, 1, 0);
		if (n <= 0) lost(n, errno);
	}
}

static void connect_all(void)
{
	make_pattern();
	int greeting_size = 0;
	char *greeting = greeting_path ? contents(greeting_path, &greeting_size) : NULL;
	struct sockaddr_in address = loopback(port);
	connections = calloc(conns, sizeof *connections);
	for (int i = 0; i < conns; i++) {
		struct connection *c = &connections[i];
		int one = 1;
		struct linger reset = {1, 0};          // leave no TIME_WAIT behind
		c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (c->fd < 0 || connect(c->fd, (void *)&address, sizeof address)) die(PROGRAM ": connect", errno);
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		if (greeting) greet(c->fd, greeting, greeting_size);
		c->left = answer;
		c->due = outstanding;
		c->pattern = message_path ? pattern : pattern + (size_t)i * 31 % size; // each starts at a place of its own
	}
	free(greeting);
	usleep(20000); // let the server accept them all
}

// How a load generator begins: its options, and the server's clock.
static void begin_load(int argc, char **argv)
{
	parse(argc, argv);
	begin_program();
	if (pid && clock_getcpuclockid(pid, &server_clock)) die(PROGRAM ": no such server process", ESRCH);
}

// From now on the window runs: call this when all connections stand.
static void begin_window(void)
{
	warm_until = read_clock(CLOCK_MONOTONIC) + warmup * 1e9;
	end_at = warm_until + secs * 1e9;
}

// How it ends; main's result.
static int end_load(void)
{
	if (!measuring || !messages) {
		fprintf(stderr, PROGRAM ": no message came back\n");
		return 1;
	}
	report();
	return 0;
}

#endif
