.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
# The Pulumi SDK and TensorFlow cannot agree on a version of protobuf, so the program has an environment of its own.
PROGRAM := .venv-program/bin
# Where `make cli` puts Pulumi's.
export PATH := $(CURDIR)/.cli/bin:$(PATH)

.PHONY: help setup setup-dev cli lock protocol docs lint test test-unit test-cluster up down promote weight restart status logs upload preview bootstrap bench

help: ## What can be done here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# --- Tools -----------------------------------------------------------------------------------------------------------

UV_VERSION := 0.13.8

$(BIN)/uv:
	@$(PYTHON) -m app.local.prerequisites
	@echo "Making a Python environment in .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.local: $(BIN)/uv constraints.txt app/gateway/requirements.txt app/gateway/requirements-no-deps.txt app/model_sync/requirements.txt app/local/requirements.txt app/local/requirements-no-deps.txt
	@echo "Installing what the platform on this machine needs (TensorFlow included: about 2 GB)"
	@$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -c constraints.txt -r app/local/requirements.txt
	@$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python --no-deps -r app/local/requirements-no-deps.txt
	@touch $@

.venv/.dev: .venv/.local requirements-dev.txt
	@echo "Installing the tools that check the project"
	@$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -c constraints.txt -r requirements-dev.txt
	@touch $@

.venv-program/.installed: $(BIN)/uv requirements.txt infra/constraints.txt
	@echo "Installing what the Pulumi program needs"
	@$(PYTHON) -m venv .venv-program
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(PROGRAM)/python -c infra/constraints.txt -r requirements.txt
	@touch $@

.venv-program/.dev: .venv-program/.installed infra/requirements-dev.txt
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(PROGRAM)/python -c infra/constraints.txt -r infra/requirements-dev.txt
	@touch $@

setup: .venv/.local ## Install what `make up` needs
setup-dev: .venv/.dev .venv-program/.dev ## Install the tools for developing too

cli: .venv-program/.installed ## Install the Pulumi CLI that the program is tested with, for this project alone
	@$(PROGRAM)/python -m infra.cli

lock: $(BIN)/uv ## Choose anew the versions of dependencies of dependencies
	@(echo '# The whole set that is tested together, dependencies of dependencies included: `make lock` writes it.'; \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header requirements-dev.txt) > .constraints.new
	@mv .constraints.new constraints.txt
	@(echo '# The whole set of the Pulumi program that is tested together: `make lock` writes it.'; \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header infra/requirements-dev.txt) > .constraints.new
	@mv .constraints.new infra/constraints.txt

protocol: .venv/.dev ## Generate the Python of app/protocol/serving.proto
	@$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --mypy_out=. app/protocol/serving.proto

docs: .venv-program/.installed ## Write docs/configuration.md from the settings themselves
	@$(PROGRAM)/python -m infra.config.document

# --- This machine ----------------------------------------------------------------------------------------------------

LOCAL := $(BIN)/python -m app.local
folder = $(or $(DIR),$(error upload needs a folder: make upload MODEL=digits DIR=path/to/saved_model))
model = $(or $(MODEL),$(error $@ needs a model: make $@ MODEL=digits))

ifndef STACK

up: .venv/.local ## Make the platform on this machine what local.yaml says; in a cluster: STACK=kind, in AWS: STACK=dev
	@$(LOCAL) up

upload: .venv/.local ## Put the SavedModel in DIR into the model store, as VERSION if given, of MODEL; in a cluster: STACK=kind, in AWS: STACK=dev
	@$(LOCAL) upload "$(model)" "$(folder)" $(if $(VERSION),--version "$(VERSION)")

# Without .venv, by the variable that stands in the environment of every process of the platform.
down: ## End it
	@if [ -e .venv/.local ]; then exec $(LOCAL) down; fi; \
	pids=$$(grep -lsxzF "MODEL_SERVING_STATE=$(CURDIR)/.local" /proc/[0-9]*/environ | cut -d/ -f3 || true); \
	if [ -n "$$pids" ]; then kill $$pids || true; timeout 60 tail --follow /dev/null $$(printf -- '--pid=%s ' $$pids); fi; \
	echo "Nothing runs any more."

else

up: .venv-program/.installed
	@$(PROGRAM)/python -m infra.prerequisites "$(STACK)"
# Files' rights are part of what an image is built from, and git leaves them to each machine's umask.
	@chmod -R u=rwX,go=rX app infra constraints.txt
