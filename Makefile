# Each target does all its own set-up from a fresh clone; a second call only does what has changed.
# `make test PYTHON=python3.13` uses that interpreter, in an environment of its own (.venv-3.13).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

ifeq ($(origin PYTHON),undefined)
PYTHON := python3
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif

BIN := $(VENV)/bin
PIP := $(BIN)/pip install -q --disable-pip-version-check --no-build-isolation
# Nothing of another project is imported.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

COMPILED := $(patsubst %.pxd,%.py,$(shell find src/plait -name '*.pxd'))
SOURCES := $(wildcard $(COMPILED)) $(shell find src/plait -name '*.pxd' -o -name '*.h')

ARGS ?=

.PHONY: help
help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##/make \1 \t/p' Makefile | expand -t 20

$(BIN)/installed: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit("plait needs Python 3.11 or newer, and $(PYTHON) is %d.%d; say make PYTHON=python3.11" \
	    % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) 'setuptools>=77' 'Cython>=3.2'
	@# The extensions are left to the next step, which compiles only what has changed.
	@PLAIT_BUILD=none $(PIP) -e '.[demo]'
	@touch $@

# The C that Cython writes is the same for every Python, and depends on the directives in setup.py.
build/cython/current: setup.py
	@rm -rf build/cython
	@mkdir -p build/cython
	@touch $@

$(BIN)/built: setup.py build/cython/current $(SOURCES) | $(BIN)/installed
	@echo "compiling for $(VENV)"
	@$(BIN)/python setup.py -q build_ext --inplace -j 2 $(if $(filter setup.py,$?),--force) >build/log 2>&1 \
	    || { cat build/log; exit 1; }
	@touch $@

$(BIN)/installed-%: $(BIN)/installed
	@echo "adding what $* needs"
	@PLAIT_BUILD=none $(PIP) -e '.[$*]'
	@touch $@

.PHONY: build
build: $(BIN)/built  ## the environment with what the demo needs, and plait compiled in place

.PHONY: demo
demo: build  ## the main job: a few thousand real files, five ways; ARGS='--help' tells its options
	@$(BIN)/plait demo $(ARGS)

.PHONY: test
test: $(BIN)/installed-test build  ## all tests; ARGS='-k name' chooses
	@PYTHON=$(BIN)/python tests/debian-packages
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: conformance
conformance: $(BIN)/installed-test build  ## the standard library's own tests of asyncio, on both engines; ARGS='test_tasks'
	@PYTHON=$(BIN)/python tests/debian-packages
	@$(BIN)/python -m tests.conformance --engine uring $(ARGS)
	@$(BIN)/python -m tests.conformance --engine epoll $(ARGS)

.PHONY: interface
interface: $(BIN)/installed-test $(BIN)/installed-bench build  ## the table of docs/asyncio.md: what asyncio, uvloop and plait do, row by row
	@$(BIN)/python -m tests.interface $(ARGS)

.PHONY: check
check: $(BIN)/installed-dev build  ## lint, format, strict types, layers
	@$(BIN)/ruff check -q
	@$(BIN)/ruff format -q --check
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_layering.py

.PHONY: format
format: $(BIN)/installed-dev  ## writes what `make check` asks for, as far as ruff can
	@$(BIN)/ruff check -q --fix
	@$(BIN)/ruff format -q

.PHONY: bench
bench: $(BIN)/installed-bench build  ## the figures of the README, against asyncio and uvloop in one run
	@$(BIN)/python -m bench $(ARGS)

.PHONY: wheel
wheel: $(BIN)/installed-dev  ## the source archive, and from it a wheel, in dist/
	@mkdir -p build
	@$(BIN)/python -m build --no-isolation >build/log 2>&1 || { cat build/log; exit 1; }
	@ls dist/plait-*

# Both builds stand beside the ordinary one, which they leave alone: `PYTHONPATH=build/debug python ...` uses one by hand.
DEBUG_BUILD = mkdir -p build && PLAIT_BUILD=debug $(BIN)/python setup.py -q build --build-base build/$@-work \
    --build-lib build/$@ >build/log 2>&1 || { cat build/log; exit 1; }

.PHONY: debug
debug: $(BIN)/installed-test  ## tests on an unoptimized build with symbols, under debug allocators
	@PYTHON=$(BIN)/python tests/debian-packages
	@$(DEBUG_BUILD)
	@PYTHONPATH=$(CURDIR)/build/debug PYTHONMALLOC=debug PYTHONFAULTHANDLER=1 $(BIN)/python -m pytest $(ARGS)

.PHONY: sanitize
sanitize: $(BIN)/installed-test  ## tests under the address sanitizer: ARGS='tests/core tests/engine tests/net'
	@PYTHON=$(BIN)/python tests/debian-packages
	@export CFLAGS='-fsanitize=address -fno-omit-frame-pointer'; $(DEBUG_BUILD)
	@# libstdc++ is loaded early for the sake of other people's extensions: a C++ exception needs both in place.
	@# Reports go to files, for pytest and tests keep what is printed; one fails the run, whoever it was.
	@rm -f build/report.*
	@LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so.6)" PYTHONMALLOC=malloc \
	    ASAN_OPTIONS=detect_leaks=0:log_path=$(CURDIR)/build/report \
	    PYTHONPATH=$(CURDIR)/build/sanitize $(BIN)/python -m pytest $(ARGS) || failed=1; \
	    for report in build/report.*; do [ ! -e $$report ] || { cat $$report; failed=1; }; done; exit $${failed:-0}

.PHONY: clean
clean:  ## removes all that was built, and the environments
	@rm -rf build dist .venv .venv-* src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	@find src bench tests examples -name '__pycache__' -prune -exec rm -rf {} +
	@find src \( -name '*.so' -o -name '*.c' \) -delete
