# Two commands on a fresh machine: `make demo` shows tmelink at work, `make test` runs the whole suite.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test fuzz lint clean

demo: $(VENV)/.run
	$(BIN)/tmelink demo

test: $(VENV)/.test
	$(BIN)/python -m pytest $(ARGS)

# The property tests alone, with as many examples as TIMES says, at random: a quarter of an hour for 20.
TIMES ?= 20

fuzz: $(VENV)/.test
	TMELINK_FUZZ=$(TIMES) $(BIN)/python -m pytest -m fuzz $(ARGS)

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
