"""Sort photos into folders by the day on which they were taken.

    python examples/photos.py /media/camera ~/Pictures              copies to ~/Pictures/2024/2024-05-17/IMG_1234.jpg
    python examples/photos.py --move --watch ~/Incoming ~/Pictures  moves, and goes on with what arrives later

The day is what the camera wrote into the file, or else that of its last change. A photo that is there already is left out, whatever
its name is, and none replaces another: the second IMG_1234.jpg of a day becomes IMG_1234-2.jpg. A photo appears under its name when
it is complete. `--dry-run` only tells what would be done. Ends with status 1 when a photo could not be sorted; Ctrl-C ends --watch.
"""

import argparse
import asyncio
import errno
import os
import signal
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from datetime import datetime

import plait
from plait import Path
from plait.files import ChangeKind, Watch

SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".png",
    ".heic",
    ".heif",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
    ".dng",
    ".cr2",
    ".nef",
    ".mp4",
    ".mov",
}
AT_ONCE = 8
HEAD_BYTES = 128 * 1024
PART = ".plait-part"

# Of TIFF: where the camera's own entries stand, when the photo was taken, and when the file was made.
CAMERA_ENTRIES, TAKEN, MADE = 0x8769, 0x9003, 0x0132


def day_in(head: bytes) -> datetime | None:
    """What the camera wrote into a JPEG or TIFF file (Exif 2.3), from its first bytes."""
    start = head.find(b"Exif\0\0")
    tiff = head[start + 6 :] if start >= 0 else head
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None

    def entries(offset: int) -> dict[int, tuple[int, int]]:
        (count,) = struct.unpack_from(f"{order}H", tiff, offset)
        found = (struct.unpack_from(f"{order}HHII", tiff, offset + 2 + 12 * number) for number in range(count))
        return {tag: (length, value) for tag, _, length, value in found}

    try:
        first = entries(struct.unpack_from(f"{order}I", tiff, 4)[0])
        camera = entries(first[CAMERA_ENTRIES][1]) if CAMERA_ENTRIES in first else {}
        length, offset = camera.get(TAKEN) or first[MADE]
        return datetime.strptime(tiff[offset : offset + length].rstrip(b"\0 ").decode(), "%Y:%m:%d %H:%M:%S")
    except (KeyError, ValueError, struct.error):
        return None


async def day_of(photo: Path) -> datetime:
    async with plait.open(photo, "rb") as file:
        day = day_in(await file.read(HEAD_BYTES))
    return day or datetime.fromtimestamp((await photo.stat()).st_mtime)


class Album:
    """The sorted photos. Those of the same size are compared, one new photo after the other; the rest goes side by side."""

    def __init__(self, folder: Path, move: bool, dry_run: bool) -> None:
        self.folder = folder
        self.move = move
        self.dry_run = dry_run
        self.by_size: dict[int, list[Path]] = defaultdict(list)
        self.comparing: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.names: set[Path] = set()
        self.counts: Counter[str] = Counter()

    async def look_through(self) -> None:
        """Learn what is there."""
        async with aclosing(photos_in(self.folder)) as photos:
            async for photo in photos:
                self.by_size[(await photo.stat()).st_size].append(photo)

    async def sort(self, photo: Path) -> None:
        """Put one photo in its place, and tell."""
        try:
            size = (await photo.stat()).st_size
            async with self.comparing[size]:
                known = await self.twin_of(photo, size)
                if known is not None:
                    self.tell("left out", photo, f"is {known}")
                    return
                place = await self.place_for(photo)
                if not self.dry_run:
                    await self.put(photo, place)
                self.by_size[size].append(photo if self.dry_run else place)
                self.tell("would be put" if self.dry_run else "moved" if self.move else "copied", photo, f"to {place}")
        except FileNotFoundError as error:
            if error.filename != str(photo):  # else it went away before its turn
                self.tell("failed", photo, str(error))
        except OSError as error:
            self.tell("failed", photo, str(error))

    async def twin_of(self, photo: Path, size: int) -> Path | None:
        """The photo of the same content that is there."""
        others = [other for other in self.by_size[size] if other != photo]
        if not others:
            return None
        content = await photo.read_bytes()
        async with aclosing(plait.read_many(others, limit=2, return_exceptions=True)) as reading:
            async for other, found in reading:
                if found == content:
                    return other
        return None

    async def place_for(self, photo: Path) -> Path:
        day = await day_of(photo)
        folder = self.folder / f"{day:%Y}" / f"{day:%Y-%m-%d}"
        place, number = folder / photo.name, 1
        while place in self.names or await place.exists():
            number += 1
            place = folder / f"{photo.stem}-{number}{photo.suffix}"
        self.names.add(place)
        return place

    async def put(self, photo: Path, place: Path) -> None:
        await place.parent.mkdir(parents=True, exist_ok=True)
        if self.move:
            try:
                await photo.rename(place)
                return
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        part = place.with_name(f".{place.name}{PART}")
        try:
            await plait.copy_file(photo, part, preserve_metadata=True)
            await part.rename(place)
        except BaseException:
            await part.unlink(missing_ok=True)
            raise
        if self.move:
            await photo.unlink()

    def tell(self, what: str, photo: Path, more: str) -> None:
        self.counts[what] += 1
        print(f"{what}: {photo} {more}", file=sys.stderr if what == "failed" else sys.stdout, flush=True)


