"""Which files belong to a file system in user space (FUSE).

io_uring asks such a file whether it can be read without waiting, the kernel's FUSE says that it always can, and the loop's thread then
waits for the server while it submits. So those reads and writes are given to a kernel thread from the start.
"""

MOUNTS = "/proc/self/mountinfo"


def is_fuse(major: int, minor: int) -> bool:
    """Whether files of this device number are served by a program; also true where that is not known, as of what is mounted elsewhere.

    It is told by proc(5), since statfs(2) would ask the server.
    """
    device = b"%d:%d" % (major, minor)
    try:
        with open(MOUNTS, "rb") as mounts:
            for mount in mounts:
                words = mount.split()
                if words[2] == device:
                    kind = words[words.index(b"-") + 1]
                    return kind.startswith(b"fuse") or kind == b"virtiofs"
    except OSError:
        pass
    return True
