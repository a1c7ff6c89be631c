"""The benchmarks: plait against asyncio, uvloop and what a C program reaches, in one run. Start: `python -m bench`."""
