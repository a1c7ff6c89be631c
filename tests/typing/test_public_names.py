"""What a type checker knows of plait's public names. `make check` reads it with mypy --strict; the tests run it too."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import assert_type

import plait
from plait import EngineName, Loop, Portal


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


def test_what_cannot_work_is_refused_by_the_checker() -> None:
    """An ignored error that is none would be reported by mypy itself."""

    def wrong(portal: Portal) -> None:
        plait.run(number)  # type: ignore[arg-type]
        plait.run(number(1), engine="select")  # type: ignore[arg-type]
        plait.new_event_loop("select")  # type: ignore[arg-type]
        portal.call(number, "1")  # type: ignore[arg-type]

    assert callable(wrong)
