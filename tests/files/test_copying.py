"""copy_file() does what shutil.copyfile does, and Path.copy and Path.move what pathlib's do from Python 3.14 on."""

import asyncio
import errno
import filecmp
import os
import pathlib
import shutil
import stat
import threading
from collections.abc import Callable
from typing import Any

import pytest
from files import trees

import plait
from plait import Path
from plait.files import copying

Run = Callable[[Any], Any]


@pytest.fixture(params=["by the kernel", "by reading and writing"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of copying: file systems and old kernels refuse the first."""
    if request.param == "by reading and writing":

        def refuse(*args: Any, **options: Any) -> int:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        monkeypatch.setattr(os, "copy_file_range", refuse)
    way: str = request.param
    return way


@pytest.mark.parametrize("size", [0, 1, 4096, copying.PIECE_BYTES + 12345])
def test_contents_of_any_size(run: Run, tmp_path: pathlib.Path, way: str, size: int) -> None:
    async def main() -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(os.urandom(size))
        target.write_bytes(b"longer than what comes" * (size // 10))
        assert target == await plait.copy_file(source, target)
        assert filecmp.cmp(source, target, shallow=False)
        assert str(target) == await plait.copy_file(str(source), str(target))

    run(main())


def test_files_that_say_no_size(run: Run, tmp_path: pathlib.Path, way: str) -> None:
    async def main() -> None:
        await plait.copy_file("/proc/cpuinfo", tmp_path / "cpuinfo")
        assert b"processor" in (tmp_path / "cpuinfo").read_bytes()
        await plait.copy_file("/dev/null", tmp_path / "cpuinfo")
        assert b"" == (tmp_path / "cpuinfo").read_bytes()
        (tmp_path / "cpuinfo").write_bytes(b"x" * 10)
        assert "/dev/null" == await plait.copy_file(tmp_path / "cpuinfo", "/dev/null")

    run(main())


def test_the_same_results_and_errors_as_shutil(run: Run, tmp_path: pathlib.Path, way: str) -> None:
    names = [
        "a",
        "b.txt",
        "to_file",
        "to_folder",
        "dangling",
        "circle",
        "missing",
        "folder",
        "pipe",
        "void/new",
        "missing/x",
    ]

    async def main() -> None:
        theirs, ours = (trees.make(tmp_path / who) for who in ("theirs", "plaits"))
        for follow in (True, False):
            for source in names:
                for target in names:
                    outcomes = []
                    for root, copy in ((theirs, by_shutil), (ours, plait.copy_file)):
                        try:
                            done = await copy(root / source, root / target, follow_symlinks=follow)
                            outcomes.append(trees.told(done, root))
                        except Exception as error:
                            outcomes.append((type(error).__name__, getattr(error, "errno", None)))
                    assert (source, target, follow, outcomes[0]) == (source, target, follow, outcomes[1])
                    assert trees.contents(theirs) == trees.contents(ours)

    run(main())


async def by_shutil(source: pathlib.Path, target: pathlib.Path, follow_symlinks: bool) -> Any:
    return shutil.copyfile(source, target, follow_symlinks=follow_symlinks)


def test_hard_links_are_the_same_file(run: Run, tmp_path: pathlib.Path) -> None:
    """Nothing is cut off before that is known."""

    async def main() -> None:
        (tmp_path / "a").write_text("kept")
        (tmp_path / "b").hardlink_to(tmp_path / "a")
        with pytest.raises(shutil.SameFileError):
            await plait.copy_file(tmp_path / "a", tmp_path / "b")
        assert "kept" == (tmp_path / "a").read_text()

    run(main())


def test_metadata_is_kept_when_asked(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_text("x")
        source.chmod(0o640)
        os.utime(source, ns=(1_000_000_000, 2_000_000_000))
        os.setxattr(source, "user.plait", b"value")
        await plait.copy_file(source, target, preserve_metadata=True)
        status = target.stat()
        assert (0o640, 2_000_000_000) == (stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        assert b"value" == os.getxattr(target, "user.plait")
        (tmp_path / "link").symlink_to("source")
        await plait.copy_file(tmp_path / "link", tmp_path / "link2", follow_symlinks=False, preserve_metadata=True)
        assert "source" == os.readlink(tmp_path / "link2")

    run(main())


def test_a_full_disk_is_told_with_both_names(run: Run, tmp_path: pathlib.Path, way: str) -> None:
    async def main() -> None:
        source = tmp_path / "source"
        source.write_bytes(b"x" * 100_000)
        with pytest.raises(OSError, match="No space left") as caught:
            await plait.copy_file(source, "/dev/full")
        assert (errno.ENOSPC, str(source), "/dev/full") == (
            caught.value.errno,
            caught.value.filename,
            caught.value.filename2,
        )

    run(main())


def test_a_cancelled_copy_stops_after_its_piece(
    run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And closes both files (the fixtures look)."""
    began, goes_on = threading.Event(), threading.Event()
    steps = []
    real = copying.Copy.copy_piece

    def copy_piece(self: copying.Copy) -> bool:
        steps.append(self)
        began.set()
        assert goes_on.wait(10)
        return real(self)

    monkeypatch.setattr(copying.Copy, "copy_piece", copy_piece)
    monkeypatch.setattr(copying, "PIECE_BYTES", 1000)

    async def main() -> None:
        (tmp_path / "source").write_bytes(b"x" * 10_000)
        task = asyncio.create_task(plait.copy_file(tmp_path / "source", tmp_path / "target"))
        await asyncio.to_thread(began.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        goes_on.set()
        # What comes later to the same worker's queue is done after it.
        assert not await Path(tmp_path, "other").exists()

    run(main())
    assert 1 == len(steps)
    steps.clear()


def contents(root: pathlib.Path) -> dict[str, Any]:
    return {name: found for name, found in trees.contents(root).items() if name != "pipe"}


def tree_to_copy(tmp_path: pathlib.Path) -> pathlib.Path:
    root = trees.make(tmp_path / "tree")
    for name in ("pipe", "dangling", "circle", "folder/up"):
        (root / name).unlink()
    return root


def test_a_tree_is_copied(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        root = tree_to_copy(tmp_path)
        (root / "folder" / "inner").chmod(0o750)
        os.utime(root / "folder", ns=(1, 2))
        copied = await Path(root).copy(tmp_path / "links", follow_symlinks=False)
        assert (Path, tmp_path / "links") == (type(copied), copied)
        assert "a" == os.readlink(copied / "to_file")
        followed = await Path(root).copy(tmp_path / "followed", preserve_metadata=True)
        shutil.copytree(root, tmp_path / "expected")
        assert trees.contents(tmp_path / "expected") == trees.contents(pathlib.Path(followed))
        assert 2 == (await (followed / "folder").stat()).st_mtime_ns
        into = await (Path(root) / "folder").copy_into(root / "void", preserve_metadata=True)
        assert root / "void" / "folder" == into
        assert contents(root / "folder") == contents(pathlib.Path(into))

    run(main())


def test_a_tree_is_moved(run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        root = tree_to_copy(tmp_path)
        before = trees.contents(root)
        moved = await Path(root).move(tmp_path / "moved")
        assert not root.exists()
        assert before == trees.contents(pathlib.Path(moved))
        moved = await moved.move_into(await make(tmp_path / "folder"))
        assert (tmp_path / "folder" / "moved", before) == (moved, trees.contents(pathlib.Path(moved)))
        with pytest.raises(OSError, match="same file") as caught:
            await moved.move(moved)
        assert errno.EINVAL == caught.value.errno
        with pytest.raises(OSError, match="Directory not empty"):
            await Path(await make(tmp_path / "other")).move(tmp_path / "folder")

    run(main())


def test_a_move_to_another_file_system_copies(run: Run, tmp_path: pathlib.Path) -> None:
    """/dev/shm is one."""

    async def main(other: pathlib.Path) -> None:
        root = tree_to_copy(tmp_path)
        assert root.stat().st_dev != other.stat().st_dev
        os.utime(root / "a", ns=(1_000, 2_000))
        before = trees.contents(root)
        moved = await Path(root).move(other / "moved")
        assert not root.exists()
        assert before == trees.contents(pathlib.Path(moved))
        assert 2_000 == (await (moved / "a").stat()).st_mtime_ns
        back = await (moved / "to_folder").move(tmp_path / "link")
        assert "folder" == os.readlink(back)
        assert (moved / "folder") == await (moved / "folder").resolve()

    folder = pathlib.Path("/dev/shm") / f"plait-{os.getpid()}"
    folder.mkdir()
    try:
        run(main(folder))
    finally:
        shutil.rmtree(folder)


async def make(path: pathlib.Path) -> Path:
    await Path(path, "inner").mkdir(parents=True)
    return Path(path)


def test_what_cannot_be_copied(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        root = Path(tree_to_copy(tmp_path))
        for source, target, reason in (
            (root, root, "same path"),
            (root, root / "void" / "inside", "parent of target"),
            (root / "a", root / "to_file", "same file"),
        ):
            with pytest.raises(OSError, match=reason) as caught:
                await source.copy(target)
            assert (errno.EINVAL, str(source), str(target)) == (
                caught.value.errno,
                caught.value.filename,
                caught.value.filename2,
            )
        with pytest.raises(FileExistsError):
            await (root / "folder").copy(root / "void")
        with pytest.raises(FileNotFoundError):
            await (root / "missing").copy(root / "new")
        with pytest.raises(ValueError, match="empty name"):
            await Path("/").copy_into(root)
        with pytest.raises(ValueError, match="empty name"):
            await Path("").move_into(root)

    run(main())
