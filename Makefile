# The two commands for a newcomer are `make demo` and `make test`; both first make .venv if it is not there.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
NATIVE := $(wildcard otelprof/_native/*.c otelprof/_native/*.h)

.PHONY: demo screenshot test check format backends e2e browser proto bench pythons test-core sanitize fuzz soak clean

demo: $(VENV)/core
	$(PY) -m examples.demo

# The picture in the README, of the demo's report. Needs the browser.
screenshot: demo
	$(PY) -m examples.screenshot demo-out --out docs/images

test: $(VENV)/core
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

# The real programs that some tests talk to. Needs Go; a few minutes once, cached outside the tree; 20 more with ALL=1, for Jaeger and Parca. uWSGI is built by pip.
backends: $(VENV)/ready
	$(PY) -m pip install -q "uwsgi>=2.0.28"
	$(PY) -m tests.e2e.backends $(if $(ALL),--all)

# The end-to-end tests, none of them skipped for a backend that `make backends ALL=1` would have built.
e2e: $(VENV)/core
	OTELPROF_REQUIRE_BACKENDS=all $(PY) -m pytest -q tests/e2e $(ARGS)

# A headless browser, and the pages of others that tests open in it. Needs npm, and root where there is no Chromium.
browser: $(VENV)/ready
	$(PY) -m tests.e2e.browser

# One of benchmarks/: make bench BENCH=workloads ARGS="--rounds 3"
BENCH ?= sampler
bench: $(VENV)/core
	$(PY) -m benchmarks.$(BENCH) $(ARGS)

# Debian's newest 3.13, 3.14 and 3.15, in a directory of their own outside the tree. Needs root; minutes, once.
pythons:
	tests/pythons/sid make

# The core's tests with the wheel of each of these Pythons; a name such as sid3.15 is one of `make pythons`.
PYTHONS ?= 3.11 3.12 3.13 sid3.13 sid3.14 sid3.15
NATIVE_TESTS ?= tests/native tests/collectors
test-core:
	tests/pythons/test "$(PYTHONS)" $(NATIVE_TESTS) $(ARGS)

# The core's own tests with the address and undefined-behaviour sanitizers in it.
SANITIZED ?= 3.11
sanitize:
	OTELPROF_SANITIZE=address,undefined tests/pythons/test "$(SANITIZED)" tests/native $(ARGS)

# What reads foreign memory and foreign files, fed with garbage, each for so many seconds; the unit tests of the harness first.
SECONDS ?= 60
fuzz: $(VENV)/core
	$(MAKE) -C tests/native/harness unit fuzz SECONDS=$(SECONDS) PYTHON=$(abspath $(PY))
	@$(PY) -m pip install -q --only-binary :all: "atheris>=3.0" || echo "fuzz: no atheris for this Python; the readers get random inputs"
	$(PY) -m tests.fuzz --seconds $(SECONDS)

# The long versions of tests: the core's, each for so many seconds, and what the world does to a process.
SOAK_S ?= 600
soak: $(VENV)/core
	OTELPROF_FAULTS=full $(PY) -m pytest -q -s tests/test_faults.py $(ARGS)
	OTELPROF_SOAK_S=$(SOAK_S) $(PY) -m pytest -q tests/native $(ARGS)

# Its own environment: the oldest protoc whose output our oldest protobuf can load.
proto:
	$(PYTHON) -m venv .venv-proto
	.venv-proto/bin/pip install -q "grpcio-tools==1.64.3" "setuptools<80"
	.venv-proto/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. otelprof/formats/pprof.proto otelprof/formats/push.proto

$(VENV)/ready: pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "otelprof needs Python 3.11 or newer: make PYTHON=python3.x; this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q --upgrade pip
	$(PY) -m pip install -q -e ".[dev]"
	touch $@

# Apart from what is installed, so that an edit of C costs only the compilation.
$(VENV)/core: $(VENV)/ready $(NATIVE)
	rm -f otelprof/_core*.so
	OTELPROF_WERROR=1 $(PY) setup.py -q build_ext --inplace
	touch $@

clean:
	rm -rf $(VENV) .venv-proto .venv-pythons build dist demo-out *.egg-info otelprof/_core*.so
