/* The side thread: answers those who attach, also while the loop is blocked. And the monitor: sees that it is.
 *
 * Both are threads of C, so that they cost nothing while nobody asks: no thread state, no entry in threading.enumerate(), no
 * interpreter lock. The side thread sleeps in poll() on a listening Unix socket and takes the lock when a client of the right user
 * is there; the monitor never takes it.
 *
 * The one descriptor is checked by its inode before each use: a program that closes "all" descriptors (daemons do) may have given
 * the number to a file of its own.
 */
#ifndef PLAIT_SIDE_H
#define PLAIT_SIDE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    PLAIT_ASKED_STOP = 1,
    PLAIT_ASKED_DUMP = 2,   /* SIGQUIT */
    PLAIT_ASKED_REPORT = 4, /* the monitor saw a blocked loop */
    PLAIT_ASKED_SCAN = 8,   /* it is time to look for what is wrong with the tasks */
    PLAIT_LOOPS_MAX = 64,
    PLAIT_STARVED_MIN_NS = 1000000,
    PLAIT_LOCK_NS = 12000000, /* Python code gives the interpreter lock up after 5 ms */
    PLAIT_SERVING_LOCK_NS = 40000000,
    PLAIT_ASKED_TICK_NS = 2000000, /* looks are as near to each other while the side thread waits for the lock */
    PLAIT_STACK_BYTES = 1 << 20, /* of address space; what is not touched costs nothing */
};

static struct {
    pthread_t thread;
    int started;
    int listener;                /* -1: none */
    struct stat listener_stat;
    struct sockaddr_un address;
    socklen_t address_length;
    char hello[256];             /* the first line that a client gets, before anybody waits for the interpreter lock */
    size_t hello_length;
    PyObject *serve;             /* serve(client or -1, asked), called with the lock held; owned */
    atomic_int asked;
    _Atomic long long wants_lock_ns; /* since when it waits for the interpreter lock; 0: it does not */
    atomic_int serving;          /* clients are there: it waits in Python, where that is not seen */
    pid_t pid;                   /* a forked child has a copy of all this, and no thread */
    int quit_installed;
} plait_side = {.listener = -1};

/* What the monitor reads of a loop, without the interpreter lock. */
struct plait_watched {
    void *loop;                  /* borrowed, as a name only; NULL: a free place */
    const volatile unsigned int *head;           /* moves with each slice, */
    const volatile unsigned long long *turns;    /* each turn, */
    const volatile unsigned long long *told;     /* and each event told to a transport */
    const volatile int *sleeping;
    const volatile unsigned long *thread;        /* 0 while the loop does not run */
    unsigned int seen_head;
    unsigned long long seen_turns, seen_told;
    long long since_ns;          /* when it was first seen where it still is */
    long long starved_ns;        /* for how long of that its thread was ready to run and had no processor */
    long long looked_ns, used_ns; /* the last look (0: there is none yet), and the processor time of the thread then */
    int reported;                /* this block is to be told of, at its end at the latest */
    int asked;                   /* the side thread was asked to tell of it */
};

static struct {
    pthread_t thread;
    int started;
    int stop;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    long long threshold_ns;
    struct plait_watched loops[PLAIT_LOOPS_MAX];
    /* The block that is being told of: written by the monitor, taken by the side thread with the lock held. */
    void *blocked_loop;
    long long blocked_since_ns;
    long long blocked_until_ns;  /* 0: it still is */
    long long blocked_starved_ns; /* not 0: it had no processor for so long, and is no block without that */
    long long asked_ns;          /* when the side thread was asked; 0: it has taken it, or nothing was asked */
    long long asked_used_ns;     /* the processor time of the loop's thread by then */
    long long asked_waited_ns;   /* for how long the side thread had had no processor, */
    long long asked_stolen_ns;   /* and the machine */
    long long looked_ns, scanned_ns;
    long long scan_every_ns;     /* 0: never */
    int stack_signal;            /* faulthandler writes the stack of the thread that gets it; 0: not to be had */
    int stack_told;              /* this block's stack was written by the signal */
} plait_monitor = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline long long plait_side_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Whether the number still is our socket. */
static int plait_side_is_ours(void) {
    struct stat now;
    return plait_side.listener >= 0 && fstat(plait_side.listener, &now) == 0 &&
           now.st_ino == plait_side.listener_stat.st_ino && now.st_dev == plait_side.listener_stat.st_dev;
}

