# Everything a person types. Needs Python 3.11 (or newer) with venv and pip; all else goes into .venv.

BIN   := .venv/bin
READY := .venv/.ready
LOCK  := requirements.lock
FEEDS ?= samples
UV    := uv==0.13.9
# The version with a wheel for machines without a GPU; `make lock` keeps to it.
TORCH := torch==2.13.0

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where Python may not keep what it compiles (many containers say so), every server would compile its libraries anew
# at each start, which takes twice as long.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run up down status test lint types format lock clean
.SUFFIXES:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(READY) ## Start the stack, land the demo feeds, build the catalogue and show it (FEEDS=folder for others)
	@$(BIN)/offerline run $(FEEDS) --stay

up: $(READY) ## Start the stack and its pages (Dagster, MLflow) and leave them running
	@$(BIN)/offerline up

down: $(READY) ## Stop exactly what was started
	@$(BIN)/offerline down

status: $(READY) ## Show the servers
	@$(BIN)/offerline status

# Two processes, each with servers of its own: most of a test's time is somebody else's, also on two cores.
test: $(READY) ## Run all tests, on real servers of their own (ARGS='-n 0 ...' in one process)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(READY) ## Check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(READY) ## Mend style and format
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

types: $(READY) ## Check types
	@$(BIN)/mypy

# --- The environment ------------------------------------------------------------------------------------------------

# torch goes first and by pip, which finds a CPU wheel wherever this machine's pip is configured to look (several
# GB less than the registry's wheel with its CUDA libraries); uv, which is much faster, installs the rest.
$(READY): $(LOCK) pyproject.toml
	@python=$$(for candidate in python3.11 python3 python3.12 python3.13; do \
	    $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$candidate && break; \
	  done); \
	  if [ -z "$$python" ]; then echo "error: Python 3.11 or newer is needed, and none was found" >&2; exit 1; fi; \
	  [ -x $(BIN)/python ] || { echo "Making .venv with $$python"; $$python -m venv .venv; } || \
	    { rm -rf .venv; echo "error: '$$python -m venv' fails; on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "Installing the packages of $(LOCK) (2.5 GB; some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --quiet --constraint $(LOCK) "$$(grep '^torch==' $(LOCK))" $(UV)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement $(LOCK)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

lock: ## Resolve the dependencies of pyproject.toml anew (ARGS=--upgrade for the newest)
	@[ -x $(BIN)/uv ] || { python3 -m venv .venv && $(BIN)/python -m pip install --quiet $(UV); }
	@echo '$(TORCH)' > .torch.constraint
	@UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile pyproject.toml --group dev --quiet \
	    --universal --python-version 3.11 --no-annotate --constraint .torch.constraint $(ARGS) \
	    --output-file $(LOCK) > /dev/null; outcome=$$?; rm -f .torch.constraint; exit $$outcome
	@# CUDA's libraries are the registry's torch's own affair: pip installs them with it where it is used.
	@sed -i.bak -E -e '/^(nvidia|cuda|triton)[-=]/d' -e 's/^(torch==[0-9.]+)\+[a-z0-9]+/\1/' $(LOCK) && rm -f $(LOCK).bak
	@echo "$(LOCK): $$(grep -c == $(LOCK)) packages"

clean: ## Stop the stack and remove .venv and caches (the data in .offerline stay)
	@[ ! -x $(BIN)/offerline ] || $(BIN)/offerline down || true
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dbt_project/target dbt_project/logs
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
