"""The command line of the benchmarks. `python -m bench --help` says what it can do."""

import argparse
import json
import signal
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import loops, machine, picture, progress, report, rounds
from bench.drivers import Drivers, Effort
from bench.loops import FILE_PEERS, FLOORS, RECORDED, Subject
from bench.processes import Process, ProcessError, workload
from bench.programs import BuildError, openssl, program
from bench.results import Results
from bench.rows import ROWS, Row, select

QUICK = Effort(tcp_seconds=0.05, warmup_seconds=0.02, scale=0.01)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure plait against asyncio, uvloop and C programs, all in interleaved rounds of one run. "
        "The default takes about twenty minutes and both of the first two cores.",
    )
    p.add_argument("--rows", action="append", default=[], metavar="GLOB", help="only these rows (may be repeated)")
    p.add_argument("--loops", default=",".join(loops.DEFAULT_LOOPS), metavar="A,B", help="default: %(default)s")
    p.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="LOOP",
        help="one more loop: rloop, zuvloop, module:factory, plait-uring@OTHER_CHECKOUT",
    )
    p.add_argument("--base", metavar="LOOP", help="what ratios are taken to (default: uvloop, else the first loop)")
    p.add_argument("--no-floors", action="store_true", help="without the C programs")
    p.add_argument("--rounds", type=int, help="default: 5")
    p.add_argument("--seconds", type=float, help="of one TCP measurement (default: 0.5)")
    p.add_argument("--quick", action="store_true", help="one very short round: shows that all works, nothing else")
    p.add_argument("--check", action="store_true", help="print the aims beside what was measured")
    p.add_argument("--json", type=Path, metavar="FILE", help="save everything")
    p.add_argument("--svg", type=Path, metavar="FILE", help="save the picture")
    p.add_argument(
        "--write",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="put the tables into a file, between its bench markers",
    )
    p.add_argument("--report", type=Path, metavar="JSON", help="measure nothing, show what was saved")
    p.add_argument("--list", action="store_true", help="the names of the rows")
    return p


def version(subject: Subject) -> str:
    """Start it once. Raises ProcessError or BuildError if it does not run here."""
    core, _ = machine.cores()
    if subject.is_floor:
        name = {"c-epoll": "echo_epoll", "c-uring": "echo_uring"}[subject.name]
        with Process([program(name), "buffers"], core) as child:
            child.hear()
        return ""
    if subject.files_only:
        with Process(workload("files", subject.factory, subject.library, "?"), core) as child:
            child.hear()
        return ""
    with Process(workload("probe", subject.factory), core, environment=subject.environment) as child:
        found: dict[str, str] = json.loads(child.hear())
    return found["version"]


def present(wanted: Sequence[Subject], results: Results) -> list[Subject]:
    """Those that run here; for the others a note says why not."""
    found = []
    for subject in wanted:
        try:
            about = version(subject)
        except (ProcessError, BuildError) as error:
            results.notes.append(f"{subject.name} is left out: {error}")
            continue
        found.append(subject)
        package = subject.factory.partition(":")[0]
        if about and subject.factory != RECORDED.factory:
            results.versions[package] = about
    return found


def measure(options: argparse.Namespace, rows: Sequence[Row]) -> Results:
    names = list(dict.fromkeys([*options.loops.split(","), *options.against]))
    wanted = [loops.subject(name) for name in names if name]
    if not options.no_floors and any(row.floors for row in rows):
        wanted += FLOORS
    if not options.no_floors and any(row.kind == "file" for row in rows):
        wanted += FILE_PEERS
    if "plait-uring" in names and RECORDED.name not in names and any(row.recorded is not None for row in rows):
        wanted.append(RECORDED)
    results = Results(base="", subjects=[], machine=machine.describe(), quick=options.quick)
    subjects = present(wanted, results)
    tls_floors = any(row.load and row.load.tls and row.floors for row in rows)
    if tls_floors and any(s.is_floor for s in subjects) and openssl() != ssl.OPENSSL_VERSION:
        results.notes.append(
            f"The C programs of TLS have {openssl()}, Python has {ssl.OPENSSL_VERSION}: they are no limit of each other."
        )
    for note in results.notes:
        print(f"bench: {note}", file=sys.stderr)
    measured = [s.name for s in subjects if not s.is_floor and not s.files_only and not s.recorded_only]
    results.subjects = [s.name for s in subjects]
    results.base = options.base or ("uvloop" if "uvloop" in measured else next(iter(measured), ""))
    if results.base not in measured:
        raise LookupError(
            f"the base {results.base!r} is not among the loops that run here: {', '.join(measured) or 'none'}"
        )
    for row in rows:
        if row.load:
            program(row.load.client)  # now, not after minutes
    effort = QUICK if options.quick else Effort()
    if options.seconds:
        effort = Effort(options.seconds, effort.warmup_seconds, effort.scale)
    drivers = Drivers(effort)
    try:
        with progress.progress() as show:
            rounds.measure(rows, subjects, options.rounds or (1 if options.quick else 5), drivers, results, show)
    except KeyboardInterrupt:
        results.notes.append("interrupted: fewer rounds than asked for")
    finally:
        drivers.stop()
    return results


def show(results: Results, options: argparse.Namespace) -> None:
    text = report.markdown(results)
    print(text)
    if options.check:
        print(report.check(results))
    if options.json and not options.report:
        results.save(options.json)
    if options.svg:
        options.svg.parent.mkdir(parents=True, exist_ok=True)
        options.svg.write_text(picture.svg(results))
    for path in options.write:
        path.write_text(report.write_between_markers(path.read_text(), results))


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 if a sample failed, or 2 if what was asked for cannot be done."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped too
    if options.list:
        for row in ROWS:
            print(f"{row.name:20} {row.title}")
        return 0
    try:
        for path in options.write:
            report.write_between_markers(path.read_text(), Results("", [], machine.describe()))
        results = Results.load(options.report) if options.report else measure(options, select(options.rows))
    except (LookupError, BuildError, ValueError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    show(results, options)
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
