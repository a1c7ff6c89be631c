/* What the recorder writes while the loop runs: fixed events of 32 bytes in a ring. No Python here, no allocation, no call.
 *
 * One `plait_record` belongs to one loop and is written under the interpreter lock only. The end of a slice is the start of the next, so
 * that each costs one look at the clock. `pushed` runs parallel to the loop's ready ring: when and by whom each entry was made ready.
 * The mapping with the events may be a file's (recorder.py): what was stored there outlives the process.
 */
#ifndef PLAIT_RECORD_H
#define PLAIT_RECORD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

/* Compiled with -DPLAIT_RECORDER=0 nothing is ever recorded, and what would be written is left out: to measure what the recorder costs
 * while nobody records (docs/recording.md). */
#ifndef PLAIT_RECORDER
#define PLAIT_RECORDER 1
#endif

/* What the turn does for each slice stands in it; what is seldom done stands elsewhere. */
#define PLAIT_INTO_CALLER static inline __attribute__((always_inline))
#define PLAIT_SELDOM static __attribute__((noinline, unused))

enum plait_event_type {
    PLAIT_EMPTY = 0,
    PLAIT_SLICE = 1,
    PLAIT_ACTOR = 2, /* an actor is seen for the first time in this chunk */
    PLAIT_TEXT = 3,  /* up to 30 bytes of UTF-8 that belong to the event before */
    PLAIT_MARK = 4,
    PLAIT_CANCEL = 5,
    PLAIT_ERROR = 6, /* the exception that ended an actor */
    PLAIT_PAD = 7    /* nothing: what follows did not fit into the chunk */
};

/* Who makes ready: the values of plait.see.model.WakerKind. */
enum plait_waker_kind {
    PLAIT_BY_NOBODY = 0,
    PLAIT_BY_SLICE = 1,
    PLAIT_BY_KERNEL = 2,
    PLAIT_BY_TIMER = 3,
    PLAIT_BY_THREAD = 4,
    PLAIT_BY_SIGNAL = 5
};

/* How a slice ended: the values of plait.see.model.Outcome. */
enum plait_outcome {
    PLAIT_WAITS = 0,
    PLAIT_AGAIN = 1,
    PLAIT_RETURNED = 2,
    PLAIT_RAISED = 3,
    PLAIT_CANCELLED = 4
};

/* What a task waits for after its slice. */
enum plait_awaited {
    PLAIT_AWAITS_NOTHING = 0,
    PLAIT_AWAITS_FUTURE = 1,
    PLAIT_AWAITS_TASK = 2,
    PLAIT_AWAITS_GROUP = 3,    /* gather() */
    PLAIT_AWAITS_OPERATION = 4 /* a file's */
};

/* In `flags`: bits 0-2 the waker's kind, 3-5 what is awaited, and: */
enum plait_flags { PLAIT_LONG_DURATION = 0x40, PLAIT_LONG_DELAY = 0x80 };

#define PLAIT_LONG_SHIFT 16            /* long times are kept in units of 65.5 us */
#define PLAIT_NOT_KNOWN 0xFFFFFFFFu    /* a delay */
#define PLAIT_NO_TIME (1ull << 63)     /* when something was made ready that nobody has seen: longer ago than any delay that fits */
#define PLAIT_NEW_ACTOR 0xFFFFFFFFu    /* of a task that was made while it is recorded, until its first slice */
#define PLAIT_LOOP_MIN_NS 1000         /* less of the loop's own work than this counts with the slice behind it */
#define PLAIT_RECALIBRATE_NS 250000000 /* the counter is compared with the clock after each sleep, at most so often */

typedef struct {
    uint64_t start_ns;
    uint32_t duration;
    uint32_t delay; /* from ready to running */
    uint32_t actor;
    uint32_t waker; /* the low bits of a slice's number, or the actor that stands for a descriptor, or a signal's number */
    uint32_t site;  /* where it waits from now on: a code's number << 16 | instruction */
    uint16_t at;    /* instruction of the actor's own code where it went on, + 1; 0 not known */
    uint8_t type;   /* low half plait_event_type, high half plait_outcome or the actor's kind */
    uint8_t flags;
} plait_event;

/* When something was made ready, and by whom. */
typedef struct {
    uint64_t ns; /* or PLAIT_NO_TIME */
    uint32_t id;
    uint32_t kind;
} plait_pushed;