static void plait_side_close(void) {
    if (plait_side_is_ours()) close(plait_side.listener);
    plait_side.listener = -1;
}

static int plait_side_listen(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (bind(fd, (struct sockaddr *)&plait_side.address, plait_side.address_length) < 0 || listen(fd, 16) < 0 ||
        fstat(fd, &plait_side.listener_stat) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    plait_side.listener = fd;
    return 0;
}

/* Wake the side thread: from any thread, and from a signal handler. It is a connection of the process to itself, so that no second
 * descriptor has to be kept for it. */
static void plait_side_ring(int asked) {
    atomic_fetch_or(&plait_side.asked, asked);
    int error = errno;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        (void)!connect(fd, (struct sockaddr *)&plait_side.address, plait_side.address_length);
        close(fd);
    }
    errno = error;
}

/* What was asked for since the last call; the wish to stop stays. */
static int plait_side_asked(void) {
    return atomic_fetch_and(&plait_side.asked, PLAIT_ASKED_STOP);
}

static void plait_side_call(int client, int asked) {
    atomic_store(&plait_side.wants_lock_ns, plait_side_now_ns());
    PyGILState_STATE state = PyGILState_Ensure();
    atomic_store(&plait_side.wants_lock_ns, 0);
    atomic_store(&plait_side.serving, client >= 0);
    PyObject *result = PyObject_CallFunction(plait_side.serve, "ii", client, asked);
    atomic_store(&plait_side.serving, 0);
    if (result == NULL) PyErr_WriteUnraisable(plait_side.serve);
    Py_XDECREF(result);
    PyGILState_Release(state);
}

/* The next client that may look, or -1. Others get a line that says why not. */
static int plait_side_accept(void) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    int client = accept4(plait_side.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return -1;
    if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) goto refused;
    if (peer.uid != geteuid() && peer.uid != 0) {
        char line[96];
        int size = snprintf(line, sizeof line, "refused uid %u\n", (unsigned)geteuid());
        (void)!send(client, line, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
        goto refused;
    }
    if (peer.pid == plait_side.pid) {
        char byte; /* a ring, unless it says something: a program may look at itself */
        struct pollfd wait = {.fd = client, .events = POLLIN};
        if (poll(&wait, 1, 0) == 1 && recv(client, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) goto refused;
    }
    if (send(client, plait_side.hello, plait_side.hello_length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) goto refused;
    return client;
refused:
    close(client);
    return -1;
}

static void *plait_side_main(void *unused) {
    for (;;) {
        struct pollfd wait = {.fd = plait_side.listener, .events = POLLIN};
        int count = poll(&wait, 1, atomic_load(&plait_side.asked) ? 0 : -1);
        if (count < 0 && errno != EINTR) break;
        int asked = plait_side_asked();
        if (asked & PLAIT_ASKED_STOP) break;
        if (!plait_side_is_ours()) { /* the socket itself is alive, as poll() held it; from here on it is not */
            plait_side.listener = -1;
            if (plait_side_listen() < 0) break;
            continue;
        }
        int client = count > 0 ? plait_side_accept() : -1;
        if (client >= 0 || asked) plait_side_call(client, asked);
    }
    return unused;
}

/* Threads of ours get no signals: one that is taken here would not interrupt what the main thread waits for. */
static int plait_start_thread(pthread_t *thread, void *(*main)(void *)) {
    sigset_t all, before;
    pthread_attr_t attributes;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, PLAIT_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(thread, &attributes, main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed ? -1 : 0;
}

/* 0: it listens. -1: errno tells why not. */
static int plait_side_start(const char *name, Py_ssize_t name_length, const char *hello, PyObject *serve) {
    if (plait_side.started) return 0;
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) { /* PyGILState_Ensure knows the main one only */
        errno = ENOTSUP;
        return -1;
    }
    if (plait_side.listener >= 0 && !plait_side_is_ours()) plait_side.listener = -1;
    if (plait_side.listener < 0) {
        memset(&plait_side.address, 0, sizeof plait_side.address);
        plait_side.address.sun_family = AF_UNIX;
        memcpy(plait_side.address.sun_path + 1, name, (size_t)name_length); /* a leading zero: no file, gone with the process */
        plait_side.address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)name_length);
        if (plait_side_listen() < 0) return -1;
    }
    plait_side.hello_length = (size_t)snprintf(plait_side.hello, sizeof plait_side.hello, "%s", hello);
    Py_XSETREF(plait_side.serve, Py_NewRef(serve));
    plait_side.pid = getpid();
    atomic_store(&plait_side.asked, 0);
    if (plait_start_thread(&plait_side.thread, plait_side_main) < 0) return -1;
    plait_side.started = 1;
    return 0;
}

