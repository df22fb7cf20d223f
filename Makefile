# Every command works alone, in an empty clone, with Python 3.11 (or newer), git and make.
# The environment (.venv) is made on first use and kept; a second run starts at once.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test check format eval bench numbers gpu-check clean

# The first interpreter that runs and is new enough; choose another with: make PYTHON=/path/to/python ...
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PY := .venv/bin/python
READY = @test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer; none found; install one or: make PYTHON=/path/to/python $@" >&2; exit 1; }; \
	$(PYTHON) scripts/environment.py

# Arguments handed on, for example: make test ARGS="-k heatmap -x"
ARGS ?=

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## */\1|/p' Makefile | awk -F'|' '{ printf "make %-10s %s\n", $$1, $$2 }'

demo:  ## enhance sample photos, pictures in demo_out/
	$(READY) demo
	$(PY) -m sdk.demo -o demo_out $(ARGS)

test:  ## the whole test suite
	$(READY) test
	$(PY) -m pytest $(ARGS)

check:  ## lint, formatting, types, import arrows, numbers in the documents
	$(READY) check
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath $(PY)
	$(PY) -m pytest tests/test_layering.py
	$(PY) -m benchmarks.report --check

format:  ## let ruff mend what it can
	$(READY) check
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

gpu-check:  ## test and time the CUDA kernels (needs an NVIDIA GPU and kernels)
	@echo "gpu-check: expected CUDA kernels in kernels/ and an NVIDIA GPU; this version has no kernels yet" \
		"(GPU here: $$(nvidia-smi -L 2>/dev/null | head -n 1 | grep . || echo none))," \
		"everything runs on the CPU; test that with: make test" >&2; exit 1

clean:  ## remove the environment and everything generated
	rm -rf .venv .venv.lock build dist *.egg-info demo_out .pytest_cache .ruff_cache .hypothesis
