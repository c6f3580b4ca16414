# Everything here needs only make and a Python (>= 3.11) with pip and venv; `make` alone prints the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-compile --no-deps
# --no-deps: the locks are complete, so pip resolves nothing; --only-binary: nothing is ever built here.
# --no-compile saves a third of the time: Python compiles what it imports, when it does.
PIP_LOCKED := $(PIP) --require-hashes --only-binary :all:
UV_VERSION := 0.13.9
RUNTIME_EXTRAS := --extra local --extra prices --extra planner --extra console --extra postgres \
	--extra valkey --extra plot
UV_COMPILE := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links

.PHONY: help setup setup-dev demo test crash check format bench validate evidence lock clean

help: ## print this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z%-]+):.*## /\1\t/' | expand -t 12

setup: $(VENV)/.setup ## install entrepot and all its extras into .venv

setup-dev: $(VENV)/.setup-dev ## the same, and the tools of `check` and `test`

demo: setup ## start everything with a small local model and simulated hosts: make demo ARGS="--port 8000"
	@exec $(BIN)/entrepot demo $(ARGS)

test: setup-dev ## run the tests: make test ARGS="tests/routing -x"
	$(BIN)/python -m pytest $(ARGS)

crash: setup-dev ## kill the gateway N times under load: make crash N=1000 SEED=7 STORE=sqlite|postgres|both
	$(BIN)/python -m tests.crash $(if $(N),--kills $(N)) $(if $(SEED),--seed $(SEED)) $(if $(STORE),--store $(STORE))

check: setup-dev ## linters, types, layers, sizes, locks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest tests/arch
	@! grep -nE -e '://' -e '--(find-links|index-url|extra-index-url)' requirements/*.txt \
		|| { echo 'check: a lock file says where packages come from: run "make lock"' >&2; exit 1; }
	$(BIN)/python scripts/check_tree.py

format: setup-dev ## let ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: bench-gateway ## measure the gateway; bench-NAME runs benchmarks/NAME.py

bench-%: setup-dev
	$(BIN)/python benchmarks/$(subst -,_,$*).py $(ARGS)

validate: setup ## try the planner on measurements that it has not seen; some minutes; writes build/validate.json
	@mkdir -p build
	$(BIN)/entrepot plan validate --json $(ARGS) > build/validate.json.tmp
	@mv build/validate.json.tmp build/validate.json

evidence: setup ## print what the benchmarks and tests wrote to build/*.json
	@$(BIN)/python scripts/evidence.py

lock: ## write requirements/*.txt anew: make lock ARGS=--upgrade
	@set -eu; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(PYTHON) -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/python" -m pip install -q --disable-pip-version-check uv==$(UV_VERSION); \
	uv="$$tmp/venv/bin/uv"; \
	"$$uv" $(UV_COMPILE) $(ARGS) $(RUNTIME_EXTRAS) --group build pyproject.toml -o requirements/runtime.txt; \
	"$$uv" $(UV_COMPILE) $(ARGS) --all-extras --group build pyproject.toml \
		-c requirements/runtime.txt -o requirements/dev.txt; \
	"$$uv" $(UV_COMPILE) $(ARGS) --no-deps requirements/local-model.in -o requirements/local-model.txt

clean: ## remove .venv, build/ and caches
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps make a second run cost nothing; a changed lock or pyproject.toml installs again.
$(VENV)/.setup: requirements/runtime.txt requirements/local-model.txt pyproject.toml | $(BIN)/python
	@echo 'installing into $(VENV) (once)' >&2
	$(PIP_LOCKED) -r requirements/runtime.txt -r requirements/local-model.txt
	$(PIP) --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup requirements/dev.txt
	@echo 'installing the tools of check and test into $(VENV) (once)' >&2
	$(PIP_LOCKED) -r requirements/dev.txt
	@# Compiled here, since a warning of somebody's source at its first import would fail a test.
	@$(BIN)/python -W ignore -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@