/* 1: it has ended, and the listening socket stays for the next start. 0: it did not end in time. */
static int plait_join(pthread_t thread, double seconds) {
    struct timespec until;
    int failed;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec += 1;
        until.tv_nsec -= 1000000000L;
    }
    Py_BEGIN_ALLOW_THREADS
    failed = pthread_timedjoin_np(thread, NULL, &until);
    Py_END_ALLOW_THREADS
    return !failed;
}

static int plait_side_stop(double seconds) {
    if (!plait_side.started || pthread_equal(pthread_self(), plait_side.thread)) return 0;
    plait_side_ring(PLAIT_ASKED_STOP);
    if (!plait_join(plait_side.thread, seconds)) return 0;
    plait_side.started = 0;
    return 1;
}

/* SIGQUIT prints what the tasks do; the second within two seconds ends the program, as the first would without us. */
static void plait_on_quit(int number) {
    static _Atomic long long last_ns;
    long long now = plait_side_now_ns(), before = atomic_exchange(&last_ns, now);
    if (!plait_side.started || plait_side.pid != getpid() || (before != 0 && now - before < 2000000000LL)) {
        signal(number, SIG_DFL);
        raise(number); /* delivered when this handler returns */
        return;
    }
    plait_side_ring(PLAIT_ASKED_DUMP);
}

/* Only where nobody handles or ignores it. */
static void plait_take_quit(void) {
    struct sigaction action, found;
    if (sigaction(SIGQUIT, NULL, &found) < 0 || (found.sa_flags & SA_SIGINFO) || found.sa_handler != SIG_DFL) return;
    memset(&action, 0, sizeof action);
    action.sa_handler = plait_on_quit;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    plait_side.quit_installed = sigaction(SIGQUIT, &action, NULL) == 0;
}

static void plait_give_quit_back(void) {
    struct sigaction found;
    if (plait_side.quit_installed && sigaction(SIGQUIT, NULL, &found) == 0 && !(found.sa_flags & SA_SIGINFO) &&
        found.sa_handler == plait_on_quit)
        signal(SIGQUIT, SIG_DFL);
    plait_side.quit_installed = 0;
}

/* The monitor. */

static struct plait_watched *plait_place_of(void *loop) {
    for (int i = 0; i < PLAIT_LOOPS_MAX; i++)
        if (plait_monitor.loops[i].loop == loop) return &plait_monitor.loops[i];
    return NULL;
}

/* The kernel's number of a thread, from that of its clock, which has it negated above three bits (the kernel's ABI). */
static int plait_kernel_id(clockid_t clock) { return ~(clock >> 3); }

/* 0: there is no such thread any more. */
static int plait_id_of(pthread_t thread) {
    clockid_t clock;
    return pthread_getcpuclockid(thread, &clock) == 0 ? plait_kernel_id(clock) : 0;
}

/* The beginning of what /proc tells; empty where it tells nothing. */
static void plait_read_beginning(const char *path, char *text, size_t room) {
    text[0] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t size = read(fd, text, room - 1);
    close(fd);
    text[size > 0 ? size : 0] = 0;
}

/* The same of a thread of this process. */
static void plait_read_of_thread(int id, const char *file, char *text, size_t room) {
    char path[48];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", id, file);
    plait_read_beginning(path, text, room);
}

