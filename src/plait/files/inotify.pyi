MODIFY: int
ATTRIB: int
CLOSE_WRITE: int
MOVED_FROM: int
MOVED_TO: int
CREATE: int
DELETE: int
DELETE_SELF: int
MOVE_SELF: int
UNMOUNT: int
Q_OVERFLOW: int
IGNORED: int
ONLYDIR: int
DONT_FOLLOW: int
EXCL_UNLINK: int
ISDIR: int

class Inotify:
    @property
    def fd(self) -> int: ...
    def add(self, path: str, mask: int) -> int: ...
    def remove(self, watch: int) -> None: ...
    def read(self) -> list[tuple[int, int, int, str]]: ...
