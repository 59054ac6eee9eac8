# charrnn-jobs: `make demo` shows it, `make test` checks it. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test lint format requirements clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(READY) ## train a small model on real text, sample it, show the results
	@PATH="$(CURDIR)/$(BIN):$$PATH" CHARRNN_HOME="$(CURDIR)/.demo" sh examples/demo.sh

test: lint ## lint, types, and the whole test suite against real servers
	$(BIN)/pytest

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# uv pip compile writes no registry's address; uv.lock would.
requirements: ## pin and hash the dependencies anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	  --extra cpu --extra local --extra dev --upgrade \
	  --output-file requirements.txt pyproject.toml

clean: ## remove what make demo and make test made
	rm -rf $(VENV) .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): requirements.txt pyproject.toml
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh deploy/set-up.sh
	@touch $@
