"""Seeing a program run: recordings, pictures, and looking into a process that runs."""
