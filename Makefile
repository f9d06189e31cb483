# `make` lists the targets. Nothing has to be installed before: each target sets up what it needs.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := 1
export PIP_ROOT_USER_ACTION := ignore
UV ?= $(or $(shell command -v uv),.uv/bin/uv)
BIN := .venv/bin
PYTEST = $(BIN)/python -m pytest
PINNED := --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 \
	--custom-compile-command "make lock"
IMAGE := --constraints requirements/dev.txt $(addprefix --extra ,cli gateway identity jsonschema openai redis consul otel)
GROUND := holdfast/ports/*,holdfast/domain/*

.PHONY: help setup servers run test test-oldest check lint format types contracts bench ratio coverage mutation audit wheel build lock clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.set-up ## Make .venv with the pinned requirements and Holdfast itself, editable

.venv/.set-up .venv-3.11/.set-up: requirements/dev.txt pyproject.toml | $(UV)
	test -x $(@D)/bin/python || { python=$$(scripts/find-python $(patsubst .venv-%,%,$(filter .venv-%,$(@D)))) && rm -rf $(@D) && \
		$(UV) venv --quiet --no-project --python "$$python" $(@D); }
	$(UV) pip sync --quiet --python $(@D) --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(@D) --no-deps --no-build-isolation --editable .
	touch $@

.uv/bin/uv: requirements/uv.txt
	python3 -m pip install --quiet --disable-pip-version-check --upgrade --target .uv --require-hashes -r $<
	touch $@

servers: setup ## Get the real servers that tests start, where there are none, into .servers/
	scripts/get-redis .servers
	scripts/get-consul .servers/consul
	scripts/get-llama-server .servers/llama
	$(BIN)/python scripts/make_tiny_model.py .servers/llama/tiny.gguf
	scripts/get-chromium
	scripts/get-axe .servers/axe

# Exit code 1 means that some items failed, as the malformed ones are meant to.
run: setup ## Answer examples/questions.jsonl from this repository's documents: make run RUN_ARGS=--retry-failed
	$(BIN)/holdfast run examples/questions.jsonl --out out/questions $(RUN_ARGS) || test $$? -eq 1

test: setup ## Run all tests and docstring examples: make test ARGS="-k pool"
	$(PYTEST) -n auto --dist worksteal $(ARGS)

test-oldest: | $(UV) ## Run the unit tests on Python 3.11, if there is one
	@if scripts/find-python 3.11 >/dev/null; then \
		$(MAKE) --no-print-directory .venv-3.11/.set-up && .venv-3.11/bin/python -m pytest -n auto tests/unit; \
	else echo "unit tests on Python 3.11: skipped, there is none on this machine"; fi

check: lint types contracts coverage $(if $(CI),test-oldest) ratio audit wheel ## The whole gate, as CI runs it

lint: setup ## Check format and rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check

format: setup ## Format, and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

types: setup ## Check types with mypy and pyright, both strict
	$(BIN)/mypy
	$(BIN)/pyright

contracts: setup ## Check the import contracts that hold the hexagon
	$(BIN)/lint-imports

bench: setup ## Measure every path against its budget: make bench ONLY=retry
	$(BIN)/python benchmarks $(ONLY)

ratio: setup ## Compare lines of test code with lines of product code
	$(BIN)/python scripts/ratio.py

coverage: PYTEST = $(BIN)/coverage erase && $(BIN)/coverage run -m pytest
coverage: test ## Run all tests and hold branch coverage: ports and domain 100 %, the rest 95 %
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include="$(GROUND)" --fail-under=100
	$(BIN)/coverage report --include="holdfast/*" --omit="$(GROUND)" --fail-under=95

mutation: setup ## Count the small changes to the domain that its tests notice: make mutation ARGS="retry --sample 50"
	$(BIN)/python -m scripts.mutation $(ARGS)

audit: setup ## Look up known vulnerabilities of the pinned requirements
	$(BIN)/python scripts/audit.py

wheel: setup ## Build the wheel and run the tests on it, with the source tree out of reach
	$(BIN)/python scripts/wheel_gate.py $(UV)

build: setup ## Build wheel and source distribution into dist/
	$(BIN)/hatchling build

lock: | $(UV) ## Compile the pinned requirements: make lock LOCK_ARGS=--upgrade
	$(UV) pip compile $(PINNED) $(LOCK_ARGS) --extra all --group dev pyproject.toml -o requirements/dev.txt
	$(UV) pip compile $(PINNED) $(LOCK_ARGS) $(IMAGE) pyproject.toml -o requirements/image.txt
	echo hatchling | $(UV) pip compile $(PINNED) $(LOCK_ARGS) --constraints requirements/dev.txt - -o requirements/image-build.txt
	echo uv | $(UV) pip compile $(PINNED) $(LOCK_ARGS) - -o requirements/uv.txt
	echo python-consul==1.1.0 | $(UV) pip compile $(PINNED) $(LOCK_ARGS) - -o requirements/python-consul.txt

clean: ## Remove everything that these targets made, except results in out/
	rm -rf .venv .venv-3.11 .uv .servers .holdfast build dist .coverage* .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
