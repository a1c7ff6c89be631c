# The kernel's socket calls and constants that net/ uses. Plain declarations: nothing here has a policy.

from cpython.ref cimport PyObject

cdef extern from "<errno.h>" nogil:
    int errno
    int EAGAIN, ECANCELED, EINTR, EBADF, EINVAL, ENOTSOCK
    int EMFILE, ENFILE, ENOBUFS, ENOMEM
    int ECONNABORTED, EPROTO, EPERM, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH

cdef extern from "<sys/epoll.h>" nogil:
    unsigned int EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<sys/ioctl.h>" nogil:
    int FIONREAD
    int ioctl(int fd, unsigned long request, void* answer)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        unsigned short sa_family
    struct sockaddr_storage:
        unsigned short ss_family
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    int AF_INET, AF_INET6, AF_UNIX
    int MSG_DONTWAIT, MSG_NOSIGNAL, MSG_CTRUNC
    int SOCK_NONBLOCK, SOCK_CLOEXEC
    int SHUT_WR
    int SOL_SOCKET, SO_DOMAIN, SO_TYPE
    int SOCK_STREAM
    ssize_t recv(int fd, void* buffer, size_t size, int flags)
    ssize_t recvmsg(int fd, msghdr* message, int flags)
    ssize_t send(int fd, const void* buffer, size_t size, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int accept4(int fd, sockaddr* address, socklen_t* length, int flags)
    int getsockname(int fd, sockaddr* address, socklen_t* length)
    int getpeername(int fd, sockaddr* address, socklen_t* length)
    int getsockopt(int fd, int level, int option, void* value, socklen_t* length)
    int setsockopt(int fd, int level, int option, const void* value, socklen_t length)
    int shutdown(int fd, int how)

cdef extern from "<sys/un.h>" nogil:
    struct sockaddr_un:
        unsigned short sun_family
        char sun_path[108]

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        unsigned int s_addr
    struct in6_addr:
        unsigned char s6_addr[16]
    struct sockaddr_in:
        unsigned short sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_port
        unsigned int sin6_flowinfo
        in6_addr sin6_addr
        unsigned int sin6_scope_id
    int IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY

cdef extern from "<arpa/inet.h>" nogil:
    int INET6_ADDRSTRLEN
    const char* inet_ntop(int family, const void* source, char* text, socklen_t size)
    unsigned short ntohs(unsigned short value)
    unsigned int ntohl(unsigned int value)

cdef extern from "Python.h":
    PyObject* new_bytes "PyBytes_FromStringAndSize"(const char* text, Py_ssize_t size) except NULL
    int resize_bytes "_PyBytes_Resize"(PyObject** data, Py_ssize_t size) except -1
    bytes PyBytes_FromStringAndSize(const char* text, Py_ssize_t size)
    char* PyBytes_AS_STRING(object data)
    Py_ssize_t PyBytes_GET_SIZE(object data)
    Py_ssize_t PyNumber_AsSsize_t(object number, PyObject* error) except? -1   # NULL: cut off instead of an error
    object PyUnicode_DecodeFSDefault(const char* text)
    ctypedef struct Buffer "Py_buffer":
        void* buf
        Py_ssize_t len
    int PyBUF_SIMPLE, PyBUF_WRITABLE
    int PyObject_GetBuffer(object owner, Buffer* view, int flags) except -1
    void PyBuffer_Release(Buffer* view)
