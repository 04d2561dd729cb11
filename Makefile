# Two commands on a fresh machine: `make demo` shows tmelink at work, `make test` runs the whole suite.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test unit hosts mtu-table coverage properties fuzz recovery chaos host-chaos soak lint clean

demo: $(VENV)/.run
	$(BIN)/tmelink demo

# The unit tests share nothing, so there are as many at once as the machine has cores. Those against real
# programs have namespaces of their own, and run two files at a time.
PARALLEL ?= -n auto --dist loadgroup
PARALLEL_E2E ?= -n 2 --dist loadfile

# Whole Debian hosts in namespaces, with systemd and sshd: as root, some minutes.
hosts: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --editable '.[deploy]'
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest tests/hosts $(ARGS)

test: unit
	$(BIN)/python -m pytest tests/e2e $(PARALLEL_E2E) $(ARGS)

unit: $(VENV)/.test
	$(BIN)/python -m pytest --ignore=tests/e2e --ignore=tests/hosts $(PARALLEL) $(ARGS)

# What fits every kind of tunnel on paths of 1280 to 9000 bytes: the table of docs/encapsulations.md. As root.
mtu-table: $(VENV)/.test
	$(BIN)/python -m tests.e2e.mtu_table $(ARGS)

coverage: $(VENV)/.test
	$(BIN)/python -m pytest --ignore=tests/e2e --ignore=tests/hosts $(PARALLEL) --cov --cov-report=term:skip-covered $(ARGS)

# The property tests alone, with as many examples as TIMES says, at random: a quarter of an hour for 20.
TIMES ?= 20

properties: $(VENV)/.test
	TMELINK_FUZZ=$(TIMES) $(BIN)/python -m pytest -m fuzz $(ARGS)

# Parsers under inputs that coverage guides, for so many seconds.
FUZZ_SECONDS ?= 60

fuzz: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(ARGS)

# How soon each kind of link is back after a kill; links under what goes wrong; what grows with sessions.
CHAOS_SECONDS ?= 3600
SESSIONS ?= 100000
JOINS ?= 3000

recovery: $(VENV)/.test
	$(BIN)/python -m tests.chaos.recovery $(ARGS)

chaos: $(VENV)/.test
	$(BIN)/python -m tests.chaos.storm --seconds $(CHAOS_SECONDS) $(ARGS)

# The same for hosts: interfaces, addresses, routes and TAPs that come and go. As root.
host-chaos: $(VENV)/.test
	$(BIN)/python -m tests.chaos.host_storm --seconds $(CHAOS_SECONDS) $(ARGS)

soak: $(VENV)/.test
	$(BIN)/python -m tests.chaos.soak --sessions $(SESSIONS) --joins $(JOINS) $(ARGS)

.PHONY: docs

# The documentation as a site in build/site: strictly, with every link and anchor looked up.
docs: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python docs/site/check.py build/site

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tmelink needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# Each stamp is renewed when the package's declaration changes.
$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/.run

$(VENV)/.lint: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	touch $@

clean:
	rm -rf $(VENV) .tox build dist
