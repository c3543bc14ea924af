# `make` alone lists the targets. The virtual environment bootstraps itself from Python 3.11 or newer.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

MEMBERS := libs/ssmd_common libs/ssmd_kalshi libs/ssmd_stack \
           services/sync services/lifecycle services/cdc services/cache services/api cli simulator
SERVICES := sync lifecycle cdc cache api
OWN     := ssmd-common ssmd-kalshi ssmd-stack ssmd-sync ssmd-lifecycle ssmd-cdc ssmd-cache ssmd-api ssmd-cli ssmd-simulator
COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
           --no-header $(addprefix --no-emit-package ,$(OWN))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Create .venv with everything, from hash-pinned locks

$(BIN)/uv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(f"ssmd needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}: run make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "this Python has no venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv "$(VENV)"
	"$(BIN)/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch "$@"

$(READY): $(BIN)/uv requirements/dev.txt $(addsuffix /pyproject.toml,$(MEMBERS))
	"$(BIN)/uv" pip sync -q --python "$(BIN)/python" --require-hashes requirements/dev.txt requirements/bootstrap.txt
	"$(BIN)/uv" pip install -q --python "$(BIN)/python" --no-deps --no-build-isolation $(addprefix -e ./,$(MEMBERS))
	@touch "$@"

.PHONY: lock
lock: $(BIN)/uv ## Compile requirements/*.txt again (UPGRADE=1 takes newer versions)
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/bootstrap.in -o requirements/bootstrap.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras requirements/dev.in $(addsuffix /pyproject.toml,$(MEMBERS)) -o requirements/dev.txt
	for s in $(SERVICES); do $(COMPILE) -c requirements/dev.txt services/$$s/pyproject.toml -o requirements/$$s.txt; done
	$(COMPILE) -c requirements/dev.txt cli/pyproject.toml -o requirements/cli.txt
	$(COMPILE) -c requirements/dev.txt simulator/pyproject.toml -o requirements/simulator.txt

.PHONY: up
up: $(READY) ## Start the whole system on this machine (ARGS="--exchange demo" …)
	@"$(BIN)/ssmd" up $(ARGS)

.PHONY: down
down: $(READY) ## Stop what `make up` started
	@"$(BIN)/ssmd" down

.PHONY: test
test: $(READY) ## Run every test of the default suite
	@"$(BIN)/pytest" $(ARGS)

.PHONY: check
check: $(READY) ## Lint, format, types, import contracts, locks
	"$(BIN)/ruff" check
	"$(BIN)/ruff" format --check
	"$(BIN)/mypy" $(addsuffix /src,$(MEMBERS)) tests benchmarks
	"$(BIN)/lint-imports"

.PHONY: format
format: $(READY) ## Format and fix what can be fixed
	"$(BIN)/ruff" check --fix
	"$(BIN)/ruff" format
