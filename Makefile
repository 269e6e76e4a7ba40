# Two commands do all the set-up there is: `make demo` runs the main job on what ships, `make test` passes the tests.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

export HF_HUB_OFFLINE = 1
export HF_DATASETS_OFFLINE = 1

.PHONY: demo test test-fast lint format clean

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py --out demo_out

test: $(VENV)/installed
	$(BIN)/python -m pytest

test-fast: $(VENV)/installed
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo_out .mypy_cache .pytest_cache .ruff_cache .hypothesis