/* Whether a thread of this process runs or would if it had a processor. */
static int plait_is_ready(int id) {
    char text[128];
    plait_read_of_thread(id, "stat", text, sizeof text);
    char *name_end = strrchr(text, ')');
    return name_end != NULL && name_end[1] == ' ' && name_end[2] == 'R';
}

/* For how long it was ready in all its life and had no processor, up to when it last got one; 0 where the kernel does not count that. */
static long long plait_waited_ns(int id) {
    char text[128];
    long long waited = 0;
    plait_read_of_thread(id, "schedstat", text, sizeof text);
    return sscanf(text, "%*s %lld", &waited) == 1 ? waited : 0;
}

/* For how long all processors of a virtual machine together stood still, as its host ran others: a thread whose timer is due there does
   not even become ready. 0 where that is not told. */
static long long plait_stolen_ns(void) {
    char text[256];
    long long stolen = 0;
    plait_read_beginning("/proc/stat", text, sizeof text);
    return sscanf(text, "cpu %*s %*s %*s %*s %*s %*s %*s %lld", &stolen) == 1 ? stolen * (1000000000LL / sysconf(_SC_CLK_TCK)) : 0;
}

/* The kernel's number of the side thread; 0: there is none. */
static int plait_side_id(void) {
    return plait_side.started ? plait_id_of(plait_side.thread) : 0;
}

/* Whether the side thread waits for the interpreter lock for longer than Python code would let it: C code keeps it. Only what the
   loop's thread ran of that counts, unless it waits in C; and not for how long the side thread or the machine had no processor. */
static int plait_lock_is_kept(const struct plait_watched *watched, int id, long long now) {
    long long since = atomic_load(&plait_side.wants_lock_ns), limit = PLAIT_LOCK_NS;
    if (since == 0) {
        if (!atomic_load(&plait_side.serving)) return 0;
        since = plait_monitor.asked_ns;
        limit = PLAIT_SERVING_LOCK_NS;
    }
    long long passed = now - since, ran = watched->used_ns - plait_monitor.asked_used_ns;
    if (ran < passed && plait_is_ready(id)) passed = ran;
    if (passed <= limit) return 0;
    int side = plait_side_id();
    passed -= plait_waited_ns(side) - plait_monitor.asked_waited_ns + plait_stolen_ns() - plait_monitor.asked_stolen_ns;
    return passed > limit && !plait_is_ready(side);
}

/* Add up for how long the thread of a loop that stands where it stood was ready and did not run. `late`: as it was with the monitor
   itself, which tells more than the state that the thread has now. */
static void plait_see_starving(struct plait_watched *watched, unsigned long thread, long long now, int late) {
    clockid_t clock;
    struct timespec used;
    if (pthread_getcpuclockid((pthread_t)thread, &clock) != 0 || clock_gettime(clock, &used) < 0) return;
    long long used_ns = (long long)used.tv_sec * 1000000000LL + used.tv_nsec;
    long long idle_ns = now - watched->looked_ns - (used_ns - watched->used_ns);
    if (watched->looked_ns != 0 && now > watched->since_ns && idle_ns > PLAIT_STARVED_MIN_NS &&
        (late || plait_is_ready(plait_kernel_id(clock))))
        watched->starved_ns += idle_ns;
    watched->looked_ns = now;
    watched->used_ns = used_ns;
}

static void plait_ask_for_report(struct plait_watched *watched, long long now, long long until_ns, long long starved_ns) {
    plait_monitor.blocked_loop = watched->loop;
    plait_monitor.blocked_since_ns = watched->since_ns;
    plait_monitor.blocked_until_ns = until_ns;
    plait_monitor.blocked_starved_ns = starved_ns;
    plait_monitor.asked_ns = now;
    plait_monitor.asked_used_ns = watched->used_ns;
    plait_monitor.asked_waited_ns = plait_waited_ns(plait_side_id());
    plait_monitor.asked_stolen_ns = plait_stolen_ns();
    plait_side_ring(PLAIT_ASKED_REPORT);
}

