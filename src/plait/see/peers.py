"""What listens at the other end of a socket, as far as its address tells."""

from plait.see.kinds import by_address
from plait.see.model import WaitKind

__all__ = ["kind_of_peer", "show_address"]


def kind_of_peer(address: object) -> tuple[WaitKind, str]:
    """The kind and the name of what listens there: (DATABASE, "postgresql 127.0.0.1:5432")."""
    text = show_address(address)
    kind, name = by_address(text) or (WaitKind.NETWORK, "")
    return kind, f"{name} {text}".strip()


def show_address(address: object) -> str:
    """As people write it: 127.0.0.1:80, [::1]:80, a path."""
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(address, bytes):
        return "@" + address.lstrip(b"\0").decode(errors="replace")
    return str(address or "")
