"""A file system that answers EIO, or late: errors come out where they belong, what was reported written is there, nothing is left open,
and the loop stands still for none of it.

The files are those of faulty.py, a file system of its own mounted for one program. How long the loop stands still is not measured: the
file `slow` is answered only when a ticker of the loop, every millisecond, has said so. A call that blocked the loop would wait for ever.
"""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from files import alone

SERVER = Path(__file__).with_name("faulty.py")

BEGINNING = """
import asyncio, contextlib, errno, os, pathlib, plait, sys

folder = sys.argv[1] + "/"
release = int(os.environ["FAULTY_RELEASE"])
ticks = 0
releasing = True

async def tick():
    global ticks
    while True:
        await asyncio.sleep(0.001)
        ticks += 1
        if releasing and ticks % 3 == 0:
            os.write(release, b".")

async def nothing_in_flight():
    # A close that nobody waits for, and what was cancelled, come to their ends.
    while asyncio.get_running_loop()._files.in_flight:
        await asyncio.sleep(0.001)

def descriptors():
    return set(os.listdir("/proc/self/fd"))

@contextlib.contextmanager
def refused(what):
    try:
        yield
    except OSError as error:
        print(what, errno.errorcode[error.errno])
    else:
        print(what, "was done")

async def with_ticker():
    ticking = asyncio.create_task(tick())
    await main()
    await nothing_in_flight()
    assert not ticking.done()
    ticking.cancel()

async def main():
"""


