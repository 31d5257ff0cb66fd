# Everything happens in .venv, which the first target that needs it makes. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ZOO_INSTALLED := $(VENV)/zoo/.installed
SOURCES := secateur store app worker tests examples benchmarks

.DEFAULT_GOAL := help
.PHONY: help install demo test check format up compose-up compose-down bench bench-structured bench-accuracy bench-lottery bench-budget bench-sensitivity combinations zoo clean

help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

install: $(INSTALLED) ## make .venv with everything in it

$(INSTALLED): pyproject.toml constraints.txt scripts/install-torch
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Secateur needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@scripts/install-torch $(BIN)/python
	@echo "installing Secateur and what it needs into $(VENV)" >&2
	@$(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED) ## prune a real network through the whole service, by weights and by units
	@$(BIN)/python -m examples.digits

test: $(INSTALLED) ## run every test: those that compute on two cores at once, then those that start the real stack
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not integration"
	$(BIN)/python -m pytest -q -m integration tests/integration tests/secateur

check: $(INSTALLED) ## format, lint, types, and who may import whom
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## write the code as ruff wants it
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

up: $(INSTALLED) ## run Redis, the API and a worker on this machine
	@$(BIN)/secateur up

compose-up: ## the same in containers; makes secrets/ the first time
	@scripts/make-secrets
	docker compose up --build --detach --wait
	@echo "Secateur listens on http://127.0.0.1:$${SECATEUR_PUBLISH:-8000}; the key is in secrets/api_key"

compose-down: ## stop the containers; the volumes stay
	docker compose down

bench: $(INSTALLED) ## measure every number that the README gives
	$(BIN)/python -m benchmarks.thresholds
	$(BIN)/python -m benchmarks.masked_step
	$(BIN)/python -m benchmarks.service
	$(BIN)/python -m benchmarks.demo_seeds
	$(BIN)/python -m benchmarks.distillation

bench-structured: $(INSTALLED) ## half of the MACs, beside Torch-Pruning's; 20 minutes, goes on where it was broken off
	@$(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt -e '.[peers]'
	$(BIN)/python -m benchmarks.structured

bench-accuracy: $(INSTALLED) ## the accuracy that is left, beside torch.nn.utils.prune and Torch-Pruning; at most 90 minutes, goes on likewise
	@$(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt -e '.[peers]'
	$(BIN)/python -m benchmarks.accuracy

bench-lottery: $(INSTALLED) ## lottery tickets of LeNet-300-100 beside their controls; 10 minutes
	@$(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt -e '.[peers]'
	$(BIN)/python -m benchmarks.lottery

bench-budget: $(INSTALLED) ## the smallest network that loses at most a point, for five seeds; 10 minutes
	$(BIN)/python -m benchmarks.budget

bench-sensitivity: $(INSTALLED) ## an amount spread by what each layer matters, beside the other scopes; 5 minutes
	@$(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt -e '.[peers]'
	$(BIN)/python -m benchmarks.sensitivity

combinations: $(INSTALLED) ## run everything that the spec allows to be combined; an hour, goes on where it was broken off
	$(BIN)/python -m benchmarks.combinations

zoo: $(ZOO_INSTALLED) ## prune half of every model of torchvision, timm and transformers; ZOO='timm/*' for a part
	PYTHONPATH=$(VENV)/zoo $(BIN)/python -m benchmarks.zoo --only "$(or $(ZOO),*)"

# In a folder of their own, and without what they ask for: they would bring another torch, and transformers, which the
# tests use, would take a torchvision that lacks its compiled half.
$(ZOO_INSTALLED): $(INSTALLED)
	@$(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt -e '.[zoo]'
	@$(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt --no-deps --upgrade --target $(@D) torchvision timm
	@touch $@

clean: ## remove the environment and all caches; data in var/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