# After a run that was killed, and only then, there is something to repair.
	@$(PROGRAM)/python -m infra.repair "$(STACK)"
	@pulumi up --stack "$(STACK)"

down: .venv-program/.installed
	@command -v pulumi >/dev/null || { echo "make down STACK=$(STACK) needs pulumi: \`make cli\` installs it" >&2; exit 1; }
	@pulumi destroy --stack "$(STACK)" && $(PROGRAM)/python -m infra.leftovers "$(STACK)"

upload: .venv/.local .venv-program/.installed
	@$(PROGRAM)/python -m infra.upload "$(STACK)" "$(model)" "$(folder)" $(if $(VERSION),--version "$(VERSION)")

endif

promote: .venv/.local ## Make the canary of MODEL its stable version
	@$(LOCAL) promote "$(model)"

weight: .venv/.local ## Give the canary of MODEL the share WEIGHT, in percent
	@$(LOCAL) weight "$(model)" "$(or $(WEIGHT),$(error weight needs a number: make weight MODEL=digits WEIGHT=50))"

restart: .venv/.local ## Replace the processes of MODEL (or MODEL=gateway) without losing a request
	@$(LOCAL) restart "$(model)"

status: .venv/.local ## Say what runs
	@$(LOCAL) status

logs: ## Follow all logs
	@if compgen -G ".local/logs/*.log" >/dev/null; then tail -n 5 -F .local/logs/*.log; else echo "There are no logs yet: \`make up\` starts what writes them."; fi

# --- Measurements ----------------------------------------------------------------------------------------------------

bench: .venv/.dev .venv-program/.dev ## Measure gateway, model-sync and preview (QUICK=1: the gateway coarsely)
	@$(BIN)/python -m bench.gateway $(if $(QUICK),--quick)
	@$(BIN)/python -m bench.model_sync
	@$(PROGRAM)/python -m bench.plan

# --- AWS -------------------------------------------------------------------------------------------------------------

preview: .venv-program/.installed ## Show what the program would make, without credentials: STACK=prod BASE=main REPORT=out.html
	@$(PROGRAM)/python -m infra.plan --stack "$(or $(STACK),dev)" $(if $(BASE),--base "$(BASE)") $(if $(AGAINST),--against "$(AGAINST)") \
	  $(if $(MANIFESTS),--manifests "$(MANIFESTS)") $(if $(REPORT),--report "$(REPORT)") $(if $(MARKDOWN),--markdown "$(MARKDOWN)")

bootstrap: .venv-program/.installed ## Make the bucket and the key of Pulumi's state, once: ACCOUNT=… REGION=…
	@$(PROGRAM)/python -m infra.bootstrap $(if $(ACCOUNT),--account "$(ACCOUNT)") $(if $(REGION),--region "$(REGION)")

# --- Checks ----------------------------------------------------------------------------------------------------------

# What the program's environment checks; the other one checks the rest.
PROGRAM_TESTS := tests/unit/infra tests/plan tests/policy
# With a real control plane: see docs/testing.md.
CLUSTER_TESTS := tests/cluster tests/engine
PROGRAM_CODE := __main__.py infra bench/plan tests/machinery $(PROGRAM_TESTS) $(CLUSTER_TESTS)

lint: .venv/.dev .venv-program/.dev ## Format, lint and types
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/hadolint app/*/Dockerfile infra/*.Dockerfile
	@$(BIN)/mypy --exclude '^(tests/(unit/infra|plan|policy|machinery|cluster|engine)|bench/plan)/'
	@$(PROGRAM)/mypy $(PROGRAM_CODE)

test-unit: .venv/.dev .venv-program/.dev ## The quick tests
	@$(PROGRAM)/pytest -n auto $(PROGRAM_TESTS)
	@$(BIN)/pytest -n auto tests/unit $(PROGRAM_TESTS:%=--ignore=%)

test: lint test-unit ## Everything that can run here
	@$(BIN)/pytest $(patsubst %,--ignore=%,tests/unit $(PROGRAM_TESTS) $(CLUSTER_TESTS))
	@$(MAKE) test-cluster

test-cluster: .venv-program/.dev ## The tests with a real control plane, which Go builds once
	@! command -v go >/dev/null || $(PROGRAM)/python -m tests.machinery.binaries
	@$(PROGRAM)/pytest -n auto --dist loadfile $(CLUSTER_TESTS)