/* Called with the mutex held. `late`: the monitor itself did not run for long (the process was stopped), so that nobody is to blame. */
static void plait_look_at(struct plait_watched *watched, long long now, int late) {
    unsigned long thread = *watched->thread;
    if (thread == 0 || *watched->sleeping || *watched->head != watched->seen_head || *watched->turns != watched->seen_turns ||
        *watched->told != watched->seen_told) {
        int starved = watched->starved_ns != 0 && now - watched->since_ns >= plait_monitor.threshold_ns && !late;
        if ((watched->reported || starved) && plait_monitor.asked_ns == 0) /* that the block is over is told too */
            plait_ask_for_report(watched, now, now, watched->reported ? 0 : watched->starved_ns);
        watched->seen_head = *watched->head;
        watched->seen_turns = *watched->turns;
        watched->seen_told = *watched->told;
        watched->since_ns = now;
        watched->starved_ns = 0;
        watched->reported = watched->asked = 0;
        watched->looked_ns = 0; /* as long as it sleeps */
        if (thread != 0 && !*watched->sleeping) plait_see_starving(watched, thread, now, 0);
        return;
    }
    plait_see_starving(watched, thread, now, late);
    /* A slice whose thread had no processor, because others had it, is not to blame for that. */
    if (now - watched->since_ns - watched->starved_ns < plait_monitor.threshold_ns) return;
    watched->reported = 1;
    if (!watched->asked && plait_monitor.asked_ns == 0) { /* else it has not even got to the one before */
        watched->asked = 1;
        plait_monitor.stack_told = 0;
        plait_ask_for_report(watched, now, 0, 0);
    } else if (plait_monitor.asked_ns != 0 && plait_monitor.blocked_until_ns == 0 && plait_monitor.blocked_loop == watched->loop &&
               plait_monitor.stack_signal != 0 && !plait_monitor.stack_told &&
               plait_lock_is_kept(watched, plait_id_of((pthread_t)thread), now)) {
        plait_monitor.stack_told = 1;
        char line[160];
        int size = snprintf(line, sizeof line,
                            "plait: the loop is blocked for %lld ms so far, by C code that keeps the interpreter lock:\n",
                            (now - watched->since_ns) / 1000000);
        (void)!write(2, line, (size_t)size);
        pthread_kill((pthread_t)thread, plait_monitor.stack_signal);
    }
}

static void *plait_monitor_main(void *unused) {
    pthread_mutex_lock(&plait_monitor.lock);
    while (!plait_monitor.stop) {
        struct timespec until;
        long long next = plait_side_now_ns(), tick = plait_monitor.threshold_ns / 10;
        if (tick > 10000000) tick = 10000000;
        if (tick < 500000) tick = 500000;
        if (plait_monitor.asked_ns != 0 && tick > PLAIT_ASKED_TICK_NS) tick = PLAIT_ASKED_TICK_NS;
        int late = next - plait_monitor.looked_ns > 2 * tick + plait_monitor.threshold_ns;
        plait_monitor.looked_ns = next;
        for (int i = 0; i < PLAIT_LOOPS_MAX; i++)
            if (plait_monitor.loops[i].loop != NULL) plait_look_at(&plait_monitor.loops[i], next, late);
        if (plait_monitor.scan_every_ns != 0 && next - plait_monitor.scanned_ns >= plait_monitor.scan_every_ns) {
            plait_monitor.scanned_ns = next;
            plait_side_ring(PLAIT_ASKED_SCAN);
        }
        next += tick;
        until.tv_sec = (time_t)(next / 1000000000LL);
        until.tv_nsec = (long)(next % 1000000000LL);
        pthread_cond_timedwait(&plait_monitor.changed, &plait_monitor.lock, &until);
    }
    pthread_mutex_unlock(&plait_monitor.lock);
    return unused;
}

static int plait_monitor_start(long long threshold_ns, long long scan_every_ns, int stack_signal) {
    pthread_mutex_lock(&plait_monitor.lock);
    plait_monitor.scan_every_ns = scan_every_ns;
    plait_monitor.threshold_ns = threshold_ns;
    plait_monitor.stack_signal = stack_signal;
    plait_monitor.stop = 0;
    plait_monitor.looked_ns = plait_monitor.scanned_ns = plait_side_now_ns();
    pthread_mutex_unlock(&plait_monitor.lock);
    if (plait_monitor.started) return 0;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&plait_monitor.changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (plait_start_thread(&plait_monitor.thread, plait_monitor_main) < 0) return -1;
    plait_monitor.started = 1;
    return 0;
}

