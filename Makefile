# Everything goes into .venv. On a GPU server: make BOOSTERS=cuda TORCH=torch ...
PYTHON ?= python3
BOOSTERS ?= cpu
TORCH ?= torch==2.13.0
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
STAMPS := .venv/stamps

.PHONY: demo test check fix bench clean

demo: $(STAMPS)/demo  ## The main job on real data, from events to report, into demo/
	$(BIN)/intentree demo --output demo

test: $(STAMPS)/test  ## Every test, a process for each core
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

check: $(STAMPS)/check  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(STAMPS)/check  ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMPS)/bench  ## What the benchmarks need; benchmarks/README.md has the commands

# torch first: with it installed, nothing else asks for another build, which on Linux would be gigabytes of CUDA libraries.
.venv/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(PIP) $(TORCH)

$(STAMPS)/%: .venv/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) --editable ".[$(BOOSTERS),$*]"
	@mkdir -p $(STAMPS) && touch $@

clean:
	rm -rf .venv demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache
