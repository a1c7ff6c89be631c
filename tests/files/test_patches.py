"""aiofiles and anyio, patched: their own interface and real programs on plait's files, without a thread of theirs."""

import asyncio
import functools
import io
import os
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import aiofiles
import aiofiles.os
import aiofiles.ospath
import aiofiles.tempfile
import anyio
import programs
import pytest
from aiofiles import open as early_aiofiles_open
from anyio import open_file as early_open_file
from files import trees

import plait
from plait.files import Patch, patch_aiofiles, patch_anyio
from plait.files.common import FileMethods

Run = Callable[[Any], Any]


@pytest.fixture
def patched_anyio() -> Iterator[Patch]:
    with patch_anyio() as patch:
        yield patch


@pytest.fixture
def patched_aiofiles() -> Iterator[Patch]:
    with patch_aiofiles() as patch:
        yield patch


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts a thread fails, but for plait's own workers."""
    real = threading.Thread.start

    def start(self: threading.Thread) -> None:
        assert self.name.startswith("plait-files-"), f"a thread was started: {self.name}"
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)


# anyio


async def use_anyio_files(open_file: Any, folder: pathlib.Path) -> list[Any]:
    """The whole interface of its files; what it gives."""
    path = folder / "file"
    said: list[Any] = []
    async with await open_file(path, "w+", encoding="utf-8", newline="") as file:
        said += [type(file), file.name, file.mode, file.encoding, file.closed, file.limiter]
        said += [await file.write("one\ntwo\r\nthree"), await file.tell()]
        await file.writelines(["\nfour", "\nfünf"])
        await file.flush()
        said += [await file.seek(0), await file.read(5), await file.readline(), await file.readlines()]
        said += [await file.truncate(4), await file.seek(0, os.SEEK_END), await file.read()]
    said += [file.closed, path.read_bytes()]
    async with await open_file(path, "rb") as file:
        buffer = bytearray(3)
        said += [await file.readinto(buffer), bytes(buffer), await file.read1(10), await file.seek(0)]
        said += [[line async for line in file], await file.readinto1(buffer)]
    async with await open_file(path, "ab", buffering=0) as file:
        said += [await file.write(b"more"), await file.tell()]
    said.append(path.read_bytes())
    for wrong in (
        lambda: open_file(folder / "missing"),
        lambda: open_file(folder, "w"),
        lambda: open_file(path, "x"),
        lambda: open_file(path, "nope"),
        lambda: file.read(),
    ):
        try:
            await wrong()
        except Exception as error:
            said.append((type(error), str(error)))
    return said


