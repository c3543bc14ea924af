# `make` alone lists the targets. The virtual environment bootstraps itself from Python 3.11 or newer.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
SDK_PYTHON ?= python3.13
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

LIBRARIES := $(patsubst libs/%/pyproject.toml,%,$(wildcard libs/*/pyproject.toml))
SERVICES := $(patsubst services/%/pyproject.toml,%,$(wildcard services/*/pyproject.toml))
MEMBERS := $(addprefix libs/,$(LIBRARIES)) $(addprefix services/,$(SERVICES)) cli simulator
VERSION := $(shell sed -n 's/^appVersion: //p' deploy/helm/ssmd/Chart.yaml)
OWN     := $(subst _,-,$(LIBRARIES)) $(addprefix ssmd-,$(SERVICES) cli simulator)
# Images of Python set it, and then every worker of pytest rewrites and compiles all tests anew: more
# than half of the processor time before the first of them.
export PYTHONDONTWRITEBYTECODE :=
# Tests wait for servers most of their time: two processes for every core, and three more.
WORKERS ?= $$("$(BIN)/python" -c 'import os; print(os.cpu_count() * 2 + 3)')
COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
           --no-header $(addprefix --no-emit-package ,$(OWN))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Create .venv with everything, from hash-pinned locks

$(BIN)/uv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(f"ssmd needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}: run make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "this Python has no venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv "$(VENV)"
	"$(BIN)/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch "$@"

$(READY): $(BIN)/uv requirements/dev.txt $(addsuffix /pyproject.toml,$(MEMBERS))
	"$(BIN)/uv" pip install -q --compile-bytecode --python "$(BIN)/python" --require-hashes -r requirements/dev.txt -r requirements/bootstrap.txt
	"$(BIN)/uv" pip install -q --python "$(BIN)/python" --no-deps --no-build-isolation $(addprefix -e ./,$(MEMBERS))
	@touch "$@"

.PHONY: lock
lock: $(BIN)/uv ## Compile requirements/*.txt again (UPGRADE=1 takes newer versions)
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/bootstrap.in -o requirements/bootstrap.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras requirements/dev.in $(addsuffix /pyproject.toml,$(MEMBERS)) -o requirements/dev.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/nats-2.10.in -o requirements/nats-2.10.txt
	for v in 15 16 17; do $(COMPILE:3.11=3.12) $(if $(UPGRADE),--upgrade) requirements/postgresql-$$v.in -o requirements/postgresql-$$v.txt; done
	for s in $(SERVICES); do $(COMPILE) -c requirements/dev.txt services/$$s/pyproject.toml -o requirements/$$s.txt; done
	$(COMPILE) -c requirements/dev.txt cli/pyproject.toml -o requirements/cli.txt
	$(COMPILE) -c requirements/dev.txt --extra archive cli/pyproject.toml -o requirements/compact.txt
	$(COMPILE) -c requirements/dev.txt simulator/pyproject.toml -o requirements/simulator.txt
	$(COMPILE:3.11=3.13) $(if $(UPGRADE),--upgrade) requirements/sdk.in -o requirements/sdk.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/openapi.in -o requirements/openapi.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/s3.in -o requirements/s3.txt

.PHONY: sdk
sdk: $(BIN)/uv ## Install the exchange's own SDK for the simulator's tests (SDK_PYTHON=python3.13)
	"$(BIN)/uv" venv -q --clear --python "$(SDK_PYTHON)" .ci/sdk
	"$(BIN)/uv" pip install -q --python .ci/sdk/bin/python --require-hashes -r requirements/sdk.txt

.PHONY: openapi
openapi: $(BIN)/uv ## Install what reads the API's OpenAPI document as strangers do, for its slow tests
	"$(BIN)/uv" venv -q --clear --python "$(BIN)/python" .ci/openapi
	"$(BIN)/uv" pip install -q --python .ci/openapi/bin/python --require-hashes -r requirements/openapi.txt

.PHONY: openapi-lint
openapi-lint: ## Install what judges the API's OpenAPI document, for its slow test (needs npm)
	npm install --silent --no-fund --no-audit --no-package-lock --no-save --prefix .ci/openapi-lint @stoplight/spectral-cli@6.16.3 @redocly/cli@2.77.0

.PHONY: bucket-server
bucket-server: $(BIN)/uv ## Install an S3 server for the tests of buckets (150 MB)
	"$(BIN)/uv" venv -q --clear --python "$(BIN)/python" .ci/s3
	"$(BIN)/uv" pip install -q --python .ci/s3/bin/python --require-hashes -r requirements/s3.txt

.PHONY: bucket-server-versitygw
bucket-server-versitygw: ## Compile another S3 server for them, versitygw (needs Go; minutes); SSMD_S3=versitygw chooses it
	GOBIN="$(CURDIR)/.ci/versitygw" go install github.com/versity/versitygw/cmd/versitygw@v1.8.0

.PHONY: up
up: $(READY) ## Start the whole system on this machine (ARGS="--exchange demo" …)
	@"$(BIN)/ssmd" up $(ARGS)

.PHONY: down
down: $(READY) ## Stop what `make up` started
	@"$(BIN)/ssmd" down

.PHONY: test
test: $(READY) ## Run every test of the default suite (ARGS="-k cdc" …)
	@"$(BIN)/pytest" -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: test-slow
test-slow: $(READY) ## Run the suites that take longer than a coffee
	@"$(BIN)/pytest" -m slow $(ARGS)

.PHONY: test-random
test-random: $(READY) ## Run the property tests with other examples than ever before, and five times as many
	@"$(BIN)/pytest" -n $(WORKERS) --dist worksteal -m "hypothesis and not slow" --hypothesis-profile=random $(ARGS)

.PHONY: lifecycle-day
lifecycle-day: $(READY) ## A whole universe's quick day with every fault, for half an hour
	@LIFECYCLE_DAY_SECONDS=$${LIFECYCLE_DAY_SECONDS:-1800} LIFECYCLE_DAY_SIZE=$${LIFECYCLE_DAY_SIZE:-full} "$(BIN)/pytest" -n0 -s -m slow services/lifecycle/tests/test_lifecycle_day.py $(ARGS)

.PHONY: lifecycle-soak
lifecycle-soak: $(READY) ## An hour of lifecycle at the exchange's real rate: nothing grows
	@"$(BIN)/pytest" -n0 -s -m slow services/lifecycle/tests/test_lifecycle_soak.py $(ARGS)

.PHONY: archiver-soak
archiver-soak: $(READY) ## An hour of market data into the archive while everything breaks: nothing is lost, nothing grows
	@ARCHIVER_SOAK_SECONDS=$${ARCHIVER_SOAK_SECONDS:-3600} "$(BIN)/pytest" -n0 -s -m slow services/connector/tests/test_connector_soak.py $(ARGS)

.PHONY: cdc-outage
cdc-outage: $(READY) ## An hour without NATS while the database is written to: nothing grows, nothing is lost
	@CDC_OUTAGE_SECONDS=$${CDC_OUTAGE_SECONDS:-3600} "$(BIN)/pytest" -n0 -s -m slow services/cdc/tests/test_cdc_outage.py $(ARGS)

.PHONY: bucket-outage
bucket-outage: $(READY) ## An hour without the bucket while the archiver goes on: nothing grows, nothing is lost (needs `make bucket-server`)
	@BUCKET_OUTAGE_SECONDS=$${BUCKET_OUTAGE_SECONDS:-3600} "$(BIN)/pytest" -n0 -s -m slow services/archiver/tests/test_archiver_bucket_outage.py $(ARGS)

.PHONY: test-versions
test-versions: $(READY) ## Run cdc's tests on the other PostgreSQL and NATS servers that can be had here
	@"$(BIN)/python" tests/versions.py $(ARGS)

.PHONY: test-dates
test-dates: $(READY) ## Run suites with the clock moved to midnight, month's end, summer time (needs libfaketime)
	@"$(BIN)/python" tests/dates.py $(ARGS)

.PHONY: check
check: $(READY) ## Lint, format, types, import contracts, Dockerfile, chart
	"$(BIN)/ruff" check
	"$(BIN)/ruff" format --check
	"$(BIN)/mypy" $(addsuffix /src,$(MEMBERS)) benchmarks
	"$(BIN)/lint-imports"
	"$(BIN)/hadolint" Dockerfile
	@if command -v helm >/dev/null; then helm lint --strict deploy/helm/ssmd; else echo "helm is not installed: the chart is not checked"; fi

.PHONY: format
format: $(READY) ## Format and fix what can be fixed
	"$(BIN)/ruff" check --fix
	"$(BIN)/ruff" format

.PHONY: bench
bench: $(READY) ## Make the README's figures again (BENCH=cdc ARGS="--rows 100000" …: others of benchmarks/)
	@PYTHONPATH=tests:. "$(BIN)/python" benchmarks/$(or $(BENCH),readme).py $(ARGS)

.PHONY: docs
docs: $(READY) ## Write the pages that are made from the code
	@PYTHONPATH=tests "$(BIN)/python" -m documented

.PHONY: cluster-test
cluster-test: $(READY) ## Install, upgrade, scale, break and uninstall the chart on KUBECONFIG's cluster (docs/chart.md)
	@SSMD_CLUSTER_TEST=1 "$(BIN)/pytest" -n0 -x -s -m slow tests/cluster $(ARGS)

.PHONY: chart-golden
chart-golden: $(READY) ## Write again what the chart renders, for the tests to hold (needs helm)
	@PYTHONPATH=tests "$(BIN)/python" -m charts

.PHONY: images
images: ## Build every image (needs a container engine; IMAGES="cdc api" for some)
	for s in $(or $(IMAGES),$(SERVICES) cli compact simulator); do deploy/build-image $$s ssmd-$$s:$(VERSION) || exit 1; done

.PHONY: images-test
images-test: $(READY) ## Build every image from a clean clone and run it (needs a container engine; IMAGES="cdc cache" for some)
	@SSMD_IMAGES="$(or $(IMAGES),$(SERVICES))" "$(BIN)/pytest" -n0 -m slow tests/images $(ARGS)

.PHONY: chart
chart: ## Lint, render and package the Helm chart into dist/ (needs helm)
	@command -v helm >/dev/null || { echo "make chart needs helm" >&2; exit 1; }
	helm lint --strict deploy/helm/ssmd
	helm template ssmd deploy/helm/ssmd >/dev/null
	helm package -d dist deploy/helm/ssmd
