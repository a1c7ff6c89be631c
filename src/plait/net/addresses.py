"""Socket addresses, kept raw and formatted when somebody asks.

Most connections are never asked for their addresses, so a transport keeps the 28 bytes that the kernel gave and pays for
strings and tuples only in `get_extra_info`. What does not fit (a named Unix socket, another family) is formatted at once.
"""

import cython
from cython.cimports.libc.string import memcpy
from cython.cimports.plait.net.linux import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    PyUnicode_DecodeFSDefault,
    getpeername,
    getsockname,
    inet_ntop,
    ntohl,
    ntohs,
    sockaddr,
    sockaddr_in,
    sockaddr_in6,
    sockaddr_storage,
    sockaddr_un,
    socklen_t,
)


def keep(address, storage, length):
    """Keep a raw address if it fits; else say so, and the caller formats it now."""
    if length > cython.sizeof(address.raw):
        return False
    memcpy(address.raw, storage, length)
    address.length = length
    return True


def text_of(raw, length):
    """The address as Python's socket module gives it."""
    text = cython.declare(cython.char[46])
    family: cython.int = cython.cast(cython.pointer(sockaddr), raw).sa_family
    if family == AF_INET:
        v4: cython.pointer(sockaddr_in) = cython.cast(cython.pointer(sockaddr_in), raw)
        inet_ntop(AF_INET, cython.address(v4.sin_addr), text, cython.sizeof(text))
        return (text.decode("ascii"), ntohs(v4.sin_port))
    if family == AF_INET6:
        v6: cython.pointer(sockaddr_in6) = cython.cast(cython.pointer(sockaddr_in6), raw)
        inet_ntop(AF_INET6, cython.address(v6.sin6_addr), text, cython.sizeof(text))
        return (text.decode("ascii"), ntohs(v6.sin6_port), ntohl(v6.sin6_flowinfo), v6.sin6_scope_id)
    if family == AF_UNIX:
        header: socklen_t = cython.sizeof(cython.ushort)
        if length <= header:
            return ""
        path: cython.p_char = cython.cast(cython.pointer(sockaddr_un), raw).sun_path
        if path[0] == 0:
            return path[: length - header]  # an abstract name, bytes
        return PyUnicode_DecodeFSDefault(path)
    return None


def local_address(fd, address):
    """Ask the kernel for the local address: None if kept raw, else the formatted one."""
    storage = cython.declare(sockaddr_storage)
    length: socklen_t = cython.sizeof(storage)
    if getsockname(fd, cython.cast(cython.pointer(sockaddr), cython.address(storage)), cython.address(length)) < 0:
        return None
    if keep(address, cython.address(storage), length):
        return None
    return text_of(cython.address(storage), length)


def peer_address(fd, address):
    """Ask the kernel for the peer's address: None if kept raw or not connected, else the formatted one."""
    storage = cython.declare(sockaddr_storage)
    length: socklen_t = cython.sizeof(storage)
    if getpeername(fd, cython.cast(cython.pointer(sockaddr), cython.address(storage)), cython.address(length)) < 0:
        return None
    if keep(address, cython.address(storage), length):
        return None
    return text_of(cython.address(storage), length)
