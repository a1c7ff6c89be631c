"""The ways into a loop: run, new_event_loop, install."""

import asyncio
import contextvars
from typing import Any

import pytest

import plait
from plait import standard

from snippets import run_program

pytestmark = pytest.mark.usefixtures("engine")


async def loop_type() -> type:
    return type(asyncio.get_running_loop())


def test_run_returns_the_result_of_main_on_our_loop() -> None:
    assert plait.Loop is plait.run(loop_type())


def test_run_raises_what_main_raises() -> None:
    async def main() -> None:
        raise LookupError("from main")

    with pytest.raises(LookupError, match="from main"):
        plait.run(main())


@pytest.mark.parametrize("debug", [None, False, True])
def test_debug_is_the_loops(debug: bool | None) -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert bool(debug) == plait.run(main(), debug=debug)


def test_the_engine_is_chosen_by_argument_before_the_variable(engine: str) -> None:
    async def main() -> str:
        name: str = asyncio.get_running_loop().engine.name  # type: ignore[attr-defined]
        return name

    assert engine == plait.run(main())
    assert "epoll" == plait.run(main(), engine="epoll")


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"steam.*epoll"):
        plait.new_event_loop("steam")  # type: ignore[arg-type]


def test_run_ends_as_asyncio_run_does() -> None:
    """Tasks left are cancelled, generators closed, the executor shut down, and the loop closed."""
    ended: list[str] = []
    kept: list[Any] = []

    async def stray() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("task")

    async def numbers() -> Any:
        try:
            yield 1
        finally:
            ended.append("generator")

    async def main() -> None:
        kept.append(asyncio.ensure_future(stray()))
        kept.append(numbers())
        await anext(kept[1])
        await asyncio.to_thread(lambda: None)
        kept.append(asyncio.get_running_loop())

    plait.run(main())
    assert ["task", "generator"] == ended
    assert kept[2].is_closed()


def test_run_in_a_running_loop_says_what_to_do_instead() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"await the coroutine instead.*plait.background\(\)"):
            plait.run(loop_type())

    plait.run(main())
    asyncio.run(main())


def test_main_starts_with_the_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def main() -> str:
        return variable.get()

    variable.set("the caller's")
    assert "the caller's" == plait.run(main())


def test_run_twice_makes_two_loops() -> None:
    async def main() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert plait.run(main()) is not plait.run(main())


def test_as_loop_factory_of_asyncios_runner() -> None:
    with asyncio.Runner(loop_factory=plait.new_event_loop) as runner:
        assert plait.Loop is runner.run(loop_type())


def test_install_gives_our_loop_to_everybody() -> None:
    """And no warning of a deprecation that the caller can do nothing about."""
    program = """
plait.install()
async def main():
    return type(asyncio.get_running_loop()) is plait.Loop
print(asyncio.run(main()))
with asyncio.Runner() as runner:
    print(runner.run(main()))
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
print(type(loop) is plait.Loop, asyncio.get_event_loop() is loop)
loop.close()
threading.Thread(target=lambda: print(asyncio.run(main()))).start()
"""
    ended = run_program(program)
    assert ("True\nTrue\nTrue True\nTrue\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_install_names_an_engine_for_all() -> None:
    program = """
plait.install("epoll")
async def main():
    return asyncio.get_running_loop().engine.name
print(asyncio.run(main()))
"""
    ended = run_program(program)
    assert ("epoll\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_install_without_policies_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """As from Python 3.16 on."""
    monkeypatch.setattr(standard, "set_policy", None)
    with pytest.raises(RuntimeError, match=r"plait.run\(main\(\)\).*loop_factory=plait.new_event_loop"):
        plait.install()


def test_importing_plait_warns_of_nothing() -> None:
    """Not even of the deprecated policies that install() would use."""
    ended = run_program("import plait.running, plait.bridge; print('ok')")
    assert ("ok\n", "", 0) == (ended.output, ended.errors, ended.status)
