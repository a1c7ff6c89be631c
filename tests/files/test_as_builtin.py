"""Random programs of operations give the same on plait.open() and on the built-in open(): results, errors and what is in the file."""

import asyncio
import io
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import plait

EXAMPLES = int(os.environ.get("PLAIT_TEST_EXAMPLES", "300"))
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 300,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Program:
    """How a file is opened, what it holds before, and what is done with it."""

    content: bytes
    arguments: dict[str, Any]
    steps: list[tuple[Any, ...]]


SIZES = st.one_of(st.none(), st.integers(-1, 40), st.integers(-1, 9000))
LENGTHS = st.one_of(st.integers(-1, 40), st.integers(-1, 9000))
OFFSETS = st.one_of(st.integers(-3, 60), st.integers(0, 20_000))
MODES = ["r", "w", "a", "x", "r+", "w+", "a+", "x+"]
LINES = st.lists(
    st.one_of(st.text("ab é€\U0001f600\x85\u2028", max_size=12), st.sampled_from(["", "x" * 300, "z" * 5000])),
    max_size=6,
)
ENDS = st.sampled_from(["\n", "\r", "\r\n", "\n\r", "\r\r\n", ""])
TEXTS = st.builds(lambda lines, ends: "".join(a + b for a, b in zip(lines, ends, strict=False)), LINES, st.lists(ENDS))
BYTES = st.one_of(
    TEXTS.map(str.encode), st.binary(max_size=30), st.binary(min_size=1, max_size=3).map(lambda b: b * 3000)
)


WRONG: list[tuple[Any, ...]] = [("write", 5), ("write", None), ("read", "x"), ("seek", 0, 9)]


def steps_of(kind: type) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    data = BYTES if kind is bytes else TEXTS
    common = [
        st.tuples(st.just("read"), SIZES),
        st.tuples(st.just("readline"), LENGTHS),
        st.tuples(st.just("readlines"), SIZES),
        st.just(("next",)),
        st.tuples(st.just("write"), data),
        st.tuples(st.just("writelines"), st.lists(data, max_size=3)),
        st.just(("tell",)),
        st.just(("flush",)),
        st.just(("seek", 0)),
        st.just(("seek", 0, os.SEEK_END)),
        st.sampled_from(
            [("close",), ("fileno",), ("isatty",), ("readable",), ("writable",), ("seekable",), ("position",)]
        ),
        st.sampled_from(WRONG),
    ]
    binary = [
        st.tuples(st.just("seek"), OFFSETS),
        st.tuples(st.just("seek"), OFFSETS, st.sampled_from([os.SEEK_CUR, os.SEEK_END])),
        st.tuples(st.just("truncate"), st.one_of(st.none(), OFFSETS)),
        st.tuples(st.just("readinto"), st.integers(0, 9000)),
    ]
    text = [
        st.just(("mark",)),
        st.tuples(st.just("go"), st.integers(0, 5)),
        st.just(("truncate", None)),
        st.just(("newlines",)),
    ]
    return st.lists(st.one_of(*common, *(binary if kind is bytes else text)), max_size=12)


BINARY = st.builds(
    Program,
    content=BYTES,
    arguments=st.fixed_dictionaries(
        {
            "mode": st.sampled_from([mode + "b" for mode in MODES]),
            "buffering": st.sampled_from([-1, -1, 0, 2, 7, 16, 4096]),
        }
    ),
    steps=steps_of(bytes),
)
ENCODINGS = [
    "utf-8",
    "utf-8",
    "utf-8",
    "latin-1",
    "ascii",
    "utf-16",
    "utf-32-be",
    "utf-8-sig",
    "iso2022_jp",
    "shift_jis",
    "utf-7",
]
TEXT = st.builds(
    Program,
    content=st.one_of(
        BYTES, st.builds(lambda text, name: text.encode(name, "replace"), TEXTS, st.sampled_from(ENCODINGS))
    ),
    arguments=st.fixed_dictionaries(
        {
            "mode": st.sampled_from(MODES),
            "buffering": st.sampled_from([-1, -1, 1, 7, 4096]),
            "encoding": st.sampled_from(ENCODINGS),
            "errors": st.sampled_from([None, "replace", "ignore", "surrogateescape", "backslashreplace"]),
            "newline": st.sampled_from([None, None, "", "\n", "\r", "\r\n"]),
        }
    ),
    steps=steps_of(str),
)


def failure(error: Exception) -> tuple[str, object]:
    # What is wrong is told by the class, and by the number where there is one. From 3.12 on read(None) of what cannot be read finds
    # fault with the None.
    if isinstance(error, TypeError) and "NoneType" in str(error):
        return "UnsupportedOperation", None
    return type(error).__name__, getattr(error, "errno", None)


class Marks(list[int]):
    """Positions that a program noted to go to later."""

    def at(self, index: int) -> int:
        return self[index % len(self)] if self else 0


def builtin_step(file: Any, step: tuple[Any, ...], marks: Marks) -> object:
    name, *arguments = step
    if name == "next":
        try:
            return next(file)
        except StopIteration:
            return "the end"
    if name == "mark":
        marks.append(file.tell())
        return marks[-1]
    if name == "go":
        return file.seek(marks.at(*arguments))
    if name == "position":
        file.flush()
        return os.lseek(file.fileno(), 0, os.SEEK_CUR) if file.writable() else None
    if name == "newlines":
        return file.newlines
    if name == "fileno":
        return file.fileno() >= 0
    if name == "readinto":
        buffer = bytearray(*arguments)
        return file.readinto(buffer), bytes(buffer)
    if file.closed and name in ("readable", "writable", "writelines"):
        raise ValueError  # the built-in is of two minds about these
    if step == ("readline", 0) and not file.readable() and isinstance(file, io.BufferedIOBase | io.RawIOBase):
        raise io.UnsupportedOperation  # the built-in gives b"" here, as it looks at the file only when it needs something
    return getattr(file, name)(*arguments)


