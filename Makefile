# make run      set up, and run the experiments of config.yaml
# make run TORCH=cpu    the same with PyTorch's CPU build, 0.8 GB instead of 6 (only if .venv does
#                       not exist yet; any backend of `uv pip install --torch-backend`)
# make setup    create .venv, with the command early-exit in it
# make test     set up, and run the tests except the slowest, WORKERS (2) files at a time
# make test-all set up, and run all tests: also kills, damage, generated configurations, the wheel
# make bench    set up, and measure the speed of the chosen policy
# make check    set up, and check format, lint, imports and documentation
# make test-cluster  set up, and run the experiment on a one-node Slurm (root on Debian; installs
#                    slurm-wlm and munge; skipped elsewhere)
# make test-browser  set up, and test the explorer in a Chromium (root on Debian; installs chromium;
#                    skipped elsewhere)
# make test-large    set up, and measure the memory for a million samples
# make test-faults   set up, and run the fault-injection tests, with a count of each kind
# make soak          set up, and run the experiment digits RUNS times (50), killed at random
# make new NAME=mine KIND=folder  add a commented experiment to config.yaml (or cifar10, data, records)
# make docs     write docs/configuration.md from the schema, and build the site in docs/_build/html
# make dist     a wheel and a source distribution, in dist/
SHELL := bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV ?= .venv
CORES ?= 4
EXPERIMENT ?= corrected
DATA_DIR ?= data
TORCH ?=
RUNS ?= 50
WORKERS ?= 2
NAME ?=
KIND ?= folder
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# 1: a line per step, and the headline; 0: the full output of Snakemake.
BRIEF ?= 1
PYTEST := $(BIN)/python -m pytest
# The workflow tests first: they take longest, and the short ones balance the end.
SUITE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder tests/workflow tests/package tests/unit

.PHONY: run test test-thorough test-all test-browser test-cluster test-large test-faults soak bench check docs dist new setup clean
.DEFAULT_GOAL := run

run: setup
	@EARLY_EXIT_BRIEF=$(BRIEF) $(BIN)/snakemake --cores $(CORES)

test: setup
	FUZZ_CASES=50 OMP_NUM_THREADS=1 $(PYTEST) -m "not thorough and not cluster and not large" $(SUITE)

# Marked thorough; and the fuzz tests again, with all their cases.
test-thorough: setup
	OMP_NUM_THREADS=1 $(PYTEST) -m "thorough and not cluster and not large" $(SUITE)
	OMP_NUM_THREADS=1 $(PYTEST) -n $(WORKERS) --dist loadfile tests/unit/*/test_fuzz_*.py

test-all: test test-thorough

test-cluster: setup
	tests/cluster/install.sh
	$(PYTEST) -m cluster tests/cluster

test-browser: setup
	tests/browser/install.sh
	OMP_NUM_THREADS=1 $(PYTEST) -m browser tests/browser

test-large: setup
	$(PYTEST) -s -m large tests/large

test-faults: setup
	$(PYTEST) -m faults

soak: setup
	$(BIN)/python tests/soak.py --runs $(RUNS)

# Needs the published network and CIFAR-10 in DATA_DIR, and an idle machine.
bench: setup
	$(BIN)/snakemake --cores all speed --config run=$(EXPERIMENT) data_dir=$(DATA_DIR)
	@grep -v '^#' results/$(EXPERIMENT)/speed/speed.csv | { column -s, -t 2>/dev/null || cat; }
	@cat results/$(EXPERIMENT)/figures/speed.txt

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check Snakefile rules
	cd scripts && ../$(BIN)/lint-imports --no-cache --config ../pyproject.toml
	$(BIN)/snakemake --lint
	$(BIN)/python docs/make_configuration.py --check

docs: setup
	$(BIN)/python docs/make_configuration.py
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build/html

new: setup
	@$(BIN)/early-exit new "$(NAME)" "$(KIND)"

setup: $(INSTALLED)

dist: setup
	$(BIN)/uv build --build-constraints constraints.txt --out-dir dist .

# Filter of uv's output: errors, slow steps, and packages above 100 MiB.
define SHORT
/^ [-+~] |^Using Python|^Uninstalled|^ *Buil(ding|t) / { next } \
/^Downloading/ { if ($$3 ~ /[0-9][0-9][0-9]\.|GiB/) size[$$2] = $$3; next } \
/^ Downloaded/ { if (!($$2 in size)) next; $$0 = $$0 " " size[$$2] } \
{ print; fflush() }
endef

# uv does not read pip's configuration, so pip's index is passed on. Without --compile-bytecode every
# job would compile the packages again where Python may not write there (PYTHONDONTWRITEBYTECODE).
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 run"; exit 1; }
	@echo "Installing into $(VENV)/ (PyTorch: $(or $(TORCH),default build))"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv -c constraints.txt
	@echo "Resolving and downloading; large packages are named as they arrive"
	@index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2> /dev/null)}}"; \
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python $${index:+--default-index "$$index"} \
	  $(if $(TORCH),--torch-backend=$(TORCH)) --constraints constraints.txt \
	  --build-constraints constraints.txt --editable '.[all,dev,docs]' 2>&1 | awk '$(SHORT)'
	@touch $@

clean:
	rm -rf $(VENV)
