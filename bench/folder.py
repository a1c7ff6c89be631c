"""The files that are read: a large one, a thousand small ones, a text."""

import os
import random
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.programs import ROOT

BIG_BYTES = 512 << 20
TEXT_BYTES = 100_000_000
SMALL_FILES = 1000
SMALL_BYTES = 1000


def make() -> TemporaryDirectory[str]:
    """On the disk of this checkout: a temporary folder may be in memory. BENCH_FOLDER names another place."""
    place = Path(os.environ.get("BENCH_FOLDER", ROOT / "build"))
    place.mkdir(exist_ok=True)
    folder = TemporaryDirectory(prefix="bench-files-", dir=place)
    path = Path(folder.name)
    block = os.urandom(1 << 20)
    with (path / "big").open("wb") as big:
        for _ in range(BIG_BYTES // len(block)):
            big.write(block)
    (path / "small").mkdir()
    for i in range(SMALL_FILES):
        (path / "small" / str(i)).write_bytes(b"x" * SMALL_BYTES)
    order = random.Random(1)
    words = "".join(order.choices("abcdefghijklmnopqrstuvwxyz     ", k=200))
    with (path / "text").open("w") as text:
        written = 0
        while written < TEXT_BYTES:
            lines = [words[: order.randrange(20, 180)] for _ in range(1000)]
            written += text.write("\n".join(lines) + "\n")
    for i in range(SMALL_FILES):
        (path / "small" / str(i)).read_bytes()  # the first read of a file is noted in its inode (relatime)
    os.sync()  # what is still to be written would be written beside the rows
    return folder
