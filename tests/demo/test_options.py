"""What the demo may be asked for, and how it says no."""

import os
import resource
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from plait.demo.options import WAYS, Refused, Settings, allow_descriptors, find_files, parse, spread

SECONDS = 30


def refusal(words: list[str], prefix: list[str] | None = None, python: list[str] | None = None) -> tuple[int, str]:
    """Exit status and the one line of a demo that must refuse."""
    command = [*(prefix or []), sys.executable, *(python or []), "-m", "plait", "demo", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert ("", 1) == (ended.stdout, len(ended.stderr.splitlines())), ended.stderr
    return ended.returncode, ended.stderr.strip()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--files", "0"], "--files: must be a whole number from 1 to 100,000, not 0"),
        (["--files", "-1"], "--files: must be a whole number from 1 to 100,000, not -1"),
        (["--files", "1e12"], "--files: must be a whole number from 1 to 100,000, not 1e12"),
        (["--files", "1000000000000"], "--files: must be a whole number from 1 to 100,000, not 1000000000000"),
        (["--files", "many"], "--files: must be a whole number from 1 to 100,000, not many"),
        (["--concurrency", "0"], "--concurrency: must be a whole number from 1 to 10,000, not 0"),
        (["--processes", "257"], "--processes: must be a whole number from 1 to 256, not 257"),
        (["--connections", "0"], "--connections: must be a whole number from 1 to 500, not 0"),
        (["--latency", "-5"], "--latency: must be milliseconds from 0 to 10,000, not -5"),
        (["--latency", "nan"], "--latency: must be milliseconds from 0 to 10,000, not nan"),
        (["--latency", "inf"], "--latency: must be milliseconds from 0 to 10,000, not inf"),
        (["--database", "mysql://x"], "--database: must be an address such as postgresql://user@host:5432/name"),
        (["--ways", "plait,magic"], "--ways: knows sequential, threads, processes, asyncio, plait, not 'magic'"),
        (["--speed"], "unrecognized arguments: --speed"),
    ],
    ids=" ".join,
)
def test_silly_input_is_refused_in_one_line(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        parse(words)
    error = capsys.readouterr().err
    assert 2 == raised.value.code
    assert 1 == len(error.splitlines())
    assert expected in error


def test_silly_input_ends_the_command(tmp_path: Path) -> None:
    """The whole way through the command, once."""
    status, line = refusal(["--files", "0"])
    assert (2, True) == (status, line.startswith("plait demo: argument --files: must be"))


def test_a_missing_extra_is_named_with_its_remedy() -> None:
    """-S hides what pip installed: the plain interpreter with plait alone."""
    package = Path(sys.modules["plait"].__file__ or "").parent.parent
    hide = f"import sys; sys.path.insert(0, {str(package)!r}); from plait.cli import main; sys.exit(main())"
    for words, expected in (
        ([], "needs rich,"),
        (["--database", "postgresql://x"], "needs rich and asyncpg and psycopg,"),
    ):
        ended = subprocess.run(
            [sys.executable, "-S", "-c", hide, "demo", *words], capture_output=True, text=True, timeout=SECONDS
        )
        assert (1, "") == (ended.returncode, ended.stdout)
        assert (
            f"plait demo: {expected} which the plain plait does not bring: pip install 'plait[demo]'\n" == ended.stderr
        )


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "empty").mkdir()
    for folder, reason in (
        (tmp_path / "missing", "No such file or directory"),
        (file, "Not a directory"),
    ):
        assert (1, f"plait demo: cannot read the folder {folder}: {reason}") == refusal(["--folder", str(folder)])
    expected = f"plait demo: found no readable file of at most 1 MiB in the folder {tmp_path / 'empty'}"
    assert (1, expected) == refusal(["--folder", str(tmp_path / "empty")])


def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    # Root reads everything, unless it gives that up.
    powers = "-dac_override,-dac_read_search"
    prefix = ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}"] if os.geteuid() == 0 else []
    expected = f"plait demo: cannot read the folder {folder}: Permission denied"
    assert (1, expected) == refusal(["--folder", str(folder)], prefix)


def test_an_unreachable_database_is_named_without_its_password() -> None:
    """Nothing listens at port 1."""
    status, line = refusal(["--database", "postgresql://me:secret@127.0.0.1:1/things"])
    assert 1 == status
    assert line.startswith("plait demo: cannot use the database postgresql://me@127.0.0.1:1/things: ")
    assert "refused" in line
    assert "secret" not in line


def settings(**changed: object) -> Settings:
    return Settings(**{**vars(parse([])), **changed})  # type: ignore[arg-type]


def test_the_default_takes_the_standard_library() -> None:
    folder, files, available = find_files(settings(files=300))
    assert Path(sysconfig.get_path("stdlib")) == folder
    assert 300 == len(set(files)) <= available
    assert files == sorted(files)
    assert not [path for path in files if "site-packages" in path or "__pycache__" in path]


def test_what_is_left_out_of_a_folder(tmp_path: Path) -> None:
    """Hidden, large and special files, links, and names that no page could be asked for."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("b", "deep/er/a.txt", ".secret", ".hidden/c"):
        (tmp_path / name).write_text("x")
    (tmp_path / "large").write_bytes(bytes((1 << 20) + 1))
    (tmp_path / "link").symlink_to(tmp_path / "b")
    os.mkfifo(tmp_path / "pipe")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff")).touch()
    assert (tmp_path, ["b", "deep/er/a.txt"], 2) == find_files(settings(folder=tmp_path))


def test_a_share_is_spread_evenly() -> None:
    assert ["a", "c", "e"] == spread(list("abcdef"), 3)
    assert list("abc") == spread(list("abc"), 3)


@pytest.mark.parametrize(
    ("files", "latency_ms", "expected"),
    [(100, 40.0, 100), (2000, 40.0, 125), (2000, 0.0, 2000), (50, 5000.0, 10), (3, 1e4, 3)],
)
def test_one_after_another_does_a_share_when_all_would_take_too_long(
    files: int, latency_ms: float, expected: int
) -> None:
    assert expected == settings(latency_ms=latency_ms).sequential_files(files)


def test_ways_are_done_in_their_order() -> None:
    assert ("threads", "plait") == parse(["--ways", "plait,threads"]).ways
    assert WAYS == parse([]).ways


def test_descriptors_are_raised_as_far_as_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = (200, 1000)
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, new: given.append(new))
    allow_descriptors(settings(concurrency=50))
    assert [] == given
    allow_descriptors(settings(concurrency=200))
    assert [(328, 1000)] == given
    with pytest.raises(
        Refused, match=r"--concurrency 900 needs 1028 open files, but `ulimit -Hn` allows 1000; .* at most 872"
    ):
        allow_descriptors(settings(concurrency=900))
