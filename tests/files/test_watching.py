"""watch() tells what really happens to files, on a real file system."""

import asyncio
import errno
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

import plait
from plait.files import Change, ChangeKind, Watch, watching

Run = Callable[[Any], Any]
CREATED, MODIFIED, WRITTEN = ChangeKind.CREATED, ChangeKind.MODIFIED, ChangeKind.WRITTEN
ATTRIBUTES, MOVED, DELETED, OVERFLOW = ChangeKind.ATTRIBUTES, ChangeKind.MOVED, ChangeKind.DELETED, ChangeKind.OVERFLOW
# Without those of which a single action makes several.
QUIET = [kind for kind in ChangeKind if kind not in (MODIFIED, ATTRIBUTES)]


async def until(watch: Watch, root: pathlib.Path, name: str) -> list[Any]:
    """What is told until `name` (a file that is made for that) is, as (kind, name) or (kind, old name, name)."""
    marker = root / name
    marker.touch()
    found: list[Any] = []
    async for change in watch:
        if change.path == marker:
            if change.kind is not CREATED:
                continue
            return found
        found.append(told(change, root))
    return found


def told(change: Change, root: pathlib.Path) -> Any:
    name = str(change.path.relative_to(root))
    if change.old_path is not None:
        return (change.kind, str(change.old_path.relative_to(root)), name)
    return (change.kind, name)