/* A function or class that has a number, found by its address. */
typedef struct {
    void *key;
    uint32_t actor; /* of its slices as a callback */
    uint16_t number;
    uint16_t passed_over; /* a wait in it is told as one of its caller's */
} plait_code;

/* What is known of each chunk of the ring; stands in the mapping. */
typedef struct {
    uint64_t position; /* of its first event, counted from the beginning of the recording */
    uint64_t first_slice;
    uint32_t first_actor;
    uint32_t reserved;
    uint64_t start_ns;
} plait_chunk;

/* The first page of the mapping. */
typedef struct {
    char magic[8];
    uint32_t version, event_size, chunk_events, chunk_count, head_size, meta_size, codes_room, pid;
    uint64_t written; /* events in all */
    volatile uint32_t codes_used;
    volatile uint32_t closed;
    volatile uint64_t end_ns;
    volatile uint64_t wall_ns, wall_at_ns; /* CLOCK_REALTIME at a time of CLOCK_MONOTONIC */
    volatile uint64_t slices;
} plait_live;

typedef struct plait_record {
    /* What each slice touches comes first: up to 127 bytes from the start an instruction that names it is three bytes shorter. */
    plait_event *next, *chunk_end; /* where the next event is written, and where the chunk ends */
    plait_live *live;
    uint64_t slices;      /* the number of the slice that runs */
    uint64_t boundary_ns; /* where the last slice ended, and the next begins */
    uint64_t rare_ns;     /* the lesser of slow_ns and of what fits into an event */
    uint64_t counter_base, ns_base, counter_scale;
    /* The slice that runs: first what its event will have, in its order, to be copied at once; `type` is not used. */
    uint32_t actor, waker, site;
    uint16_t at;
    uint8_t type, waker_kind;
    uint64_t ready_ns; /* or PLAIT_NO_TIME */
    /* Set together when a slice begins. */
    uint8_t running;
    uint8_t loop_due; /* the loop did work of its own since the boundary */
    uint16_t ending;  /* the slice is over but for telling those who wait for its task */
    uint16_t outcome, awaited;
    plait_pushed *pushed;
    plait_pushed *again; /* of what made itself ready, at the end of its own slice; or NULL */
    /* Actors have their numbers from here on; one with an older number was introduced in an older chunk. */
    uint32_t first_actor, next_actor;
    plait_code *codes; /* an open hash table */
    uint64_t codes_mask;
    /* Where the interpreter keeps what we read of its frames, found out at run time, in bytes; -1 where not known. */
    int64_t frame_code, frame_previous, frame_place;
    int64_t coroutine_code, coroutine_place; /* the same of a coroutine's frame, from where the coroutine begins */
    /* Who makes ready what is pushed while no slice runs. */
    uint32_t pusher, pusher_kind;
    plait_event *events;
    plait_chunk *chunks;
    uint64_t mask;
    uint64_t position; /* of the chunk's first event */
    uint64_t woke_ns;  /* when the engine came back from its last sleep */
    uint64_t slow_ns;  /* a slice that takes longer is told to the owner */
    void *owner;       /* the Recorder; borrowed */
    uint64_t first_counter, first_ns, calibrated_ns;
    uint8_t slow; /* a slice took longer than slow_ns */
    uint32_t chunk_events, chunk_count;
    int signal_fd; /* an eventfd that is told when chunks are complete; -1: nobody takes them */
    uint64_t signal_at;
} plait_record;

/* For the compiler: what is true of nearly all slices, so that those run straight on. */
static inline int plait_usually(int condition) {
    return __builtin_expect(condition, 1);
}

/* What stands before all that is done for the recorder: one predicted branch while nobody records. */
static inline int plait_is_recorded(const plait_record *record) {
    return PLAIT_RECORDER && __builtin_expect(record != NULL, 0);
}

PLAIT_SELDOM uint64_t plait_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t plait_counter(void) {
#if defined(__x86_64__)
    return __rdtsc();
#else
    return 0;
#endif
}

/* Whether the processor's counter runs at one speed in all its states (CPUID 0x80000007, EDX bit 8). */
static inline int plait_counter_is_invariant(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 0x100);
#else
    return 0;
#endif
}

