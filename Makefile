# make run    set up, and run the experiments of config.yaml
# make setup  make .venv, with the command early-exit in it
# make test   set up, and run every test, WORKERS (2) files at a time
# make bench  set up, and measure how fast the chosen policy really is
# make check  set up, and check format, lint, imports and documentation
# make test-cluster  set up, and run the experiment through a Slurm of one node (root on Debian;
#                    installs slurm-wlm and munge; elsewhere it says so and skips)
# make test-large    set up, and measure the memory that a million samples take
# make test-faults   set up, and run the tests that inject faults, with a count of each kind
# make soak          set up, and run the digits RUNS times in a row (50), killed at random
# make new NAME=mine KIND=folder  add a commented experiment to config.yaml (or cifar10, records)
# make docs   write docs/configuration.md from the schema
PYTHON ?= python3
VENV ?= .venv
CORES ?= 4
EXPERIMENT ?= corrected
DATA_DIR ?= data
RUNS ?= 50
WORKERS ?= 2
NAME ?=
KIND ?= folder
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_CLUSTER := $(VENV)/.installed-cluster

.PHONY: run command test test-cluster test-large test-faults soak bench check docs new setup clean
.DEFAULT_GOAL := run

run: setup
	$(BIN)/snakemake --cores $(CORES)

# The workflow first: its files take longest, and the short ones fill up the end.
test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder tests/workflow tests/unit

test-cluster: setup $(INSTALLED_CLUSTER)
	tests/cluster/install.sh
	$(BIN)/python -m pytest -m cluster tests/cluster

test-large: setup
	$(BIN)/python -m pytest -s -m large tests/large

test-faults: setup
	$(BIN)/python -m pytest -m faults

soak: setup
	$(BIN)/python tests/soak.py --runs $(RUNS)

# Wants the published network and CIFAR-10 in DATA_DIR, and a quiet machine.
bench: setup
	$(BIN)/snakemake --cores all speed --config run=$(EXPERIMENT) data_dir=$(DATA_DIR)
	@column -s, -t < results/$(EXPERIMENT)/speed/speed.csv 2>/dev/null || cat results/$(EXPERIMENT)/speed/speed.csv
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

new: setup
	@$(BIN)/python scripts/new_experiment.py "$(NAME)" "$(KIND)"

setup: $(INSTALLED) command

# `early-exit`, in the activated environment: scripts/early-exit of the clone that made it first.
command: $(INSTALLED)
	@$(BIN)/early-exit --version > /dev/null 2>&1 || { \
	  printf '#!/bin/sh\nexec "$$(dirname "$$0")/python" "%s" "$$@"\n' "$(CURDIR)/scripts/early-exit" \
	    > $(BIN)/early-exit && chmod +x $(BIN)/early-exit; }

$(INSTALLED): requirements-core.txt requirements.txt requirements-dev.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 run"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements.txt -r requirements-dev.txt -c constraints.txt
	touch $@

$(INSTALLED_CLUSTER): requirements-cluster.txt constraints.txt | $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  -r requirements-cluster.txt -c constraints.txt
	touch $@

clean:
	rm -rf $(VENV)
