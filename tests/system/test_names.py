"""Names: looked up in threads of their own, that nothing else of the program holds up."""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from plait.loop import Loop
from plait.system import names

from snippets import run_program

Run = Callable[[Any], Any]


class Gate:
    """A function for threads that gives its argument back once the gate is open; `entered` is released by each that stands before it."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, *args: Any) -> Any:
        self.entered.release()
        assert self.open.wait(30)
        return args


def fill_default_executor(loop: Loop, gate: Gate) -> list["asyncio.Future[Any]"]:
    """More blocking calls than the default executor has threads."""
    return [loop.run_in_executor(None, gate) for _ in range(100)]


def test_a_full_default_executor_holds_no_name_up(loop: Loop, run: Run) -> None:
    """python/cpython#112169: with asyncio this waits till one of the program's own calls is over."""

    async def main() -> None:
        gate = Gate()
        calls = fill_default_executor(loop, gate)
        gate.entered.acquire()
        try:
            found = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
            assert {80} == {address[1] for *_, address in found}
            assert "localhost" == (await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICSERV))[0]
            server = await loop.create_server(asyncio.Protocol, "localhost", 0)
            server.close()
        finally:
            gate.open.set()
        await asyncio.gather(*calls)

    run(main())


def test_a_default_executor_of_the_users_is_not_asked(loop: Loop, run: Run) -> None:
    from concurrent.futures import ThreadPoolExecutor

    class Counting(ThreadPoolExecutor):
        submitted = 0

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            self.submitted += 1
            return super().submit(*args, **kwargs)

    async def main() -> None:
        executor = Counting(1)
        loop.set_default_executor(executor)
        await loop.getaddrinfo("localhost", None)
        assert 0 == executor.submitted
        await loop.run_in_executor(None, threading.get_ident)
        assert 1 == executor.submitted

    run(main())


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 80), ("::1", 80), (b"127.0.0.1", None), (None, 80), ("255.255.255.255", 0)]
)
def test_addresses_in_digits_need_no_thread(loop: Loop, run: Run, host: Any, port: Any) -> None:
    async def main() -> None:
        before = threading.enumerate()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        assert socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) == found
        assert ("127.0.0.1", "80") == await loop.getnameinfo(("127.0.0.1", 80), names.DIGITS_ONLY)
        assert before == threading.enumerate()

    run(main())


@pytest.mark.parametrize("host", ["localhost", "127.1", "1.2.3", "", "fe80::1%lo", "nobody.invalid", 5, b"\xff"])
@pytest.mark.parametrize("port", [80, "http", "no service of that name", None])
def test_what_is_found_and_refused_is_as_with_the_socket_module(
    loop: Loop, run: Run, monkeypatch: pytest.MonkeyPatch, host: Any, port: Any
) -> None:
    def result(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (OSError, TypeError, UnicodeError) as error:
            return type(error), str(error)

    if host == "nobody.invalid":
        # The real one would ask a server.
        def unknown(*args: Any) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    expected = result(lambda: socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, 0))
    assert expected == result(lambda: run(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def test_threads_are_named_few_and_end_with_the_default_executor(
    loop: Loop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    monkeypatch.setattr(socket, "getaddrinfo", gate)

    def ours() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("plait-names")]

    async def main() -> None:
        assert [] == ours()
        looking = [asyncio.create_task(loop.getaddrinfo("one.test", 1))]
        await asyncio.to_thread(gate.entered.acquire)
        assert 1 == len(ours())
        looking += [asyncio.create_task(loop.getaddrinfo("many.test", 1)) for _ in range(3 * names.THREADS_MAX)]
        for _ in range(names.THREADS_MAX - 1):
            await asyncio.to_thread(gate.entered.acquire)
        assert names.THREADS_MAX == len(ours())
        ending = asyncio.create_task(loop.shutdown_default_executor())
        await asyncio.sleep(0)
        assert not ending.done()
        gate.open.set()
        await ending
        await asyncio.gather(*looking)
        assert [] == ours()
        with pytest.raises(RuntimeError, match="shutdown"):
            await loop.getaddrinfo("late.test", 1)

    run(main())


def test_a_cancelled_look_up_leaves_its_thread_to_the_next(
    loop: Loop, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()

    async def main() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(socket, "getaddrinfo", gate)
            looking = asyncio.create_task(loop.getaddrinfo("slow.test", 1))
            await asyncio.to_thread(gate.entered.acquire)
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await looking
            gate.open.set()
        assert await loop.getaddrinfo("localhost", 1)

    run(main())


def test_a_closed_loop_does_not_wait_for_a_name(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    monkeypatch.setattr(socket, "getaddrinfo", gate)
    loop = Loop(engine)
    looking = loop.create_task(loop.getaddrinfo("slow.test", 1))
    loop.run_until_complete(asyncio.sleep(0))
    gate.entered.acquire()
    looking.cancel()
    loop.run_until_complete(asyncio.wait([looking]))
    loop.close()
    gate.open.set()


def test_the_child_of_a_fork_looks_names_up_in_threads_of_its_own(engine: str) -> None:
    ended = run_program("""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork beside threads
loop = plait.new_event_loop()
assert loop.run_until_complete(loop.getaddrinfo("localhost", 1))
if (child := os.fork()) == 0:
    assert loop.run_until_complete(loop.getaddrinfo("localhost", 1))
    loop.run_until_complete(loop.shutdown_default_executor())
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
""")
    assert ("0\n", "", 0) == (ended.output, ended.errors, ended.status)


def test_debug_mode_tells_how_long_it_took(loop: Loop, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    with caplog.at_level("DEBUG", "asyncio"):
        run(loop.getaddrinfo("localhost", 1))
    assert any("Getting address info localhost:1" in line for line in caplog.messages)
