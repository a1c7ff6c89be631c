from plait.net.linux cimport sockaddr_storage, socklen_t

cdef struct Address:
    socklen_t length            # 0: not known
    unsigned char raw[28]       # a sockaddr_in or sockaddr_in6, or just the family of an unnamed Unix socket

cdef bint keep(Address* address, const sockaddr_storage* storage, socklen_t length) noexcept
cdef object text_of(const void* raw, socklen_t length)
cdef object local_address(int fd, Address* address)
cdef object peer_address(int fd, Address* address)
