"""CPython's own tests of asyncio, run on plait: `python -m tests.conformance --help`."""
