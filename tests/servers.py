"""Real servers on loopback for the tests: PostgreSQL, Redis, nginx, mosquitto, NATS.

Each is started on a free port with its files in a fresh temporary folder, is waited for by connecting, and is stopped by
its own process id. A server that is not installed is an error that names the package, never a skip.
"""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pwd import getpwnam

START_SECONDS = 30
STOP_SECONDS = 10
ATTEMPTS = 3  # another process may take a free port between our look and the server's bind


@dataclass(frozen=True)
class Server:
    """Where a running server listens."""

    port: int
    unix_path: str
    folder: Path
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def find_program(name: str, package: str) -> str:
    """The program's path; RuntimeError with the Debian package that brings it."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/sbin", "/usr/local/sbin"]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise RuntimeError(f"{name} is not installed, and tests need it: apt-get install {package}")
    return found


def find_postgres(name: str) -> str:
    """A server program of PostgreSQL, of its newest release here; Debian keeps them out of PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -int(p.parent.name.split(".")[0]))
    config = shutil.which("pg_config")
    if config is not None:
        folders.append(Path(subprocess.check_output([config, "--bindir"], text=True).strip()))
    for folder in [*folders, Path("/usr/local/bin")]:
        if (folder / name).exists():
            return str(folder / name)
    raise RuntimeError(f"PostgreSQL's {name} is not installed, and tests need it: apt-get install postgresql")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def bound_to_us(command: list[str], user: str | None = None) -> list[str]:
    """The command, made to end with this process, and run as `user` if one is named."""
    prefix = ["setpriv", "--pdeathsig", "TERM"]
    if command[0] != sys.executable:
        # The address sanitizer is loaded for our programs; a PostgreSQL that has it takes minutes to start.
        prefix = ["env", "--unset=LD_PRELOAD", *prefix]
    if user is not None:
        account = getpwnam(user)
        prefix += ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
    return [*prefix, "--", *command]


def accepts(address: tuple[str, int] | str) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(START_SECONDS)
        return probe.connect_ex(address) == 0