def test_what_happens_to_a_file(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        async with plait.watch(tmp_path) as watch:
            (tmp_path / "a").write_bytes(b"one")
            assert [(CREATED, "a"), (MODIFIED, "a"), (WRITTEN, "a")] == (await until(watch, tmp_path, "1"))
            (tmp_path / "a").chmod(0o600)
            (tmp_path / "a").rename(tmp_path / "b")
            (tmp_path / "b").unlink()
            (tmp_path / "folder").mkdir()
            found = await until(watch, tmp_path, "2")
            assert [(ATTRIBUTES, "a"), (MOVED, "a", "b"), (DELETED, "b"), (CREATED, "folder")] == [
                one for one in found if not one[1].isdigit()
            ]

    run(main())


def test_changes_are_typed(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        async with plait.watch(tmp_path) as watch:
            (tmp_path / "folder").mkdir()
            change = await anext(watch)
            assert Change(CREATED, plait.Path(tmp_path, "folder"), is_dir=True) == change
            assert isinstance(change.path, plait.Path)
            (tmp_path / "folder").rename(tmp_path / "other")
            change = await anext(watch)
            assert (MOVED, tmp_path / "folder", tmp_path / "other", True) == (
                change.kind,
                change.old_path,
                change.path,
                change.is_dir,
            )

    run(main())


def test_only_the_kinds_that_are_asked_for(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        async with plait.watch(tmp_path, kinds=[WRITTEN]) as watch:
            (tmp_path / "a").write_text("x")
            (tmp_path / "b").mkdir()
            (tmp_path / "c").write_text("x")
            assert [(WRITTEN, "a"), (WRITTEN, "c")] == [told(await anext(watch), tmp_path) for _ in range(2)]

    run(main())


def test_moves_in_and_out_of_sight(run: Run, tmp_path: pathlib.Path) -> None:
    """To where nobody watches is as good as deleted, and from there as good as made."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"

    async def main() -> None:
        inside.mkdir()
        outside.mkdir()
        (outside / "in").touch()
        (inside / "out").touch()
        async with plait.watch(inside, kinds=QUIET) as watch:
            (outside / "in").rename(inside / "in")
            (inside / "out").rename(outside / "out")
            (inside / "in").rename(inside / "still in")
            assert [(CREATED, "in"), (DELETED, "out"), (MOVED, "in", "still in")] == await until(watch, inside, "end")

    run(main())


def test_a_tree_with_all_that_comes_into_it(run: Run, tmp_path: pathlib.Path) -> None:
    """Folders that are made, filled at once, and moved about are watched under their names of now."""

    async def main() -> None:
        root = tmp_path / "root"
        (root / "a" / "b").mkdir(parents=True)
        async with plait.watch(root, recursive=True, kinds=QUIET) as watch:
            (root / "a" / "b" / "deep").touch()
            assert [(CREATED, "a/b/deep"), (WRITTEN, "a/b/deep")] == await until(watch, root, "1")
            (root / "new" / "newer").mkdir(parents=True)
            (root / "new" / "newer" / "file").touch()
            found = await until(watch, root, "2")
            assert {"new", "new/newer", "new/newer/file"} == {
                name for kind, name in found if kind is CREATED and name != "1"
            }
            assert 3 == len([one for one in found if one[0] is CREATED])
            (root / "new").rename(root / "a" / "moved")
            (root / "a" / "moved" / "newer" / "file").unlink()
            assert [(MOVED, "new", "a/moved"), (DELETED, "a/moved/newer/file")] == [
                one for one in await until(watch, root, "3") if one[1] != "2"
            ]
            (root / "a").rename(tmp_path / "gone")
            (tmp_path / "gone" / "unseen").touch()
            assert [(DELETED, "a")] == [one for one in await until(watch, root, "4") if one[1] != "3"]
            (tmp_path / "gone").rename(root / "back")
            found = await until(watch, root, "5")
            names = {"back", "back/b", "back/b/deep", "back/unseen", "back/moved", "back/moved/newer"}
            assert names == {name for kind, name in found if kind is CREATED}
            (root / "back" / "b" / "deep").unlink()
            assert (DELETED, "back/b/deep") in await until(watch, root, "6")
            shutil.rmtree(root / "back")
            found = [one for one in await until(watch, root, "7") if one[1] != "6"]
            assert {(DELETED, name) for name in names - {"back/b/deep"}} == set(found)

    run(main())


def test_a_busy_tree_is_told_whole(run: Run, tmp_path: pathlib.Path) -> None:
    """Another process makes folders in folders as fast as it can: each file is told as made exactly once."""
    script = "for i in $(seq 40); do mkdir -p d$i/e$i/f$i; echo > d$i/x; echo > d$i/e$i/y; echo > d$i/e$i/f$i/z; done; echo > end"

    async def main() -> None:
        async with plait.watch(tmp_path, recursive=True, kinds=[CREATED]) as watch:
            maker = await asyncio.create_subprocess_exec("sh", "-c", script, cwd=tmp_path)
            found = []
            # The last folder may still be listed when "end" is told.
            expected = {"end"}
            for number in range(1, 41):
                parts = [f"d{number}", f"e{number}", f"f{number}"]
                folders = ["/".join(parts[:depth]) for depth in (1, 2, 3)]
                expected |= {*folders, *(f"{folder}/{name}" for folder, name in zip(folders, "xyz", strict=True))}
            while set(found) != expected:
                change = await anext(watch)
                found.append(str(change.path.relative_to(tmp_path)))
            assert len(expected) == len(found)
            assert 0 == await maker.wait()

    run(main())


def test_ignored_folders_are_not_looked_into(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        (tmp_path / ".git" / "objects").mkdir(parents=True)
        async with plait.watch(
            tmp_path, recursive=True, kinds=[CREATED], ignore=lambda path: ".git" in path.parts
        ) as watch:
            (tmp_path / ".git" / "objects" / "x").touch()
            (tmp_path / "sub").mkdir()
            assert [(CREATED, "sub")] == await until(watch, tmp_path, "1")
            (tmp_path / "sub" / ".git" / "y").parent.mkdir()
            (tmp_path / "sub" / ".git" / "y").touch()
            assert [] == await until(watch, tmp_path, "2")
            assert 2 == len(watch._folders)

    run(main())


@pytest.mark.parametrize("recursive", [True, False])
def test_the_folder_itself_goes(run: Run, tmp_path: pathlib.Path, recursive: bool) -> None:
    """That is told, and it ends."""

    async def main() -> None:
        for go in (shutil.rmtree, lambda path: path.rename(tmp_path / "elsewhere")):
            root = tmp_path / "root"
            (root / "inner").mkdir(parents=True)
            async with plait.watch(root, recursive=recursive, kinds=QUIET) as watch:
                go(root)
                found = [(change.kind, change.path) async for change in watch]
            assert (DELETED, root) == found[-1]
            with pytest.raises(StopAsyncIteration):
                await anext(watch)

    run(main())


def test_a_file_is_watched_by_its_name(run: Run, tmp_path: pathlib.Path) -> None:
    """From before it is there, through being replaced as editors do it, until its folder goes."""

    async def main() -> None:
        root = tmp_path / "root"
        root.mkdir()
        path = root / "config.toml"
        async with plait.watch(path, kinds=QUIET) as watch:
            (root / "other").touch()
            path.write_text("1")
            (root / "temporary").write_text("2")
            (root / "temporary").rename(path)
            path.rename(root / "backup")
            path.write_text("3")
            path.unlink()
            shutil.rmtree(root)
            found = [told(change, root) async for change in watch]
        assert [
            (CREATED, "config.toml"),
            (WRITTEN, "config.toml"),
            (MOVED, "temporary", "config.toml"),
            (MOVED, "config.toml", "backup"),
            (CREATED, "config.toml"),
            (WRITTEN, "config.toml"),
            (DELETED, "config.toml"),
            (DELETED, "config.toml"),
        ] == found

    run(main())


def test_relative_paths_stay_relative(run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        async with plait.watch(".", kinds=[CREATED]) as folder, plait.watch("x", kinds=[CREATED]) as file:
            (tmp_path / "x").touch()
            assert ["x", "x"] == [str((await anext(watch)).path) for watch in (folder, file)]

    run(main())


def test_lost_events_are_told(run: Run, tmp_path: pathlib.Path) -> None:
    """When nobody reads, the kernel keeps so many; folders that were made meanwhile are watched all the same."""
    most = int(pathlib.Path("/proc/sys/fs/inotify/max_queued_events").read_text())

    async def main() -> None:
        (tmp_path / "file").touch()
        async with plait.watch(tmp_path, recursive=True, kinds=[CREATED, DELETED, OVERFLOW]) as watch:
            for _ in range(most // 2 + 10):
                os.close(os.open(tmp_path / "x", os.O_CREAT))
                os.unlink(tmp_path / "x")
            (tmp_path / "folder").mkdir()
            changes = 0
            while (change := await anext(watch)).kind is not OVERFLOW:
                changes += 1
            assert tmp_path == change.path
            assert changes > most // 2
            (tmp_path / "folder" / "inside").touch()
            while (await anext(watch)).path != tmp_path / "folder" / "inside":
                pass

    run(main())


def test_cancelled_while_waiting_it_goes_on_later(run: Run, tmp_path: pathlib.Path) -> None:
    """A timeout around one change loses none."""

    async def main() -> None:
        async with plait.watch(tmp_path, recursive=True, kinds=[CREATED]) as watch:
            found = []
            for number in range(50):
                folder = tmp_path / f"{number}"
                folder.mkdir()
                (folder / "file").touch()
                task = asyncio.ensure_future(anext(watch))
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    found.append(str((await task).path.relative_to(tmp_path)))
                except asyncio.CancelledError:
                    pass
            while len(found) < 100:
                found.append(str((await anext(watch)).path.relative_to(tmp_path)))
            assert {f"{n}" for n in range(50)} | {f"{n}/file" for n in range(50)} == set(found)

    run(main())


def test_without_a_with_statement(run: Run, tmp_path: pathlib.Path) -> None:
    """It begins when the first change is waited for, and ends with the loop that asks."""

    async def main() -> None:
        async def first() -> Change:
            async for change in plait.watch(tmp_path, kinds=[CREATED]):
                return change
            raise AssertionError

        before = set(os.listdir("/proc/self/fd"))
        task = asyncio.create_task(first())
        while set(os.listdir("/proc/self/fd")) == before:
            await asyncio.sleep(0)
        number = 0
        while not task.done():
            (tmp_path / f"{number}").touch()
            number += 1
            await asyncio.sleep(0)
        assert CREATED is task.result().kind

    run(main())


def test_two_tasks_cannot_ask_at_once(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        async with plait.watch(tmp_path) as watch:
            task = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="a watch of its own"):
                await anext(watch)
            (tmp_path / "x").touch()
            assert tmp_path / "x" == (await task).path
            with pytest.raises(RuntimeError, match="started already"):
                async with watch:
                    pass

    run(main())


def test_what_cannot_be_watched(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError) as caught:
            await anext(plait.watch(tmp_path / "missing" / "file"))
        assert str(tmp_path / "missing") == caught.value.filename
        with pytest.raises(FileNotFoundError) as caught:
            await anext(plait.watch(tmp_path / "missing", recursive=True))
        assert str(tmp_path / "missing") == caught.value.filename

    run(main())


def test_limits_are_told_with_their_remedy(run: Run, tmp_path: pathlib.Path) -> None:
    """As an ordinary user in a program that holds all instances it may have."""
    most = int(pathlib.Path("/proc/sys/fs/inotify/max_user_instances").read_text())

    async def main() -> None:
        held: list[Watch] = []
        with pytest.raises(OSError, match=r"max_user_instances|max_user_watches|ulimit") as caught:
            for _ in range(most + 1):
                watch = plait.watch(tmp_path)
                await watch.__aenter__()
                held.append(watch)
        for watch in held:
            watch.close()
        assert caught.value.errno in (errno.EMFILE, errno.ENOSPC)

    run(main())


def test_no_thread_waits(run: Run, tmp_path: pathlib.Path) -> None:
    """While it waits the loop's engine does; the workers have gone back to sleep."""

    async def main() -> None:
        async with plait.watch(tmp_path) as watch:
            task = asyncio.ensure_future(anext(watch))
            for _ in range(5):
                await asyncio.sleep(0)
            pool = asyncio.get_running_loop()._files.pool
            assert 0 == pool.outstanding
            subprocess.run(["touch", str(tmp_path / "x")], check=True)
            assert tmp_path / "x" == (await task).path

    run(main())


def test_the_second_half_of_a_move_may_come_late(
    run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel puts both halves in one after the other, but they may be read apart and have others between them."""
    inotify = watching.inotify
    (tmp_path / "file").touch()

    async def main() -> None:
        async with plait.watch(tmp_path) as watch:
            root = watch._root
            parts = [
                [(root, inotify.MOVED_FROM, 7, "a"), (root, inotify.CREATE, 0, "between")],
                [(root, inotify.MODIFY, 0, "file"), (root, inotify.MOVED_TO, 7, "b")],
            ]

            class Kernel:
                fd = watch._kernel.fd

                def read(self) -> Any:
                    return parts.pop(0)

            real, watch._kernel = watch._kernel, Kernel()
            (tmp_path / "readable").touch()
            found = [told(await anext(watch), tmp_path) for _ in range(3)]
            assert [(MOVED, "a", "b"), (CREATED, "between"), (MODIFIED, "file")] == found
            assert real

    run(main())
