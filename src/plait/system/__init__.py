"""What a loop shares with the operating system beside sockets: processes, pipes, signals, names, fork."""

from plait.system.factories import SystemFactories

__all__ = ["SystemFactories"]