def await_ready(process: subprocess.Popen[bytes], ready: Callable[[int], bool], port: int, log: Path) -> bool:
    """True as soon as it is ready; False if it ended before; RuntimeError with its log after START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    ended = select.poll()
    pidfd = os.pidfd_open(process.pid)
    try:
        ended.register(pidfd, select.POLLIN)
        while not ready(port):
            if ended.poll(10):
                return False
            if time.monotonic() > deadline:
                stop(process)
                raise RuntimeError(
                    f"{process.args!r} is not ready after {START_SECONDS} s; its log:\n{log.read_text()}"
                )
        return True
    finally:
        os.close(pidfd)


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def running(
    command: Callable[[int], list[str]],
    folder: Path,
    unix_path: str,
    ready: Callable[[int], bool] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[Server]:
    """Run `command(port)` until the block ends; another port is tried when the server ends while it starts."""
    log = folder / "log"
    is_ready = ready or (lambda port: accepts(("127.0.0.1", port)) and (not unix_path or accepts(unix_path)))
    for _ in range(ATTEMPTS):
        port = free_port()
        if unix_path and unix_path != str(folder):
            Path(unix_path).unlink(missing_ok=True)  # of an attempt before
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(port), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=folder
            )
        if await_ready(process, is_ready, port, log):
            break
        process.wait()
    else:
        raise RuntimeError(f"{process.args!r} ended while it started; its log:\n{log.read_text()}")
    try:
        yield Server(port, unix_path, folder)
    finally:
        stop(process, stop_signal)


@contextmanager
def temporary_folder(name: str, user: str | None = None) -> Iterator[Path]:
    """A short path, for Unix sockets have room for 107 bytes, that `user` owns and may enter."""
    folder = Path(tempfile.mkdtemp(prefix=f"plait-{name}-"))
    try:
        if user is not None:
            os.chown(folder, getpwnam(user).pw_uid, getpwnam(user).pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def postgres() -> Iterator[Server]:
    """A PostgreSQL with the superuser and database `postgres`, without passwords."""
    initdb, server = find_postgres("initdb"), find_postgres("postgres")
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    with temporary_folder("postgres", user) as folder:
        data = str(folder / "data")
        made = subprocess.run(
            bound_to_us(
                [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"], user
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
        )
        if made.returncode != 0:
            raise RuntimeError(f"initdb ended with status {made.returncode}:\n{made.stdout}")

        def command(port: int) -> list[str]:
            settings = {
                "port": port,
                "listen_addresses": "127.0.0.1",
                "unix_socket_directories": str(folder),
                "fsync": "off",
                "max_connections": 100,
                "shared_buffers": "16MB",
            }
            return bound_to_us([server, "-D", data, *(f"--{name}={value}" for name, value in settings.items())], user)

        # It accepts connections before it accepts queries; the socket's lock file's last line says when it does.
        def ready(port: int) -> bool:
            try:
                return Path(data, "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
            except (FileNotFoundError, IndexError):
                return False

        # SIGINT is its fast shutdown; SIGTERM would wait for its clients.
        with running(command, folder, str(folder), ready, signal.SIGINT) as running_server:
            yield running_server


@contextmanager
def redis(**more: str) -> Iterator[Server]:
    """A Redis that keeps nothing on disk, on TCP and on a Unix socket; `more` of its options, _ for -."""
    server = find_program("redis-server", "redis-server")
    with temporary_folder("redis") as folder:
        unix_path = str(folder / "redis.sock")

        def command(port: int) -> list[str]:
            options = {
                "port": port,
                "bind": "127.0.0.1",
                "unixsocket": unix_path,
                "save": "",
                "appendonly": "no",
            } | more
            words = [(f"--{name.replace('_', '-')}", str(value)) for name, value in options.items()]
            return bound_to_us([server, *(word for pair in words for word in pair)])

        with running(command, folder, unix_path) as running_server:
            yield running_server


@contextmanager
def mosquitto() -> Iterator[Server]:
    """An MQTT broker that lets everybody in and keeps nothing."""
    server = find_program("mosquitto", "mosquitto")
    with temporary_folder("mosquitto") as folder:
        config = folder / "mosquitto.conf"

        def command(port: int) -> list[str]:
            # As root it would become another user, who may not read the folder. From 2.1 on a packet is limited to 2 MB.
            config.write_text(
                f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\n"
                "max_packet_size 100000000\n"
            )
            return bound_to_us([server, "-c", str(config)])

        with running(command, folder, "") as running_server:
            yield running_server


@contextmanager
def nats() -> Iterator[Server]:
    """A NATS broker with its streams in a temporary folder."""
    server = find_program("nats-server", "nats-server")
    with temporary_folder("nats") as folder:

        def command(port: int) -> list[str]:
            return bound_to_us([server, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "streams")])

        with running(command, folder, "") as running_server:
            yield running_server


@contextmanager
def nginx(locations: str = "") -> Iterator[Server]:
    """An nginx that serves the folder `www` of its folder, and what else `locations` says in its own language."""
    server = find_program("nginx", "nginx")
    with temporary_folder("nginx") as folder:
        (folder / "www").mkdir()
        unix_path = str(folder / "nginx.sock")
        config = folder / "nginx.conf"

        def command(port: int) -> list[str]:
            scratch = "\n".join(
                f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            config.write_text(f"""
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/log;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    {scratch}
    server {{
        listen 127.0.0.1:{port};
        listen unix:{unix_path};
        root {folder}/www;
        {locations}
    }}
}}
""")
            return bound_to_us([server, "-p", str(folder), "-e", str(folder / "log"), "-c", str(config)])

        with running(command, folder, unix_path) as running_server:
            yield running_server
