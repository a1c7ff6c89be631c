"""The benchmarks work: statistics are pinned, C programs echo, a quick run gives a valid table. No test asserts a time."""

import fcntl
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import loops, machine, picture, report, rounds, rows
from bench.drivers import SPINNING
from bench.processes import Process, ProcessError, workload
from bench.programs import ROOT, openssl, program
from bench.results import Results
from bench.stats import Sample, Spread, calm, median_rate, ratio, spread
from bench.workloads import tasks


@pytest.fixture(autouse=True)
def own_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A test does not wait for somebody's measuring on this machine."""
    path = tmp_path / "lock"
    monkeypatch.setenv("BENCH_LOCK", str(path))
    return path


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)


def samples(*values: float, waited: float = 0.0) -> list[Sample | None]:
    return [Sample(value, waited=waited) for value in values]


class TestStatistics:
    def test_spread_is_median_and_quartiles(self) -> None:
        assert Spread(3.0, 2.0, 4.0) == Spread.of([5, 1, 4, 2, 3])

    def test_spread_of_two_is_their_bounds(self) -> None:
        assert Spread(2.0, 1.0, 3.0) == Spread.of([3.0, 1.0])

    def test_ratio_is_taken_inside_the_round(self) -> None:
        """A machine that is ten times slower in the second round changes no ratio."""
        assert Spread(2.0, 2.0, 2.0) == ratio(samples(10, 100, 10), samples(5, 50, 5))

    def test_ratio_above_one_means_cheaper_than_the_base(self) -> None:
        found = ratio(samples(10), samples(40))
        assert found is not None
        assert 0.25 == found.median

    def test_disturbed_rounds_are_left_out_when_three_calm_ones_remain(self) -> None:
        columns = [*samples(1, 2, 3), *samples(100, waited=0.2)]
        assert [0, 1, 2] == calm(columns)
        assert Spread(2.0, 1.5, 2.5) == spread(columns)

    def test_disturbed_rounds_count_when_too_few_calm_ones_remain(self) -> None:
        assert [0, 1, 2] == calm([*samples(1, 2), *samples(100, waited=0.2)])

    def test_a_failed_sample_takes_its_round_out_of_the_ratio(self) -> None:
        assert Spread(2.0, 2.0, 2.0) == ratio([None, *samples(8, 8)], samples(1, 4, 4))

    def test_nothing_measured_gives_nothing(self) -> None:
        assert spread([None]) is None
        assert ratio([], samples(1)) is None
        assert median_rate(samples(1)) is None


class TestRows:
    def test_every_task_row_has_its_case(self) -> None:
        assert set(tasks.CASES) == {row.name for row in rows.ROWS if row.kind == "task"}

    def test_names_are_unique(self) -> None:
        assert len(rows.ROWS) == len({row.name for row in rows.ROWS})

    def test_globs_choose(self) -> None:
        assert ["streams-1k-x100", "streams-100k-x10"] == [row.name for row in rows.select(["streams-*"])]
        assert list(rows.ROWS) == rows.select([])

    def test_a_glob_without_a_row_is_an_error_that_lists_them(self) -> None:
        with pytest.raises(LookupError, match=r"no row is called 'nonsense'.*sleep0-x1"):
            rows.select(["tcp-*", "nonsense"])


class TestLoops:
    def test_names_give_factory_and_environment(self, tmp_path: Path) -> None:
        names = ("asyncio", "plait-epoll", "some.module:make", f"plait-uring@{tmp_path}")
        found = [(s.factory, s.environment) for s in map(loops.subject, names)]
        assert [
            ("asyncio:new_event_loop", {}),
            ("plait:new_event_loop", {"PLAIT_ENGINE": "epoll"}),
            ("some.module:make", {}),
            ("plait:new_event_loop", {"PLAIT_ENGINE": "uring", "PYTHONPATH": f"{tmp_path.resolve()}/src"}),
        ] == found

    def test_a_recorded_loop_is_plaits(self, tmp_path: Path) -> None:
        found = loops.subject(f"plait-epoll+record@{tmp_path}")
        assert {"PLAIT_ENGINE": "epoll", "PYTHONPATH": f"{tmp_path.resolve()}/src"} == found.environment
        assert loops.RECORDED.factory == found.factory
        with pytest.raises(LookupError, match=r"'uvloop.record' is no loop: only plait is recorded"):
            loops.subject("uvloop+record")


