// The floor of reads from the disk: read_uring FILE SIZE CONCURRENT COUNT
//
// Reads of SIZE bytes at random places of a file that the page cache has dropped, so many on their way at a time, by one thread on
// io_uring that does nothing else. Prints what a read takes, as bench.workloads.files does: {"ns": ..., "waited": 0}.
#define _GNU_SOURCE
#include "ring.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

static int fail(const char *what, int error)
{
	fprintf(stderr, "read_uring: %s: %s\n", what, strerror(error));
	return 2;
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: read_uring FILE SIZE CONCURRENT COUNT\n");
		return 2;
	}
	uint64_t size = strtoull(argv[2], NULL, 10), conc = strtoull(argv[3], NULL, 10), count = strtoull(argv[4], NULL, 10);
	struct stat st;
	struct ring r;
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) return fail(argv[1], errno);
	if (!size || !conc || conc > 4096 || !count || (uint64_t)st.st_size < size) return fail("the numbers", EINVAL);
	char *buffers = malloc(conc * size);
	if (!buffers) return fail("buffers", ENOMEM);
	memset(buffers, 1, conc * size); // no page is made while it is measured
	int rc = ring_open(&r, conc, 2 * conc);
	if (rc < 0) return fail("io_uring", -rc);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

	uint64_t blocks = st.st_size / size, draw = UINT64_C(88172645463325252), sent = 0, done = 0, start = now_ns();
	while (done < count) {
		while (sent < count && sent - done < conc) {
			// a buffer may be read into twice at once: nobody looks at what is in it
			struct io_uring_sqe *s = ring_sqe(&r, IORING_OP_READ, fd, 0);
			draw ^= draw << 13, draw ^= draw >> 7, draw ^= draw << 17;
			s->off = draw % blocks * size;
			s->addr = (uint64_t)(buffers + sent++ % conc * size);
			s->len = size;
		}
		if ((rc = ring_enter(&r, 1)) < 0) return fail("io_uring_enter", -rc);
		for (struct io_uring_cqe *c; (c = ring_peek(&r)); ring_seen(&r), done++)
			if (c->res != (int)size) return fail("a read", c->res < 0 ? -c->res : EIO);
	}
	printf("{\"ns\": %.1f, \"waited\": 0}\n", (double)(now_ns() - start) / count);
	return 0;
}
