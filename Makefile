# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: help demo test check weights clean

help:
	@echo "make demo     train both adapters on a tiny world, write clips and numbers to demo/out"
	@echo "make test     run the tests (COMFYUI_PATH=... for those that need ComfyUI)"
	@echo "make check    lint, formatting, types"
	@echo "make weights  train the tiny world itself from nothing (about two hours on two cores)"

demo: $(VENV)/ready
	$(RUN) . demo

test: $(VENV)/ready
	$(RUN) -m pytest -q

check: $(VENV)/ready
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pyright

weights: $(VENV)/ready
	$(RUN) . demo --train-world

$(VENV)/ready: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "$(PYTHON) is too old: Python 3.10 or newer is needed. Try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -r requirements-dev.txt
	@touch $@

clean:
	rm -rf demo/out .pytest_cache .hypothesis .ruff_cache
