"""The compiled parts: every .py under src/plait that has a sibling .pxd (Cython's pure-Python mode).

PLAIT_BUILD=debug compiles them with bounds checks and without optimization; PLAIT_BUILD=none leaves them out, for the
Makefile, which installs the rest once and compiles by itself.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

os.chdir(Path(__file__).parent)
BUILD = os.environ.get("PLAIT_BUILD", "release")
if BUILD not in ("release", "debug", "none"):
    raise SystemExit(f"PLAIT_BUILD={BUILD!r} is none of release, debug, none")
DEBUG = BUILD == "debug"
FLAGS = ["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O2", "-g0"]
# What runs for each callback and slice calls the interpreter without a jump in between; at the import of all, binding that costs 4 ms.
HOT_FLAGS = ["-fno-plt"]
SOURCES = sorted(p.with_suffix(".py") for p in Path("src/plait").rglob("*.pxd") if p.with_suffix(".py").exists())
HEADERS = [str(p) for p in sorted(Path("src/plait").rglob("*.h"))]

extensions = [
    Extension(
        ".".join(source.with_suffix("").parts[1:]),
        [str(source)],
        include_dirs=[f"src/plait/{folder}" for folder in ("engine", "core", "net", "system", "files", "see")],
        depends=HEADERS,
        extra_compile_args=[
            *FLAGS,
            *(HOT_FLAGS if source.parent.name == "core" else ()),
            "-fno-strict-aliasing",
            "-Wno-unused-function",
        ],
    )
    for source in SOURCES
    if BUILD != "none"
]

# From Python 3.14 on the processes that Cython translates in import this file again.
if __name__ == "__main__":
    setup(
        ext_modules=cythonize(
            extensions,
            build_dir="build/cython-debug" if DEBUG else "build/cython",
            nthreads=os.cpu_count() or 1,
            annotate=bool(os.environ.get("PLAIT_ANNOTATE")),
            compiler_directives={
                "language_level": 3,
                "initializedcheck": DEBUG,
                "cdivision": True,
                # None where an object of ours is expected raises instead of reading wild memory; a compare each.
                "nonecheck": True,
                "embedsignature": False,
                "binding": True,
            },
        )
    )