static void plait_monitor_stop(void) {
    if (!plait_monitor.started) return;
    pthread_mutex_lock(&plait_monitor.lock);
    plait_monitor.stop = 1;
    pthread_cond_signal(&plait_monitor.changed);
    pthread_mutex_unlock(&plait_monitor.lock);
    Py_BEGIN_ALLOW_THREADS
    pthread_join(plait_monitor.thread, NULL);
    Py_END_ALLOW_THREADS
    plait_monitor.started = 0;
    plait_monitor.asked_ns = 0;
}

static int plait_monitor_watch(void *loop, const volatile unsigned int *head, const volatile unsigned long long *turns,
                               const volatile unsigned long long *told, const volatile int *sleeping,
                               const volatile unsigned long *thread) {
    pthread_mutex_lock(&plait_monitor.lock);
    struct plait_watched *place = plait_place_of(loop);
    if (place == NULL) place = plait_place_of(NULL);
    if (place != NULL)
        *place = (struct plait_watched){.loop = loop, .head = head, .turns = turns, .told = told, .sleeping = sleeping,
                                        .thread = thread, .seen_head = *head, .seen_turns = *turns, .seen_told = *told,
                                        .since_ns = plait_side_now_ns()};
    pthread_mutex_unlock(&plait_monitor.lock);
    return place != NULL;
}

static void plait_monitor_unwatch(void *loop) {
    pthread_mutex_lock(&plait_monitor.lock);
    struct plait_watched *place = plait_place_of(loop);
    if (place != NULL) place->loop = NULL;
    if (plait_monitor.blocked_loop == loop) plait_monitor.blocked_loop = NULL;
    pthread_mutex_unlock(&plait_monitor.lock);
}

struct plait_block {
    void *loop;
    long long since_ns, until_ns; /* until 0: it still is */
    long long starved_ns;         /* not 0: it was none, but had no processor for so long */
    int lock_kept;                /* C code kept the interpreter lock, and the stack was written by the signal */
    int still;                    /* the loop stands where it stood: its stack is that of the block */
};

/* The block that was asked to be told of; loop NULL when there is none any more. */
static struct plait_block plait_monitor_take(void) {
    pthread_mutex_lock(&plait_monitor.lock);
    struct plait_block block = {.loop = plait_monitor.asked_ns != 0 ? plait_monitor.blocked_loop : NULL,
                                .since_ns = plait_monitor.blocked_since_ns,
                                .until_ns = plait_monitor.blocked_until_ns,
                                .starved_ns = plait_monitor.blocked_starved_ns,
                                .lock_kept = plait_monitor.stack_told};
    struct plait_watched *watched = block.loop != NULL ? plait_place_of(block.loop) : NULL;
    block.still = watched != NULL && *watched->thread != 0 && !*watched->sleeping && *watched->head == watched->seen_head &&
                  *watched->turns == watched->seen_turns && *watched->told == watched->seen_told;
    plait_monitor.asked_ns = 0;
    pthread_mutex_unlock(&plait_monitor.lock);
    return block;
}

/* In the child of a fork: neither thread is there. */
static void plait_side_forget(void) {
    plait_side.started = 0;
    plait_side_close();
    plait_give_quit_back();
    plait_side.wants_lock_ns = 0;
    plait_side.serving = 0;
    plait_monitor.started = 0;
    plait_monitor.asked_ns = 0;
    memset(plait_monitor.loops, 0, sizeof plait_monitor.loops);
    pthread_mutex_init(&plait_monitor.lock, NULL);
}

static int plait_restart_call(void *function) {
    PyObject *result = PyObject_CallNoArgs((PyObject *)function);
    Py_DECREF((PyObject *)function);
    if (result == NULL) return -1;
    Py_DECREF(result);
    return 0;
}

/* Call it in the main thread, between two bytecodes. */
static int plait_soon(PyObject *function) {
    Py_INCREF(function); /* given back by the call */
    if (Py_AddPendingCall(plait_restart_call, function) == 0) return 0;
    Py_DECREF(function);
    return -1;
}

#endif
