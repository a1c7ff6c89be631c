"""plait.Path does what pathlib.Path of this Python does, awaited."""

import asyncio
import copy
import errno
import inspect
import os
import pathlib
import pickle
import resource
import shutil
import stat
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from files import trees
from files.trees import as_ordinary_user
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import plait
from plait import Path

import servers

Run = Callable[[Any], Any]

# Deprecated and gone from the newest pathlib, or about Windows.
NOT_TAKEN_OVER = {"link_to", "is_reserved"}


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")} - NOT_TAKEN_OVER


def test_no_name_of_pathlib_or_anyio_is_missing() -> None:
    assert set() == public(pathlib.Path) - public(Path)
    assert set() == public(anyio.Path) - public(Path) - {"limiter"}


def test_arguments_are_those_of_pathlib() -> None:
    """By name, order and default, so that a program changes by `await` alone."""
    for name in sorted(public(pathlib.Path)):
        theirs, ours = getattr(pathlib.Path, name), getattr(Path, name)
        if not inspect.isfunction(theirs) or not inspect.isfunction(ours):
            continue
        expected = inspect.signature(theirs).parameters
        found = inspect.signature(ours).parameters
        if any(one.kind is one.VAR_KEYWORD for one in expected.values()):
            continue
        assert list(expected) == [one for one in found if one in expected], name
        assert [one.default for one in expected.values()] == [found[one].default for one in expected], name


def test_it_is_a_pure_path_equal_to_pathlibs() -> None:
    ours, theirs = Path("/usr", "lib") / "x.tar.gz", pathlib.Path("/usr/lib/x.tar.gz")
    assert theirs == ours
    assert ours == theirs
    assert hash(theirs) == hash(ours)
    assert {theirs: 1}[ours] == 1
    assert Path("/a") < pathlib.Path("/b") < Path("/c")
    assert "/usr/lib/x.tar.gz" == os.fspath(ours) == str(ours)
    assert bytes(theirs) == bytes(ours)
    assert isinstance(ours, pathlib.PurePosixPath)
    assert isinstance(ours, os.PathLike)
    assert not isinstance(ours, pathlib.Path)
    assert theirs == pathlib.Path(ours)
    assert (Path("/usr"), "x.tar.gz", ".gz", ["x", "y"]) == (
        ours.parents[1],
        ours.name,
        ours.suffix,
        list(Path("/usr/lib/x/y").relative_to(theirs.parent).parts),
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path / "x",
        lambda path: "/x" / path,
        lambda path: path / pathlib.Path("x"),
        lambda path: pathlib.PurePath("/x") / path,
        lambda path: path.joinpath("x", "y"),
        lambda path: path.parent,
        lambda path: path.parents[0],
        lambda path: path.with_name("x"),
        lambda path: path.with_stem("x"),
        lambda path: path.with_suffix(".x"),
        lambda path: path.relative_to("a"),
        lambda path: path.with_segments("x", "y"),
        lambda path: copy.copy(path),
        lambda path: copy.deepcopy(path),
        lambda path: pickle.loads(pickle.dumps(path)),
    ],
)
def test_what_is_made_of_a_path_is_one(make: Callable[[Any], Any]) -> None:
    """Of the same class; where pathlib's own class stands left of a `/`, of that."""
    found = make(Path("a/b.txt"))
    assert Path is type(found) or isinstance(found, pathlib.PurePath)
    pure = make(pathlib.PurePosixPath("a/b.txt")) if hasattr(pathlib.PurePosixPath, "with_segments") else found
    assert pure == found


def test_a_subclass_stays_itself(run: Run, tmp_path: pathlib.Path) -> None:
    class Own(Path):
        pass

    async def main() -> None:
        (tmp_path / "x").touch()
        here = Own(tmp_path)
        found = [
            here / "x",
            here.parent,
            await here.resolve(),
            await (here / "x").rename(here / "y"),
            *[path async for path in here.iterdir()],
            *[path async for path in here.rglob("*")],
            *[path async for path, _, _ in here.walk()],
        ]
        assert {Own} == set(map(type, found))
        assert Own is type(await Own.cwd())

    run(main())