class TestRounds:
    def test_the_order_rotates_from_round_to_round(self) -> None:
        row = rows.select(["tcp-1k-x10"])[0]
        three = [loops.subject(name) for name in ("asyncio", "uvloop", "rloop")]
        orders = [[s.name for s in rounds.subjects_of(row, three, number)] for number in range(3)]
        assert [
            ["asyncio", "uvloop", "rloop"],
            ["uvloop", "rloop", "asyncio"],
            ["rloop", "asyncio", "uvloop"],
        ] == orders

    def test_floors_are_measured_wherever_a_c_program_could_answer(self) -> None:
        both = [loops.subject("asyncio"), loops.C_EPOLL]
        found = {
            name: len(rounds.subjects_of(rows.select([name])[0], both, 0))
            for name in ("tcp-1k-x10", "streams-1k-x100", "sock-1k-x100", "tls-1k-x100", "uvicorn-x100", "sleep0-x1")
        }
        expected = {
            "tcp-1k-x10": 2,
            "streams-1k-x100": 2,
            "sock-1k-x100": 2,
            "tls-1k-x100": 2,
            "uvicorn-x100": 1,
            "sleep0-x1": 1,
        }
        assert expected == found

    def test_recorded_rows_are_those_that_say_what_it_may_cost(self) -> None:
        both = [loops.subject("plait-uring"), loops.RECORDED]
        found = {name: len(rounds.subjects_of(rows.select([name])[0], both, 0)) for name in ("create-task", "queue")}
        assert {"create-task": 2, "queue": 1} == found

    def test_a_disturbed_sample_is_taken_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("time.sleep", lambda _: None)
        left = iter([Sample(9, waited=0.3), Sample(7, waited=0.1), Sample(5, waited=0.01), Sample(1)])
        assert Sample(5, waited=0.01) == rounds.calmest(lambda: next(left))

    def test_the_least_disturbed_of_all_attempts_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("time.sleep", lambda _: None)
        left = iter([Sample(9, waited=0.3), Sample(7, waited=0.1), Sample(5, waited=0.2), Sample(1, waited=0.4)])
        assert Sample(7, waited=0.1) == rounds.calmest(lambda: next(left))


