# The two commands for a newcomer are `make demo` and `make test`; both first make .venv if it is not there.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: demo test check format backends proto bench clean

demo: $(VENV)/ready
	$(PY) -m examples.demo

test: $(VENV)/ready
	$(PY) -m pytest -q $(ARGS)

check: $(VENV)/ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(PY)
	$(VENV)/bin/lint-imports

format: $(VENV)/ready
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

# The real programs that some tests talk to. Needs Go; a few minutes once, cached outside the tree.
backends: $(VENV)/ready
	$(PY) -m tests.e2e.backends

bench: $(VENV)/ready
	$(PY) -m benchmarks.sampler $(ARGS)

# Its own environment: the oldest protoc whose output our oldest protobuf can load.
proto:
	$(PYTHON) -m venv .venv-proto
	.venv-proto/bin/pip install -q "grpcio-tools==1.64.3" "setuptools<80"
	.venv-proto/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. otelprof/formats/pprof.proto

$(VENV)/ready: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "otelprof needs Python 3.11 or newer: make PYTHON=python3.x; this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q --upgrade pip
	$(PY) -m pip install -q -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .venv-proto build dist demo-out *.egg-info
