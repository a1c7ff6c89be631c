"""How one sample of each kind of row is taken."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import conversations, folder, machine
from bench.databases import Databases
from bench.loops import C_EPOLL, C_URING, Subject
from bench.processes import Process, ProcessError, workload
from bench.programs import program
from bench.rows import Load, Row
from bench.stats import Sample

BULK = 64 * 1024
"""From this message size on the io_uring floor receives into one large buffer, not into provided ones."""

SPINNING = {"PLAIT_SPIN_US": "50", "BENCH_SPIN": "1"}
"""The environment in which plait and the C programs look before they sleep."""

ANSWER_SECONDS = 120.0


@dataclass(frozen=True)
class Effort:
    """How long one sample takes: seconds of TCP load, and the share of the usual work of the others."""

    tcp_seconds: float = 0.5
    warmup_seconds: float = 0.1
    scale: float = 1.0


@dataclass(frozen=True)
class Served:
    """A running server, and what the load generator must be told to talk to it."""

    process: Process
    port: str = ""
    talk: dict[str, str | int | Path] = field(default_factory=dict)


@dataclass
class Drivers:
    """Takes samples, and keeps the processes between them; stop() ends them."""

    effort: Effort
    _servers: dict[tuple[str, ...], Served] = field(default_factory=dict)
    _workers: dict[str, Process] = field(default_factory=dict)
    _folder: TemporaryDirectory[str] | None = None

    def __post_init__(self) -> None:
        self.core, self.client_core = machine.cores()
        self._databases = Databases(self.client_core)
        self._sample: dict[str, Callable[[Row, Subject], Sample]] = {
            "tcp": self._tcp,
            "server": self._tcp,
            "client": self._client,
            "task": self._task,
            "file": self._file,
            "memory": self._memory,
            "startup": self._startup,
        }

    def sample(self, row: Row, subject: Subject) -> Sample:
        """Raises ProcessError or BuildError."""
        return self._sample[row.kind](row, subject)

    def stop(self) -> None:
        for server in self._servers.values():
            server.process.stop()
        for worker in self._workers.values():
            worker.stop()
        self._databases.stop()
        if self._folder is not None:
            self._folder.cleanup()

    def _tcp(self, row: Row, subject: Subject) -> Sample:
        assert row.load is not None
        server = self._server(row.load, subject)
        found = self._load(row.load, server, self.effort.tcp_seconds, self.effort.warmup_seconds)
        waited = max(found["server_waited"], found["client_waited"])
        return Sample(found["cpu_us"], found["rate"], waited)

    def _load(self, load: Load, server: Served, seconds: float, warmup: float) -> dict[str, float]:
        options = {
            "port": server.port,
            "conns": load.conns,
            "outstanding": load.outstanding,
            "secs": seconds,
            "warmup": warmup,
            "pid": server.process.pid,
        } | (server.talk or {"size": load.size})
        command: list[str | Path] = [program(load.client), *(str(x) for k, v in options.items() for x in (f"--{k}", v))]
        try:
            with Process(command, self.client_core) as client:
                found: dict[str, float] = json.loads(client.hear(seconds + warmup + ANSWER_SECONDS))
        except ProcessError as error:
            raise ProcessError(f"{error}; {server.process.last_words('the server')}") from None
        return found

    def _server(self, load: Load, subject: Subject) -> Served:
        """The running server of this subject, started if need be."""
        command: list[str] = []
        if subject.is_floor and load.tls:
            command = [str(program("echo_tls")), "epoll" if subject == C_EPOLL else "uring"]
        elif subject == C_EPOLL:
            command = [str(program("echo_epoll"))]
        elif subject == C_URING:
            command = [str(program("echo_uring")), "poll" if load.size >= BULK else "buffers"]
        elif load.style in conversations.CONVERSATIONS:
            command = workload("servers", subject.factory, load.style)
        else:
            command = workload("echo", subject.factory, load.style, *["tls"] * load.tls)
        environment = subject.environment | (SPINNING if load.spin else {})
        key = (subject.name, *command, *["spin"] * load.spin)
        if key not in self._servers:
            process = Process(command, self.core, environment=environment)
            self._servers[key] = Served(process)  # so that it is stopped even if it never gets ready
            port = process.hear().split()[1]
            self._servers[key] = served = Served(process, port, conversations.options(load.style, int(port)))
            # A fresh process maps and unmaps memory around every large receive until malloc's threshold has grown.
            if not served.talk:
                self._load(replace(load, size=100 * 1024, conns=10, outstanding=1), served, 0.05, 0.1)
        return self._servers[key]

    def _client(self, row: Row, subject: Subject) -> Sample:
        port = self._databases.port(row.name)
        key = f"clients of {subject.name}"
        if key not in self._workers:
            command = workload("clients", subject.factory)
            self._workers[key] = Process(command, self.core, environment=subject.environment)
            self._workers[key].hear()
        request = {"row": row.name, "port": port, "scale": self.effort.scale}
        found = json.loads(self._workers[key].ask(json.dumps(request), ANSWER_SECONDS))
        if "error" in found:
            raise RuntimeError(found["error"])
        return Sample(found["ns"] / 1000, 1e9 / found["wall"], found["waited"])

    def _task(self, row: Row, subject: Subject) -> Sample:
        if subject.name not in self._workers:
            command = workload("tasks", subject.factory)
            self._workers[subject.name] = worker = Process(command, self.core, environment=subject.environment)
            worker.hear()
        request = json.dumps({"row": row.name, "scale": self.effort.scale})
        found = json.loads(self._workers[subject.name].ask(request, ANSWER_SECONDS))
        if "error" in found:
            raise RuntimeError(found["error"])
        return Sample(found["ns"], waited=found["waited"])

    def _file(self, row: Row, subject: Subject) -> Sample:
        if self._folder is None:
            self._folder = folder.make()
        if subject.is_floor:
            return self._cold(row, Path(self._folder.name) / "big")
        command = workload("files", subject.factory, subject.library, self._folder.name)
        # A process of its own each time: how it happens to lay out its memory makes half as much again of some calls, for its whole life.
        # Both cores: those with threads are not to be kept from using them.
        with Process(command, self.core, self.client_core, environment=subject.environment) as worker:
            worker.hear()
            request = json.dumps({"row": row.name, "scale": self.effort.scale})
            found = json.loads(worker.ask(request, ANSWER_SECONDS))
        if "error" in found:
            raise RuntimeError(found["error"])
        return Sample(found["ns"] / (1 if row.unit == "ns" else 1000), waited=found["waited"])

    def _cold(self, row: Row, big: Path) -> Sample:
        assert row.cold is not None
        count = max(64, int(row.cold.count * self.effort.scale))
        numbers = (str(row.cold.size), str(row.cold.conc), str(count))
        command: list[str | Path] = [program("read_uring"), big, *numbers]
        with Process(command, self.core, self.client_core) as child:
            found = json.loads(child.hear(ANSWER_SECONDS))
        return Sample(found["ns"] / 1000, waited=found["waited"])

    def _memory(self, row: Row, subject: Subject) -> Sample:
        n = {"memory-connection": 8000, "memory-task": 50_000}[row.name]
        n = max(200, int(n * self.effort.scale))
        command = workload("memory", subject.factory, row.name, str(n))
        # both cores: the client's process must run beside it
        with Process(command, self.core, self.client_core, environment=subject.environment) as child:
            return Sample(json.loads(child.hear(ANSWER_SECONDS))["bytes"])

    def _startup(self, row: Row, subject: Subject) -> Sample:
        # A checkout shall have its bytecode as what is installed has it, whatever the shell says.
        environment = {**subject.environment, "PYTHONDONTWRITEBYTECODE": ""}
        with Process(workload("startup", subject.factory), self.core, environment=environment) as child:
            found = json.loads(child.hear(ANSWER_SECONDS))
        return Sample(found["ms"], waited=found["waited"])
