# Every target does its own set-up: .venv is made and filled once, and anew when pyproject.toml changes.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-all lint types pictures bench-steps import-time clean

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
	  rm -rf .venv; \
	  echo "python3 can't make a virtual environment. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: $(READY)
	$(BIN)/funcnet train iris --out runs/iris
	$(BIN)/funcnet train digits --out runs/digits

test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --quiet

# The slow tests too, and all of them on code as XLA optimises it for users (tests/conftest.py).
test-all: $(READY)
	XLA_FLAGS= $(BIN)/python -m pytest --numprocesses auto --quiet -m ''

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

pictures: $(READY)
	$(BIN)/python experiments/pictures.py

bench-steps: $(READY)
	$(BIN)/python experiments/benchmarks/steps.py

import-time: $(READY)
	$(BIN)/python experiments/benchmarks/import_time.py

clean:
	rm -rf .venv runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
