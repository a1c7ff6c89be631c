"""What can go wrong before an engine runs."""


class EngineUnavailable(RuntimeError):
    """The engine that was asked for cannot run here; the text says why and what to change."""


class EngineRefused(OSError):
    """The kernel, or a policy before it, refused what the engine needs; another configuration or engine may do."""