static inline uint64_t plait_record_now(const plait_record *record) {
#if defined(__x86_64__)
    if (__builtin_expect(record->counter_scale != 0, 1))
        return record->ns_base + (uint64_t)(((unsigned __int128)(__rdtsc() - record->counter_base) * record->counter_scale) >> 32);
#endif
    return plait_clock_ns();
}

/* Bring the counter in line with the clock. Time never steps back: a counter that ran ahead waits for the clock. */
static inline void plait_record_calibrate(plait_record *record) {
    if (record->counter_scale == 0) return;
    uint64_t counter = plait_counter(), ns = plait_clock_ns(), shown = plait_record_now(record);
    record->calibrated_ns = ns;
    if (ns - record->first_ns < 1000000) return;
    record->counter_scale = (uint64_t)(((unsigned __int128)(ns - record->first_ns) << 32) / (counter - record->first_counter));
    record->counter_base = counter;
    record->ns_base = ns > shown ? ns : shown;
}

/* Events since the beginning. */
static inline uint64_t plait_record_written(const plait_record *record) {
    return record->next == NULL ? 0 : record->position + record->chunk_events - (uint64_t)(record->chunk_end - record->next);
}

/* How many events of a chunk stand in the ring; 0: it is lost, or has not begun. */
static inline uint64_t plait_record_kept(const plait_record *record, uint64_t chunk) {
    uint64_t position = chunk * record->chunk_events, written = plait_record_written(record), size = record->mask + 1;
    if (position + size < written + record->chunk_events || position >= written) return 0;
    return written - position < record->chunk_events ? written - position : record->chunk_events;
}

static inline plait_event *plait_record_first(const plait_record *record, uint64_t chunk) {
    return record->events + (chunk * record->chunk_events & record->mask);
}

/* A chunk is full: the next one is begun. Every actor is introduced again in it, so that each chunk can be read alone. */
PLAIT_SELDOM void plait_record_turn_chunk(plait_record *record) {
    uint64_t written = plait_record_written(record);
    plait_chunk *chunk = record->chunks + (written / record->chunk_events) % record->chunk_count;
    if (record->next_actor >= PLAIT_NEW_ACTOR - record->chunk_events) record->next_actor = 1; /* they go round */
    chunk->position = record->position = written;
    chunk->first_slice = record->slices;
    chunk->first_actor = record->first_actor = record->next_actor;
    chunk->start_ns = record->boundary_ns;
    record->next = record->events + (written & record->mask);
    record->chunk_end = record->next + record->chunk_events;
    if (record->signal_fd >= 0 && written >= record->signal_at) {
        uint64_t one = 1;
        record->signal_at = UINT64_MAX; /* until somebody has looked */
        if (write(record->signal_fd, &one, sizeof one) < 0) {
        }
    }
}

static inline void plait_record_wrote(plait_record *record) {
    record->next++;
    record->live->written++;
    if (__builtin_expect(record->next == record->chunk_end, 0)) plait_record_turn_chunk(record);
}

/* See to it that the next `count` events stand in one chunk. */
static inline void plait_record_keep_together(plait_record *record, uint32_t count) {
    uint64_t chunk = record->position;
    if (record->chunk_end - record->next >= count) return;
    while (record->position == chunk) {
        memset(record->next, 0, sizeof *record->next);
        record->next->type = PLAIT_PAD;
        plait_record_wrote(record);
    }
}

PLAIT_INTO_CALLER void plait_record_write(plait_record *record, uint64_t start, uint64_t duration, uint64_t delay, unsigned flags) {
    plait_event *event = record->next;
    event->start_ns = start;
    event->duration = (uint32_t)duration;
    event->delay = (uint32_t)delay;
    memcpy(&event->actor, &record->actor, 16);
    event->type = (uint8_t)(PLAIT_SLICE | record->outcome << 4);
    event->flags = (uint8_t)(record->waker_kind | record->awaited << 3 | flags);
    record->slices++;
    plait_record_wrote(record);
}

/* A slice with times that do not fit into 32 bits or are not known, or that somebody is told of. */
PLAIT_SELDOM void plait_record_rare(plait_record *record, uint64_t now) {
    uint64_t start = record->boundary_ns, duration = now - start, delay = start - record->ready_ns;
    unsigned flags = 0;
    if ((int64_t)duration < 0) {
        duration = 0;
        now = start;
    }
    record->boundary_ns = now;
    if (duration >= record->slow_ns) record->slow = record->actor != 0;
    if (duration >= PLAIT_NOT_KNOWN) {
        duration >>= PLAIT_LONG_SHIFT;
        flags |= PLAIT_LONG_DURATION;
    }
    if (record->ready_ns == PLAIT_NO_TIME) {
        delay = PLAIT_NOT_KNOWN;
    } else if ((int64_t)delay < 0) {
        delay = 0;
    } else if (delay >= PLAIT_NOT_KNOWN) {
        delay >>= PLAIT_LONG_SHIFT;
        flags |= PLAIT_LONG_DELAY;
    }
    plait_record_write(record, start, duration, delay, flags);
}

