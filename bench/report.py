"""The results as Markdown."""

from collections.abc import Sequence

from bench.loops import FLOORS
from bench.results import Results
from bench.rows import Row
from bench.stats import DISTURBED, Sample, median_rate, spread

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

LABELS = {
    "c-epoll": "C, epoll",
    "c-uring": "C, io_uring",
    "plait-uring": "plait, io_uring",
    "plait-epoll": "plait, epoll",
}

FLOOR_SHARE = 0.93
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


def markdown(results: Results) -> str:
    """The tables, with what is needed to read them."""
    floors = {f.name for f in FLOORS}
    loops = [s for s in results.subjects if s not in floors]
    tcp = [row for row in results.rows() if row.kind == "tcp"]
    other = [row for row in results.rows() if row.kind != "tcp"]
    m = results.machine
    rounds = max((len(xs) for row in results.samples.values() for xs in row.values()), default=0)
    lines = []
    if results.quick:
        lines += ["A quick run: it shows that everything works, and says nothing about speed.", ""]
    lines += [
        f"{m['processor']}, {m['cores']} cores, Linux {m['kernel']} {m['machine']}, {m['python']}, {m['date']}"
        + "".join(f", {k} {v}" for k, v in results.versions.items())
        + f". {rounds} interleaved rounds. **Bold**: speed with {results.base} as 1 "
        "(2.00 is half the cost; median of the rounds' ratios, quartiles in brackets).",
        "",
    ]
    if tcp:
        lines += ["CPU time of the server per message, and messages per second:", ""]
        lines += [*table(results, tcp, results.subjects), ""]
    if other:
        lines += ["Time (or memory) per operation:", ""]
        lines += [*table(results, other, loops), ""]
    bad, every = disturbed(results)
    if bad:
        lines += [f"{bad} of {every} samples stayed disturbed by others' load (over {DISTURBED:.0%} waiting).", ""]
    lines += [f"- {note}" for note in results.notes]
    lines += [f"- FAILED {failure}" for failure in results.failures]
    return "\n".join(lines).rstrip() + "\n"


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
    if results.base != "uvloop":
        lines += ["", f"The aims are ratios to uvloop; these are ratios to {results.base}."]
    return "\n".join(lines) + "\n"


def replace_between_markers(text: str, new: str) -> str:
    """`text` with what stands between the two bench markers replaced. Raises ValueError without them."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"it has no lines {BEGIN} and {END}")
    return f"{head}{begin}\n{new.rstrip()}\n{end}{tail}"
