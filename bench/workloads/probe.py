"""Does a loop run here, and what is it:  python -m bench.workloads.probe MODULE:FACTORY

Prints {"version": ..., "engine": ...}; ends with the loop's own error if it cannot run.
"""

import asyncio
import importlib.metadata
import json
import sys

from bench.loops import run


async def look() -> str:
    """The name of plait's engine; other loops have none."""
    return str(getattr(getattr(asyncio.get_running_loop(), "engine", None), "name", ""))


if __name__ == "__main__":
    factory = sys.argv[1]
    engine = run(factory, look)
    package = factory.partition(":")[0].partition(".")[0]
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    print(json.dumps({"version": version, "engine": engine}))
