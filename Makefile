PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help train test test-slow lint format docs audit clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

train: $(READY) ## train a network: make train ARGS="--help"
	$(BIN)/python train/main.py $(ARGS)

test: lint ## lint, then all tests but the slow ones
	$(PYTEST) -m "not slow"

# pytest ends with status 5 if it found no test: then the marker was lost somewhere.
test-slow: $(READY) ## the slow tests
	@echo '$(PYTEST) -m slow'
	@$(PYTEST) -m slow || { s=$$?; [ $$s -ne 5 ] || echo 'error: no test is marked slow' >&2; exit $$s; }

lint: $(READY) ## ruff and mypy, changing nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY) ## let ruff repair and format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Strict: a package that PyPI does not answer for was not looked at, which is no good news.
audit: ## known faults of the dependencies, by PyPI
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install -qq --disable-pip-version-check --no-input 'pip-audit~=2.10'
	build/audit/bin/pip-audit --strict --progress-spinner off --requirement requirements.txt

# Every page anew, since a page that is not read again does not warn again.
docs: $(READY) ## write the documentation to site/
	$(BIN)/python -m sphinx -q -W --keep-going -E docs site
	@echo 'site/index.html'

clean: ## remove .venv, caches and build output; runs/ stays
	rm -rf .venv build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find adap_tf train tuning experiments benchmarks tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# The stamp is written last, so an interrupted installation starts afresh.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { echo \
		'error: $(PYTHON) is no Python 3.11 to 3.13; name one that is: make $(firstword $(MAKECMDGOALS)) PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
		'error: $(PYTHON) cannot make virtual environments; install what it lacks: apt install python3-venv' >&2; exit 1; }
	@echo 'Installing into .venv: about 820 MB to download, 2.8 GB on disk, a minute or more ...'
	@test -e $@ || $(PYTHON) -m venv --clear .venv
	@rm -f $@
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -e .
	@touch $@
