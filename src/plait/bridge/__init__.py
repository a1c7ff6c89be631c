"""Bridges between a loop and code that is not asynchronous."""

from plait.bridge.background import Background, BackgroundFuture, Portal, background

__all__ = ["Background", "BackgroundFuture", "Portal", "background"]
