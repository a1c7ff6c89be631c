"""What waits are called: by the library that waits, and by the port at the other end."""

from plait.see.model import WaitKind

__all__ = ["LIBRARIES", "PORTS", "kind_of_peer", "show_address"]

# The first part of a module's name.
LIBRARIES = {
    "aiodns": WaitKind.DNS,
    "aiofiles": WaitKind.FILE,
    "aiohttp": WaitKind.WEB,
    "aiomysql": WaitKind.DATABASE,
    "aiosqlite": WaitKind.DATABASE,
    "asyncmy": WaitKind.DATABASE,
    "asyncpg": WaitKind.DATABASE,
    "httpcore": WaitKind.WEB,
    "httpx": WaitKind.WEB,
    "motor": WaitKind.DATABASE,
    "psycopg": WaitKind.DATABASE,
    "pymongo": WaitKind.DATABASE,
    "redis": WaitKind.DATABASE,
    "sqlalchemy": WaitKind.DATABASE,
    "uvicorn": WaitKind.WEB,
    "websockets": WaitKind.WEB,
}

PORTS = {
    53: (WaitKind.DNS, "DNS"),
    80: (WaitKind.WEB, "http"),
    443: (WaitKind.WEB, "https"),
    853: (WaitKind.DNS, "DNS"),
    1433: (WaitKind.DATABASE, "sqlserver"),
    1521: (WaitKind.DATABASE, "oracle"),
    3306: (WaitKind.DATABASE, "mysql"),
    5432: (WaitKind.DATABASE, "postgresql"),
    6379: (WaitKind.DATABASE, "redis"),
    6432: (WaitKind.DATABASE, "pgbouncer"),
    8000: (WaitKind.WEB, "http"),
    8080: (WaitKind.WEB, "http"),
    8443: (WaitKind.WEB, "https"),
    9042: (WaitKind.DATABASE, "cassandra"),
    9200: (WaitKind.DATABASE, "elasticsearch"),
    11211: (WaitKind.DATABASE, "memcached"),
    27017: (WaitKind.DATABASE, "mongodb"),
}


def kind_of_peer(address: object) -> tuple[WaitKind, str]:
    """The kind and the name of what listens there, as far as its address tells."""
    if isinstance(address, tuple) and len(address) >= 2:
        kind, name = PORTS.get(address[1], (WaitKind.NETWORK, ""))
        return kind, f"{name} {show_address(address)}".strip()
    text = show_address(address)
    if ".s.PGSQL." in text:
        return WaitKind.DATABASE, f"postgresql {text}"
    if "redis" in text:
        return WaitKind.DATABASE, f"redis {text}"
    return WaitKind.NETWORK, text


def show_address(address: object) -> str:
    """As people write it: 127.0.0.1:80, [::1]:80, a path."""
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(address, bytes):
        return "@" + address.lstrip(b"\0").decode(errors="replace")
    return str(address or "")
