"""The results as Markdown."""

import re
from collections.abc import Sequence

from bench.loops import FILE_PEERS, FLOORS, RECORDED
from bench.results import Results
from bench.rows import Part, Row
from bench.stats import DISTURBED, Sample, Spread, median_rate, spread

MARKERS = re.compile(r"(<!-- bench:begin( ratios)? -->\n).*?(<!-- bench:end -->)", re.DOTALL)
"""Where a file wants the tables; with `ratios`, the short one."""

LABELS = {
    "c-epoll": "C, epoll",
    "c-uring": "C, io_uring",
    "caio": "caio, aiofile",
    "plait-uring": "plait, io_uring",
    "plait-epoll": "plait, epoll",
}

FLOOR_SHARE = 0.95
"""What plait wants to reach of the better C program where the machine's own limit is below the aim."""


def label(subject: str) -> str:
    return LABELS.get(subject, subject)


def number(value: float) -> str:
    """Three digits are what these measurements are worth."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def cell(results: Results, row: Row, subject: str) -> str:
    samples = results.of(row.name, subject)
    cost = spread(samples)
    if cost is None:
        return "failed" if samples else ""
    text = f"{number(cost.median)} {row.unit}"
    if (rate := median_rate(samples)) is not None:
        text += f", {rate / 1000:.0f}k/s"
    found = results.ratio(row.name, subject)
    if found is None or subject == results.base:
        return text
    return f"**{found.median:.2f}** ({found.low:.2f}-{found.high:.2f})<br>{text}"


def table(results: Results, rows: Sequence[Row], subjects: Sequence[str]) -> list[str]:
    lines = ["| | " + " | ".join(label(s) for s in subjects) + " |", "|---|" + "---|" * len(subjects)]
    for row in rows:
        lines.append(f"| {row.title} | " + " | ".join(cell(results, row, s) for s in subjects) + " |")
    return lines


def disturbed(results: Results) -> tuple[int, int]:
    """How many samples others' load disturbed in spite of the repeats, and of how many."""
    every: list[Sample] = [x for row in results.samples.values() for xs in row.values() for x in xs if x]
    return sum(x.disturbed for x in every), len(every)


def about(results: Results) -> list[str]:
    """The machine, the versions and the number of rounds."""
    m = results.machine
    rounds = max((len(xs) for row in results.samples.values() for xs in row.values()), default=0)
    parts = [f"{m['processor']}, {m['cores']} cores", f"Linux {m['kernel']} {m['machine']}", m["python"]]
    parts += [f"{package} {version}" for package, version in results.versions.items()]
    line = ", ".join([*parts, m["date"]]) + f". Interleaved rounds: {rounds}."
    quick = ["A quick run: it shows that everything works, and says nothing about speed.", ""] if results.quick else []
    return [*quick, line, ""]


def ratios(results: Results) -> str:
    """The short table: speed only."""
    floors = {f.name for f in FLOORS}
    elsewhere = {peer.name for peer in (*FILE_PEERS, RECORDED)}
    others = [s for s in results.subjects if s != results.base and s not in elsewhere]
    base = label(results.base)
    lines = [
        *about(results),
        f"Speed with {base} as 1: 2.00 is half the cost (medians; TCP and servers by their CPU time per message, clients by theirs).",
        "",
        f"| | {base} | " + " | ".join(label(s) for s in others) + " |",
        "|---|" + "--:|" * (1 + len(others)),
    ]
    for row in results.rows():
        cost = spread(results.of(row.name, results.base))
        cells = [f"{number(cost.median)} {row.unit}" if cost else ""]
        for subject in others:
            found = results.ratio(row.name, subject)
            emphasis = "" if subject in floors or subject == "asyncio" else "**"
            cells.append(f"{emphasis}{found.median:.2f}{emphasis}" if found else "")
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def markdown(results: Results) -> str:
    """The tables, with what is needed to read them."""
    floors = {f.name for f in FLOORS}
    libraries = {peer.name for peer in FILE_PEERS}
    subjects = [s for s in results.subjects if s != RECORDED.name]
    loops = [s for s in subjects if s not in floors | libraries]
    lines = [
        *about(results),
        f"**Bold**: speed with {results.base} as 1: 2.00 is half the cost. It is the median of the rounds' ratios, "
        "with their quartiles in brackets.",
        "",
    ]
    parts: tuple[tuple[Part, str, list[str]], ...] = (
        ("tcp", "CPU time of the server per message, and messages per second:", loops + sorted(floors)),
        (
            "libraries",
            "Libraries: CPU time of the Python process per request, message or query, and how many per second:",
            loops,
        ),
        ("other", "Time (or memory) per operation:", loops),
        (
            "files",
            "Files; uvloop and asyncio hand each call to a thread (asyncio.to_thread):",
            loops + sorted(libraries | floors),
        ),
    )
    for part, title, subjects in parts:
        if rows := results.part(part):
            columns = [s for s in results.subjects if s in subjects and any(results.of(row.name, s) for row in rows)]
            lines += [title, "", *table(results, rows, columns), ""]
    lines += recording(results)
    bad, every = disturbed(results)
    if bad:
        lines += [f"{bad} of {every} samples stayed disturbed by others' load (over {DISTURBED:.0%} waiting).", ""]
    lines += [f"- {note}" for note in results.notes]
    lines += [f"- {failure}" for failure in results.failures]
    return "\n".join(lines).rstrip() + "\n"


