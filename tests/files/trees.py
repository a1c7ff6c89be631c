"""Two equal trees of files, one for pathlib and one for plait.Path, and what can be said of them."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def make(root: Path) -> Path:
    """A small tree with everything in it that paths can meet."""
    root.mkdir()
    (root / "a").write_text("one\r\ntwo\n", newline="")
    (root / "b.txt").write_bytes(b"\xff\x00binary")
    (root / "empty").touch()
    (root / "folder" / "inner" / "deep").mkdir(parents=True)
    (root / "folder" / "one.txt").write_text("1")
    (root / "folder" / "inner" / "two.txt").write_text("2")
    (root / "folder" / "inner" / ".hidden").write_text("h")
    (root / "folder" / "inner" / "deep" / "three.py").write_text("3")
    (root / "void").mkdir()
    (root / "to_file").symlink_to("a")
    (root / "to_folder").symlink_to("folder")
    (root / "dangling").symlink_to("nowhere")
    (root / "circle").symlink_to("circle")
    (root / "folder" / "up").symlink_to("..")
    os.mkfifo(root / "pipe")
    return root


def contents(root: Path) -> dict[str, Any]:
    """What the tree is now: types, permissions, contents and targets by name."""
    found: dict[str, Any] = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            status = path.lstat()
            key = str(path.relative_to(root))
            if stat.S_ISLNK(status.st_mode):
                found[key] = os.readlink(path).replace(str(root), "ROOT")
            elif stat.S_ISREG(status.st_mode):
                found[key] = (oct(status.st_mode), status.st_nlink, path.read_bytes())
            else:
                found[key] = oct(status.st_mode)
    return found


def told(value: Any, root: Path) -> Any:
    """A result so that it can be compared with that from another tree."""
    if isinstance(value, os.PathLike):
        return str(value).replace(str(root), "ROOT")
    if isinstance(value, os.stat_result):
        return (oct(value.st_mode), value.st_nlink, value.st_uid, value.st_size)
    if isinstance(value, list | tuple):
        return [told(one, root) for one in value]
    if isinstance(value, OSError):
        names = [told_name(name, root) for name in (value.filename, value.filename2)]
        return (type(value).__name__, value.errno, *names)
    if isinstance(value, Exception):
        return type(value).__name__
    return value


def told_name(name: Any, root: Path) -> Any:
    return str(name).replace(str(root), "ROOT") if name is not None else None


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Root, to whom nothing is closed, becomes somebody else for so long."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
