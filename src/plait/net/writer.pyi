import asyncio

# The objects are no instances of it by layout, only by isinstance().
class StreamWriter(asyncio.StreamWriter): ...
