"""What asyncio, uvloop and plait do for each row of asyncio's loop interface: `python -m tests.interface --help`."""
