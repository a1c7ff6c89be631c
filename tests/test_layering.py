"""Who may import whom in src/plait, where asyncio's private parts are touched, and how long files and functions get."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "plait"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py*") if path.suffix in (".py", ".pyi", ".pxd"))
MODULES = [path for path in SOURCES if path.suffix == ".py"]

# Ground floor first: each imports from itself and from what stands before it.
LAYERS = [
    "standard",
    "late",
    "engine",
    "core",
    "net",
    "system",
    "loop",
    "files",
    "running",
    "bridge",
    "see",
    "testing",
    "demo",
    "doctor",
    "cli",
    "__init__",
    "__main__",
]

# The only module that may touch what asyncio does not document.
PRIVATE_TO = PACKAGE / "standard.py"
INTERNALS = {
    "base_events",
    "base_futures",
    "base_subprocess",
    "base_tasks",
    "constants",
    "coroutines",
    "format_helpers",
    "proactor_events",
    "selector_events",
    "sslproto",
    "staggered",
    "trsock",
    "unix_events",
}

FILE_LINES_MAX = 900
FUNCTION_LINES_MAX = 100


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].split(".")[0]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every module of plait that the file imports, in Python's and in Cython's words."""
    if path.suffix == ".pxd":
        yield from cimported(path)
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node.module or "", node.level)
            # `from plait import engine` names a layer by what it takes.
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            name = name.removeprefix("cython.cimports.")
            if name.split(".")[0] == "plait":
                yield node.lineno, name


def cimported(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r"\s*from\s+(\S+)\s+c?import\s+(.+)", line)
        if found:
            dots = len(found[1]) - len(found[1].lstrip("."))
            module = absolute(path, found[1].lstrip("."), dots)
            names = [
                f"{module}.{name.split()[0]}" for name in re.split(r"[,()]", found[2].split("#")[0]) if name.strip()
            ]
        else:
            found = re.match(r"\s*c?import\s+(.+)", line)
            names = [name.split()[0] for name in found[1].split("#")[0].split(",")] if found else []
        yield from ((number, name) for name in names if name.split(".")[0] == "plait")


def absolute(path: Path, module: str, level: int) -> str:
    if level == 0:
        return module
    folders = ("plait", *path.relative_to(PACKAGE).parent.parts)
    return ".".join([*folders[: len(folders) - level + 1], *([module] if module else [])])


def imported_layer(name: str) -> str:
    """The layer that `plait.x.y` or `plait.Name` stands in; a public name is the package's, the top floor's."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "__init__"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_what_stands_below(path: Path) -> None:
    """A lower floor that imports a higher one can no longer be read, tested or replaced alone."""
    assert layer(path) in LAYERS, (
        f"{path.relative_to(PACKAGE)} stands in no layer: give {layer(path)!r} its place in LAYERS"
    )
    floor = LAYERS.index(layer(path))
    above = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}, which stands above {layer(path)}"
        for line, name in imported(path)
        if LAYERS.index(imported_layer(name)) > floor
    ]
    assert [] == above


def private_uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every private part of asyncio that the module imports or reaches by attributes."""
    names = {"asyncio": "asyncio"}  # what a name of the module stands for, for what came from asyncio
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            taken = [(alias.asname or alias.name.split(".")[0], alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            taken = [(alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names]
        else:
            continue
        for name, full in taken:
            if full.split(".")[0] in ("asyncio", "_asyncio"):
                names[name] = full
                if is_private(full):
                    yield node.lineno, full
    for node in ast.walk(tree):
        full = dotted(node, names) if isinstance(node, ast.Attribute) else ""
        if is_private(full):
            assert isinstance(node, ast.Attribute)
            yield node.lineno, full


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """`asyncio.x.y` for an attribute of something from asyncio, else nothing."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, names)
        return owner and f"{owner}.{node.attr}"
    return ""


def is_private(name: str) -> bool:
    parts = name.split(".")
    return parts[0] in ("asyncio", "_asyncio") and (
        parts[0] == "_asyncio" or any(part in INTERNALS or re.match(r"_[^_]", part) for part in parts[1:])
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_parts_of_asyncio_are_touched_in_one_file(path: Path) -> None:
    """They change from release to release; standard.py is where a new release is looked through."""
    uses = [] if path == PRIVATE_TO else list(private_uses(ast.parse(path.read_text())))
    assert [] == [f"{path.relative_to(PACKAGE)}:{line} uses {name}" for line, name in uses]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import asyncio\nasyncio.run(main())", []),
        ("import asyncio\nasyncio.tasks._all_tasks", ["asyncio.tasks._all_tasks"]),
        ("import asyncio.sslproto", ["asyncio.sslproto"]),
        ("from asyncio import sslproto as s", ["asyncio.sslproto"]),
        ("from asyncio.events import _set_running_loop", ["asyncio.events._set_running_loop"]),
        ("from asyncio import events\nevents._get_running_loop()", ["asyncio.events._get_running_loop"]),
        ("import _asyncio", ["_asyncio"]),
        ("loop._private", []),
    ],
)
def test_a_private_use_is_recognized(code: str, expected: list[str]) -> None:
    """The check above sees what it is there for."""
    assert expected == [name for _, name in private_uses(ast.parse(code))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_one_idea_and_a_function_fits_a_screen(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES_MAX, f"{path.relative_to(PACKAGE)} grew too long: which part is a file?"
    functions = [
        node
        for node in (ast.walk(ast.parse(text)) if path.suffix != ".pxd" else ())
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [] == [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name} has {lines} lines"
        for node in functions
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
