"""File systems mounted for one program."""

import os
import shutil
from pathlib import Path


def command() -> list[str]:
    """What stands before a program that mounts something: root, in its own namespace at least, and seen by nobody else.

    In a chroot whose root is no mount point there is nothing that could be made private: what is mounted must be unmounted at the end.
    """
    assert shutil.which("unshare"), "unshare of util-linux is needed to mount a file system for one process"
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    private = any(mount.split()[4] == "/" for mount in mounts)
    words = ["unshare", "--mount", "--propagation", "private" if private else "unchanged"]
    return words if os.getuid() == 0 else [*words, "--user", "--map-root-user"]
