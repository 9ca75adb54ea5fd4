# `make demo` and `make test` set up everything they need on a fresh machine.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

NEMO := .venv-nemo
NEMO_STAMP := $(NEMO)/.installed

TRITON := .venv-triton
TRITON_STAMP := $(TRITON)/.installed

.PHONY: demo test test-nemo bench-nemo test-triton bench-triton lint types check bench lock lock-triton clean

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

# NeMo brings a hundred packages and takes a minute to start: it has an environment of its own, which `make test` knows nothing of.
$(NEMO_STAMP): pyproject.toml
	test -x $(NEMO)/bin/python || $(PYTHON) -m venv $(NEMO)
	$(NEMO)/bin/python -m pip install --quiet --disable-pip-version-check "nemo-toolkit[asr,tts]==3.0.0" "torch==2.13.0"
	$(NEMO)/bin/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0" "onnx-ir>=1.1,<2" "onnxscript>=0.7,<0.8" \
		"onnxruntime>=1.20" "ml-dtypes>=0.5" pytest pytest-timeout
	touch $(NEMO_STAMP)

test-nemo: $(NEMO_STAMP)
	OMP_NUM_THREADS=1 PYTHONPATH=src $(NEMO)/bin/python -m pytest tests/nemo

# Triton's server hands over wrong tensors with numpy 2: an environment of its own again. The lock is all of it, so nothing else is asked
# for: the wheel's own requirements are those of a library that is not used.
$(TRITON_STAMP): requirements-triton.lock
	test -x $(TRITON)/bin/python || $(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-triton.lock || \
		{ echo "The server's environment cannot be made, so nothing was tested with it: see what pip says above"; exit 1; }
	touch $(TRITON_STAMP)

# No test may hang: each has its time, after which its server is stopped, too; a server ends with whoever started it.
test-triton: $(TRITON_STAMP)
	OMP_NUM_THREADS=1 PYTHONPATH=src $(TRITON)/bin/python -m pytest tests/triton_server -n 2 --dist loadgroup --timeout 240 --max-worker-restart 0 $(ARGS)

bench-triton: $(TRITON_STAMP)
	PYTHONPATH=src $(TRITON)/bin/python benchmarks/serving.py

bench-nemo: $(NEMO_STAMP)
	OMP_NUM_THREADS=1 PYTHONPATH=src $(NEMO)/bin/python -W ignore benchmarks/nemo_exports.py --markdown
	OMP_NUM_THREADS=1 PYTHONPATH=src $(NEMO)/bin/python -W ignore benchmarks/nemo_cost.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types

bench: $(STAMP)
	$(BIN)/python benchmarks/export.py

clean:
	rm -rf $(VENV) $(NEMO) $(TRITON) .demo .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache

# The locks are what is installed: the one without torchport itself and what is installed without its dependencies, and that of the server,
# from what its tests need.
lock: $(STAMP)
	$(BIN)/python -m pip freeze --exclude torchport --exclude resemblyzer | sed 's/+cpu//' > requirements.lock

lock-triton:
	rm -rf $(TRITON)
	$(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/python -m pip install --quiet --disable-pip-version-check "numpy<2" "torch==2.13.0" "onnx>=1.21" "onnx-ir>=1.1,<2" \
		"onnxruntime>=1.20" "onnxscript>=0.7,<0.8" "ml-dtypes>=0.5" "PyYAML>=6" "rich>=13.7" "typer>=0.15" "tritonclient[grpc]>=2.51" \
		pytest pytest-timeout pytest-xdist
	$(TRITON)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "nvidia-pytriton==0.7.0"
	$(TRITON)/bin/python -m pip freeze | sed 's/+cpu//' > requirements-triton.lock
	touch $(TRITON_STAMP)
