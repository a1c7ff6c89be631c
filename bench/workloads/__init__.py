"""The programs that are measured: each runs one event loop in a process of its own and imports nothing but that."""
