# Every target sets up what it needs by itself, in .venv. Wanted: Python >= 3.11, and make.
# PYTHON=... chooses the interpreter.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-input \
	--root-user-action=ignore
PIP := $(BIN)/python $(PIP_INSTALL) --constraint constraints.txt
# The same with the lowest versions of what Debbie needs that pyproject.toml allows.
LOWEST := .venv-lowest
# Parts of the tests in which a runtime dependency, or a version of one, can make a difference.
LOWEST_TESTS := app cli demo detection integration integrations intervention report session \
	telemetry transports wire test_examples.py compat/test_sdk_private.py
# With the build tools installed beforehand and no isolation, they are pinned as well.
BUILD_TOOLS := hatchling editables

.DELETE_ON_ERROR:
.PHONY: help demo test lowest lint types bench eval faults harmless peers stack dashboards pictures clean

help:
	@echo "make demo    a scripted agent, Debbie before it, and what it saw"
	@echo "make test    the tests;  make lint, make types: the checks"
	@echo "make lowest  the tests with the lowest versions of the dependencies, in $(LOWEST)"
	@echo "make peers   installs real MCP, ACP and Codex peers, which more tests then run with"
	@echo "make stack   installs a real collector, Jaeger, Prometheus and Alertmanager for the tests"
	@echo "make eval    how well anomalies are told from healthy sessions, on the labelled corpus"
	@echo "make dashboards   writes dashboards/ anew from dashboards/source; make pictures"
	@echo "             draws them after a demo, with a real collector and Prometheus, into docs/"
	@echo "make faults  agents that get stuck in every known way, and what Debbie does about it;"
	@echo "             and healthy ones, about which it does nothing"
	@echo "make harmless   healthy sessions of minutes and hours, recorded and made, played live:"
	@echo "             nothing is done to them"
	@echo "make bench   what Debbie costs, beside a bare relay and nginx"
	@echo "make clean   removes the virtual environment and caches"

demo: $(VENV)/.base
	$(BIN)/debbie demo --speed 10

# Without the stack's programs, which `make stack` installs, and without `make faults`, which takes
# as long as agents need to get stuck and going again. .ci/run runs all of them.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "not stack and not faults and not harmless"

lowest: $(LOWEST)/.test
	$(LOWEST)/bin/python -m pytest -q -p no:cacheprovider -m "not stack and not faults and not harmless" \
		$(addprefix tests/,$(LOWEST_TESTS))

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

eval: $(VENV)/.dev
	$(BIN)/python -m tests.corpus.evaluate

faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults.suite
	$(BIN)/python -m pytest -q tests/faults/test_healthy.py

harmless: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m harmless tests/harmless

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.bench
	$(BIN)/python -m benchmarks.detector
	$(BIN)/python -m benchmarks.inprocess

dashboards: $(VENV)/.dev
	$(BIN)/python -m dashboards.source

pictures: $(VENV)/.dev
	$(BIN)/python -m tests.dashboards.pictures

peers: $(VENV)/.peers
	@sh tests/peers/install_codex.sh
	@sh tests/peers/install_everything.sh

stack: $(VENV)/.dev
	@$(BIN)/python -m tests.stack.install

clean:
	rm -rf $(VENV) $(LOWEST) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than what it was installed from; a changed pin or dependency installs again.
$(VENV)/.base: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing debbie into $(VENV)"
	@$(PIP) $(BUILD_TOOLS)
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@echo "installing the development tools into $(VENV)"
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

$(VENV)/.peers: $(VENV)/.dev
	@echo "installing the peers into $(VENV)"
	@$(PIP) --no-build-isolation --editable '.[dev,peers]'
	@touch $@

# Of a package that both name, the first counts.
$(LOWEST)/.test: $(LOWEST)/.made pyproject.toml constraints.txt constraints-lowest.txt
	@echo "installing debbie with its lowest dependencies into $(LOWEST)"
	@awk -F== '!seen[$$1]++' constraints-lowest.txt constraints.txt >$(LOWEST)/constraints.txt
	@$(LOWEST)/bin/python $(PIP_INSTALL) --constraint $(LOWEST)/constraints.txt $(BUILD_TOOLS)
	@$(LOWEST)/bin/python $(PIP_INSTALL) --constraint $(LOWEST)/constraints.txt \
		--no-build-isolation --editable '.[test]'
	@touch $@

$(VENV)/.made $(LOWEST)/.made:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
			2>/dev/null; then exec_python=$$python; break; fi; \
	done; \
	if [ -z "$$exec_python" ]; then \
		echo "make: no Python >= 3.11 with venv was found; install one, or set PYTHON=" >&2; \
		exit 1; \
	fi; \
	"$$exec_python" -m venv --clear $(@D)
	@touch $@
