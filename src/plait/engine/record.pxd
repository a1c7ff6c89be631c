# What the recorder writes while the loop runs (record.h).

cdef extern from "record.h" nogil:
    enum:
        PLAIT_RECORDER
        PLAIT_SLICE
        PLAIT_ACTOR
        PLAIT_TEXT
        PLAIT_MARK
        PLAIT_CANCEL
        PLAIT_ERROR
        PLAIT_BY_NOBODY
        PLAIT_BY_SLICE
        PLAIT_BY_KERNEL
        PLAIT_BY_TIMER
        PLAIT_BY_THREAD
        PLAIT_BY_SIGNAL
        PLAIT_WAITS
        PLAIT_AGAIN
        PLAIT_RETURNED
        PLAIT_RAISED
        PLAIT_CANCELLED
        PLAIT_AWAITS_NOTHING
        PLAIT_AWAITS_FUTURE
        PLAIT_AWAITS_TASK
        PLAIT_AWAITS_GROUP
        PLAIT_AWAITS_OPERATION
        PLAIT_LONG_DURATION
        PLAIT_LONG_DELAY
        PLAIT_LONG_SHIFT
        PLAIT_NOT_KNOWN
        PLAIT_NEW_ACTOR
    const unsigned long long PLAIT_NO_TIME
    ctypedef struct plait_event:
        unsigned long long start_ns
        unsigned int duration
        unsigned int delay
        unsigned int actor
        unsigned int waker
        unsigned int site
        unsigned short at
        unsigned char type
        unsigned char flags
    ctypedef struct plait_pushed:
        unsigned long long ns
        unsigned int id
        unsigned int kind
    ctypedef struct plait_chunk:
        unsigned long long position
        unsigned long long first_slice
        unsigned int first_actor
        unsigned long long start_ns
    ctypedef struct plait_live:
        char magic[8]
        unsigned int version, event_size, chunk_events, chunk_count, head_size, meta_size, codes_room, pid
        unsigned long long written
        unsigned int codes_used
        unsigned int closed
        unsigned long long end_ns, wall_ns, wall_at_ns, slices
    ctypedef struct plait_code:
        void* key
        unsigned int actor
        unsigned short number
        unsigned short passed_over
    ctypedef struct plait_record:
        plait_event* next
        plait_event* chunk_end
        plait_event* events
        plait_live* live
        plait_chunk* chunks
        unsigned long long mask
        unsigned long long position
        unsigned long long slices
        unsigned long long boundary_ns
        unsigned long long woke_ns
        unsigned long long slow_ns, rare_ns
        void* owner
        unsigned long long counter_base, ns_base, counter_scale, first_counter, first_ns, calibrated_ns
        unsigned int actor, waker, site
        unsigned short at
        unsigned char waker_kind
        unsigned long long ready_ns
        unsigned char running, loop_due
        unsigned short ending, outcome, awaited
        unsigned char slow
        unsigned int pusher, pusher_kind
        plait_pushed* pushed
        plait_pushed* again
        plait_code* codes
        unsigned long long codes_mask
        unsigned int first_actor, next_actor
        unsigned int chunk_events, chunk_count
        int signal_fd
        unsigned long long signal_at
        long long frame_code, frame_previous, frame_place, coroutine_code, coroutine_place
    bint plait_is_recorded(const plait_record* record)
    bint plait_usually(bint condition)
    unsigned long long plait_clock_ns()
    unsigned long long plait_counter()
    bint plait_counter_is_invariant()
    unsigned long long plait_record_now(const plait_record* record)
    void plait_record_calibrate(plait_record* record)
    unsigned long long plait_record_written(const plait_record* record)
    plait_event* plait_record_first(const plait_record* record, unsigned long long chunk)
    unsigned long long plait_record_kept(const plait_record* record, unsigned long long chunk)
    void plait_record_turn_chunk(plait_record* record)
    void plait_record_wrote(plait_record* record)
    void plait_record_keep_together(plait_record* record, unsigned int count)
    void plait_record_pushes(plait_record* record, unsigned int kind, unsigned int id)
    void plait_record_end(plait_record* record)
    void plait_record_end_here(plait_record* record)
    void plait_record_begin(plait_record* record, unsigned long long ready_ns, unsigned int waker_kind, unsigned int waker)
    void plait_record_begin_here(plait_record* record, unsigned int place)
    void plait_record_loop_until(plait_record* record, unsigned long long now)
    void plait_record_idle(plait_record* record)
    void plait_record_busy(plait_record* record)
    plait_pushed* plait_new_pushed(unsigned int places)
    void plait_record_who(const plait_record* record, plait_event* event)
    void plait_record_ready(plait_record* record, unsigned int place, unsigned int actor)
    unsigned int plait_record_introduce(plait_record* record, unsigned int previous, unsigned int kind, unsigned int code,
                                        unsigned int number)
    plait_code* plait_record_code(const plait_record* record, const void* key)
    bint plait_record_knows(const plait_record* record, unsigned int actor)
