from plait.engine.contract cimport Engine, Operation, Source
from plait.engine.kernel cimport epoll_event
from plait.engine.slots cimport Slot, Slots

cdef extern from "uring.h" nogil:
    struct io_uring_sqe:
        unsigned char opcode
        unsigned char flags
        unsigned short ioprio
        int fd
        unsigned long long off
        unsigned long long addr2
        unsigned long long addr
        unsigned int len
        unsigned int rw_flags
        unsigned int fsync_flags
        unsigned int poll32_events
        unsigned int timeout_flags
        unsigned int open_flags
        unsigned int statx_flags
        unsigned int rename_flags
        unsigned int unlink_flags
        unsigned int msg_flags
        unsigned long long user_data
        unsigned short buf_index
        unsigned int file_index
    struct io_uring_cqe:
        unsigned long long user_data
        int res
        unsigned int flags
    struct plait_ring:
        int fd
        unsigned int setup_flags
        unsigned int features
        unsigned int sq_entries
        unsigned int cq_entries
        unsigned int sq_tail
    struct plait_buffers:
        void* entries
        char* memory
        unsigned int count
        unsigned int size
    struct plait_send:
        void* operation
        int result
    struct plait_sends:
        plait_send* list
        unsigned int first
        unsigned int end
        unsigned int room
        unsigned int number
    enum:
        IORING_CQE_F_BUFFER
        IORING_CQE_F_MORE
        IORING_CQE_F_SOCK_NONEMPTY
        IORING_CQE_BUFFER_SHIFT
        IORING_FEAT_CQE_SKIP
        IORING_OP_NOP
        IORING_OP_RECV
        IORING_OP_SEND
        IORING_SETUP_SUBMIT_ALL
        IORING_SETUP_TASKRUN_FLAG
        IORING_SETUP_SINGLE_ISSUER
        IORING_SETUP_DEFER_TASKRUN
        PLAIT_OPCODES_MAX
    void plait_ring_init(plait_ring* ring)
    int plait_ring_setup(plait_ring* ring, unsigned int entries, unsigned int completions, unsigned int flags)
    void plait_ring_unmap(plait_ring* ring)
    void plait_ring_forget(plait_ring* ring)
    unsigned int plait_ring_queued(plait_ring* ring)
    io_uring_sqe* plait_ring_next(plait_ring* ring)
    unsigned int plait_ring_completions(plait_ring* ring)
    bint plait_ring_wants_enter(plait_ring* ring)
    bint plait_ring_overflows(plait_ring* ring)
    unsigned int plait_ring_reap(plait_ring* ring, io_uring_cqe* into, unsigned int room, plait_sends* sends)
    int plait_sends_grow(plait_sends* sends)
    void plait_prepare_send(io_uring_sqe* sqe, int fd, const char* data, unsigned int size, plait_sends* sends, void* operation)
    int plait_ring_enter(plait_ring* ring, unsigned int least, long long timeout_ns)
    long long plait_ring_spin(plait_ring* ring, long long begin_ns, long long until_ns, long long timeout_ns)
    int plait_ring_probe(plait_ring* ring, unsigned char* supported)
    char* plait_buffers_at(plait_buffers* buffers, unsigned int id)
    void plait_buffers_give(plait_buffers* buffers, unsigned int id)
    int plait_buffers_open(plait_buffers* buffers, plait_ring* ring, unsigned int count, unsigned int size)
    void plait_buffers_close(plait_buffers* buffers, bint inherited)
    bint plait_ring_holds(plait_ring* ring, unsigned int at)
    void plait_prepare_receive(io_uring_sqe* sqe, int fd)
    void plait_prepare_watch(io_uring_sqe* sqe, int fd, unsigned int events, unsigned long long key)
    void plait_prepare_look(io_uring_sqe* sqe, int fd, unsigned int events, unsigned long long key)
    void plait_prepare_cancel(io_uring_sqe* sqe, unsigned long long target, unsigned long long key, bint quiet)

cdef class UringEngine(Engine):
    cdef plait_ring ring
    cdef plait_buffers buffers              # that receives of any stream take, and that come back when they are told
    cdef plait_sends sending                # sends that are not told yet
    cdef readonly unsigned int entries, completions, flags      # what is asked of io_uring_setup
    cdef int thread                         # that opened it (gettid); with SINGLE_ISSUER the kernel refuses all others
    cdef int wake_fd
    cdef bint wake_armed                    # the kernel owes a completion for the wake descriptor
    cdef int nested                         # epoll instance for users' descriptors, itself watched by the ring; -1 until needed
    cdef bint nested_armed
    cdef epoll_event* nested_batch
    cdef Slots slots
    cdef readonly unsigned int operations_in_flight     # receives do not count: they last as long as their streams
    cdef io_uring_cqe* batch                # completions taken from the ring; [position, count) is not told yet
    cdef unsigned int position, count, room
    cdef bint closing               # completions are gathered for the last time; nothing is armed again
    cdef bint quiet                         # successful cancels need not be told
    cdef unsigned char supported[256]       # by opcode

    # For operations: prepare() gives the entry, which the caller fills in (all but user_data) before anything else is asked of
    # the engine; the engine then holds the operation until its last completion.
    cdef io_uring_sqe* prepare(self, Operation operation) except NULL
    cdef bint supports(self, unsigned char opcode) noexcept

    cdef int rearm(self, Source source) except -1
    cdef int rearm_level(self, Source source, bint known) except -1
    cdef int tell_again(self, Slot* slot) except -1
    cdef int acquire(self) except -1
    cdef int settle(self) except -1
    cdef int cancel_all(self) except -1
    cdef int tell_last(self) noexcept
    cdef int let_go(self, bint operations_too) except -1
    cdef int end_receives(self) except -1
    cdef int close_descriptors(self) noexcept
    cdef io_uring_sqe* entry(self) except NULL
    cdef int watch(self, Source source) except -1
    cdef int watch_level(self, Source source, bint known) except -1
    cdef int unwatch(self, Source source) except -1
    cdef int look_nested(self) except -1
    cdef int watch_wake(self) except -1
    cdef int enter(self) except -1
    cdef int sleep(self, long long timeout_ns) except -1
    cdef int entered(self, int result) except -1
    cdef int reap(self) except -1
    cdef int tell(self) except -1
    cdef int tell_sends(self) except -1
    cdef int end_sends(self) except -1
    cdef int tell_source(self, unsigned int index, int result, bint more) except -1
    cdef int tell_operation(self, unsigned int index, int result, unsigned int flags) except -1
    cdef int tell_last_of(self, Operation operation, int result) noexcept
    cdef int tell_nested(self) except -1
    cdef int tell_own(self, unsigned long long key, int result, bint more) except -1

cdef class RawOperation(Operation):
    cdef readonly object callback
    cdef bytearray buffer
    cdef object lock                # a memoryview, so that nobody resizes the buffer while the kernel has its address
