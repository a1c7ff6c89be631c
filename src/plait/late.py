"""Names of a package whose modules are imported when they are first asked for: most programs do without most of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def late(package: dict[str, Any], where: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for the package with these globals; `where` has the module of each name, or the module of that name."""
    name_of_package = package["__name__"]

    def __getattr__(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {name_of_package!r} has no attribute {name!r}")
        module = import_module(where[name])
        value = package[name] = module if where[name] == f"{name_of_package}.{name}" else getattr(module, name)
        return value

    def __dir__() -> list[str]:
        return sorted({*package, *where})

    return __getattr__, __dir__