PLAIT_INTO_CALLER void plait_record_slice(plait_record *record, uint64_t now) {
    uint64_t start = record->boundary_ns, duration = now - start, delay = start - record->ready_ns;
    if (__builtin_expect(duration >= record->rare_ns, 0) || __builtin_expect(delay >= PLAIT_NOT_KNOWN, 0)) {
        plait_record_rare(record, now);
    } else {
        record->boundary_ns = now;
        plait_record_write(record, start, duration, delay, 0);
    }
}

/* The loop's own work since the last slice, if it is worth a word. */
PLAIT_SELDOM void plait_record_loop_until(plait_record *record, uint64_t now) {
    record->loop_due = 0;
    if (now < record->boundary_ns + PLAIT_LOOP_MIN_NS) return;
    record->ready_ns = record->boundary_ns;
    record->actor = record->waker = record->site = 0;
    record->at = record->waker_kind = 0;
    record->awaited = 0;
    record->outcome = PLAIT_AGAIN;
    plait_record_slice(record, now);
}

/* What is pushed from now on while no slice runs is made ready by this. */
static inline void plait_record_pushes(plait_record *record, unsigned kind, uint32_t id) {
    record->pusher_kind = kind;
    record->pusher = id;
}

/* A slice ends here. `record->outcome`, `awaited` and `actor` tell how and whose. */
PLAIT_INTO_CALLER void plait_record_end_here(plait_record *record) {
    uint64_t now = plait_record_now(record);
    record->running = 0;
    if (record->again != NULL) {
        record->again->ns = now;
        record->again = NULL;
    }
    plait_record_slice(record, now);
}

/* The same, for all but the turn itself. */
PLAIT_SELDOM void plait_record_end(plait_record *record) {
    plait_record_end_here(record);
    plait_record_pushes(record, PLAIT_BY_KERNEL, 0);
}

/* What comes between two slices. */
PLAIT_SELDOM void plait_record_between(plait_record *record) {
    if (record->running) plait_record_end(record); /* it ran when the recording began */
    if (record->loop_due) plait_record_loop_until(record, plait_record_now(record));
}

PLAIT_INTO_CALLER void plait_record_begins(plait_record *record, uint64_t ready_ns, unsigned waker_kind, uint32_t waker) {
    record->ready_ns = ready_ns;
    record->waker = waker;
    record->site = 0;
    record->at = 0;
    record->type = 0;
    record->waker_kind = (uint8_t)waker_kind;
    record->running = 1;
    record->loop_due = 0;
    record->ending = 0;
    record->outcome = PLAIT_WAITS;
    record->awaited = 0;
}

/* A slice begins where the last one ended, or where the loop's own work ends. */
static inline void plait_record_begin(plait_record *record, uint64_t ready_ns, unsigned waker_kind, uint32_t waker) {
    if (record->running || record->loop_due) plait_record_between(record);
    plait_record_begins(record, ready_ns, waker_kind, waker);
}

/* The same of what stood at this place of the ready ring. */
PLAIT_INTO_CALLER void plait_record_begin_here(plait_record *record, unsigned place) {
    if (__builtin_expect(record->running || record->loop_due, 0)) plait_record_between(record);
    const plait_pushed *pushed = record->pushed + place;
    plait_record_begins(record, pushed->ns, pushed->kind, pushed->id);
}

/* Around the engine's sleep. */
static inline void plait_record_idle(plait_record *record) {
    if (record->running) plait_record_end(record); /* it ran when the recording began */
    uint64_t now = plait_record_now(record);
    plait_record_loop_until(record, now);
    record->boundary_ns = now > record->boundary_ns ? now : record->boundary_ns;
}

