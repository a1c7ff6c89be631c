# One call of the file system, for the ring or for a worker (requests.h).

from plait.engine.uring cimport io_uring_sqe

cdef extern from "requests.h" nogil:
    struct plait_request:
        io_uring_sqe entry
        void* owner
        plait_request* following
        int result
    struct iovec:
        void* iov_base
        size_t iov_len
    struct statx_timestamp:
        long long tv_sec
        unsigned int tv_nsec
    struct statx_result "statx":
        unsigned int stx_blksize
        unsigned int stx_nlink
        unsigned int stx_uid
        unsigned int stx_gid
        unsigned short stx_mode
        unsigned long long stx_ino
        unsigned long long stx_size
        unsigned long long stx_blocks
        statx_timestamp stx_atime
        statx_timestamp stx_ctime
        statx_timestamp stx_mtime
        unsigned int stx_rdev_major
        unsigned int stx_rdev_minor
        unsigned int stx_dev_major
        unsigned int stx_dev_minor
    enum:
        IORING_OP_CLOSE
        IORING_OP_FALLOCATE
        IORING_OP_FSYNC
        IORING_OP_LINKAT
        IORING_OP_MKDIRAT
        IORING_OP_OPENAT
        IORING_OP_READ
        IORING_OP_READV
        IORING_OP_RENAMEAT
        IORING_OP_SPLICE
        IORING_OP_STATX
        IORING_OP_SYMLINKAT
        IORING_OP_UNLINKAT
        IORING_OP_WRITE
        IORING_OP_WRITEV
        IORING_FSYNC_DATASYNC
        IOSQE_ASYNC
        PLAIT_OP_CALL
        PLAIT_OP_FGETXATTR
        PLAIT_OP_FSETXATTR
        PLAIT_OP_FTRUNCATE
        PLAIT_OP_GETXATTR
        PLAIT_OP_SETXATTR
        AT_EMPTY_PATH
        AT_FDCWD
        AT_REMOVEDIR
        AT_SYMLINK_FOLLOW
        AT_SYMLINK_NOFOLLOW
        STATX_BASIC_STATS
        O_CLOEXEC
        S_IFMT
        S_IFREG
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* mutex, const void* attributes)
    int pthread_mutex_lock(pthread_mutex_t* mutex)
    int pthread_mutex_unlock(pthread_mutex_t* mutex)
    int pthread_cond_init(pthread_cond_t* condition, const void* attributes)
    int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex)
    int pthread_cond_signal(pthread_cond_t* condition)
    int pthread_cond_broadcast(pthread_cond_t* condition)
    void plait_request_path(plait_request* request, const char* path)
    int plait_perform(const io_uring_sqe* entry)
    long plait_read_cached(int fd, void* buffer, size_t size, long long offset)
    int plait_open_cached(const char* path, int flags)
    int plait_look_at(int fd, statx_result* found)
    bint plait_only_copies(const io_uring_sqe* entry)
    void plait_block_signals()
    void plait_look_for(void** where, long long ns_max)

cdef extern from "<sys/sysmacros.h>" nogil:
    unsigned long makedev(unsigned int major, unsigned int minor)
