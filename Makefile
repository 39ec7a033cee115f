# Every target works first, on a fresh machine, in any order; a second run does no work twice.
#
#   PYTHON       Python 3.11 to 3.13 to build .venv with; by default the first one found.
#   TORCH_INDEX  Package index to take torch from. On x86-64 Linux, PyPI's torch brings 3 GB of CUDA
#                libraries; the build without them is
#                make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
#                and later runs keep to it.
#   SEED         Seed of the demo; by default a fresh one, which is printed.

.DEFAULT_GOAL := help
.PHONY: help demo test setup lock clean

# A name on the PATH may be a shim that runs nothing, so each candidate is asked; where none fits,
# the last one that runs says so.
FITS = import ensurepip, sys, venv; assert (3, 11) <= sys.version_info[:2] <= (3, 13)
CANDIDATES = .venv/bin/python python3.13 python3.12 python3.11 python3
FIRST_FIT = $(shell for name in $(CANDIDATES); do \
  $$name -c '$(FITS)' 2>/dev/null && echo $$name && exit; done; command -v python3)
PYTHON ?= $(or $(FIRST_FIT),$(error Found no Python. Install it: sudo apt-get install python3-venv))
TORCH_INDEX ?=
SEED ?=

help:
	@echo 'make demo   watch a model read a sentence and move an arm (SEED=n repeats a run)'
	@echo 'make test   style, types and tests'
	@echo 'make setup  only build .venv (PYTHON=, TORCH_INDEX=: see the head of this file)'
	@echo 'make lock   resolve requirements/direct.txt into requirements/lock.txt'
	@echo 'make clean  remove what can be made again in minutes (out/training stays)'

demo: setup
	@.venv/bin/vla demo $(if $(SEED),--seed $(SEED))

# Real processes keep time, so their tests have the machine to themselves; the others share it.
ALONE = test/faults test/launch test/nodes test/serving
# A doctor that listens to a whole system does so from a process that has not listened before.
LIVE = test/nodes/test_preflight.py
TOGETHER = $(filter-out $(ALONE) test/__pycache__,$(patsubst %/,%,$(wildcard test/*/)) $(wildcard test/test_*.py))

test: setup
	.venv/bin/ruff check .
	.venv/bin/mypy
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses auto --dist worksteal $(TOGETHER)
	.venv/bin/python -m pytest $(LIVE)
	.venv/bin/python -m pytest $(ALONE) $(LIVE:%=--ignore=%)

setup:
	@$(PYTHON) tools/setup $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))

lock: setup
	.venv/bin/python tools/setup/lock.py

clean:
	rm -rf .venv build out/demo out/eval out/bench .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
