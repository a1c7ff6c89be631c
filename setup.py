"""The compiled parts: every .py under src/plait that has a sibling .pxd (Cython's pure-Python mode)."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

os.chdir(Path(__file__).parent)
SOURCES = sorted(p.with_suffix(".py") for p in Path("src/plait").rglob("*.pxd") if p.with_suffix(".py").exists())
HEADERS = [str(p) for p in sorted(Path("src/plait").rglob("*.h"))]

extensions = [
    Extension(
        ".".join(source.with_suffix("").parts[1:]),
        [str(source)],
        include_dirs=["src/plait/engine", "src/plait/core", "src/plait/net"],
        depends=HEADERS,
        extra_compile_args=["-O2", "-fno-strict-aliasing", "-Wno-unused-function"],
    )
    for source in SOURCES
]

setup(
    ext_modules=cythonize(
        extensions,
        build_dir="build/cython",
        nthreads=os.cpu_count() or 1,
        annotate=bool(os.environ.get("PLAIT_ANNOTATE")),
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "embedsignature": False,
            "binding": True,
        },
    )
)
