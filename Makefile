# make run and make test work on a fresh machine that has Python (3.11 or newer) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: run test soak bench lint install clean

run: install
	dvc repro
	reelstore show

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Every kill, flip, random problem and hostile input there is, for hours; make test tries a sample. The fuzzer's cases
# are others each time: REELSTORE_SEED says which.
soak: install
	REELSTORE_SOAK=1 REELSTORE_SEED=$${REELSTORE_SEED:-$$(date +%s)} $(BIN)/python -m pytest -n 2 --dist loadfile \
	  tests/store tests/evaluation/test_oracles.py tests/encoders/test_odd_checkpoints.py tests/fuzz

# Everything measured again, beside the others, for an hour or so. What needs root (a memory limit) is not among it:
# sudo .venv-bench/bin/python benchmarks/beyond_memory.py
bench: $(VENV)-bench/installed
	mkdir -p benchmarks/results
	for name in reading loading writing versioning evaluation closed_forms training embedding; do \
	  $(VENV)-bench/bin/python benchmarks/$$name.py --out benchmarks/results/$$name.json || exit 1; \
	done
	$(VENV)-bench/bin/python benchmarks/plot.py benchmarks/results/reading.json docs/reading.svg

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

$(VENV)-bench/installed: requirements-bench.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --upgrade "pip>=25"
	# litdata asks for torchvision without needing it here, and its builds don't go with every build of torch.
	$(VENV)-bench/bin/python -m pip install --quiet --no-deps --requirement requirements-bench.lock
	$(VENV)-bench/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-bench