def on_faulty(engine: str, folder: Path, code: str) -> str:
    """Run a coroutine in a process of its own, with the faulty file system on `folder`; what it prints."""
    assert Path("/dev/fuse").exists(), "the tests of I/O errors need FUSE: modprobe fuse"
    source = BEGINNING + textwrap.indent(textwrap.dedent(code), "    ")
    source += f"\nplait.run(with_ticker(), engine={engine!r})\n"
    server = [*alone.command(), sys.executable, str(SERVER), str(folder)]
    ended = subprocess.run(
        [*server, sys.executable, "-W", "error", "-c", source, str(folder)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ("", 0) == (ended.stderr, ended.returncode)
    return ended.stdout


@pytest.mark.parametrize("buffering", [0, 1000, -1])
def test_a_read_that_fails(engine: str, tmp_path: Path, buffering: int) -> None:
    """What comes before the fault is read, in whatever pieces; the fault is raised and moves nothing."""
    code = f"""
    whole = bytes(i // 256 % 251 for i in range(200_000))
    file = await plait.open(folder + "read-100000", "rb", {buffering})
    fd = file.fileno()
    found = b""
    try:
        while True:
            found += await file.read(700)
    except OSError as error:
        print(errno.errorcode[error.errno])
    print(found == whole[:len(found)], len(found) > 0, await file.tell() == len(found))
    with refused("again"):
        await file.read(700)
    await file.seek(0)
    print(await file.read(10) == whole[:10])
    await file.close()
    with refused("fstat"):
        os.fstat(fd)
    """
    assert "EIO\nTrue True True\nagain EIO\nTrue\nfstat EBADF\n" == on_faulty(engine, tmp_path, code)


def test_whole_files_that_cannot_be_read(engine: str, tmp_path: Path) -> None:
    code = """
    path = plait.Path(folder + "read-100000")
    with refused("read_bytes"):
        await path.read_bytes()
    with refused("lines"):
        async with path.open(encoding="latin-1") as file:
            async for line in file:
                pass
    with refused("copy_file"):
        await plait.copy_file(path, folder + "copy")
    async for name, found in plait.read_many([path, folder + "flush", folder + "open"], return_exceptions=True):
        print(name, found)
    """
    output = on_faulty(engine, tmp_path, code).replace(f"{tmp_path}/", "")
    assert (
        "read_bytes EIO\nlines EIO\ncopy_file EIO\n"
        "read-100000 [Errno 5] Input/output error: 'read-100000'\nflush b''\nopen [Errno 5] Input/output error: 'open'\n"
    ) == output


@pytest.mark.parametrize("buffering", [0, 4096, -1])
def test_a_write_that_fails(engine: str, tmp_path: Path, buffering: int) -> None:
    """The error comes out of write(), flush() or close(), whichever empties the buffer; all that flush() had reported is in the file."""
    code = f"""
    whole = b"".join(i.to_bytes(4, "big") for i in range(50_000))
    file = await plait.open(folder + "write-100000", "wb", {buffering})
    fd = file.fileno()
    flushed = 0
    at = 0
    try:
        while at < len(whole):
            at += await file.write(whole[at:at + 500])
            if at % 50_000 == 0:
                await file.flush()
                flushed = at
    except OSError as error:
        print(errno.errorcode[error.errno])
    if {buffering}:
        with refused("flush"):
            await file.flush()
        with refused("close"):
            await file.close()
    else:
        flushed = at
        await file.close()
    print(file.closed)
    with refused("fstat"):
        os.fstat(fd)
    content = pathlib.Path(folder + "write-100000").read_bytes()
    print(flushed >= 50_000, content == whole[:len(content)], len(content) >= flushed)
    """
    ends = "flush EIO\nclose EIO\n" if buffering else ""
    assert f"EIO\n{ends}True\nfstat EBADF\nTrue True True\n" == on_faulty(engine, tmp_path, code)


def test_an_end_that_fails(engine: str, tmp_path: Path) -> None:
    """fsync() and close() tell what the file system tells only there; a file whose close() failed is closed, and its descriptor gone."""
    code = """
    file = await plait.open(folder + "fsync", "wb")
    await file.write(b"data")
    await file.flush()
    with refused("fsync"):
        await asyncio.get_running_loop().fsync(file.fileno())
    with refused("fdatasync"):
        await asyncio.get_running_loop().fdatasync(file.fileno())
    await file.close()
    print(pathlib.Path(folder + "fsync").read_bytes())

    await nothing_in_flight()
    before = descriptors()
    file = await plait.open(folder + "flush", "wb")
    await file.write(b"data")
    await file.flush()
    with refused("close"):
        await file.close()
    print(file.closed)
    await file.close()
    with refused("async with"):
        async with plait.open(folder + "flush", "w") as text:
            await text.write("other data")
    with refused("write_text"):
        await plait.Path(folder + "flush").write_text("third data")
    fd = await asyncio.get_running_loop().openat(folder + "flush", os.O_WRONLY)
    with refused("close_fd"):
        await asyncio.get_running_loop().close_fd(fd)
    print(descriptors() == before)
    with open(folder + "flush", "rb") as file:
        print(os.read(file.fileno(), 100))
        with refused("the built-in"):
            file.close()
    """
    assert (
        "fsync EIO\nfdatasync EIO\nb'data'\nclose EIO\nTrue\nasync with EIO\nwrite_text EIO\nclose_fd EIO\nTrue\n"
        "b'third data'\nthe built-in EIO\n"
    ) == on_faulty(engine, tmp_path, code)


def test_a_file_that_cannot_be_opened_or_looked_at(engine: str, tmp_path: Path) -> None:
    code = """
    await asyncio.get_running_loop().file_call(int)  # workers have a descriptor
    before = descriptors()
    for mode in ("r", "wb", "a", "r+"):
        with refused(mode):
            await plait.open(folder + "open", mode)
    with refused("stat"):
        await plait.Path(folder + "getattr").stat()
    with refused("fstat"):
        async with plait.open(folder + "getattr") as file:
            await asyncio.get_running_loop().fstat(file.fileno())
    print(descriptors() == before)
    """
    output = on_faulty(engine, tmp_path, code)
    assert "r EIO\nwb EIO\na EIO\nr+ EIO\nstat EIO\nfstat EIO\nTrue\n" == output


SLOW_CALLS = {
    "open for reading": "await (await plait.open(slow)).close()",
    "open for writing": "await (await plait.open(slow, 'wb')).close()",
    "open to append": "await (await plait.open(slow, 'a')).close()",
    "open for both": "await (await plait.open(slow, 'r+')).close()",
    "open a text to write": "await (await plait.open(slow, 'w')).close()",
    "read": "async with plait.open(slow, 'rb') as file: assert len(await file.read()) > 0",
    "lines": "async with plait.open(slow, encoding='latin-1') as file: await file.readlines()",
    "read_bytes": "assert len(await plait.Path(slow).read_bytes()) > 0",
    "read_many": "async for _ in plait.read_many([slow, slow]): pass",
    "write": "async with plait.open(slow, 'r+b') as file: await file.write(bytes(300_000))",
    "write unbuffered": "async with plait.open(slow, 'r+b', 0) as file: await file.write(bytes(30_000))",
    "append": "async with plait.open(slow, 'ab') as file: await file.write(b'data'); await file.flush(); await file.tell()",
    "write_bytes": "await plait.Path(slow).write_bytes(bytes(10_000))",
    "seek to the end": "async with plait.open(slow, 'rb') as file: await file.seek(0, os.SEEK_END)",
    "seek to data": "async with plait.open(slow, 'rb') as file: await file.seek(0, os.SEEK_DATA)",
    "truncate": "async with plait.open(slow, 'r+b') as file: await file.truncate(50_000)",
    "fsync": "async with plait.open(slow, 'r+b') as file: await asyncio.get_running_loop().fsync(file.fileno())",
    "stat": "await plait.Path(slow).stat()",
    "exists": "await plait.Path(slow).exists()",
    "fstat": "async with plait.open(slow) as file: await asyncio.get_running_loop().fstat(file.fileno())",
    "copy from": "await plait.copy_file(slow, folder + 'copy')",
    "copy to": "await plait.copy_file(folder + 'read-900000', slow)",
    "chmod": "await plait.Path(slow).chmod(0o600)",
}


@pytest.mark.parametrize("what", SLOW_CALLS)
def test_nothing_blocks_the_loop(engine: str, tmp_path: Path, what: str) -> None:
    """While the file system has not answered, the ticker ticks: each of its answers needs three ticks more."""
    code = f"""
    slow = folder + "slow"
    {SLOW_CALLS[what]}
    print(ticks >= 3)
    """
    assert "True\n" == on_faulty(engine, tmp_path, code)


@pytest.mark.parametrize(
    "call",
    [
        "plait.open(slow)",
        "plait.open(slow, 'r+b', 0)",
        "plait.Path(slow).read_bytes()",
        "plait.Path(slow).write_bytes(bytes(1000))",
        "plait.Path(slow).stat()",
        "plait.copy_file(slow, folder + 'copy')",
    ],
)
def test_a_task_that_is_cancelled_goes_on_at_once(engine: str, tmp_path: Path, call: str) -> None:
    """Though the file system has not answered, and does so only later. What it opened then is closed."""
    code = f"""
    global releasing
    slow = folder + "slow"
    await asyncio.get_running_loop().file_call(int)  # workers have a descriptor
    await nothing_in_flight()
    before = descriptors()
    releasing = False

    async def work():
        return await {call}

    task = asyncio.create_task(work())
    wanted = ticks + 5
    while ticks < wanted:
        await asyncio.sleep(0.001)
    print(task.done(), task.cancel())
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled")
    releasing = True
    await nothing_in_flight()
    print(descriptors() == before)
    """
    assert "False True\ncancelled\nTrue\n" == on_faulty(engine, tmp_path, code)
