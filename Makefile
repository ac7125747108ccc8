# Everything is installed into .venv and nowhere else. `make help` lists the targets.
# The base Python is used once, to create .venv: `make clean`, then `make PYTHON=python3.12 test`.

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --quiet install -c constraints.txt
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4

# Another machine, as far as this one can play it: one core, where Linux can say so, and sums
# without the instructions that only some processors have.
ONE_CORE = $(shell command -v taskset >/dev/null && echo taskset -c $$(taskset -cp $$$$ | sed 's/.*: //; s/[-,].*//'))
PLAIN := ATEN_CPU_CAPABILITY=default DNNL_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2
MACHINE_TESTS := $(addprefix tests/,test_estimators.py test_batch.py $(addprefix engine/test_,\
  $(addsuffix .py,check datasets exact fit_path folds loop memory step update workers)))

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help demo test test-plain test-slow lint format docs clean

help:
	@echo 'make demo       install the package and run `shrinkage path` on a small example'
	@echo 'make test       run every test and doctest but the slow ones (ARGS="-k l1" selects)'
	@echo 'make test-plain tests of processes and numbers on one core, without special instructions'
	@echo 'make test-slow  run the slow tests: the built wheel, long training'
	@echo 'make lint       formatting, lint, types, import floors'
	@echo 'make format     rewrite files as `make lint` wants them'
	@echo 'make docs       build the documentation: docs/_build/html/index.html'
	@echo 'make clean      remove .venv, caches and build output; runs are kept'

demo: .venv/.installed
	$(BIN)/shrinkage path

test: .venv/.installed-dev
	$(PYTEST) $(ARGS)

test-plain: .venv/.installed-dev
	$(PLAIN) $(ONE_CORE) $(BIN)/python -m pytest $(MACHINE_TESTS) $(ARGS)

test-slow: .venv/.installed-dev
	$(PYTEST) -m slow $(ARGS)

lint: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports

format: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.installed-dev
	$(BIN)/python -m sphinx -W --keep-going -q -E -j auto docs docs/_build/html
	@echo 'open docs/_build/html/index.html'

clean:
	rm -rf docs/_build docs/generated
	rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# Stamps: each step runs once, then again only when its inputs change. The second install
# waits for the first, so `make -j` never runs two pips on one .venv.

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'shrinkage needs Python 3.11 or newer; "$(PYTHON)" is not. Try: make PYTHON=python3.12 ...' >&2; exit 1; }
	@echo 'Creating .venv and installing into it: some minutes, once.'
	@if $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  $(PYTHON) -m venv .venv; \
	elif $(PYTHON) -c 'import pip, venv' 2>/dev/null; then \
	  $(PYTHON) -m venv --without-pip .venv && \
	  $(PYTHON) -m pip --python $(BIN)/python --quiet install pip; \
	else \
	  echo '"$(PYTHON)" cannot create environments. On Debian: apt install python3-venv' >&2; exit 1; \
	fi
	@touch $@

.venv/.installed: .venv/.created pyproject.toml constraints.txt
	$(INSTALL) -e '.[plot]'
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(INSTALL) -e '.[dev]'
	@touch $@
