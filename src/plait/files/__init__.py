"""Files without threads: `plait.open` and what it gives."""

from plait.files.binary import BinaryFile
from plait.files.opening import Opening, open
from plait.files.raw import RawFile
from plait.files.text import TextFile

__all__ = ["BinaryFile", "Opening", "RawFile", "TextFile", "open"]