static inline void plait_record_busy(plait_record *record) {
    uint64_t now = plait_record_now(record);
    if (__builtin_expect(now - record->calibrated_ns > PLAIT_RECALIBRATE_NS, 0)) {
        plait_record_calibrate(record);
        now = plait_record_now(record);
    }
    record->boundary_ns = record->woke_ns = now > record->boundary_ns ? now : record->boundary_ns;
    record->loop_due = 0;
    plait_record_pushes(record, PLAIT_BY_KERNEL, 0);
}

/* For a ready ring of so many places, what stands in it being unknown. NULL: no memory. */
static inline plait_pushed *plait_new_pushed(unsigned places) {
    plait_pushed *pushed = calloc(places, sizeof *pushed);
    for (unsigned i = 0; pushed != NULL && i < places; i++) pushed[i].ns = PLAIT_NO_TIME;
    return pushed;
}

/* Who makes ready what is pushed now. */
PLAIT_INTO_CALLER plait_pushed plait_record_pusher(const plait_record *record) {
    plait_pushed pushed = {0, record->pusher, record->pusher_kind};
    if (record->running) {
        pushed.id = (uint32_t)record->slices;
        pushed.kind = PLAIT_BY_SLICE;
    }
    return pushed;
}

/* The same in an event. */
static inline void plait_record_who(const plait_record *record, plait_event *event) {
    plait_pushed by = plait_record_pusher(record);
    event->waker = by.id;
    event->flags = (uint8_t)by.kind;
}

/* An entry was put into the ready ring at this place. What a slice makes ready as its last act is ready when it ends. */
static inline void plait_record_ready(plait_record *record, unsigned place, uint32_t actor) {
    plait_pushed *pushed = record->pushed + place;
    if (__builtin_expect(record->running, 1)) {
        pushed->id = (uint32_t)record->slices;
        pushed->kind = PLAIT_BY_SLICE;
        if (record->again == NULL && (record->ending || (actor != 0 && actor == record->actor))) {
            record->again = pushed;
            return;
        }
    } else {
        pushed->id = record->pusher;
        pushed->kind = record->pusher_kind;
    }
    pushed->ns = plait_record_now(record);
}

PLAIT_INTO_CALLER uint32_t plait_record_actor(plait_record *record, uint64_t made_ns, uint32_t previous, unsigned kind, uint32_t code,
                                              uint32_t number, uint32_t waker, unsigned waker_kind) {
    plait_event *event = record->next;
    uint32_t actor = record->next_actor++;
    event->start_ns = made_ns;
    event->duration = number;
    event->delay = previous;
    event->actor = actor;
    event->waker = waker;
    event->site = code;
    event->at = 0;
    event->type = (uint8_t)(PLAIT_ACTOR | kind << 4);
    event->flags = (uint8_t)waker_kind;
    plait_record_wrote(record);
    return actor;
}

/* Introduce a new task: it was made when and by whom its first slice, which begins, was made ready. */
PLAIT_INTO_CALLER uint32_t plait_record_new(plait_record *record, uint32_t code, uint32_t number) {
    return plait_record_actor(record, record->ready_ns & ~PLAIT_NO_TIME, 0, 0, code, number, record->waker, record->waker_kind);
}

/* Introduce an actor that has no text; see Recorder.introduce. */
static inline uint32_t plait_record_introduce(plait_record *record, uint32_t previous, unsigned kind, uint32_t code, uint32_t number) {
    if (previous == PLAIT_NEW_ACTOR) return plait_record_new(record, code, number);
    plait_pushed by = plait_record_pusher(record);
    return plait_record_actor(record, kind == 0 ? 0 : record->boundary_ns, previous, kind, code, number, by.id, by.kind);
}

static inline int plait_record_knows(const plait_record *record, uint32_t actor) {
    return actor - record->first_actor < record->next_actor - record->first_actor;
}

PLAIT_SELDOM plait_code *plait_record_find_code(const plait_record *record, const void *key) {
    for (uint64_t place = (uintptr_t)key >> 4;; place++) {
        plait_code *code = record->codes + (place & record->codes_mask);
        if (code->key == key) return code;
        if (code->key == NULL) return NULL;
    }
}

/* What is known of a function or class; NULL when it is new. */
static inline plait_code *plait_record_code(const plait_record *record, const void *key) {
    plait_code *code = record->codes + ((uintptr_t)key >> 4 & record->codes_mask);
    return __builtin_expect(code->key == key, 1) ? code : plait_record_find_code(record, key);
}

#endif
