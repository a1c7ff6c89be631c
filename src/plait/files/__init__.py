"""Files without threads: `plait.open`, paths, whole files, copies, and what happens to a folder."""

from typing import TYPE_CHECKING

from plait.late import late

if TYPE_CHECKING:
    from plait.files.binary import BinaryFile
    from plait.files.contents import read_many
    from plait.files.copying import copy_file
    from plait.files.opening import Opening, open
    from plait.files.patches import Patch, patch_aiofiles, patch_anyio
    from plait.files.path import Path, PathInfo
    from plait.files.raw import RawFile
    from plait.files.text import TextFile
    from plait.files.watching import Change, ChangeKind, Watch, watch

__all__ = [
    "BinaryFile",
    "Change",
    "ChangeKind",
    "Opening",
    "Patch",
    "Path",
    "PathInfo",
    "RawFile",
    "TextFile",
    "Watch",
    "copy_file",
    "open",
    "patch_aiofiles",
    "patch_anyio",
    "read_many",
    "watch",
]

__getattr__, __dir__ = late(
    globals(),
    {
        "BinaryFile": "plait.files.binary",
        "RawFile": "plait.files.raw",
        "TextFile": "plait.files.text",
        "read_many": "plait.files.contents",
        "copy_file": "plait.files.copying",
        **dict.fromkeys(("Opening", "open"), "plait.files.opening"),
        **dict.fromkeys(("Patch", "patch_aiofiles", "patch_anyio"), "plait.files.patches"),
        **dict.fromkeys(("Path", "PathInfo"), "plait.files.path"),
        **dict.fromkeys(("Change", "ChangeKind", "Watch", "watch"), "plait.files.watching"),
    },
)
