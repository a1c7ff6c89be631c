"""Ask each loop all probes, and write the table of docs/asyncio.md."""

import argparse
import json
import platform
import subprocess
import sys
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from tests.interface.probes import probes

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "asyncio.md"
BEGIN, END = "<!-- made by `make interface` -->", "<!-- up to here -->"
SUBJECTS = ["asyncio", "uvloop", "plait uring", "plait epoll"]
SUBJECT_SECONDS = 300


def answers_of(subject: str) -> list[str]:
    """One answer for each probe. A probe that takes its process down, or hangs it, has its answer too."""
    answers: list[str] = []
    while len(answers) < len(probes):
        began = len(answers)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.interface.inside", subject, str(began)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as process:
            assert process.stdout is not None
            hung = False
            try:
                output, _ = process.communicate(timeout=SUBJECT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                output, hung = process.communicate()[0], True
        answers += [told["answer"] for line in output.splitlines() if "answer" in (told := json.loads(line))]
        if len(answers) < len(probes):
            answers.append("no: hangs" if hung else f"no: the process ends with {process.returncode}")
    return answers


def table(columns: dict[str, list[str]]) -> str:
    """plait's two engines are one column where they agree, and they should."""
    uring, epoll = columns.pop("plait uring"), columns.pop("plait epoll")
    columns["plait"] = [a if a == b else f"uring: {a}; epoll: {b}" for a, b in zip(uring, epoll, strict=True)]
    lines = [
        f"Python {platform.python_version()}, uvloop {version('uvloop')}, Linux {platform.release().split('-')[0]}. "
        "`Python 3.N`: since then.",
        "",
    ]
    for name, rows in groupby(enumerate(probes), lambda row: row[1].group):
        lines += [
            f"### {name}",
            "",
            f"| call | what is looked at | {' | '.join(columns)} |",
            "|---|---|" + "---|" * len(columns),
        ]
        for number, probe in rows:
            cells = [column[number].replace("|", "\\|") for column in columns.values()]
            lines.append(f"| `{probe.name}` | {probe.looks_at} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def committed() -> dict[str, str]:
    """plait's cell of each row in the page."""
    text = PAGE.read_text()
    rows = [line for line in text[text.index(BEGIN) : text.index(END)].splitlines() if line.startswith("| `")]
    return {row.split(" | ")[0].strip("| `"): row.rstrip("| ").split(" | ")[-1] for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.interface", description=__doc__)
    parser.add_argument("--print", action="store_true", help="print the table instead of writing it into the page")
    options = parser.parse_args()
    text = table({subject: answers_of(subject) for subject in SUBJECTS})
    if options.print:
        print(text)
        return
    page = PAGE.read_text()
    PAGE.write_text(page[: page.index(BEGIN) + len(BEGIN)] + "\n\n" + text + "\n" + page[page.index(END) :])


if __name__ == "__main__":
    main()