class TestMachine:
    def test_the_turn_keeps_others_out_until_it_is_given(self, own_lock: Path) -> None:
        turn = machine.Turn()
        turn.take()
        with own_lock.open() as other:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            turn.give()
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_waiting_for_the_turn_is_said(self, own_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        holder = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
        command = [sys.executable, "-c", holder, str(own_lock)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            turn, said = machine.Turn(), threading.Event()
            monkeypatch.setattr("builtins.print", lambda text, file: said.set() if str(own_lock) in text else None)
            waiting = threading.Thread(target=turn.take)
            waiting.start()
            assert said.wait(30)
            other.communicate(b"\n")
            waiting.join(30)
            assert not waiting.is_alive()
            turn.give()

    def test_pinning_and_priority_end_with_their_block(self) -> None:
        before = os.sched_getaffinity(0), os.sched_getscheduler(0)
        first, _ = machine.cores()
        with machine.pinned(first):
            assert {first} == os.sched_getaffinity(0)
        assert before == (os.sched_getaffinity(0), os.sched_getscheduler(0))

    def test_a_process_that_ends_says_its_last_words(self) -> None:
        said = pytest.raises(ProcessError, match="No module named 'no_such_module'")
        with Process(workload("probe", "no_such_module:factory"), *machine.cores()) as child, said:
            child.hear()


FLOORS = ["echo_epoll", "echo_uring buffers", "echo_uring poll"]


@pytest.fixture(params=[*FLOORS, *(f"{floor} spinning" for floor in FLOORS)])
def floor(request: pytest.FixtureRequest) -> Iterator[tuple[Process, str]]:
    command, spinning, _ = request.param.partition(" spinning")
    name, *mode = command.split()
    with Process([program(name), *mode], *machine.cores(), environment=SPINNING if spinning else {}) as server:
        yield server, server.hear().split()[1]


@pytest.fixture(params=["epoll", "uring"])
def tls_floor(request: pytest.FixtureRequest) -> Iterator[tuple[Process, str]]:
    with Process([program("echo_tls"), request.param], *machine.cores()) as server:
        yield server, server.hear().split()[1]


class TestPrograms:
    # The load generator compares every byte during its warm-up and fails if one is wrong, lost or added.
    @pytest.mark.parametrize("client", [[], ["--epoll"]], ids=["io_uring", "epoll"])
    @pytest.mark.parametrize(
        "load", ["--size 1 --conns 1", "--size 1024 --conns 200 --outstanding 16", "--size 300000 --conns 20"]
    )
    def test_the_floors_echo(self, floor: tuple[Process, str], client: list[str], load: str) -> None:
        server, port = floor
        command: list[str | Path] = [
            program("loadgen"),
            "--port",
            port,
            "--pid",
            str(server.pid),
            "--secs",
            "0.02",
            "--warmup",
            "0.2",
        ]
        with Process([*command, *load.split(), *client], *machine.cores()) as generator:
            found = json.loads(generator.hear())
        assert found["messages"] > 0
        assert found["cpu_us"] > 0
        assert ("epoll" if client else "io_uring") == found["client"]

    @pytest.mark.parametrize("floor", [f"{floor} spinning" for floor in FLOORS], indirect=True)
    def test_a_floor_that_spins_sleeps_while_nobody_is_connected(self, floor: tuple[Process, str]) -> None:
        """It stays alive beside what is measured on the same core."""
        server, port = floor
        with socket.create_connection(("127.0.0.1", int(port))) as connection:
            connection.sendall(b"hello")
            assert b"hello" == connection.recv(5)
        waiting = Path(f"/proc/{server.pid}/stat")
        while waiting.read_text().rpartition(")")[2].split()[0] != "S":
            pass  # until pytest's own limit

    @pytest.mark.parametrize(
        "load", ["--size 1 --conns 1", "--size 1024 --conns 200 --outstanding 16", "--size 300000 --conns 20"]
    )
    def test_the_floors_echo_over_tls(self, tls_floor: tuple[Process, str], load: str) -> None:
        server, port = tls_floor
        command = [program("loadtls"), "--port", port, "--pid", str(server.pid), "--secs", "0.02", "--warmup", "0.2"]
        with Process([*command, *load.split()], *machine.cores()) as generator:
            found = json.loads(generator.hear())
        assert found["messages"] > 0
        assert found["cpu_us"] > 0

    def test_the_floor_of_reads_from_the_disk_reads_as_many_as_asked(self, tmp_path: Path) -> None:
        big = tmp_path / "big"
        big.write_bytes(bytes(40 * 4096))
        with Process([program("read_uring"), big, "4096", "16", "100"], *machine.cores()) as reader:
            found = json.loads(reader.hear())
        assert found["ns"] > 0
        said = pytest.raises(ProcessError, match="the numbers: Invalid argument")
        with Process([program("read_uring"), big, "1000000", "16", "100"], *machine.cores()) as reader, said:
            reader.hear()

    def test_the_floor_of_tls_is_what_the_loops_in_python_have(self, tls_floor: tuple[Process, str]) -> None:
        """The same cipher of the same TLS: otherwise it would be another row's limit. Another OpenSSL is said in a note."""
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        server = Process(workload("echo", "asyncio:new_event_loop", "protocol", "tls"), *machine.cores())
        with server:
            ports = [int(tls_floor[1]), int(server.hear().split()[1])]
            found = []
            for port in ports:
                with socket.create_connection(("127.0.0.1", port)) as plain, trusting.wrap_socket(plain) as connection:
                    connection.sendall(b"hello")
                    assert b"hello" == connection.recv(5)
                    found.append((connection.version(), connection.cipher()))
        assert found[0] == found[1]
        assert "TLSv1.3" == found[0][0]

    def test_another_openssl_than_pythons_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "sitecustomize.py").write_text("import ssl; ssl.OPENSSL_VERSION = 'OpenSSL 9'")
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        notes = []
        for chosen in ({}, {"env": environment}):
            command = [sys.executable, "-m", "bench", "--quick", "--loops=asyncio", "--rows=tls-1k-x100"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=True, **chosen)
            notes.append(f"The C programs of TLS have {openssl()}, Python has OpenSSL 9" in done.stdout)
        assert [False, True] == notes

    @pytest.mark.parametrize("peer", ["hello", ""], ids=["no TLS", "nothing"])
    def test_the_floor_of_tls_outlives_a_peer_that_ends_early(self, tls_floor: tuple[Process, str], peer: str) -> None:
        _, port = tls_floor
        with socket.create_connection(("127.0.0.1", int(port))) as other:
            other.sendall(peer.encode())
            other.shutdown(socket.SHUT_WR)
            while other.recv(4096):
                pass
        command = [program("loadtls"), "--port", port, "--conns", "1", "--secs", "0.02", "--warmup", "0.02"]
        with Process(command, *machine.cores()) as generator:
            assert json.loads(generator.hear())["messages"] > 0

    @pytest.mark.parametrize("client", [[], ["--epoll"]], ids=["io_uring", "epoll"])
    def test_the_load_generator_refuses_a_server_that_changes_bytes(self, client: list[str]) -> None:
        with Process([sys.executable, "-c", UPPER_CASE], *machine.cores()) as server:
            port = server.hear().split()[1]
            command: list[str | Path] = [program("loadgen"), "--port", port, "--conns", "1", *client]
            said = pytest.raises(ProcessError, match="other bytes than it should have")
            with Process(command, *machine.cores()) as generator, said:
                generator.hear()

    def test_the_load_generator_says_what_it_needs(self) -> None:
        said = pytest.raises(ProcessError, match="status 2: loadgen: needs --port")
        with Process([program("loadgen"), "--outstanding", "1000"], *machine.cores()) as generator, said:
            generator.hear()

    def test_an_answer_that_begins_otherwise_is_refused(self, tmp_path: Path) -> None:
        """What the conversations of real libraries rest on: the upper-case server answers hello by HELLO."""
        for name, content in {"message": "hello", "right": "HEL", "wrong": "hel"}.items():
            (tmp_path / name).write_text(content)
        for begins, expected in {"right": "messages", "wrong": "other bytes than it should have"}.items():
            with Process([sys.executable, "-c", UPPER_CASE], *machine.cores()) as server:
                port = server.hear().split()[1]
                options = {
                    "message": tmp_path / "message",
                    "answer": 5,
                    "begins": tmp_path / begins,
                    "conns": 1,
                    "secs": 0.05,
                }
                words = [str(x) for name, value in options.items() for x in (f"--{name}", value)]
                with Process([program("loadgen"), "--port", port, *words], *machine.cores()) as generator:
                    try:
                        said = generator.hear()
                    except ProcessError as error:
                        said = str(error)
                assert expected in said


UPPER_CASE = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print("ready", listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
while data := connection.recv(65536):
    connection.sendall(data.upper())
"""


class TestQuickRun:
    def test_tables_json_and_picture(self, tmp_path: Path) -> None:
        saved, drawn, page = tmp_path / "found.json", tmp_path / "found.svg", tmp_path / "page.md"
        page.write_text("before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n")
        chosen = [
            "tcp-1k-x10",
            "tls-100k-x10",
            "tls-streams-*",
            "streams-1k-x100",
            "sock-1k-x100",
            "*-x50",
            "sleep0-x100",
            "memory-*",
            "startup",
        ]
        chosen += ["uvicorn-x100", "aiohttp-x100", "websockets-x100"]
        done = bench(
            "--quick", "--check", "--loops=asyncio", "--against=bench_no_such_loop", *(f"--rows={x}" for x in chosen),
            f"--json={saved}", f"--svg={drawn}", f"--write={page}",
        )  # fmt: skip
        assert 0 == done.returncode, done.stderr
        assert "says nothing about speed" in done.stdout
        assert "bench_no_such_loop is left out" in done.stdout
        found = Results.load(saved)
        assert "asyncio" == found.base
        assert ["asyncio", "c-epoll", "c-uring"] == found.subjects
        assert {"asyncio": 1, "c-epoll": 1, "c-uring": 1} == {k: len(v) for k, v in found.samples["tcp-1k-x10"].items()}
        assert all(x and x.value >= 0 for row in found.samples.values() for xs in row.values() for x in xs)
        assert 1.0 == json.loads(saved.read_text())["ratios"]["tcp-1k-x10"]["asyncio"]["median"]
        assert "svg" in xml.etree.ElementTree.parse(drawn).getroot().tag
        text = page.read_text()
        assert text.startswith("before\n<!-- bench:begin -->\nA quick run")
        assert text.endswith("<!-- bench:end -->\nafter\n")
        assert "| TCP echo, 1 KiB x 10 |" in text

    def test_what_recording_costs_stands_beside_its_aim(self) -> None:
        done = bench("--quick", "--check", "--loops=plait-uring", "--rows=sleep0-x100", "--rows=tcp-1k-x100")
        assert 0 == done.returncode, done.stdout + done.stderr
        said = [line for line in done.stdout.splitlines() if "plait-uring, recorded" in line]
        assert ["sleep0-x100", "tcp-1k-x100"] == sorted(line.split()[1] for line in said)

    def test_every_task_row_runs(self) -> None:
        done = bench("--quick", "--loops=asyncio", *(f"--rows={name}" for name in tasks.CASES))
        assert 0 == done.returncode, done.stdout + done.stderr
        assert len(tasks.CASES) == sum(" ns |" in line for line in done.stdout.splitlines())

    def test_a_saved_run_is_shown_again(self, tmp_path: Path) -> None:
        saved = tmp_path / "found.json"
        first = bench("--quick", "--loops=asyncio", "--rows=call-soon", f"--json={saved}")
        again = bench(f"--report={saved}")
        assert (0, first.stdout) == (again.returncode, again.stdout)

    def test_what_cannot_be_done_is_said_in_one_line(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text("no markers")
        wrong = {
            "no row is called 'nonsense'": ["--rows=nonsense"],
            "the base 'uvloop' is not among the loops that run here: asyncio": ["--loops=asyncio", "--base=uvloop"],
            "has no lines <!-- bench:begin -->": [f"--write={page}"],
            "No such file": [f"--report={tmp_path}/none.json"],
        }
        for message, arguments in wrong.items():
            done = bench("--quick", "--rows=call-soon", *arguments)
            assert 2 == done.returncode
            assert message in done.stderr
            assert "Traceback" not in done.stderr


def sample_results() -> Results:
    results = Results("uvloop", ["uvloop", "plait-uring", "c-epoll", "c-uring"], machine.describe())
    for name, costs in {
        "uvloop": (4.0, 4.0),
        "plait-uring": (3.2, 3.6),
        "c-epoll": (3.2, 3.2),
        "c-uring": (3.1, 3.1),
    }.items():
        for row, cost in zip(("tcp-1k-x10", "tcp-1k-x100"), costs, strict=True):
            for _ in range(3):
                results.add(row, name, Sample(cost, rate=1e6 / cost))
    return results


class TestReport:
    def test_a_cell_says_ratio_quartiles_cost_and_rate(self) -> None:
        row = rows.select(["tcp-1k-x10"])[0]
        assert "**1.25** (1.25-1.25)<br>3.2 us, 312k/s" == report.cell(sample_results(), row, "plait-uring")

    def test_check_holds_aims_against_the_measured(self) -> None:
        lines = [line for line in report.check(sample_results()).splitlines() if "plait-uring" in line]
        assert [
            "| tcp-1k-x10 | plait-uring | 1.33 | 1.25 (1.25-1.25) | 97% | met by 95% of C |",
            "| tcp-1k-x100 | plait-uring | 1.34 | 1.11 (1.11-1.11) | 86% | not met |",
        ] == lines

    def test_the_picture_is_xml_and_names_all(self) -> None:
        drawn = picture.svg(sample_results())
        text = "".join(xml.etree.ElementTree.fromstring(drawn).itertext())
        for expected in ("Speed, uvloop = 1", "plait, io_uring", "C, epoll", "TCP echo, 1 KiB x 100"):
            assert expected in text

    def test_the_document_has_the_markers(self) -> None:
        page = (ROOT / "docs" / "benchmarks.md").read_text()
        assert "**1.25** (1.25-1.25)<br>3.2 us" in report.write_between_markers(page, sample_results())

    def test_markers_may_ask_for_the_short_table(self) -> None:
        page = "a\n<!-- bench:begin ratios -->\nold\n<!-- bench:end -->\nz\n"
        written = report.write_between_markers(page, sample_results())
        assert "| TCP echo, 1 KiB x 10 | 4 us | **1.25** | 1.25 | 1.29 |" in written
        assert written.startswith("a\n<!-- bench:begin ratios -->\n")
        assert written.endswith("\n<!-- bench:end -->\nz\n")

    def test_check_names_the_rows_behind_another_peer(self) -> None:
        results = sample_results()
        results.subjects.append("zuvloop")
        for cost in (2.0, 2.0, 2.0):
            results.add("tcp-1k-x10", "zuvloop", Sample(cost))
        assert "Behind zuvloop: tcp-1k-x10 0.62 (0.62-0.62)." in report.check(results)