def more(found: Spread) -> str:
    """What costs more, from how many times cheaper it is."""
    return f"{1 / found.median - 1:+.1%} ({1 / found.high - 1:+.1%} to {1 / found.low - 1:+.1%})"


def recording(results: Results) -> list[str]:
    """What a loop pays while all of it is recorded."""
    found = [
        f"| {row.title} | {cost} | {cell(results, row, RECORDED.name).rpartition('>')[2]} | {more(paid)} |"
        for row in results.rows()
        if (paid := results.ratio(row.name, RECORDED.name, "plait-uring"))
        and (cost := cell(results, row, "plait-uring").rpartition(">")[2])
    ]
    head = ["What recording costs:", "", "| | plait, io_uring | recorded | more |", "|---|---|---|---|"]
    return [*head, *found, ""] if found else []


def check(results: Results) -> str:
    """The aims beside what was measured. It says; it judges nobody."""
    lines = ["| row | loop | aim | measured | of the better C program | |", "|---|---|---|---|---|---|"]
    for row in results.rows():
        for subject, aim in row.aims.items():
            found = results.ratio(row.name, subject)
            if found is None:
                continue
            shares = [s.median for f in FLOORS if (s := results.ratio(row.name, subject, f.name))]
            share = min(shares) if shares else None
            met = "met" if found.median >= aim else "not met"
            if met == "not met" and share is not None and share >= FLOOR_SHARE:
                met = f"met by {FLOOR_SHARE:.0%} of C"
            measured = f"{found.median:.2f} ({found.low:.2f}-{found.high:.2f})"
            percent = f"{share:.0%}" if share is not None else ""
            lines.append(f"| {row.name} | {subject} | {aim:.2f} | {measured} | {percent} | {met} |")
        for peer, aim in row.aims_to.items():
            if (found := results.ratio(row.name, "plait-uring", peer)) is not None:
                met = "met" if found.median >= aim else "not met"
                measured = f"{found.median:.2f} ({found.low:.2f}-{found.high:.2f})"
                lines.append(f"| {row.name} | plait-uring to {label(peer)} | {aim:.2f} | {measured} | | {met} |")
        for subject, most in row.most.items():
            if (cost := spread(results.of(row.name, subject))) is not None:
                met = "met" if cost.median <= most else "not met"
                measured = f"{number(cost.median)} ({number(cost.low)}-{number(cost.high)}) {row.unit}"
                lines.append(f"| {row.name} | {subject} | at most {number(most)} {row.unit} | {measured} | | {met} |")
        if row.recorded is not None and (found := results.ratio(row.name, RECORDED.name, "plait-uring")) is not None:
            met = "met" if 1 / found.median - 1 <= row.recorded else "not met"
            lines.append(f"| {row.name} | plait-uring, recorded | +{row.recorded:.0%} | {more(found)} | | {met} |")
    if results.base != "uvloop":
        lines += ["", f"The aims are ratios to uvloop; these are ratios to {results.base}."]
    known = (*LABELS, *(peer.name for peer in FILE_PEERS), RECORDED.name, "plait", "asyncio", results.base)
    peers = [s for s in results.subjects if s not in known and "plait-uring" in results.subjects]
    lines += [line for peer in peers for line in ("", against(results, peer))]
    return "\n".join(lines) + "\n"


def against(results: Results, peer: str) -> str:
    """In which rows plait stays behind another loop."""
    found = {row.name: results.ratio(row.name, "plait-uring", peer) for row in results.rows()}
    behind = [f"{name} {s.median:.2f} ({s.low:.2f}-{s.high:.2f})" for name, s in found.items() if s and s.median < 1]
    return f"Behind {peer}: {', '.join(behind) or 'in no row'}."


def write_between_markers(text: str, results: Results) -> str:
    """`text` with the tables between its bench markers. Raises ValueError without them."""

    def tables(found: re.Match[str]) -> str:
        new = ratios(results) if found[2] else markdown(results)
        return f"{found[1]}{new}{found[3]}"

    if not MARKERS.search(text):
        raise ValueError("it has no lines <!-- bench:begin --> and <!-- bench:end -->")
    return MARKERS.sub(tables, text)
