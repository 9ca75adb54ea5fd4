# `make demo` and `make test` set up everything they need on a fresh machine.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types check bench lock clean

$(STAMP): requirements.lock requirements-no-deps.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-no-deps.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP)
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --cov=torchport --cov-report=term --cov-fail-under=90

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types

bench: $(STAMP)
	$(BIN)/python benchmarks/export.py

clean:
	rm -rf $(VENV) .demo .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache

# The lock is what is installed, without torchport itself and what is installed without its dependencies.
lock: $(STAMP)
	$(BIN)/python -m pip freeze --exclude torchport --exclude resemblyzer | sed 's/+cpu//' > requirements.lock