async def photos_in(folder: Path) -> AsyncGenerator[Path, None]:
    async for path in folder.rglob("*"):
        if is_photo(path) and await path.info.is_file(follow_symlinks=False):
            yield path


def is_photo(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


async def arriving(changes: Watch, quiet_seconds: float) -> AsyncIterator[Path]:
    """Photos that come into the watched folder, each when nothing has happened to it for a while: then it is complete."""
    loop = asyncio.get_running_loop()
    complete: asyncio.Queue[Path | None] = asyncio.Queue()
    timers: dict[Path, asyncio.TimerHandle] = {}

    def settle(path: Path) -> None:
        del timers[path]
        complete.put_nowait(path)

    async def look() -> None:
        async for change in changes:
            for path in filter(None, (change.path, change.old_path)):
                if path in timers:
                    timers.pop(path).cancel()
            if change.kind is ChangeKind.OVERFLOW:
                async for path in photos_in(changes.path):
                    complete.put_nowait(path)
            elif change.kind is not ChangeKind.DELETED and not change.is_dir and is_photo(change.path):
                timers[change.path] = loop.call_later(quiet_seconds, settle, change.path)
        complete.put_nowait(None)

    looking = asyncio.create_task(look())
    try:
        while (photo := await complete.get()) is not None:
            yield photo
    finally:
        looking.cancel()
        for timer in timers.values():
            timer.cancel()


async def sort_all(photos: AsyncIterator[Path], album: Album) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(photo: Path) -> None:
        try:
            await album.sort(photo)
        finally:
            room.release()

    async with asyncio.TaskGroup() as group:
        async for photo in photos:
            await room.acquire()
            group.create_task(one(photo))


async def run(options: argparse.Namespace) -> int:
    source, target = Path(os.path.abspath(options.source)), Path(os.path.abspath(options.album))
    if not await source.is_dir():
        print(f"photos.py: error: {source} is not a folder", file=sys.stderr)
        return 2

    def is_in_album(path: Path) -> bool:
        # The album may stand in the same folder: its photos are in their place.
        return path.is_relative_to(target)

    album = Album(target, options.move, options.dry_run)
    await album.look_through()
    gone = False
    async with AsyncExitStack() as stack:
        changes = None
        if options.watch:
            # Before the others are sorted, so that none comes in between.
            changes = await stack.enter_async_context(plait.watch(source, recursive=True, ignore=is_in_album))
        try:
            await sort_all((photo async for photo in photos_in(source) if not is_in_album(photo)), album)
            if changes is not None:
                print(f"watching {source}", flush=True)
                await sort_all(arriving(changes, options.quiet), album)
                gone = True
        except asyncio.CancelledError:
            pass  # by Ctrl-C
    print(", ".join(f"{count} {what}" for what, count in album.counts.items()) or "no photos", flush=True)
    if gone:
        print(f"photos.py: error: {source} is gone", file=sys.stderr)
    return 1 if gone or album.counts["failed"] else 0


async def until_stopped(options: argparse.Namespace) -> int:
    working = asyncio.ensure_future(run(options))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, working.cancel)
    return await working


def main() -> int:
    parser = argparse.ArgumentParser(description="Sort photos into folders by the day on which they were taken.")
    parser.add_argument("source", help="the folder with photos, in whatever folders below")
    parser.add_argument("album", help="where they go: ALBUM/YEAR/DAY/NAME")
    parser.add_argument("--move", action="store_true", help="take them away from where they were")
    parser.add_argument("--watch", action="store_true", help="go on with photos that arrive later")
    parser.add_argument(
        "--quiet",
        type=float,
        default=2,
        metavar="SECONDS",
        help="how long nothing may happen to a photo that arrives (default: 2)",
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")
    options = parser.parse_args()
    if options.quiet < 0:
        parser.error("--quiet must not be below zero")
    return plait.run(until_stopped(options))


if __name__ == "__main__":
    sys.exit(main())