def test_anyio_files_say_the_same_on_threads_and_on_plait(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        on_threads = await use_anyio_files(anyio.open_file, make(tmp_path / "1"))
        with patch_anyio():
            for number, open_file in enumerate((anyio.open_file, early_open_file)):
                on_plait = await use_anyio_files(open_file, make(tmp_path / f"{number + 2}"))
                assert told(on_threads, tmp_path / "1") == told(on_plait, tmp_path / f"{number + 2}")

    run(main())


def make(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    return folder


def told(value: Any, root: pathlib.Path) -> Any:
    if isinstance(value, list | tuple):
        return [told(one, root) for one in value]
    if isinstance(value, str | os.PathLike):
        return str(value).replace(str(root), "ROOT")
    return value


async def use_anyio_path(folder: pathlib.Path) -> list[Any]:
    root = anyio.Path(trees.make(folder))
    said: list[Any] = [
        type(root),
        await (root / "a").read_text(),
        await (root / "a").read_bytes(),
        await (root / "new").write_text("x\n"),
        await (root / "new").write_bytes(b"yy"),
        (await (root / "new").stat()).st_size,
        (await (root / "to_file").lstat()).st_size,
        await (root / "new").exists(),
        await (root / "dangling").exists(),
        await (root / "folder").is_dir(),
        await (root / "a").is_file(),
        await (root / "to_file").is_symlink(),
        await (root / "pipe").is_fifo(),
        await (root / "x" / "y").mkdir(parents=True),
        await (root / "x" / "y").rmdir(),
        await (root / "new").rename(root / "newer"),
        await (root / "newer").replace(root / "b.txt"),
        await (root / "b.txt").unlink(),
        await (root / "b.txt").unlink(missing_ok=True),
        await (root / "sym").symlink_to("a"),
        await (root / "sym").readlink(),
        await (root / "hard").hardlink_to(root / "a"),
        await (root / "hard").samefile(root / "a"),
        await (root / "touched").touch(),
        await (root / "touched").chmod(0o600),
        await (root / "touched").owner(),
        await (root / "to_file").resolve(),
        await root.absolute(),
        sorted([str(path) async for path in root.iterdir()]),
        sorted([str(path) async for path in root.rglob("*.txt")]),
        sorted([str(path) async for path in root.glob("*")]),
    ]
    async with await (root / "a").open() as file:
        said.append([line async for line in file])
    for wrong in (
        lambda: (root / "missing").read_text(),
        lambda: (root / "folder").unlink(),
        lambda: (root / "folder").rmdir(),
        lambda: (root / "a").mkdir(),
        lambda: (root / "missing").rename(root / "x"),
    ):
        try:
            await wrong()
        except OSError as error:
            said.append((type(error), error.errno, error.filename, error.filename2))
    return [*said, trees.contents(folder)]


def test_anyio_paths_say_the_same_on_threads_and_on_plait(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        on_threads = await use_anyio_path(tmp_path / "1")
        with patch_anyio():
            on_plait = await use_anyio_path(tmp_path / "2")
        assert told(on_threads, tmp_path / "1") == told(on_plait, tmp_path / "2")

    run(main())


def test_anyio_starts_no_thread(run: Run, patched_anyio: Patch, no_threads: None, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        path = anyio.Path(tmp_path, "file")
        await path.write_text("x\n" * 1000)
        async with await anyio.open_file(path) as file:
            assert 1000 == len([line async for line in file])
            assert isinstance(file.wrapped, FileMethods)
        assert await path.exists()
        await path.unlink()

    run(main())


def test_anyio_on_other_loops_keeps_its_threads(patched_anyio: Patch, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        async with await anyio.open_file(tmp_path / "file", "w+") as file:
            assert isinstance(file.wrapped, io.TextIOWrapper)
            await file.write("x")
        assert "x" == await anyio.Path(tmp_path, "file").read_text()

    asyncio.run(main())


def test_anyio_scopes_and_limiters(run: Run, patched_anyio: Patch, tmp_path: pathlib.Path) -> None:
    """A call that has begun is waited for, as for a thread: what it wrote is known."""

    async def main() -> None:
        limiter = anyio.CapacityLimiter(1)
        path = anyio.Path(tmp_path, "file", limiter=limiter)
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(path.write_text, "x" * 10_000)
        assert "x" * 10_000 == await path.read_text()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await path.write_text("never begun")
        assert scope.cancelled_caught
        assert "x" * 10_000 == await path.read_text()
        async with await anyio.open_file(path, "w") as file:
            with anyio.CancelScope() as scope:
                await file.write("begun")
                scope.cancel()
                await file.flush()
        assert scope.cancelled_caught
        assert "begun" == await path.read_text()

    run(main())


# aiofiles


async def use_aiofiles(open: Any, folder: pathlib.Path) -> list[Any]:
    path = folder / "file"
    said: list[Any] = []
    async with open(path, "w+", encoding="utf-8") as file:
        said += [type(file), str(file.name), file.mode, file.encoding, file.closed, await file.readable()]
        said += [await file.write("one\ntwo\nthree"), await file.tell(), await file.writable(), await file.seekable()]
        await file.writelines(["\nfour"])
        await file.flush()
        said += [await file.seek(0), await file.read(5), await file.readline(), await file.readlines()]
        said += [await file.truncate(4), await file.isatty(), isinstance(file.fileno(), int)]
    said += [file.closed, path.read_bytes()]
    async with open(path, "rb") as file:
        buffer = bytearray(2)
        said += [type(file), file.mode, await file.peek(1) != b"", await file.readinto(buffer), bytes(buffer)]
        said += [await file.read1(1), [line async for line in file]]
    file = await open(path, "ab")
    said += [type(file), await file.write(b"more"), await file.close(), file.closed]
    async with open(path, "r+b") as file:
        said += [type(file), await file.read()]
    async with open(path, "rb", buffering=0) as file:
        said += [type(file), await file.readall()]
    for wrong in (
        lambda: open(folder / "missing"),
        lambda: open(path, "x"),
        lambda: open(path, "nope"),
        lambda: file.read(),
    ):
        try:
            await wrong()
        except Exception as error:
            said.append((type(error), str(error)))
    try:
        async with open(path) as file:
            raise ZeroDivisionError
    except ZeroDivisionError:
        said.append(file.closed)
    return said


def test_aiofiles_says_the_same_on_threads_and_on_plait(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        on_threads = await use_aiofiles(aiofiles.open, make(tmp_path / "1"))
        with patch_aiofiles():
            for number, open in enumerate((aiofiles.open, early_aiofiles_open)):
                on_plait = await use_aiofiles(open, make(tmp_path / f"{number + 2}"))
                assert told(on_threads, tmp_path / "1") == told(on_plait, tmp_path / f"{number + 2}")

    run(main())


async def use_aiofiles_os(folder: pathlib.Path) -> list[Any]:
    trees.make(folder)
    a, b = os.fsencode(folder / "a"), str(folder / "b.txt")
    said = [
        (await aiofiles.os.stat(a)).st_size,
        (await aiofiles.os.stat(folder / "to_file", follow_symlinks=False)).st_size,
        await aiofiles.os.path.exists(a),
        await aiofiles.ospath.exists(folder / "dangling"),
        await aiofiles.os.path.isfile(b),
        await aiofiles.os.path.isdir(b),
        await aiofiles.os.path.islink(folder / "to_file"),
        await aiofiles.os.path.getsize(b),
        await aiofiles.os.path.samefile(a, folder / "to_file"),
        await aiofiles.os.rename(a, folder / "new"),
        await aiofiles.os.replace(folder / "new", b),
        await aiofiles.os.mkdir(folder / "made", 0o700),
        await aiofiles.os.makedirs(folder / "made" / "x" / "y"),
        await aiofiles.os.makedirs(folder / "made" / "x" / "y", exist_ok=True),
        await aiofiles.os.rmdir(folder / "made" / "x" / "y"),
        await aiofiles.os.remove(b),
        await aiofiles.os.unlink(folder / "empty"),
        await aiofiles.os.symlink("x", folder / "sym"),
        await aiofiles.os.readlink(folder / "sym"),
        await aiofiles.os.link(folder / "pipe", folder / "pipe2"),
        sorted(await aiofiles.os.listdir(folder)),
        await aiofiles.os.access(folder, os.R_OK),
    ]
    for wrong in (
        lambda: aiofiles.os.stat(folder / "missing"),
        lambda: aiofiles.os.makedirs(folder / "made"),
        lambda: aiofiles.os.path.getsize(folder / "missing"),
        lambda: aiofiles.os.rename(folder / "missing", folder / "x"),
        lambda: aiofiles.os.mkdir(folder / "void"),
    ):
        try:
            await wrong()
        except OSError as error:
            said.append((type(error), error.errno, str(error.filename), str(error.filename2)))
    return [*said, trees.contents(folder)]


def test_aiofiles_os_says_the_same_on_threads_and_on_plait(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        on_threads = await use_aiofiles_os(tmp_path / "1")
        with patch_aiofiles():
            on_plait = await use_aiofiles_os(tmp_path / "2")
        assert told(on_threads, tmp_path / "1") == told(on_plait, tmp_path / "2")

    run(main())


def test_aiofiles_starts_no_thread(run: Run, patched_aiofiles: Patch, no_threads: None, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        async with aiofiles.open(tmp_path / "file", "w") as file:
            await file.write("x\n" * 1000)
        async with aiofiles.open(tmp_path / "file") as file:
            assert 1000 == len([line async for line in file])
        assert 2000 == (await aiofiles.os.stat(tmp_path / "file")).st_size
        await aiofiles.os.remove(tmp_path / "file")

    run(main())


def test_aiofiles_elsewhere_keeps_its_threads(run: Run, patched_aiofiles: Patch, tmp_path: pathlib.Path) -> None:
    """Another loop, an executor that the program gives, temporary files, and the standard streams."""
    from concurrent.futures import ThreadPoolExecutor

    async def plain() -> None:
        async with aiofiles.open(tmp_path / "file", "w") as file:
            assert isinstance(file._file, io.TextIOWrapper)

    asyncio.run(plain())

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            async with aiofiles.open(tmp_path / "file", "w", executor=executor) as file:
                assert isinstance(file._file, io.TextIOWrapper)
                await file.write("x")
        async with aiofiles.tempfile.TemporaryDirectory() as name:
            assert pathlib.Path(name).is_dir()
        async with aiofiles.tempfile.NamedTemporaryFile("w+") as file:
            await file.write("x")
            await file.seek(0)
            assert "x" == await file.read()
        await aiofiles.stdout.write("")

    run(main())


@pytest.mark.parametrize("patch", [patch_anyio, patch_aiofiles])
def test_a_patch_is_taken_back(patch: Callable[[], Patch]) -> None:
    first = patch()
    second = patch()
    assert (True, False) == (first.active, second.active)
    second.undo()
    assert first.active
    first.undo()
    first.undo()
    assert not first.active
    third = patch()
    assert third.active
    third.undo()


def test_a_library_that_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of half a patch."""
    monkeypatch.delattr("anyio._core._fileio.to_thread")
    with pytest.raises(RuntimeError, match=r"anyio \d+\.\d+\S* has no anyio\._core\._fileio\.to_thread"):
        patch_anyio()


def test_programs_need_no_changed_line(engine: str, tmp_path: pathlib.Path) -> None:
    """One that uses both, started by a line that is not in it."""
    (tmp_path / "program.py").write_text("""
import asyncio, threading
import aiofiles, anyio
from anyio import Path

async def main():
    async with aiofiles.open("a.txt", "w") as file:
        await file.write("one\\ntwo\\n")
    async with await anyio.open_file("a.txt") as file:
        async for line in file:
            print(line.strip())
    print(sorted([str(path) async for path in Path(".").iterdir()]))
    print([t.name for t in threading.enumerate() if "plait" not in t.name and t is not threading.main_thread()
           and "AnyIO" not in t.name])

asyncio.run(main())
""")
    (tmp_path / "start.py").write_text("""
import runpy, plait
plait.install()
plait.files.patch_aiofiles(), plait.files.patch_anyio()
runpy.run_path("program.py", run_name="__main__")
""")
    printed = programs.python("start.py", cwd=tmp_path)
    assert ["one", "two", "['a.txt', 'program.py', 'start.py']", "[]"] == printed.splitlines()


def test_anyio_as_the_programs_own_runner(engine: str, patched_anyio: Patch, tmp_path: pathlib.Path) -> None:
    """By anyio.run() with plait's loop."""

    async def main() -> str:
        await anyio.Path(tmp_path, "x").write_text("x")
        async with await anyio.open_file(tmp_path / "x") as file:
            assert isinstance(file.wrapped, FileMethods)
            return await file.read()

    options = {"loop_factory": functools.partial(plait.new_event_loop, engine)}
    assert "x" == anyio.run(main, backend="asyncio", backend_options=options)