def test_uris() -> None:
    path = Path("/a b/ü/#?")
    assert pathlib.Path("/a b/ü/#?").as_uri() == path.as_uri()
    assert path == Path.from_uri(path.as_uri())
    assert [Path("/x")] * 3 == [Path.from_uri(uri) for uri in ("file:/x", "file:///x", "file://localhost/x")]
    for wrong in ("http://x/", "file:x", "x"):
        with pytest.raises(ValueError, match="URI"):
            Path.from_uri(wrong)
    with pytest.raises(ValueError, match="relative"):
        Path("x").as_uri()


def test_without_a_loop_of_plait_the_error_says_what_to_do(tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        await Path(tmp_path).exists()

    with pytest.raises(RuntimeError, match=r"plait\.run\(main\(\)\)"):
        asyncio.run(main())


# Against pathlib: what is asked of two equal trees.

Asked = Callable[[Any], Any]


async def outcome(ask: Asked, path: Any, root: pathlib.Path) -> Any:
    """What a call gives or raises, awaited and gathered where it must be."""
    try:
        value = ask(path)
        if inspect.isawaitable(value):
            value = await value
        if hasattr(value, "__aiter__"):
            value = sorted([trees.told(one, root) async for one in value], key=str)
        elif inspect.isgenerator(value) or isinstance(value, map | filter):
            value = sorted([trees.told(one, root) for one in value], key=str)
    except Exception as error:
        value = error
    return trees.told(value, root)


QUESTIONS: dict[str, Asked] = {
    "stat": lambda p: p.stat(),
    "lstat": lambda p: p.lstat(),
    "stat of the link": lambda p: p.stat(follow_symlinks=False),
    "exists": lambda p: p.exists(),
    "is_dir": lambda p: p.is_dir(),
    "is_file": lambda p: p.is_file(),
    "is_symlink": lambda p: p.is_symlink(),
    "is_fifo": lambda p: p.is_fifo(),
    "is_socket": lambda p: p.is_socket(),
    "is_block_device": lambda p: p.is_block_device(),
    "is_char_device": lambda p: p.is_char_device(),
    "is_mount": lambda p: p.is_mount(),
    "owner": lambda p: p.owner(),
    "group": lambda p: p.group(),
    "resolve": lambda p: p.resolve(),
    "resolve strictly": lambda p: p.resolve(strict=True),
    "absolute": lambda p: p.absolute(),
    "expanduser": lambda p: p.expanduser(),
    "readlink": lambda p: p.readlink(),
    "iterdir": lambda p: p.iterdir(),
    "samefile": lambda p: p.samefile(p.parent / "a"),
    "samefile by name": lambda p: p.samefile(str(p.parent / "to_file")),
    "mkdir": lambda p: p.mkdir(),
    "mkdir if needed": lambda p: p.mkdir(exist_ok=True),
    "mkdir with parents": lambda p: (p / "x" / "y").mkdir(0o750, parents=True),
    "rmdir": lambda p: p.rmdir(),
    "unlink": lambda p: p.unlink(),
    "unlink if there": lambda p: p.unlink(missing_ok=True),
    "rename": lambda p: p.rename(p.parent / "new"),
    "rename onto a file": lambda p: p.rename(str(p.parent / "b.txt")),
    "rename onto a folder": lambda p: p.rename(p.parent / "folder"),
    "replace": lambda p: p.replace(p.parent / "void"),
    "symlink_to": lambda p: p.symlink_to("a"),
    "symlink from new": lambda p: (p.parent / "new").symlink_to(p),
    "hardlink_to": lambda p: (p.parent / "new").hardlink_to(p),
    "chmod": lambda p: p.chmod(0o600),
    "lchmod": lambda p: p.lchmod(0o600),
    "touch": lambda p: p.touch(),
    "touch new only": lambda p: p.touch(0o600, exist_ok=False),
}
# On a named pipe these would wait for its other end, in pathlib as well.
OF_FILES: dict[str, Asked] = {
    "read_bytes": lambda p: p.read_bytes(),
    "read_text": lambda p: p.read_text("latin-1"),
    "read_text wrongly": lambda p: p.read_text("utf-8"),
    "read_text of no encoding": lambda p: p.read_text("nope"),
    "write_bytes": lambda p: p.write_bytes(b"new"),
    "write_bytes of a view": lambda p: p.write_bytes(memoryview(b"12345678").cast("I")),
    "write_bytes of nothing": lambda p: p.write_bytes(b""),
    "write_bytes of text": lambda p: p.write_bytes("text"),
    "write_text": lambda p: p.write_text("new\nüber", "utf-16"),
    "write_text with newlines": lambda p: p.write_text("a\nb\r\n", newline="\r\n"),
    "write_text of bytes": lambda p: p.write_text(b"x"),
}
NAMES = [
    *("a", "b.txt", "empty", "folder", "void", "to_file", "to_folder", "dangling", "circle", "missing", "a/x"),
    *("folder/inner/two.txt", "to_folder/one.txt", "folder/../a", "missing/x", "x" * 300, "nul\0"),
]


@pytest.mark.parametrize("name", [*NAMES, "pipe"])
def test_each_method_does_what_pathlibs_does(run: Run, tmp_path: pathlib.Path, name: str) -> None:
    """Results, errors with their paths, and what is in the tree afterwards."""
    questions = QUESTIONS if name == "pipe" else QUESTIONS | OF_FILES

    async def main() -> None:
        for number, (what, ask) in enumerate(questions.items()):
            theirs = trees.make(tmp_path / f"theirs{number}")
            ours = trees.make(tmp_path / f"plaits{number}")
            expected = await outcome(ask, theirs / name, theirs)
            found = await outcome(ask, Path(ours, name), ours)
            assert (what, expected) == (what, found)
            assert (what, trees.contents(theirs)) == (what, trees.contents(ours))

    run(main())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    program=st.lists(
        st.tuples(st.sampled_from(sorted(QUESTIONS | OF_FILES)), st.sampled_from([*NAMES, "new", "void/new"])),
        min_size=2,
        max_size=12,
    )
)
def test_programs_of_methods_leave_the_same_tree(tmp_path: pathlib.Path, program: list[tuple[str, str]]) -> None:
    """What one call leaves behind is what the next one meets."""

    async def main() -> None:
        for step, (what, name) in enumerate(program):
            ask = (QUESTIONS | OF_FILES)[what]
            expected = await outcome(ask, theirs / name, theirs)
            found = await outcome(ask, Path(ours, name), ours)
            assert (step, what, name, expected) == (step, what, name, found)
        assert trees.contents(theirs) == trees.contents(ours)

    # Names of one length: a symbolic link is as large as the path that it says.
    for folder in ("theirs", "plaits"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    theirs, ours = trees.make(tmp_path / "theirs"), trees.make(tmp_path / "plaits")
    for root in (theirs, ours):
        (root / "pipe").unlink()
    plait.run(main())


def test_text_is_decoded_as_open_does(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        theirs, ours = tmp_path / "theirs", Path(tmp_path / "ours")
        for text in ("", "a\nb\r\nc\rd", "ü€", "\N{BYTE ORDER MARK}x"):
            for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
                for newline in (None, "", "\n", "\r\n"):
                    try:
                        expected = theirs.write_text(text, encoding, "replace", newline)
                    except ValueError as error:
                        with pytest.raises(type(error)):
                            await ours.write_text(text, encoding, "replace", newline)
                        continue
                    assert expected == await ours.write_text(text, encoding, "replace", newline)
                    assert theirs.read_bytes() == ours_bytes(ours)
                    with theirs.open(encoding=encoding, errors="strict", newline=newline) as file:
                        assert file.read() == await ours.read_text(encoding, "strict", newline)

    run(main())


def ours_bytes(path: Path) -> bytes:
    return pathlib.Path(path).read_bytes()


def test_text_that_cannot_be_encoded_leaves_the_file_alone(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        path = Path(tmp_path, "file")
        await path.write_text("kept")
        with pytest.raises(UnicodeEncodeError):
            await path.write_text("ü", "ascii")
        assert "kept" == await path.read_text()

    run(main())


def test_newer_arguments_are_there_on_every_python(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        root = Path(trees.make(tmp_path / "tree"))
        assert "one\r\ntwo\n" == await (root / "a").read_text(newline="")
        assert not await (root / "dangling").exists()
        assert await (root / "dangling").exists(follow_symlinks=False)
        assert not await (root / "to_folder").is_dir(follow_symlinks=False)
        assert not await (root / "to_file").is_file(follow_symlinks=False)
        assert await (root / "to_file").owner(follow_symlinks=False)
        assert await (root / "to_file").group(follow_symlinks=False)
        assert not await root.is_junction()
        before = os.umask(0)
        try:
            await (root / "p" / "q").mkdir(0o711, parents=True, parent_mode=0o755)
        finally:
            os.umask(before)
        modes = [stat.S_IMODE((await path.stat()).st_mode) for path in (root / "p", root / "p" / "q")]
        assert [0o755, 0o711] == modes

    run(main())


def test_info_asks_once(run: Run, tmp_path: pathlib.Path) -> None:
    """And not at all of what a listing has told."""

    async def main() -> None:
        root = Path(trees.make(tmp_path / "tree"))
        info = (root / "a").info
        assert (True, True, False, False) == (
            await info.exists(),
            await info.is_file(),
            await info.is_dir(),
            await info.is_symlink(),
        )
        await (root / "a").unlink()
        assert await info.exists()
        assert not await (root / "a").info.exists()
        listed = {path.name: path.info async for path in root.iterdir()}
        shutil.rmtree(root)
        assert await listed["folder"].is_dir()
        assert await listed["empty"].is_file()
        assert await listed["dangling"].is_symlink()
        assert not await listed["to_file"].is_file()

    run(main())


def test_folders_of_the_process(run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    async def main() -> None:
        assert tmp_path == await Path.cwd() == await Path.home() == await Path("~").expanduser()
        assert tmp_path / "x" == await Path("~/x").expanduser() == await Path("x").absolute()
        assert pathlib.Path("~root").expanduser() == await Path("~root").expanduser()
        with pytest.raises(RuntimeError, match="home"):
            await Path("~nobody-of-this-name/x").expanduser()
        (tmp_path / "x").touch()
        assert ["x"] == [str(path) async for path in Path().iterdir()]
        assert [("x",)] == [path.parts async for path in Path(".").rglob("*")]

    run(main())


def test_unencodable_names(run: Run, tmp_path: pathlib.Path) -> None:
    """File names are bytes; those that are no UTF-8 come and go as surrogates."""

    async def main() -> None:
        raw = os.fsencode(tmp_path) + b"/\xff\xfe"
        os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))
        (path,) = [path async for path in Path(tmp_path).iterdir()]
        assert raw == bytes(path)
        await path.write_text("x")
        assert "x" == await path.read_text()
        assert [path] == [found async for found in Path(tmp_path).glob("*")]

    run(main())


def test_files_without_a_size(run: Run) -> None:
    """Those of /proc say that they are empty, /sys says 4096."""

    async def main() -> None:
        assert pathlib.Path("/proc/self/cmdline").read_bytes() == await Path("/proc/self/cmdline").read_bytes()
        assert pathlib.Path("/proc/cpuinfo").read_bytes()[:100] == (await Path("/proc/cpuinfo").read_bytes())[:100]
        assert pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled").read_bytes() == (
            await Path("/sys/kernel/mm/transparent_hugepage/enabled").read_bytes()
        )
        assert b"" == await Path("/dev/null").read_bytes()

    run(main())


def test_large_files(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        data = os.urandom(1024 * 1024) * 5 + b"rest"
        path = Path(tmp_path, "large")
        assert len(data) == await path.write_bytes(data)
        assert data == await path.read_bytes()

    run(main())


def test_a_named_pipe_is_read_to_its_end(run: Run, tmp_path: pathlib.Path) -> None:
    """Also when nobody has it open for writing yet."""

    async def main() -> None:
        path = Path(tmp_path, "pipe")
        os.mkfifo(path)
        for _ in range(3):
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(path.read_bytes())
                await asyncio.sleep(0)
                await path.write_bytes(b"through the pipe" * 10_000)
            assert b"through the pipe" * 10_000 == reading.result()

    run(main())


def test_permissions_of_an_ordinary_user(run: Run) -> None:
    """The same refusals as pathlib's."""
    questions = [one for one in QUESTIONS if one not in ("owner", "group", "resolve", "is_mount")]

    async def main(tmp_path: pathlib.Path) -> None:
        for what in [*questions, "read_bytes", "write_bytes"]:
            ask = (QUESTIONS | OF_FILES)[what]
            roots = [tmp_path / f"{who} {what}" for who in ("theirs", "plaits")]
            for root in roots:
                make_closed(root)
            with as_ordinary_user():
                for name in ("closed/file", "closed", "no_write/file", "no_write/new", "unreadable"):
                    expected = await outcome(ask, roots[0] / name, roots[0])
                    found = await outcome(ask, Path(roots[1], name), roots[1])
                    assert (what, name, expected) == (what, name, found)
            for root in roots:
                for inside in os.listdir(root):
                    (root / inside).chmod(0o700)

    # Where others may search, unlike in pytest's folders.
    with servers.temporary_folder("paths") as folder:
        folder.chmod(0o755)
        run(main(folder))


def make_closed(root: pathlib.Path) -> None:
    root.mkdir()
    for name, mode in (("closed", 0), ("no_write", 0o555)):
        (root / name).mkdir()
        (root / name / "file").write_text("x")
        (root / name).chmod(mode)
    (root / "unreadable").write_text("x")
    (root / "unreadable").chmod(0)


def test_out_of_descriptors(run: Run, tmp_path: pathlib.Path) -> None:
    """EMFILE is told with the path; nothing is lost, and afterwards it works again."""

    async def main() -> None:
        path = Path(tmp_path, "file")
        await path.write_bytes(b"x")
        await path.resolve()  # the workers are there
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 2, before[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    held.append(os.open("/dev/null", os.O_RDONLY))
            for call in (path.read_bytes, lambda: path.write_bytes(b"y")):
                with pytest.raises(OSError, match="Too many open files") as caught:
                    await call()
                assert (errno.EMFILE, str(path)) == (caught.value.errno, caught.value.filename)
            with pytest.raises(OSError, match="Too many open files"):
                await path.copy(f"{path}2")
            with pytest.raises(OSError, match="Too many open files"):
                [one async for one in Path(tmp_path).iterdir()]
        finally:
            for fd in held:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert b"x" == await path.read_bytes()

    run(main())


def test_cancelled_at_every_await(run: Run, tmp_path: pathlib.Path) -> None:
    """Whenever the cancel comes, the task ends by it or with its result, and nothing stays open (the fixtures look)."""

    async def main() -> None:
        root = Path(trees.make(tmp_path / "tree"))

        async def everything() -> None:
            await (root / "a").read_bytes()
            await (root / "w").write_bytes(b"x" * 100_000)
            [path async for path in root.iterdir()]
            [path async for path in root.rglob("*")]
            [path async for path in root.walk()]
            await (root / "folder").copy(root / "copied")
            await (root / "pipe").read_bytes()

        for turns in range(200):
            task = asyncio.create_task(everything())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                async with asyncio.timeout(10):
                    await task
            except asyncio.CancelledError:
                pass
            except FileExistsError:
                pass  # an earlier round got so far
            shutil.rmtree(root / "copied", ignore_errors=True)

    run(main())


def test_a_ticker_keeps_its_time_beside_it(run: Run, tmp_path: pathlib.Path) -> None:
    """A folder of many entries is listed and searched in batches between which others have their turns."""

    async def main() -> None:
        for number in range(3000):
            (tmp_path / f"file {number}").touch()
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        ticker = asyncio.create_task(tick())
        for search in (lambda: Path(tmp_path).iterdir(), lambda: Path(tmp_path).rglob("*")):
            turns = 0
            assert 3000 == len([path async for path in search()])
            assert turns > 8
        ticker.cancel()

    run(main())


def test_a_broken_off_listing_closes_its_folder(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        for number in range(2000):
            (tmp_path / f"file {number}").touch()
        await Path(tmp_path).resolve()  # the workers are there
        before = set(os.listdir("/proc/self/fd"))
        for iterator in (Path(tmp_path).iterdir(), Path(tmp_path).glob("*")):
            async for _ in iterator:
                break
            await iterator.aclose()
        assert before == set(os.listdir("/proc/self/fd"))

    run(main())
