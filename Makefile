# charrnn-jobs: `make demo` shows it, `make test` checks it. Both set up .venv first.

PYTHON ?= python3
# make GPU=1 ... runs any target with the extra gpu, beside the environment with the extra cpu: no environment has both.
VENV := .venv$(if $(GPU),-gpu)
REQUIREMENTS := requirements$(if $(GPU),-gpu).txt
BIN := $(VENV)/bin
READY := $(VENV)/.ready

BENCH := .venv-bench
XLA := .cache/xla

# Each command of a test is a process of its own, which would compile all modules anew. Empty means that they are kept.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help demo up check test test-all faults soak fuzz bench lint unit docs format requirements clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(READY) ## train a small model on names, generate new ones, show the results; under 3 minutes
	@PATH="$(CURDIR)/$(BIN):$$PATH" CHARRNN_HOME="$(CURDIR)/.demo" sh examples/demo.sh

up: $(READY) ## start a broker and a worker on this machine; Ctrl-C stops them
	@$(BIN)/charrnn-jobs up

# Both at once, since machines have two cores.
check: $(READY) ## lint, types and the tests that need no server and no TensorFlow; under 30 seconds
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint unit

unit: $(READY)
	$(BIN)/pytest tests/unit -m "not slow" -p tests.fixtures.without_tensorflow

# Many of these tests wait for processes: more workers than cores, and what takes longest first.
WORKERS := --numprocesses=4 --dist=loadfile --no-loadscope-reorder

test: check ## every promise once, against real servers; 11 minutes
	$(BIN)/pytest tests/acceptance tests/integration tests/model -m "not slow" $(WORKERS)

test-all: test $(XLA)/.ready ## the rest: each real timeout, each race, more examples; half an hour with make test
	CHARRNN_BACKEND=jax $(BIN)/pytest tests/model -m "not slow" $(WORKERS)
	$(BIN)/pytest -m "slow or hypothesis" --hypothesis-profile=ci $(WORKERS)
	$(BIN)/pytest tests/fuzz $(DOORS)

faults: $(READY) ## every fault of docs/reliability.md, and the table there; an hour and a half
	$(BIN)/pytest tests/faults --table docs/reliability.md

soak: MINUTES = 30
soak: $(READY) ## random faults: make soak MINUTES=30 (half of them on each database)
	$(BIN)/pytest tests/faults/test_soak.py -s --minutes $(MINUTES)

# Each target takes a process for itself while it runs, so the peak of memory is its own. Without the plugin that keeps
# log records, of which 100,000 unreadable messages make 2 GB.
DOORS := --numprocesses=2 --dist=worksteal -p no:logging

fuzz: MINUTES = 10
fuzz: $(READY) ## damaged and hostile input at every door: make fuzz MINUTES=10 (each door; an hour in all)
	$(BIN)/pytest tests/fuzz $(DOORS) --minutes $(MINUTES)

bench: $(READY) $(BENCH)/.ready ## training and sampling beside Keras and PyTorch, the store, a fleet; 50 minutes
	$(BIN)/python bench/training.py --torch-python $(BENCH)/bin/python
	$(BIN)/python bench/sampling.py --torch-python $(BENCH)/bin/python
	$(BIN)/python bench/pipeline.py
	$(BIN)/python bench/store.py
	$(BIN)/python bench/fleet.py

lint: $(READY) ## ruff, mypy, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY) ## write the reference pages, schemas and completion from the code, and build the site in .site/html
	$(BIN)/python -m producer.completion.words > producer/completion/words.new
	mv producer/completion/words.new producer/completion/words.json
	$(BIN)/python -m producer.docs.schemas docs/schemas
	$(BIN)/python -m producer.docs.reference > docs/reference.new
	mv docs/reference.new docs/reference.md
	$(BIN)/python -m producer.docs.api > docs/api.new
	mv docs/api.new docs/api.md
	$(BIN)/python -m producer.docs.site . .site/pages
	$(BIN)/zensical build --strict

format: $(READY) ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# uv pip compile writes no registry's address; uv.lock would. The images get what the tests ran with.
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header
SERVICES := --extra postgres --extra s3 --extra parquet --extra web --extra metrics --extra otel
TESTS := $(SERVICES) --extra local --extra demo --extra dev --extra docs
PINNED := $(COMPILE) --constraint requirements.txt pyproject.toml
requirements: ## pin and hash the dependencies again (needs uv)
	$(COMPILE) --upgrade pyproject.toml $(TESTS) --extra cpu --output-file requirements.txt
	$(PINNED) $(TESTS) --extra gpu --output-file requirements-gpu.txt
	printf 'jax-cuda13-%s<0.11\n' pjrt plugin | $(COMPILE) --no-deps --output-file requirements-xla.txt -
	echo hatchling | $(COMPILE) --constraint requirements.txt --output-file deploy/requirements/build.txt -
	$(PINNED) $(SERVICES) --output-file deploy/requirements/producer.txt
	$(PINNED) $(SERVICES) --extra cpu --output-file deploy/requirements/worker-cpu.txt
	$(PINNED) $(SERVICES) --extra gpu --output-file deploy/requirements/worker-gpu.txt

# PyTorch is a peer to measure against, nothing that the product uses.
$(BENCH)/.ready:
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet torch==2.13.0 numpy matplotlib
	@touch $@

# Compiles for GPUs that are not there. Beside the environment: every import of JAX there would look for a GPU.
$(XLA)/.ready: requirements-xla.txt $(READY)
	rm -rf $(XLA)
	{ command -v uv >/dev/null && uv pip install --quiet --python $(BIN)/python --target $(XLA) --no-deps --require-hashes -r requirements-xla.txt; } || \
	    $(BIN)/pip install --quiet --target $(XLA) --no-deps --require-hashes -r requirements-xla.txt
	@touch $@

clean: ## remove what make demo and make test made
	rm -rf .venv .venv-gpu $(BENCH) .demo .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .site .cache

$(READY): $(REQUIREMENTS) pyproject.toml
	@PYTHON="$(PYTHON)" VENV="$(VENV)" REQUIREMENTS="$(REQUIREMENTS)" sh deploy/set-up.sh
	@touch $@
