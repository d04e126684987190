# make run and make test work on a fresh machine that has Python (3.11 or newer) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: run test soak lint install clean

run: install
	dvc repro
	reelstore show

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Every kill, flip and random problem there is, for an hour or so; make test tries a sample.
soak: install
	REELSTORE_SOAK=1 $(BIN)/python -m pytest -n 2 tests/store

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25"
	@$(BIN)/python tools/install_note.py
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

clean:
	rm -rf $(VENV)
