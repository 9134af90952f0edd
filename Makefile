# Needs make and Python 3.10 to 3.13, nothing else. Run `make` to see what there is.

PYTHON ?= python3
ARGS ?=
RUN ?=
COMMITS ?= 3
COVERED := 94

VENV_PYTHON := .venv/bin/python
# Written last, so it exists only if everything is installed; make compares its date.
READY := .venv/.ready
SAY := @echo "paraformer_bench:"

.DELETE_ON_ERROR:
.PHONY: help setup sweep report asv test test-all lint format clean

help: ## this list
	@echo "Usage: make TARGET [ARGS=\"--options\"] [PYTHON=python3.12]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s%s\n", $$1, $$2 }' Makefile

setup: $(READY) ## install the pinned dependencies into .venv; the others do it by themselves

sweep: $(READY) ## measure, judge and report:  make sweep ARGS="--budget 8m --suite standard"
	@$(VENV_PYTHON) -m paraformer_bench sweep $(ARGS)

report: $(READY) ## rebuild the pages of all runs, or of some:  make report RUN=reports/x
	@$(VENV_PYTHON) -m paraformer_bench report $(RUN)

# Code 2 of asv says that a benchmark failed, and the output which: an old commit may well, and stops
# nothing. Code 1 of ours says that something became worse.
asv: $(READY) ## follow the suite over the last commits, new ones only:  make asv COMMITS=10
	@$(VENV_PYTHON) -m asv run --skip-existing "HEAD -$(COMMITS)" || [ $$? -eq 2 ]
	@$(VENV_PYTHON) -m asv publish --no-pull
	@$(VENV_PYTHON) -m paraformer_bench regressions --out reports/regressions || [ $$? -eq 1 ]
	$(SAY) "asv's pages are in reports/asv; show them with: $(VENV_PYTHON) -m asv preview"

# What is timed on the real clock runs alone, after all that can share the cores.
test: $(READY) ## run what a change needs:  make test ARGS="tests/analysis -x"
	@$(VENV_PYTHON) -m pytest -n auto --dist loadfile -m "not slow and not alone" $(ARGS)

test-all: $(READY) ## run all tests, and measure what they cover
	@$(VENV_PYTHON) -m pytest -n auto --dist loadfile -m "not alone" --cov=paraformer_bench \
		--cov-report= $(ARGS)
	@$(VENV_PYTHON) -m pytest -m alone --cov=paraformer_bench --cov-append \
		--cov-report=term:skip-covered $(if $(ARGS),,--cov-fail-under=$(COVERED)) $(ARGS) || [ $$? -eq 5 ]

lint: $(READY) ## check style, format, types and which way imports run
	@$(VENV_PYTHON) -m ruff check
	@$(VENV_PYTHON) -m ruff format --check
	@$(VENV_PYTHON) -m mypy
	@.venv/bin/lint-imports

format: $(READY) ## put imports and layout in order
	@$(VENV_PYTHON) -m ruff check --select I --fix
	@$(VENV_PYTHON) -m ruff format

clean: ## remove .venv, caches and builds, never reports
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A change of the pins, the package's metadata or the interpreter installs again. ensurepip
# repairs an environment whose making was cut short, and does nothing otherwise.
$(READY): $(VENV_PYTHON) pyproject.toml constraints.txt
	@rm -f $@
	$(SAY) "installing the pinned dependencies, minutes the first time (tail -f .venv/install.log)"
	@$(VENV_PYTHON) -m ensurepip >/dev/null
	@rm -f .venv/install.log
	@$(VENV_PYTHON) -m pip install --quiet --progress-bar off --disable-pip-version-check \
		--log .venv/install.log --constraint constraints.txt --editable ".[dev]"
	@touch $@
	$(SAY) "ready"

$(VENV_PYTHON):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
		2>/dev/null || { \
		echo "paraformer_bench needs Python 3.10 to 3.13; $(PYTHON) is" \
			"$$($(PYTHON) --version 2>&1 || true). Try: make PYTHON=python3.12 ..." >&2; \
		exit 1; }
	$(SAY) "making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear .venv
