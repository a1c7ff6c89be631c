"""The probes on one kind of loop, in a process of their own: prints a line of JSON before and after each."""

import asyncio
import contextlib
import gc
import inspect
import json
import logging
import os
import sys
import warnings
from typing import Any

from tests.interface.probes import Probe, Wrong, probes

PROBE_SECONDS = 8


def new_loop(subject: str) -> Any:
    if subject == "asyncio":
        return asyncio.SelectorEventLoop()
    if subject == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    import plait

    return plait.new_event_loop(engine=subject.removeprefix("plait "))


def verdict(probe: Probe, subject: str) -> str:
    """ "yes", or what is wrong."""
    if sys.version_info < probe.since:
        return f"Python {probe.since[0]}.{probe.since[1]}"
    loop = new_loop(subject)
    try:
        if inspect.iscoroutinefunction(probe.function):
            loop.run_until_complete(asyncio.wait_for(probe.function(loop), PROBE_SECONDS))
        else:
            probe.function(loop)
    except Wrong as wrong:
        return f"no: {wrong}"
    except NotImplementedError:
        return "no: not implemented"
    except TimeoutError:
        return "no: never ends"
    except Exception as error:
        return f"no: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")[:100]
    finally:
        with contextlib.suppress(Exception):
            loop.close()
    return "yes"


def main() -> None:
    subject, already = sys.argv[1], int(sys.argv[2])
    # What a probe says is its exception; what a loop prints besides is not read.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    warnings.simplefilter("ignore")
    logging.disable(logging.NOTSET)
    for number, probe in enumerate(probes):
        if number < already:
            continue
        print(json.dumps({"number": number}), file=answers)
        answer = verdict(probe, subject)
        gc.collect()
        print(json.dumps({"number": number, "answer": answer}), file=answers)


if __name__ == "__main__":
    main()
