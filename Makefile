# Every target sets up what it needs: Python 3.11+ and make are enough on a fresh machine.
PYTHON ?= python3
VENV ?= .venv
# Test processes; each computes with one thread.
JOBS ?= 2

BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
# A stamp is newer than what it was installed from, so a second run installs nothing.
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
OLDEST := .venv-oldest
OLDEST_STAMP := $(OLDEST)/.installed
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.installed
PYTEST_ENV := OMP_NUM_THREADS=1 MPLBACKEND=Agg

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-gpu test-oldest lint format docs wheel-check speed speed-check clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUN_STAMP) ## Fit, compare and forecast a transformer station; results in demo-output/
	$(BIN)/titans-ts demo --out demo-output

# The kernels import triton, which only CUDA builds of torch bring along.
test: $(DEV_STAMP) ## Run the tests and the examples in docstrings, without slow and GPU ones
	$(PYTEST_ENV) $(BIN)/python -m pytest -m "not slow and not gpu" -n $(JOBS) --doctest-modules \
		--ignore=titans_ts/ops/memory_triton_kernels.py tests titans_ts

test-slow: $(DEV_STAMP) ## Run the slow tests
	$(PYTEST_ENV) $(BIN)/python -m pytest -m "slow and not gpu" -n $(JOBS)

test-gpu: $(DEV_STAMP) ## Run the tests that need a CUDA device
	MPLBACKEND=Agg $(BIN)/python -m pytest -m gpu

# Old libraries warn about their newer neighbours; that is not ours to mend.
test-oldest: $(OLDEST_STAMP) ## Run the tests with the oldest supported libraries
	$(PYTEST_ENV) $(OLDEST)/bin/python -m pytest -m "not slow and not gpu" -n $(JOBS) \
		-W ignore::DeprecationWarning -W ignore::FutureWarning

lint: $(DEV_STAMP) ## Check style, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_STAMP) ## Format the code and apply the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEV_STAMP) ## Build the documentation into docs/_build/html
	$(PYTEST_ENV) $(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

wheel-check: $(DEV_STAMP) ## Build a wheel, install it elsewhere, and use it from an empty folder
	$(PYTEST_ENV) $(BIN)/python .ci/wheel_check.py

# One thread and the default malloc; the benchmarks set the former, and say so of both.
speed: $(PEERS_STAMP) ## Measure speed beside the peers, for an hour or two, and render the page
	$(PEERS)/bin/python -m benchmarks.speed all --full
	$(PEERS)/bin/python -m benchmarks.speed.render

speed-check: $(PEERS_STAMP) ## Measure a few ratios again; fail where one fell below its bar
	$(PEERS)/bin/python -m benchmarks.speed check

clean: ## Remove everything that make made, the environments included
	rm -rf $(VENV) $(OLDEST) $(PEERS) build dist demo-output docs/_build docs/gallery docs/api/generated
	rm -rf docs/sg_execution_times.rst .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find titans_ts tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_STAMP): pyproject.toml constraints.txt
	$(call create_environment,$(VENV))
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt
	$(call create_environment,$(VENV))
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e ".[dev,docs]"
	@touch $(RUN_STAMP) $@

$(OLDEST_STAMP): pyproject.toml constraints-oldest.txt
	$(call create_environment,$(OLDEST))
	$(OLDEST)/bin/python $(PIP_INSTALL) -c constraints-oldest.txt -e ".[polars,parquet,holidays,bulk]" pytest pytest-xdist hypothesis
	@touch $@

$(PEERS_STAMP): pyproject.toml constraints-peers.txt
	$(call create_environment,$(PEERS))
	$(PEERS)/bin/python $(PIP_INSTALL) -c constraints-peers.txt -e . titans-pytorch neuralforecast
	@touch $@

define create_environment
@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "titans-ts needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
@$(1)/bin/python -m pip --version >/dev/null 2>&1 || { echo "Setting up $(1) (a minute or two, once) ..."; $(PYTHON) -m venv --clear $(1); }
endef