async def plait_step(file: Any, step: tuple[Any, ...], marks: Marks) -> object:
    name, *arguments = step
    if name == "next":
        try:
            return await anext(file)
        except StopAsyncIteration:
            return "the end"
    if name == "mark":
        marks.append(await file.tell())
        return marks[-1]
    if name == "go":
        return await file.seek(marks.at(*arguments))
    if name == "position":
        await file.flush()
        return os.lseek(file.fileno(), 0, os.SEEK_CUR) if file.writable() else None
    if name == "newlines":
        return file.newlines
    if name == "fileno":
        return file.fileno() >= 0
    if name == "readinto":
        buffer = bytearray(*arguments)
        return await file.readinto(buffer), bytes(buffer)
    result = getattr(file, name)(*arguments)
    return await result if isinstance(result, Awaitable) else result


def on_builtin(path: Path, program: Program) -> list[object]:
    found: list[object] = []
    marks = Marks()
    try:
        file = open(path, **program.arguments)  # noqa: SIM115 - a program closes it, or not
    except Exception as error:
        return [failure(error)]
    for step in program.steps:
        try:
            found.append((step[0], builtin_step(file, step, marks)))
        except Exception as error:
            found.append((step[0], "refused" if step in WRONG or file.closed else failure(error)))
    try:
        file.close()
    except Exception as error:
        found.append(failure(error))
    return found


async def on_plait(path: Path, program: Program) -> list[object]:
    found: list[object] = []
    marks = Marks()
    try:
        file = await plait.open(path, **program.arguments)
    except Exception as error:
        return [failure(error)]
    for step in program.steps:
        try:
            found.append((step[0], await plait_step(file, step, marks)))
        except Exception as error:
            found.append((step[0], "refused" if step in WRONG or file.closed else failure(error)))
    try:
        await file.close()
    except Exception as error:
        found.append(failure(error))
    return found


def spared(program: Program) -> Program:
    """With a flush wherever the two may differ.

    A text file that reads after a write loses the order of the two on the built-in (BufferedRandom.read1() looks only at what is in the
    file). And where a file that is appended to stands after a seek, depends on when its buffer was emptied.
    """
    mode = program.arguments["mode"]
    flush = ("flush",)
    steps: list[tuple[Any, ...]] = []
    for step in program.steps:
        if "a" in mode and step[0] in ("tell", "mark"):
            steps.append(flush)
        steps.append(step)
        if "+" in mode and "b" not in mode and step[0].startswith("write"):
            steps.append(flush)
    return replace(program, steps=steps)


def compare(program: Program, folder: Path, run: Callable[..., Any]) -> None:
    program = spared(program)
    paths = [folder / "builtin", folder / "plait"]
    for path in paths:
        path.unlink(missing_ok=True)
        if "x" not in program.arguments["mode"] or program.content[:1] == b"x":
            path.write_bytes(program.content)
    expected = on_builtin(paths[0], program)
    assert expected == run(on_plait(paths[1], program))
    expected_content, content = (path.read_bytes() if path.exists() else None for path in paths)
    assert expected_content == content


def test_binary_programs(run: Callable[..., Any], tmp_path: Path) -> None:
    @SETTINGS
    @given(BINARY)
    def check(program: Program) -> None:
        compare(program, tmp_path, run)

    check()


def test_text_programs(run: Callable[..., Any], tmp_path: Path) -> None:
    @SETTINGS
    @given(TEXT)
    def check(program: Program) -> None:
        compare(program, tmp_path, run)

    check()


def test_several_files_at_once(run: Callable[..., Any], tmp_path: Path) -> None:
    """Each by a task of its own; none gets what belongs to another."""

    @settings(SETTINGS, max_examples=EXAMPLES // 10)
    @given(st.lists(st.one_of(BINARY, TEXT), min_size=2, max_size=8))
    def check(programs: list[Program]) -> None:
        programs = [spared(program) for program in programs]
        folders = [tmp_path / str(i) for i in range(len(programs))]
        expected = []
        for folder, program in zip(folders, programs, strict=True):
            folder.mkdir(exist_ok=True)
            for name in ("builtin", "plait"):
                (folder / name).write_bytes(program.content)
            expected.append(on_builtin(folder / "builtin", program))

        async def main() -> list[list[object]]:
            return await asyncio.gather(*(on_plait(f / "plait", p) for f, p in zip(folders, programs, strict=True)))

        assert expected == run(main())
        for folder in folders:
            assert (folder / "builtin").read_bytes() == (folder / "plait").read_bytes()

    check()


def test_lines_asked_for_ahead_are_each_their_own(run: Callable[..., Any], tmp_path: Path) -> None:
    """The iterator's answer serves again only when nobody has it any more."""

    async def main() -> None:
        path = tmp_path / "file"
        path.write_text("".join(f"{i}\n" for i in range(10)))
        for mode, expected in (("r", ["0\n", "1\n", "2\n"]), ("rb", [b"0\n", b"1\n", b"2\n"])):
            async with plait.open(path, mode) as file:
                lines = aiter(file)
                assert expected[0] == await anext(lines)
                ahead = [anext(lines), anext(lines)]
                assert expected[1:] == [await each for each in ahead]
                assert len(expected[0]) * 7 == len(await file.read())

    run(main())
