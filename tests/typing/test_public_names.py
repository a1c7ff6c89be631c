"""What a type checker knows of plait's public names. `make check` reads it with mypy --strict; the tests run it too."""

import asyncio
import contextlib
import inspect
import os
import pathlib
from collections.abc import Callable
from typing import assert_type

import plait
from plait import EngineName, Loop, Path, Portal
from plait.files import Change, ChangeKind, Patch, Watch


async def number(start: int, *, step: int = 1) -> int:
    await asyncio.sleep(0)
    return start + step


def word(length: int) -> str:
    return "x" * length


def test_run_returns_what_main_returns(engine: EngineName) -> None:
    assert_type(plait.run(number(1)), int)
    assert_type(plait.run(number(1), debug=True, engine=engine), int)


def test_a_loop_is_an_event_loop(engine: EngineName) -> None:
    loop = plait.new_event_loop(engine=engine)
    assert_type(loop, Loop)
    as_asyncio: asyncio.AbstractEventLoop = loop
    factory: Callable[[], asyncio.AbstractEventLoop] = plait.new_event_loop
    assert callable(factory)
    with contextlib.closing(as_asyncio):
        assert_type(loop.engine.name, str)
        assert_type(loop.engine.reason, str)
        assert_type(loop.engine.features, tuple[str, ...])
        assert_type(loop.time(), float)
        assert_type(loop.call_soon(word, 1), asyncio.Handle)
        assert_type(loop.call_later(0, word, 1), asyncio.TimerHandle)
        assert_type(loop.run_until_complete(number(1)), int)
    with asyncio.Runner(loop_factory=plait.new_event_loop) as runner:
        assert_type(runner.run(number(1)), int)


def test_a_portal_knows_what_its_functions_take_and_return(engine: EngineName) -> None:
    with plait.background(engine=engine) as portal:
        assert_type(portal, Portal)
        assert_type(portal.call(number, 1, step=2), int)
        assert_type(portal.call(word, 3), str)
        assert_type(portal.start(number, 1).result(), int)
        assert_type(portal.start(word, 3).result(timeout=10), str)


async def use_files(folder: Path) -> None:
    path = folder / "x"
    assert_type(path, Path)
    assert_type(path.parent, Path)
    assert_type(await path.read_bytes(), bytes)
    assert_type(await path.read_text(), str)
    assert_type(await path.write_text("x"), int)
    assert_type(await path.exists(), bool)
    assert_type(await path.stat(), os.stat_result)
    assert_type(await path.rename("y"), Path)
    assert_type(await Path.cwd(), Path)
    assert_type(await path.copy("y"), Path)
    assert_type(await path.info.is_dir(), bool)
    assert_type([one async for one in folder.iterdir()], list[Path])
    assert_type([one async for one in folder.rglob("*")], list[Path])
    async for here, folders, files in folder.walk():
        assert_type(here, Path)
        assert_type((folders, files), tuple[list[str], list[str]])
    async with path.open() as text, path.open("rb") as binary, path.open("rb", 0) as raw:
        assert_type(await text.read(), str)
        assert_type(await binary.read(), bytes)
        assert_type(await raw.read(), bytes)
    pure: pathlib.PurePath = path
    assert_type(await plait.copy_file(pure, "y"), str)
    assert_type(await plait.copy_file("y", path), Path)
    async for name, content in plait.read_many(["x", "y"]):
        assert_type((name, content), tuple[str, bytes])
    async for file, result in plait.read_many([path], return_exceptions=True):
        assert_type(file, Path)
        assert_type(result, bytes | OSError | ValueError)
    async with plait.watch(
        folder, recursive=True, kinds=[ChangeKind.CREATED], ignore=lambda one: one.name == "x"
    ) as watch:
        assert_type(watch, Watch)
        async for change in watch:
            assert_type(change, Change)
            assert_type(change.old_path, Path | None)
    with plait.files.patch_anyio() as patch:
        assert_type(patch, Patch)


def test_files_are_typed() -> None:
    assert inspect.iscoroutinefunction(use_files)


def test_what_cannot_work_is_refused_by_the_checker() -> None:
    """An ignored error that is none would be reported by mypy itself."""

    def wrong(portal: Portal) -> None:
        plait.run(number)  # type: ignore[arg-type]
        plait.run(number(1), engine="select")  # type: ignore[arg-type]
        plait.new_event_loop("select")  # type: ignore[arg-type]
        portal.call(number, "1")  # type: ignore[arg-type]
        plait.watch(1)  # type: ignore[arg-type]
        plait.Path("x").read_text(1)  # type: ignore[arg-type, unused-coroutine]

    assert callable(wrong)
