"""The loop's calls for files do what os does under the same names, on both engines, and leave nothing behind."""

import asyncio
import contextlib
import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import plait
from plait.loop import Loop


def test_the_calls_of_os(run, tmp_path: Path) -> None:
    """Each call once, its effect looked at with os."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = tmp_path / "file"
        fd = await loop.openat(path, os.O_RDWR | os.O_CREAT, 0o640)
        assert not os.get_inheritable(fd)
        assert 0o640 == stat.S_IMODE(os.fstat(fd).st_mode)
        assert 11 == await loop.pwrite(fd, b"hello world", 0)
        assert [b"hello", b"world", b""] == [await loop.pread(fd, n, at) for n, at in ((5, 0), (50, 6), (50, 100))]
        first, second = bytearray(4), bytearray(4)
        assert 8 == await loop.preadv(fd, [first, second], 1)
        assert (b"ello", b" wor") == (first, second)
        assert 4 == await loop.pwritev(fd, [b"AB", memoryview(b"CD")], -1)
        assert 4 == os.lseek(fd, 0, os.SEEK_CUR)
        assert b"o wo" == await loop.pread(fd, 4, -1)
        assert None is await loop.fsync(fd)
        assert None is await loop.fdatasync(fd)
        await loop.fallocate(fd, 0, 0, 10_000)
        assert 10_000 == os.fstat(fd).st_size
        await loop.ftruncate(fd, 11)
        assert b"ABCDo world" == path.read_bytes()
        await loop.close_fd(fd)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)

    run(main())


def test_the_calls_by_path(run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = tmp_path / "a", tmp_path / "b"
        a.write_bytes(b"data")
        await loop.rename(a, b)
        await loop.link(str(b), str(a))
        await loop.symlink("b", os.fsencode(tmp_path / "symbolic"))
        await loop.link(tmp_path / "symbolic", tmp_path / "hard")
        assert "b" == os.readlink(tmp_path / "hard")
        await loop.link(tmp_path / "symbolic", tmp_path / "followed", follow_symlinks=True)
        assert b"data" == (tmp_path / "followed").read_bytes()
        await loop.mkdir(tmp_path / "folder", 0o700)
        assert 0o700 == stat.S_IMODE((tmp_path / "folder").stat().st_mode)
        assert sorted(os.listdir(tmp_path)) == sorted(await loop.file_call(os.listdir, tmp_path))
        await loop.rmdir(tmp_path / "folder")
        await loop.unlink(b)
        assert {"a", "symbolic", "hard", "followed"} == set(os.listdir(tmp_path))

    run(main())


def test_calls_relative_to_a_folder(run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        folder = await loop.openat(tmp_path, os.O_DIRECTORY | os.O_RDONLY)
        try:
            await loop.mkdir("one", dir_fd=folder)
            await loop.close_fd(await loop.openat("one/file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
            assert os.stat(tmp_path / "one/file") == await loop.statx("one/file", dir_fd=folder)
            await loop.rename("one/file", "file", src_dir_fd=folder, dst_dir_fd=folder)
            await loop.symlink("file", "link", dir_fd=folder)
            await loop.unlink("file", dir_fd=folder)
            await loop.rmdir("one", dir_fd=folder)
        finally:
            await loop.close_fd(folder)
        assert ["link"] == os.listdir(tmp_path)

    run(main())


STAT_FIELDS = [name for name in dir(os.stat_result) if name.startswith("st_")]


def test_stat_results_are_those_of_os(run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = tmp_path / "file"
        path.write_bytes(b"x" * 5000)
        os.utime(path, ns=(1_234_567_890_123_456_789, -987_654_321))
        (tmp_path / "link").symlink_to(path)
        with path.open("rb") as file:
            for expected, found in (
                (os.stat(path), await loop.statx(path)),
                (os.stat(path), await loop.statx(tmp_path / "link")),
                (os.lstat(tmp_path / "link"), await loop.statx(tmp_path / "link", follow_symlinks=False)),
                (os.stat("/dev/null"), await loop.statx("/dev/null")),
                (os.fstat(file.fileno()), await loop.fstat(file.fileno())),
                (os.fstat(file.fileno()), await loop.statx(file.fileno())),
            ):
                assert [getattr(expected, name) for name in STAT_FIELDS] == [
                    getattr(found, name) for name in STAT_FIELDS
                ]
                assert tuple(expected) == tuple(found)

    run(main())


def test_extended_attributes(run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = tmp_path / "file"
        path.touch()
        for value in (b"", b"small", b"x" * 2000):
            await loop.setxattr(path, "user.plait", value)
            assert value == os.getxattr(path, "user.plait") == await loop.getxattr(path, b"user.plait")
        with path.open() as file:
            await loop.setxattr(file.fileno(), "user.plait", b"by descriptor", os.XATTR_REPLACE)
            assert b"by descriptor" == await loop.getxattr(file.fileno(), "user.plait")
        with pytest.raises(FileExistsError):
            await loop.setxattr(path, "user.plait", b"", os.XATTR_CREATE)

    run(main())


def test_splice_moves_between_a_file_and_a_pipe(run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = tmp_path / "file"
        path.write_bytes(b"0123456789")
        reader, writer = os.pipe()
        fd = os.open(path, os.O_RDWR)
        assert 4 == await loop.splice(fd, writer, 4, offset_in=3)
        assert 4 == await loop.splice(reader, fd, 100, offset_out=8)
        assert b"012345673456" == path.read_bytes()
        for each in (reader, writer, fd):
            await loop.close_fd(each)

    run(main())


async def failure(awaitable) -> tuple:
    try:
        await awaitable
    except OSError as error:
        return type(error), error.errno, error.filename, error.filename2
    raise AssertionError("it did not fail")


def expected_failure(call, *args, **kwargs) -> tuple:
    try:
        call(*args, **kwargs)
    except OSError as error:
        return type(error), error.errno, error.filename, error.filename2
    raise AssertionError("os did not fail")


def test_errors_are_those_of_os(run, tmp_path: Path) -> None:
    """The same class, number and paths."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        no = str(tmp_path / "no")
        assert expected_failure(os.open, no, 0) == await failure(loop.openat(no, 0))
        assert expected_failure(os.open, no.encode(), 0) == await failure(loop.openat(no.encode(), 0))
        assert expected_failure(os.open, Path(no), 0)[:2] == (await failure(loop.openat(Path(no), 0)))[:2]
        assert expected_failure(os.rename, no, no + "2") == await failure(loop.rename(no, no + "2"))
        assert expected_failure(os.link, no, no + "2") == await failure(loop.link(no, no + "2"))
        assert expected_failure(os.symlink, "x", tmp_path) == await failure(loop.symlink("x", tmp_path))
        assert expected_failure(os.mkdir, str(tmp_path)) == await failure(loop.mkdir(str(tmp_path)))
        assert expected_failure(os.rmdir, no) == await failure(loop.rmdir(no))
        assert expected_failure(os.unlink, no) == await failure(loop.unlink(no))
        assert expected_failure(os.stat, no) == await failure(loop.statx(no))
        assert expected_failure(os.getxattr, no, "user.x") == await failure(loop.getxattr(no, "user.x"))
        assert expected_failure(os.readlink, no) == await failure(loop.file_call(os.readlink, no))
        assert expected_failure(os.pread, 99, 1, 0) == await failure(loop.pread(99, 1, 0))
        assert expected_failure(os.close, 99) == await failure(loop.close_fd(99))
        with pytest.raises(ValueError, match="null byte"):
            loop.openat("a\0b", 0)
        with pytest.raises(TypeError):
            loop.openat(object(), 0)
        with pytest.raises(TypeError):
            loop.pwrite(1, "text", 0)
        with pytest.raises((TypeError, BufferError)):
            loop.preadv(1, [bytearray(1), b"read-only"], 0)

    run(main())


