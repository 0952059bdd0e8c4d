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
	@if [ -n "$(ARGS)" ]; then exec $(BIN)/python -m pytest tests $(ARGS); fi; \
	echo "the acceptance and contract tests run meanwhile; their report comes last"; \
	log=$$(mktemp); $(BIN)/python -m pytest tests/acceptance tests/contract > "$$log" 2>&1 & meanwhile=$$!; \
	trap 'kill $$meanwhile 2>/dev/null || true; rm -f "$$log"' EXIT; \
	failed=0; $(BIN)/python -m pytest tests --ignore tests/acceptance --ignore tests/contract || failed=1; \
	wait $$meanwhile || failed=1; cat "$$log"; exit $$failed

lint: setup ## ruff and mypy, changing nothing
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

FIGURES := $(filter $(basename $(notdir $(wildcard bench/*.py))),embed_cpu embed_gpu load load_searchable upsert e2e replay switch retrieval)
bench: setup ## one published figure: make bench NAME=e2e [ARGS=--quick]; ALL=1: those of docs/performance.md, and the page
	@[ -n "$(NAME)$(ALL)" ] || { echo "make: which? make bench NAME=<one of: $$(cd bench && ls *.py | grep -v '^_' | sed 's/\.py$$//' | tr '\n' ' ')>" >&2; exit 1; }
	@if [ -n "$(NAME)" ]; then exec $(BIN)/python -m bench $(NAME) $(ARGS); fi; \
	failed=""; rm -rf .millrace/bench; mkdir -p .millrace/bench; for name in $(FIGURES); do \
		echo "== $$name"; $(BIN)/python -m bench $$name $(ARGS) | tee .millrace/bench/$$name.txt || failed="$$failed $$name"; done; \
	$(BIN)/python -m bench report .millrace/bench; \
	[ -z "$$failed" ] || { echo "make: a floor is missed in$$failed" >&2; exit 1; }

FAULTS := poison model_based crash hostile_s3 green_lie races deletes torn_reads cuts restore
faults: setup ## every fault bench, about an hour on two cores; ARGS=--quick: some minutes
	@export out=.millrace/faults; rm -rf $$out; mkdir -p $$out; \
	one() { \
		if $(BIN)/python -m bench $$1 $(ARGS) > $$out/$$1.txt 2> $$out/$$1.log; then end=ok; else end=MISSED; touch $$out/$$1.missed; fi; \
		echo "$$1: $$end after $$SECONDS s, $$out/$$1.txt"; \
	}; export -f one; \
	echo "poison alone, because it is timed, then two at a time"; \
	one $(firstword $(FAULTS)); \
	printf '%s\n' $(wordlist 2,99,$(FAULTS)) | xargs -P 2 -n 1 $(SHELL) -c 'SECONDS=0; one $$0'; \
	missed=$$(cd $$out && ls *.missed 2>/dev/null | sed 's/\.missed$$//' | tr '\n' ' '); \
	[ -z "$$missed" ] || { echo "make: a floor is missed in $$missed" >&2; exit 1; }

# The locks are complete, hence --no-deps; `make lock` leaves torchvision out, whose wheel is for CUDA and breaks the CPU's torch.
PEERS := $(patsubst requirements-%.txt,%,$(wildcard requirements-peers*.txt))
bench-peers: ## the libraries that benches compare with, one .venv-peers* a lock (they exclude each other); minutes
	@for name in $(PEERS); do \
		venv=.venv-$$name; lock=requirements-$$name.txt; \
		[ "$$(cat $$venv/.built 2>/dev/null)" != "$$(cksum < $$lock)" ] || continue; \
		echo "installing $$(grep -c '^[a-zA-Z0-9]' $$lock) packages into $$venv (log: $$venv/install.log)"; \
		rm -rf $$venv; "$(PYTHON)" -m venv $$venv; \
		$$venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off --no-compile --no-deps -r $$lock \
			> $$venv/install.log 2>&1 || { grep -E '^(ERROR|error)' $$venv/install.log | head -n 3 >&2; \
			echo "make: installing failed; see $$venv/install.log, then run make bench-peers again" >&2; exit 1; }; \
		cksum < $$lock > $$venv/.built; \
	done

lock: setup ## pin the requirements*.in files again
	@for name in requirements requirements-scheduler requirements-api requirements-worker requirements-worker-gpu $(PEERS:%=requirements-%); do \
		echo "$$name.txt"; \
		$(BIN)/python -m piptools compile --quiet --strip-extras --no-annotate --no-header --no-emit-options \
			--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file $(VENV)/$$name.txt $$name.in; \
		{ echo "# Pinned by \`make lock\` from $$name.in; install with pip install -r $$name.txt"; \
		  grep -v '^#' $(VENV)/$$name.txt | sed -E '/^torchvision==/d; s/^(torch==[^+]+)\+.*/\1/'; } > $$name.txt; done

clean: down ## remove .millrace (all local data), caches and .venv
	@rm -rf .millrace $(VENV) .venv-peers* .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
