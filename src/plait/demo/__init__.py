"""`plait demo`: the same work on real files, pages and rows, done in five ways of waiting, side by side.

options.py    what may be asked for, and what is refused
work.py       what is done with one file; pure functions
service.py    the web service, a process of its own
client.py     asks the service: blocking, and on a loop
sqlite.py, postgresql.py   where the rows are stored: blocking, and on a loop
ways.py       the five ways; each runs in a fresh process
measure.py    starts such a process and measures it from outside
picture.py    records some of the ways once more, and draws them
show.py       progress, table and sentences
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]


def main(given: list[str]) -> int:
    """Run the demo with these words of the command line; returns the exit status."""
    from plait.demo.options import Refused, parse

    try:
        settings = parse(given)
        needed = ["rich"] + (["asyncpg", "psycopg"] if settings.database is not None else [])
        missing = [name for name in needed if find_spec(name) is None]
        if missing:
            raise Refused(
                f"needs {' and '.join(missing)}, which the plain plait does not bring: pip install 'plait[demo]'"
            )
        from plait.demo.show import show

        return show(settings)
    except Refused as refusal:
        print(f"plait demo: {refusal}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("plait demo: interrupted, everything it started is stopped", file=sys.stderr)
        return 130