def test_a_direct_read_into_aligned_buffers(run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        path = tmp_path / "file"
        path.write_bytes(bytes(range(256)) * 64)
        try:
            fd = await loop.openat(path, os.O_RDONLY | os.O_DIRECT)
        except OSError as error:
            assert errno.EINVAL == error.errno  # this file system has none (tmpfs before 6.6)
            return
        with mmap.mmap(-1, 8192) as aligned:
            assert 8192 == await loop.preadv(fd, [aligned], 4096)
            assert bytes(range(256)) * 32 == aligned[:]
        await loop.close_fd(fd)

    run(main())


def test_large_writes_into_the_page_cache_are_a_workers_and_others_the_rings(loop: Loop, tmp_path: Path) -> None:
    """A worker is sooner back there; but who waits for a disk or for the reader of a pipe must not occupy one."""
    large = 512 * 1024
    ring = loop.engine.name == "uring"

    async def by_workers(operation: Callable[[], asyncio.Future[Any]]) -> int:
        before = loop._files.by_workers
        await operation()
        return loop._files.by_workers - before

    async def main() -> None:
        file = await loop.openat(tmp_path / "file", os.O_CREAT | os.O_RDWR)
        reader, writer = os.pipe()
        with mmap.mmap(-1, large) as aligned:
            assert 1 == await by_workers(lambda: loop.pwrite(file, aligned, 0))
            assert (not ring) == await by_workers(lambda: loop.pwrite(file, b"x" * 1000, 0))
            piped = loop.pwrite(writer, b"x" * large, -1)
            assert (not ring) == bool(loop._files.pool.outstanding)
            os.close(reader)
            with contextlib.suppress(BrokenPipeError):  # if it comes before the first byte
                await piped
            try:
                fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_DIRECT)
            except OSError as error:
                assert errno.EINVAL == error.errno  # this file system has none (tmpfs before 6.6)
            else:
                assert (not ring) == await by_workers(lambda: loop.pwrite(file, aligned, 0))
        await loop.close_fd(file)
        await loop.close_fd(writer)

    loop.run_until_complete(main())


