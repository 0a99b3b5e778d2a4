# Everything below works on a machine with Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test prove lint format generate generated screenshots bench lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## the environment alone, from requirements.lock

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}; call: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --version > $(VENV)/first.txt 2>&1 || $(BIN)/python -m ensurepip > $(VENV)/first.txt
	@awk '/^[a-z]/ {on = /^(uv|setuptools|wheel|packaging)==/} on && !/^ *#/' requirements.lock > $(VENV)/first.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $(VENV)/first.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-build-isolation-package kfp-server-api -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## writes requirements.lock anew (hashes, no addresses)
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --all-extras --no-header --quiet pyproject.toml --output-file requirements.lock

demo: install ## the main job: a hybrid chain on the embedded stack
	@$(BIN)/meta demo

test: install ## every test; a few trials where there are hundreds
	$(BIN)/pytest -n 4 --dist loadfile -m 'not prove and not cluster'

prove: install ## every test with the full count of trials
	$(BIN)/pytest -n 4 --dist loadfile -m 'not cluster'

lint: install generated ## format, lint, types, import contract, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: install ## formats and mends what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: install ## generated code: gRPC stubs, JSON Schema, compiled pipelines
	$(BIN)/python .ci/generate.py

generated: install ## fails when generated code is not what `make generate` writes
	$(BIN)/python .ci/generate.py --check

screenshots: install ## the pictures of the docs; Debian: apt-get install chromium pngquant fonts-noto-color-emoji
	$(BIN)/python docs/pictures/take.py

bench: install ## benchmarks
	$(BIN)/python -m benchmarks.chain
	$(BIN)/python -m benchmarks.waits --runs 100 --engine argo --hold 5
	$(BIN)/python -m benchmarks.waits --runs 100 --engine kfp --hold 5
	$(BIN)/python -m benchmarks.waits --runs 50 --throughput
	$(BIN)/python -m benchmarks.triggers --messages 100 --burst 200
	$(BIN)/python -m benchmarks.sandbox_scale --workflows 100 --watchers 20

clean: ## removes the environment and the embedded stack's data
	rm -rf $(VENV) .meta
