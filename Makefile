# `make` alone lists the targets. Everything runs in .venv, which `make setup` builds from requirements.txt and keeps current.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that pyproject.toml's range allows; `make PYTHON=/path/to/python setup` overrides it.
ifndef PYTHON
PYTHON := $(shell for candidate in python3.12 python3.11 python3 python; do \
	"$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& { command -v "$$candidate"; break; }; done)
endif
# What the environment was built from. Equal to the stamp inside it: nothing to do.
STATE = $(if $(PYTHON),$(shell { $(PYTHON) -VV; cat requirements.txt pyproject.toml; pwd; } 2>/dev/null | cksum | tr ' ' '-'))

.PHONY: help setup demo up down test lint bench faults bench-peers lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## create .venv from the lock; nothing when it is current
	@if [ -z "$(PYTHON)" ]; then \
		echo "make: needs Python 3.11 or 3.12 with venv (Debian: apt install python3-venv); or say make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; \
	fi; \
	if [ "$$(cat $(VENV)/.built 2>/dev/null)" = "$(STATE)" ] && $(BIN)/python -c '' 2>/dev/null; then exit 0; fi; \
	rm -f $(VENV)/.built; \
	if ! $(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info[:2] != tuple(map(int, sys.argv[1:3])))' \
		$$("$(PYTHON)" -c 'import sys; print(*sys.version_info[:2])') 2>/dev/null; then \
		rm -rf $(VENV); "$(PYTHON)" -m venv $(VENV); \
	fi; \
	total=$$(grep -c '^[a-zA-Z0-9]' requirements.txt); \
	echo "installing $$total packages into $(VENV) (log: $(VENV)/install.log)"; \
	export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1; \
	if ! { $(BIN)/python -m pip install --progress-bar off -r requirements.txt \
		&& $(BIN)/python -m pip install --no-deps -e .; } 2>&1 | tee $(VENV)/install.log | \
		awk -v total="$$total" '/^ *(Collecting|Requirement already)/ {n++; if (n % 25 == 0) {printf "  %d of %d\n", n, total; fflush()}} \
		/^Installing collected/ {print "  unpacking"; fflush()}'; then \
		grep -E '^(ERROR|error)' $(VENV)/install.log | head -n 1 >&2 || true; \
		echo "make: installing failed; see $(VENV)/install.log, then run make setup again" >&2; exit 1; \
	fi; \
	echo "$(STATE)" > $(VENV)/.built

demo: setup ## start everything, sync the sample corpus, answer a question
	@$(BIN)/millrace demo

up: setup ## start Postgres, the sample bucket and Airflow
	@$(BIN)/millrace up

down: ## stop what `make up` and `make demo` started; data stays
	@if [ -x $(BIN)/millrace ]; then $(BIN)/millrace down; else echo "nothing was running"; fi

test: setup ## run every test: unit, contract, dags, integration, acceptance
	@$(BIN)/python -m pytest tests $(ARGS)

lint: setup ## ruff and mypy, changing nothing
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: setup ## one published figure: make bench NAME=freshness [ARGS=--quick]
	@[ -n "$(NAME)" ] || { echo "make: which? make bench NAME=<one of: $$(cd bench && ls *.py | grep -v '^_' | sed 's/\.py$$//' | tr '\n' ' ')>" >&2; exit 1; }
	@$(BIN)/python -m bench $(NAME) $(ARGS)

FAULTS := crash hostile_s3 cuts torn_reads races model_based green_lie poison deletes restore
faults: setup ## every fault bench one after the other, about an hour; ARGS=--quick: some minutes
	@failed=""; for name in $(FAULTS); do \
		echo "== $$name"; $(BIN)/python -m bench $$name $(ARGS) || failed="$$failed $$name"; done; \
	[ -z "$$failed" ] || { echo "make: a floor is missed in$$failed" >&2; exit 1; }

bench-peers: ## .venv-peers: LangChain and LlamaIndex, which green_lie compares with
	@if [ "$$(cat .venv-peers/.built 2>/dev/null)" != "$$(cksum < requirements-peers.txt)" ]; then \
		rm -rf .venv-peers; "$(PYTHON)" -m venv .venv-peers; \
		.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-input -r requirements-peers.txt; \
		cksum < requirements-peers.txt > .venv-peers/.built; \
	fi

lock: setup ## pin the requirements*.in files again
	@for name in requirements requirements-scheduler requirements-api requirements-peers; do \
		echo "$$name.txt"; \
		$(BIN)/python -m piptools compile --quiet --strip-extras --no-annotate --no-header --no-emit-options \
			--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file $(VENV)/$$name.txt $$name.in; \
		{ echo "# Pinned by \`make lock\` from $$name.in; install with pip install -r $$name.txt"; \
		  grep -v '^#' $(VENV)/$$name.txt | sed -E 's/^(torch==[^+]+)\+.*/\1/'; } > $$name.txt; done

clean: down ## remove .millrace (all local data), caches and .venv
	@rm -rf .millrace $(VENV) .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