def test_buffers_cannot_be_resized_meanwhile(run) -> None:
    """What the kernel has the address of stays where it is, until the last completion, even when nobody waits any more."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        reader, writer = os.pipe()
        buffer = bytearray(100)
        reading = loop.preadv(reader, [buffer], -1)
        with pytest.raises(BufferError):
            buffer.clear()
        os.write(writer, b"data")
        assert 4 == await reading
        buffer.clear()
        os.close(reader)
        os.close(writer)

    run(main())


def test_a_thousand_at_once_and_more(run, loop, tmp_path: Path) -> None:
    """More than may be in flight, and than the ring has room for: all are carried out."""

    async def main() -> None:
        fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        writes = [loop.pwrite(fd, bytes([i % 256]), i) for i in range(5000)]
        assert loop._files.in_flight <= 1024
        assert 3976 <= len(loop._files.waiting)
        assert [1] * 5000 == await asyncio.gather(*writes)
        assert bytes(i % 256 for i in range(5000)) == os.pread(fd, 10_000, 0)
        assert (0, 0) == (loop._files.in_flight, len(loop._files.waiting))
        os.close(fd)

    run(main())


def test_asked_for_before_the_loop_runs(loop, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    stat_result = loop.statx(path)
    called = loop.file_call(os.path.getsize, path)
    assert os.stat(path) == loop.run_until_complete(stat_result)
    assert 4 == loop.run_until_complete(called)


def test_functions_run_in_worker_threads(run, loop) -> None:
    """And what they raise comes back; threads end with the loop."""

    async def main() -> None:
        import threading

        here = threading.get_ident()
        assert here != await loop.file_call(threading.get_ident)
        with pytest.raises(ZeroDivisionError):
            await loop.file_call(lambda: 1 // 0)
        with pytest.raises(RuntimeError):
            await loop.file_call(next, iter(()))
        assert 100 == len(await asyncio.gather(*(loop.file_call(len, "x" * i) for i in range(100))))
        assert 0 < len(loop._files.pool.threads) <= 16

    run(main())
    pool = loop._files.pool
    loop.close()
    assert [] == pool.threads


def test_the_thread_of_another_is_refused(run, loop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="runs in another thread"):
            await asyncio.to_thread(loop.statx, "/")

    run(main())


def test_a_closed_loop_refuses() -> None:
    loop = plait.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.statx("/")
