"""What a loop adds to a program's start and end:  python -m bench.workloads.startup MODULE:FACTORY

Import asyncio and the loop, run one coroutine, close. Prints {"ms": figure, "waited": share}.
"""

import time

start = time.perf_counter_ns()  # before anything else is imported


def main() -> None:
    import sys

    from bench.loops import run

    async def nothing() -> None:
        pass

    run(sys.argv[1], nothing)
    elapsed = time.perf_counter_ns() - start

    import json

    from bench.machine import waited_ns

    print(json.dumps({"ms": elapsed / 1e6, "waited": waited_ns() / elapsed}))


if __name__ == "__main__":
    main()
