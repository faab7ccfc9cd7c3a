# Everything sets itself up: Debian packages (as root), .venv from requirements-dev.lock, then the work itself.
# `make demo ARGS="--nodes 6 --keep"`, `make test ARGS="tests/ipam -k refuse"`.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

export PYTHON ?= python3
ARGS ?=
# How many tests run at once.
JOBS ?= 2
BIN := .venv/bin
UV := .make/uv/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml
# Without root, tests that need the kernel's root are left out: never skipped in silence.
MARKS := $(if $(filter 0,$(shell id -u)),,-m "not kernel")

.PHONY: help demo test test-debian lint bench format lock clean

help: ## Say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: .venv/.made ## Show the whole road on this machine; ARGS=--keep leaves it running
	@scripts/debian-packages demo
	@$(BIN)/nodeipam-ctl demo $(ARGS)

test: .venv/.made ## Run the whole suite; nothing may be skipped
	@scripts/debian-packages demo test
	@$(if $(MARKS),echo "not root: tests marked 'kernel' are left out; sudo make test runs all")
	$(BIN)/pytest -n $(JOBS) --dist loadgroup $(MARKS) $(ARGS)

test-debian: .make/debian/disk ## Run tests on Debian 12's own kernel, emulated; ARGS="tests/agent/test_wireguard.py"
	@scripts/debian-packages guest
	scripts/debian-kernel/run pytest -m "" $(ARGS)

lint: .venv/.made ## Check style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.made ## Measure; ARGS="controller nodes=5000" runs one of them
	@scripts/debian-packages demo bench
	$(BIN)/python tests/bench $(ARGS)

format: .venv/.made ## Format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lock: $(UV) ## Renew requirements.lock and requirements-dev.lock from pyproject.toml; ARGS=--upgrade for newer versions
	$(COMPILE) $(ARGS) --output-file requirements.lock
	$(COMPILE) $(ARGS) --extra dev --output-file requirements-dev.lock

clean: ## Remove what make and the tools made
	rm -rf .venv .make .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find nodeipam_ctl tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The virtual environment: exactly what requirements-dev.lock says, and this tree itself, editable.
# hatchling and editables are in the lock, so that nothing outside it is fetched to build.
.venv/.made: requirements-dev.lock pyproject.toml
	@scripts/debian-packages python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setting up .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.make/debian/disk: requirements-dev.lock scripts/debian-packages $(addprefix scripts/debian-kernel/,build Dockerfile init nodeipam-ctl) | .venv/.made
	@scripts/debian-kernel/build

$(UV):
	@scripts/debian-packages python
	@$(PYTHON) -m venv .make/uv
	@.make/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
