"""What glob() and rglob() find is what pathlib of this Python finds, and no name twice."""

import os
import pathlib
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest
from files import trees
from files.trees import as_ordinary_user
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import plait
from plait import Path

import servers

Run = Callable[[Any], Any]

PATTERNS = [
    *(
        "*",
        "a",
        "?",
        "[ab]*",
        "*.txt",
        "folder",
        "folder/*",
        "*/*",
        "*/",
        "folder/",
        "folder/inner/*",
        "missing",
        "missing/*",
    ),
    *(
        "**",
        "**/",
        "**/*",
        "**/*.txt",
        "**/inner",
        "**/inner/*",
        "folder/**",
        "folder/**/*",
        "**/deep/**",
        "**/**",
        "*/**/*",
    ),
    *(
        "**/inner/**/*.py",
        "to_folder/*",
        "to_folder/**",
        "**/up",
        "**/up/*",
        "dangling",
        "to_file",
        "circle",
        "circle/*",
        "da*",
    ),
    *(
        "..",
        "../*",
        "folder/..",
        "folder/../a",
        "**/..",
        "*/..",
        "./a",
        "a/b",
        "a/",
        "a/*",
        "a/..",
        "pipe",
        "nowhere/..",
    ),
    *(
        ".hidden",
        "**/.hidden",
        "**/.*",
        "[!a-m]*",
        "[",
        "[]",
        "*[",
        "A",
        "FOLDER/*",
        "",
        ".",
        "/",
        "/a",
        "**x",
        "a**",
        "***",
    ),
]


async def found(root: pathlib.Path, method: str, pattern: str, **options: Any) -> Any:
    """The names, or the kind of error."""
    try:
        return sorted([str(path) async for path in getattr(Path(root), method)(pattern, **options)])
    except (ValueError, NotImplementedError, IndexError) as error:
        return type(error)


def expected(root: pathlib.Path, method: str, pattern: str, **options: Any) -> Any:
    try:
        return sorted({str(path) for path in getattr(root, method)(pattern, **options)})
    except (IndexError, AttributeError):
        return ValueError  # slips of 3.11 with patterns of nothing, which later ones refuse in words
    except (ValueError, NotImplementedError) as error:
        return type(error)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    return trees.make(tmp_path / "tree")


@pytest.mark.parametrize("method", ["glob", "rglob"])
def test_patterns(run: Run, tree: pathlib.Path, method: str) -> None:
    async def main() -> None:
        for pattern in PATTERNS:
            if method == "rglob" and pattern == "/":
                continue  # a trailing slash of nothing, which each version takes differently
            assert (pattern, expected(tree, method, pattern)) == (pattern, await found(tree, method, pattern))

    run(main())


def test_from_the_current_folder(run: Run, tree: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)

    async def main() -> None:
        for root in (pathlib.Path("."), pathlib.Path("folder"), pathlib.Path("folder/..")):
            for pattern in ("*", "**", "**/*", "**/*.txt", "inner/*", "folder/../*"):
                assert expected(root, "glob", pattern) == await found(root, "glob", pattern)

    run(main())


@pytest.mark.parametrize("start", ["missing", "a", "dangling", "circle", "to_folder"])
def test_where_it_starts(run: Run, tree: pathlib.Path, start: str) -> None:
    """A file or nothing has nothing below; a symbolic link to a folder is that folder."""

    async def main() -> None:
        for pattern in ("*", "**", "**/*", "two", "inner/*"):
            assert expected(tree / start, "glob", pattern) == await found(tree / start, "glob", pattern)

    run(main())


def test_case_and_links(run: Run, tree: pathlib.Path) -> None:
    """The arguments of newer Pythons work on all; here their meaning is written down."""

    async def main() -> None:
        names = await found(tree, "glob", "FOLDER/**/*.TXT", case_sensitive=False)
        assert ["folder/inner/two.txt", "folder/one.txt"] == [os.path.relpath(name, tree) for name in names]
        assert [] == await found(tree, "glob", "FOLDER/*", case_sensitive=True)
        (tree / "folder" / "up").unlink()
        names = await found(tree, "rglob", "two.txt", recurse_symlinks=True)
        assert ["folder/inner/two.txt", "to_folder/inner/two.txt"] == [os.path.relpath(name, tree) for name in names]
        names = await found(tree, "rglob", "two.txt")
        assert ["folder/inner/two.txt"] == [os.path.relpath(name, tree) for name in names]
        if sys.version_info >= (3, 13):
            for pattern in ("**/*.txt", "**", "*/**/*"):
                options: dict[str, Any] = {"recurse_symlinks": True, "case_sensitive": False}
                assert expected(tree, "glob", pattern, **options) == await found(tree, "glob", pattern, **options)

    run(main())


