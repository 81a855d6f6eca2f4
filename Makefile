# Everything sets itself up: a virtual environment in .venv, from the pinned requirements.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-fast lint check package check-deploy bench bench-cold format schema clean
.DEFAULT_GOAL := help

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

demo: $(VENV)/ready ## Play every sample event against a stand-in of the Live API
	@$(BIN)/python -m local demo

test: $(VENV)/ready ## Run the tests
	@$(BIN)/python -m pytest

test-fast: $(VENV)/ready ## Run the tests of the decisions: no HTTP, no threads, every branch of the core, in seconds
	@$(BIN)/python -m pytest tests/unit -p no:hypothesispytest --cov=handler/core --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

lint: $(VENV)/ready ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test-fast test ## Lint, hold every branch of the core, and run the tests

package: $(VENV)/ready ## Make build/ and dist/live-record-reaper.zip, to be deployed
	@$(BIN)/python -m local.package

check-deploy: $(VENV)/ready ## Say what is wrong with serverless.yml before it is deployed
	@$(BIN)/python -m local.check_deploy

bench: $(VENV)-bench/ready ## Measure speed, beside what people would otherwise use (QUICK=1: roughly)
	@$(VENV)-bench/bin/python -m bench

bench-cold: $(VENV)-bench/ready ## Measure cold starts, beside what people would otherwise deploy (QUICK=1: roughly)
	@$(VENV)-bench/bin/python -m bench.cold

format: $(VENV)/ready ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: $(VENV)/ready ## Write events/schema.json anew from the models
	$(BIN)/python -m local.schema

clean: ## Remove what was made
	rm -rf .venv* .coverage build.new .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

$(VENV)/ready: REQUIREMENTS = requirements-dev.txt
$(VENV)-bench/ready: REQUIREMENTS = bench/requirements.txt
$(VENV)-bench/ready: bench/requirements.txt
$(VENV)/ready $(VENV)-bench/ready: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "$(PYTHON) is older than 3.10: name another, make PYTHON=python3.12 …"; exit 1; }
	@echo "setting up $(@D) with $$($(PYTHON) --version) (once)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS)
	@touch $@
