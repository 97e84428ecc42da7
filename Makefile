# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUNBUFFERED := 1
# Where it is set, every process that a test starts compiles the whole package anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test chromium check format bench base zoo clean

help:  ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(VENV)/.ready  ## Crawl, index, search and fuse the miniature world; ARGS=--once exits afterwards
	@$(BIN)/python -m demo.run $(ARGS)

# In one process more than there are cores, for many tests wait; up to four, each with a PostgreSQL
# of its own.
test: $(VENV)/.ready chromium  ## Run the test suite on a real PostgreSQL
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) \
		--maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# For tests/browser. Debian's, by root only; whoever has another says where it is.
chromium:
	@{ test -n "$$CHROMIUM" || command -v chromium || command -v chromium-browser || \
		command -v google-chrome || { test "$$(id -u)" = 0 && apt-get update -qq && \
		apt-get install -qq -y --no-install-recommends chromium; }; } >/dev/null || \
		{ echo "The page's tests want Chromium: 'apt install chromium', or CHROMIUM=/path/to/it." >&2; exit 1; }

check: $(VENV)/.ready  ## Check format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/.ready  ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.ready-zoo  ## Measure on the full zoo (run `make zoo` first) and fill the tables of docs/benchmarks
	@$(BIN)/python -m benchmarks.report

# A process for each core: they take what is to be made in turn. Each with one thread, for those
# of numpy's OpenBLAS spin while they wait for one another: beside other work ten times as long.
SIDE_BY_SIDE = seq $$(getconf _NPROCESSORS_ONLN) | OMP_NUM_THREADS=1 xargs -I{} -P 0 $(BIN)/python -m

# Each step skips what is done and resumes what was stopped.
base: $(VENV)/.ready-zoo  ## Train another base than the shipped one, about two hours on 2 cores, for `make zoo` to build on
	@test -f demo/build/names.json || $(BIN)/python -m demo.art
	@test -d demo/build/base/vae || $(BIN)/python -m demo.vae
	@test -d demo/build/base/scheduler || $(BIN)/python -m demo.base
	@$(BIN)/python -m demo.decoder

zoo: $(VENV)/.ready-zoo  ## Make the full zoo anew on the shipped base: about 4 hours on 2 cores and 6.4 GB; needs npm
	@test -f demo/build/names.json || $(BIN)/python -m demo.art
	@test -d demo/build/base || cp -r demo/data/base demo/build/base
	@$(SIDE_BY_SIDE) demo.zoo
	@test -f demo/build/encoder.safetensors || $(SIDE_BY_SIDE) demo.more
	@test -f demo/build/encoder.safetensors || $(BIN)/python -m demo.world.art
	@test -f demo/build/encoder.safetensors || $(SIDE_BY_SIDE) demo.world.zoo --groups 126 --beliefs 100 --base demo/build/base
	@test -f demo/build/encoder.safetensors || $(SIDE_BY_SIDE) demo.world.gradients --base demo/build/base
	@test -f demo/build/encoder.safetensors || $(BIN)/python -m demo.train_encoder
	@test -f demo/build/gates.safetensors || $(BIN)/python -m demo.train_gates
	@$(BIN)/python -m demo.export
	@$(BIN)/python -m demo.covers
	@$(BIN)/python -m demo.world.shipped

clean:  ## Remove what `make demo` made (not the full zoo)
	rm -rf demo/out

# Whether a Python is one that the packages run on.
FITS := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
VENV_FITS := $(shell $(BIN)/python $(FITS) 2>/dev/null && test -x $(BIN)/pip && echo yes)
# One whose Python is too old, or gone with an update of the system, is made anew.
ifneq ($(VENV_FITS),yes)
.PHONY: $(VENV)/.ready
endif

$(VENV)/.ready: pyproject.toml setup.py constraints.txt
	@test "$(VENV_FITS)" = yes || $(PYTHON) $(FITS) 2>/dev/null || \
		{ echo "Python 3.11 or later is needed: make demo PYTHON=python3.12" >&2; exit 1; }
	@test "$(VENV_FITS)" = yes || $(PYTHON) -m venv --clear $(VENV) || \
		{ rm -rf $(VENV); echo "Cannot make $(VENV): on Debian, run 'apt install python3-venv' first." >&2; exit 1; }
	@echo "Installing packages into $(VENV) (a few minutes the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[fusion,dev]'
	@touch $@

$(VENV)/.ready-zoo: $(VENV)/.ready
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[fusion,dev,zoo]'
	@touch $@