PARTS = st.sampled_from(["*", "**", "a", "b", "a*", "?", "[ab]", "..", "*b", "link", "."])
NAMES = st.sampled_from(["a", "b", "ab", "ba", "link"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=8),
    links=st.lists(
        st.tuples(st.lists(NAMES, min_size=1, max_size=3), st.sampled_from(["a", "..", "a/b", "nowhere"])), max_size=3
    ),
    pattern=st.lists(PARTS, min_size=1, max_size=5),
    folders_only=st.booleans(),
)
@example([["a", "b"], ["a", "a", "b"]], [], ["**", "a", "**", "b"], False)
@example([["a", "b"]], [(["link"], "a")], ["**", "link", "**"], False)
def test_any_tree_and_pattern(
    tmp_path: pathlib.Path,
    names: list[list[str]],
    links: list[tuple[list[str], str]],
    pattern: list[str],
    folders_only: bool,
) -> None:
    root = tmp_path / "tree"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for parts in names:
        plant(root.joinpath(*parts), pathlib.Path.touch)
    for parts, target in links:
        plant(root.joinpath(*parts), lambda path, target=target: path.symlink_to(target))
    text = "/".join(pattern) + "/" * folders_only

    async def main() -> None:
        assert (text, expected(root, "glob", text)) == (text, await found(root, "glob", text))

    plait.run(main())


def plant(path: pathlib.Path, make: Callable[[pathlib.Path], object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
    except OSError:
        pass  # another is there, or a file where a folder should be


def test_a_folder_that_may_be_searched_but_not_read(run: Run) -> None:
    """What is named is found in it; what would have to be listed is not there. Other folders are not concerned."""

    async def main(root: pathlib.Path) -> None:
        (root / "shut" / "inner").mkdir(parents=True)
        (root / "shut" / "inner" / "x").touch()
        (root / "open").mkdir()
        (root / "open" / "x").touch()
        (root / "shut").chmod(0o711)
        with as_ordinary_user():
            assert [str(root / "shut/inner/x")] == await found(root, "glob", "shut/inner/x")
            assert [str(root / "open/x")] == await found(root, "glob", "o*/x")
            assert str(root / "open/x") in await found(root, "glob", "**/x")
        (root / "shut").chmod(0o700)

    with servers.temporary_folder("glob") as folder:
        folder.chmod(0o755)
        run(main(folder))


def test_a_folder_of_many_batches(run: Run, tmp_path: pathlib.Path) -> None:
    async def main() -> None:
        for number in range(3000):
            (tmp_path / f"{number:04}{'x' * (number % 90)}").touch()
        assert sorted(os.listdir(tmp_path)) == sorted([path.name async for path in Path(tmp_path).iterdir()])
        assert expected(tmp_path, "glob", "*7*") == await found(tmp_path, "glob", "*7*")
        assert expected(tmp_path, "glob", "**/*7*") == await found(tmp_path, "glob", "**/*7*")
        ((_, folders, files),) = [step async for step in Path(tmp_path).walk()]
        assert ([], sorted(os.listdir(tmp_path))) == (folders, sorted(files))

    run(main())


@pytest.mark.parametrize("top_down", [True, False])
@pytest.mark.parametrize("follow_symlinks", [True, False])
def test_walk(run: Run, tree: pathlib.Path, top_down: bool, follow_symlinks: bool) -> None:
    """As os.walk, but that links to folders are files unless they are followed."""
    (tree / "folder" / "up").unlink()

    async def main() -> None:
        steps = [step async for step in Path(tree).walk(top_down, follow_symlinks=follow_symlinks)]
        names = [str(path) for path, _, _ in steps]
        for path, folders, files in steps:
            assert sorted(os.listdir(path)) == sorted(folders + files)
            for name in folders:
                assert (names.index(str(path)) < names.index(str(path / name))) == top_down
                assert (path / name).name == name
                assert pathlib.Path(path, name).is_dir()
            for name in files:
                assert not pathlib.Path(path, name).is_dir() or pathlib.Path(path, name).is_symlink()
        assert (str(tree / "to_folder") in names) == follow_symlinks
        assert len(names) == len(set(names))

    run(main())


def test_walk_goes_where_it_is_told(run: Run, tree: pathlib.Path) -> None:
    async def main() -> None:
        names = []
        async for path, folders, _ in Path(tree).walk():
            names.append(path.name)
            folders[:] = [name for name in folders if name not in ("inner", "void")]
        assert ["tree", "folder"] == names
        errors: list[OSError] = []
        assert [] == [step async for step in Path(tree, "a").walk(on_error=errors.append)]
        assert [NotADirectoryError] == list(map(type, errors))
        assert [] == [step async for step in Path(tree, "missing").walk()]

    run(main())
