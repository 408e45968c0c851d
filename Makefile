# eventscore. Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
TOOLS := .tools
# Emulators, the SAM command line and the generator of the site live in environments of their own: their pins and ours exclude each other.
UV_TOOL := UV_TOOL_DIR=$(TOOLS) UV_TOOL_BIN_DIR=$(TOOLS)/bin $(UV) tool install --quiet --python $(BIN)/python
UV_INSTALL := $(UV) pip install --quiet --python $(BIN)/python --constraints requirements/constraints.txt
TORCH := torch==2.13.0
# Where pip looks for torch besides its own index; on Linux the CPU build is a tenth of the default CUDA build:
#   make test TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
HOST_ARCHITECTURE := $(if $(filter arm64 aarch64,$(shell uname -m)),arm64,x86_64)
OUT := build/train-demo
# Strict: a link or an anchor that leads nowhere, a page outside the navigation, and a key or metric without a description are errors.
SITE = $(BIN)/python -m eventscore_website build && $(TOOLS)/bin/zensical build --strict --clean --config-file build/zensical.toml
FUZZ_SECONDS ?= 60

export SAM_CLI_TELEMETRY := 0
export AWS_DEFAULT_REGION ?= us-east-1

.DEFAULT_GOAL := help
.PHONY: help setup setup-train setup-docs demo test check fix fuzz sam-local docs docs-serve train-demo bench requirements clean

help: ## List the commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: .venv/.stamp-demo ## Make .venv and install what the demo needs (no torch).

setup-train: .venv/.stamp-dev ## Install what training, tests and checks need, too (torch).

setup-docs: .venv/.stamp-docs ## Install what makes the site of the docs.

demo: setup ## Run the whole loop on this machine, on real flights.
	$(BIN)/eventscore demo

# Two processes share the files, in the order of tests/conftest.py: slow ones first.
test: setup-train setup-docs ## Run every test.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

fuzz: setup-train ## Send the decoder whatever breaks it, for FUZZ_SECONDS (60), from the kept corpus (Linux).
	@mkdir -p build/fuzz
	@if $(BIN)/python -c 'import atheris' 2>/dev/null; then \
		PYTHONPATH=tests $(BIN)/python tests/fuzz/fuzz_events.py build/fuzz tests/fuzz/corpus -dict=tests/fuzz/events.dict \
			-max_len=4096 -timeout=10 -artifact_prefix=build/fuzz/failed- -print_final_stats=1 -max_total_time=$(FUZZ_SECONDS); \
	else echo "nothing is fuzzed: atheris has no wheel for this machine (there are some for Linux on x86_64, Python 3.11 to 3.13)"; fi

check: setup-train setup-docs .tools/.stamp-checkov ## Lint, types, import rules, the templates, the docs. Changes nothing.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(TOOLS)/bin/sam validate --lint
	$(TOOLS)/aws-sam-cli/bin/cfn-lint template.yaml stacks/*.yaml
	for template in template.yaml stacks/*.yaml; do \
		$(TOOLS)/bin/checkov -f $$template --framework cloudformation --compact --quiet --skip-download || exit 1; done
	$(SITE)

docs: setup-train setup-docs ## Make the site of the docs, with the reference that the code tells: build/site.
	$(SITE)
	@echo "Read it: build/site/index.html, or make docs-serve"

docs-serve: docs ## Read the site at http://127.0.0.1:8000.
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site 8000

fix: setup-train ## Format, and mend what the linter can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train-demo: setup-train ## Make the demo's model anew, from the flights, into build/train-demo (CPU, minutes).
	$(BIN)/python -m eventscore_flights
	@test -f $(OUT)/signing.pem || $(BIN)/eventscore keys new $(OUT)/signing.pem
	@run=$$($(BIN)/eventscore train examples/flights/training.toml --runs $(OUT)/runs) && \
		$(BIN)/eventscore publish "$$run" --store $(OUT)/model_store --signing-key $(OUT)/signing.pem --promote live \
		--trusted-key "$$($(BIN)/eventscore keys show $(OUT)/signing.pem)"
	@echo "Watch it score: $(BIN)/eventscore demo --store $(OUT)/model_store --trusted-key $$($(BIN)/eventscore keys show $(OUT)/signing.pem)"

sam-local: setup ## Run every file of events/ through `sam local invoke` (Linux with Docker; no AWS account).
	ARCHITECTURE=$(HOST_ARCHITECTURE) PATH="$(CURDIR)/$(BIN):$$PATH" $(TOOLS)/bin/sam build --build-dir build/sam-local --parameter-overrides Architecture=$(HOST_ARCHITECTURE)
	$(BIN)/eventscore sam-local

bench: setup-train ## Measure throughput, cold start, latency and training, each beside what people write today.
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/cold_start.py
	$(BIN)/python benchmarks/latency.py --events 1000000
	$(BIN)/python benchmarks/training.py

requirements: setup ## Resolve the pins in requirements/ anew.
	printf '%s\n' '$(TORCH)' | $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate \
		--extra local --extra train --extra dev --extra tracking --constraints - pyproject.toml | \
		grep -vE '^(nvidia-|cuda-|triton|torch)' > requirements/constraints.txt
	for tool in ministack aws-sam-cli checkov zensical; do grep -E "^($$tool|cryptography)==" requirements/$$tool.txt | $(UV) pip compile --quiet --upgrade --universal \
		--python-version 3.11 --no-header --no-annotate --output-file requirements/$$tool.txt.new - && \
		mv requirements/$$tool.txt.new requirements/$$tool.txt; done

clean: ## Remove everything that make made.
	rm -rf .venv $(TOOLS) build .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/.stamp-uv: requirements/constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("eventscore needs Python 3.11 or newer, this is %d.%d; name another: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^uv==' requirements/constraints.txt)
	@touch $@

.venv/.stamp-demo: .venv/.stamp-uv pyproject.toml requirements/constraints.txt requirements/ministack.txt requirements/aws-sam-cli.txt
	$(UV_INSTALL) --editable '.[local]'
	$(UV_TOOL) --with cryptography --constraints requirements/ministack.txt $$(grep '^ministack==' requirements/ministack.txt)
	$(UV_TOOL) --constraints requirements/aws-sam-cli.txt $$(grep '^aws-sam-cli==' requirements/aws-sam-cli.txt)
	@touch $@

.venv/.stamp-docs: .venv/.stamp-uv requirements/zensical.txt
	$(UV_TOOL) --constraints requirements/zensical.txt $$(grep '^zensical==' requirements/zensical.txt)
	@touch $@

# Scans the templates; 0.5 GB that only `make check` needs.
.tools/.stamp-checkov: .venv/.stamp-uv requirements/checkov.txt
	$(UV_TOOL) --constraints requirements/checkov.txt $$(grep '^checkov==' requirements/checkov.txt)
	@touch $@

# torch through pip, which knows the machine's own wheel folders and indexes; then the rest, which finds it there.
.venv/.stamp-dev: .venv/.stamp-demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) '$(TORCH)'
	$(UV_INSTALL) --editable '.[local,train,dev,tracking]'
	@touch $@
