"""What programs build from asyncio alone: a Unix-socket server, pipelines of processes, signals, a chat."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import programs

import servers

Run = Callable[[Any], Any]


def test_a_unix_socket_server_of_json_lines(run: Run) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            request = json.loads(line)
            writer.write(json.dumps({"id": request["id"], "sum": sum(request["numbers"])}).encode() + b"\n")
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def client(path: str, number: int) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        for k in range(20):
            writer.write(json.dumps({"id": k, "numbers": [number, k]}).encode() + b"\n")
        writer.write_eof()
        answers = [json.loads(line) async for line in reader]
        assert [{"id": k, "sum": number + k} for k in range(20)] == answers
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        with servers.temporary_folder("unix") as folder:
            path = str(folder / "socket")
            async with await asyncio.start_unix_server(serve, path):
                await asyncio.gather(*(client(path, number) for number in range(100)))

    run(main())


def test_a_pipeline_of_processes(run: Run) -> None:
    """seq | grep | wc, as a shell does it: each process writes into the pipe that the next one reads."""

    async def main() -> None:
        first_read, first_write = os.pipe()
        second_read, second_write = os.pipe()
        seq = await asyncio.create_subprocess_exec("seq", "100000", stdout=first_write)
        os.close(first_write)
        grep = await asyncio.create_subprocess_exec("grep", "7", stdin=first_read, stdout=second_write)
        os.close(first_read)
        os.close(second_write)
        wc = await asyncio.create_subprocess_exec("wc", "-l", stdin=second_read, stdout=asyncio.subprocess.PIPE)
        os.close(second_read)
        output, _ = await wc.communicate()
        assert sum("7" in str(n) for n in range(1, 100001)) == int(output)
        assert [0, 0, 0] == [await process.wait() for process in (seq, grep, wc)]

    run(main())


def test_a_process_that_is_fed_and_read_at_the_same_time(run: Run) -> None:
    """More than the pipes hold, both ways: a loop that writes first and reads then would stand still."""
    data = bytes(range(256)) * 20_000

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate(data)
        assert (0, data) == (process.returncode, output)

    run(main())


def test_many_processes_at_once(run: Run) -> None:
    async def one(number: int) -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_shell(f"echo {number}; exit {number}", stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output

    async def main() -> None:
        assert [(n, b"%d\n" % n) for n in range(50)] == await asyncio.gather(*map(one, range(50)))

    run(main())


def test_a_process_is_killed_when_its_time_is_up(run: Run) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("sleep", "60")
        try:
            async with asyncio.timeout(0.02):
                await process.wait()
        except TimeoutError:
            process.terminate()
        assert -signal.SIGTERM == await process.wait()

    run(main())


CHAT = '''
"""A chat server: every line goes to all the others; SIGTERM closes it in order."""
import asyncio, signal, sys
import plait

writers = {}

async def client(reader, writer):
    name = (await reader.readline()).decode().strip()
    writers[name] = writer
    writer.write(b"welcome\\n")
    try:
        async for line in reader:
            for other, target in writers.items():
                if other != name:
                    target.write(f"{name}: ".encode() + line)
                    await target.drain()
    finally:
        del writers[name]
        writer.close()
        await writer.wait_closed()

async def main(path):
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with await asyncio.start_unix_server(client, path):
        print("ready", flush=True)
        await stopped.wait()
    print("closed in order", flush=True)

plait.run(main(sys.argv[1]))
'''


def test_a_chat_server_in_a_process_of_its_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "chat.py").write_text(CHAT)

    async def join(path: str, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(f"{name}\n".encode())
        assert b"welcome\n" == await reader.readline()
        return reader, writer

    async def main() -> None:
        with servers.temporary_folder("chat") as folder:
            path = str(folder / "socket")
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(tmp_path / "chat.py"), path, stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            assert b"ready\n" == await process.stdout.readline()
            people = {f"p{number}": await join(path, f"p{number}") for number in range(10)}
            people["p0"][1].write(b"hello\n")
            for name, (reader, _) in people.items():
                if name != "p0":
                    assert b"p0: hello\n" == await reader.readline()
            for _, writer in people.values():
                writer.close()
                await writer.wait_closed()
            process.terminate()
            output, _ = await process.communicate()
            assert (0, b"closed in order\n") == (process.returncode, output)

    run(main())


def test_ctrl_c_ends_a_program_as_python_does(engine: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import asyncio, os, signal, plait\n"
        "async def main():\n"
        "    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)\n"
        "    try:\n"
        "        await asyncio.Event().wait()\n"
        "    finally:\n"
        "        print('cleaned up', flush=True)\n"
        "plait.run(main())\n"
    )
    printed = programs.python(str(tmp_path / "program.py"), status=-signal.SIGINT)
    assert printed.startswith("cleaned up\n")
    assert "KeyboardInterrupt" == printed.splitlines()[-1]
