# `make` lists what can be made. The first run sets up .venv; ARGS goes on to the tool behind, say
#   make all ARGS="--configfile presets/smoke.yaml"      make test ARGS="-m 'not slow'"

PYTHON ?= python3
BIN := .venv/bin
SETUP := $(BIN)/.setup
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help all dvc to-dvc to-snakemake test lint lock

help:
	@awk -F ': .*## ' '/^[a-z-]+: .*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

all: $(SETUP)  ## run the experiment of params.yaml with Snakemake, on all cores
	$(BIN)/snakemake --cores all all $(ARGS)

# A killed DVC leaves a lock with its process number, which may belong to another process by now.
# It goes where flock says that no other `make dvc` is running (1); some file systems have no flock (65, 71).
dvc: $(SETUP)  ## run it with DVC instead
	@mkdir -p .dvc/tmp
	@if command -v flock >/dev/null; then \
		exec 9>.dvc/tmp/make.lock; \
		flock -n 9; case $$? in \
			0) rm -f .dvc/tmp/rwlock;; \
			1) echo "make dvc: another one is running here; wait for it" >&2; exit 2;; \
		esac; \
	fi; \
	$(BIN)/dvc repro $(ARGS)

to-dvc: $(SETUP)  ## let DVC take over what Snakemake has finished
	$(BIN)/python -m burn take-over dvc

to-snakemake: $(SETUP)  ## let Snakemake take over what DVC has finished or pulled
	$(BIN)/python -m burn take-over snakemake

test: $(SETUP)  ## run the tests
	$(BIN)/pytest $(ARGS)

lint: $(SETUP)  ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lock: $(BIN)/uv  ## write requirements.lock after a change of pyproject.toml (newest: ARGS=--upgrade)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra test --generate-hashes \
		--extra export --no-annotate --custom-compile-command "make lock" -o requirements.lock pyproject.toml $(ARGS)

# UV would rather install into an environment that is active: hence --python. Compiled once, here, torch
# and torchvision take half as long to import, which every step of a run does.
$(SETUP): requirements.lock pyproject.toml burn/__init__.py | $(BIN)/uv
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --editable .
	@touch $@

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit("found Python %d.%d; needed: 3.11 or newer (make PYTHON=...)" \
		% sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
