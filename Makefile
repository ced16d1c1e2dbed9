# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# What the tests' browser looks at beside the environment's own: what ComfyUI 0.3.64 asks for, and
# the newest one (NEW_FRONTEND in tests/run.py).
FRONTENDS := 1.27.10 1.58.1

WEB := tests/web# what checks web/js, and the only folder that knows of Node
# Why web/js cannot be checked on this machine; empty where it can.
NO_NODE := $(shell command -v npm >/dev/null 2>&1 || { echo npm is not installed; exit; }; \
	node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null || \
	echo Node.js 20 or newer is not installed)
PAGES := $(if $(NO_NODE),,$(WEB)/node_modules/.ready)

.PHONY: help demo test test-fast test-all test-weights test-windows test-web check check-web weights emoji motions \
	workflows blueprints tour fidelity motion-benchmark bench-train card card-bundle clean

help:
	@echo "make demo       train both adapters on a tiny world, write clips and numbers to demo/out"
	@echo "make test-fast  the laws that need no process, browser, random cases or big file"
	@echo "make test       every law once; those that need ComfyUI in COMFYUI_PATH (~/comfy/ComfyUI)"
	@echo "                and, where the version matters, COMFYUI_OLD_PATH (~/comfy/ComfyUI-0.3.64)"
	@echo "make test-all   everything, with new random cases in every run (a night)"
	@echo "make test-weights  judge the shipped weights by what they draw (a quarter of an hour)"
	@echo "make test-windows  the pack on Windows' own Python, under Wine (sets up 2.5 GB in .windows/)"
	@echo "make test-web   only the tests of web/js (needs Node.js)"
	@echo "make check      lint, formatting, types, typos; make check-web: web/js alone"
	@echo "make workflows  open and run the example workflows: their API forms and pictures"
	@echo "make blueprints  make the subgraph blueprints anew"
	@echo "make tour       train from the page, with a picture of each stage"
	@echo "make fidelity   who is true to a customization and still moves, against the length of"
	@echo "                training (hours; says how many, and goes on where it was stopped)"
	@echo "make motion-benchmark  who learns a motion from a clip or a few, against the length of"
	@echo "                training (hours; says how many, and goes on where it was stopped)"
	@echo "make bench-train  training speed against a plain loop: full size on a card, small on a CPU"
	@echo "make card       what an NVIDIA card tells in 8 minutes, as JSON; no network needed"
	@echo "make card-bundle  what a bare machine lacks for that, into card-bundle/ (under 60 MiB)"
	@echo "make weights    train the tiny world itself from nothing (about two hours on two cores)"
	@echo "make emoji      train the emoji world from nothing (hours; goes on where it was stopped)"
	@echo "make motions    train what the examples of motion from clips ship (a quarter of an hour)"

demo: $(VENV)/ready
	$(RUN) . demo

test: $(VENV)/ready $(PAGES)
	$(RUN) tests/run.py

test-fast: $(VENV)/ready $(PAGES)
	$(RUN) tests/run.py fast

test-all: $(VENV)/ready $(PAGES)
	$(RUN) tests/run.py all

test-weights: $(VENV)/ready
	$(RUN) tests/run.py weights

test-windows: $(VENV)/ready
	$(RUN) tests/run_windows.py

check: $(VENV)/ready check-web
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(VENV)/bin/typos
	mkdir -p $(VENV)/pack && ln -sfn "$(CURDIR)" $(VENV)/pack/still_moving  # the name in tests
	$(RUN) -m pyright

ifeq ($(NO_NODE),)
test-web: $(WEB)/node_modules/.ready
	node --import ./$(WEB)/comfyui/register.js --test --test-reporter=spec $(WEB)/*.test.js

check-web: $(WEB)/node_modules/.ready
	$(WEB)/node_modules/.bin/tsc --project $(WEB)
	$(WEB)/node_modules/.bin/eslint --config $(WEB)/eslint.config.js web/js $(WEB)

$(WEB)/node_modules/.ready: $(WEB)/package-lock.json
	cd $(WEB) && npm ci
	@touch $@
else
test-web check-web:
	@echo "$@ skipped: $(NO_NODE)"
endif

weights: $(VENV)/ready
	$(RUN) . demo --train-world

emoji: $(VENV)/ready
	$(RUN) . demo --train-emoji demo/out/emoji

motions: $(VENV)/ready
	$(RUN) . demo --train-motions

workflows: $(VENV)/ready
	$(RUN) tools convert

blueprints: $(VENV)/ready
	$(RUN) tools blueprints

tour: $(VENV)/ready
	$(RUN) tools tour

$(VENV)/ready: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "$(PYTHON) is too old: Python 3.10 or newer is needed. Try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -r requirements-dev.txt
	for version in $(FRONTENDS); do \
		$(RUN) -m pip install --quiet --no-deps --upgrade --target $(VENV)/frontend-$$version \
			comfyui-frontend-package==$$version || exit 1; \
	done
	@touch $@

fidelity: $(VENV)/ready
	$(RUN) benchmarks fidelity

motion-benchmark: $(VENV)/ready
	$(RUN) benchmarks motion

bench-train: $(VENV)/ready
	$(RUN) benchmarks training --docs docs/results/tables/training_speed.md

# On a machine that is lent for minutes nothing is installed: its own Python has PyTorch.
card:
	$(if $(wildcard $(VENV)/ready),$(RUN),$(PYTHON)) benchmarks card --out card.jsonl

card-bundle: $(VENV)/ready
	$(RUN) benchmarks card.bundle

clean:
	rm -rf demo/out .pytest_cache .hypothesis .ruff_cache
