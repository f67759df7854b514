# `make help` lists the targets. Each sets up what it needs on a fresh machine with Python 3.11, git and make.
PYTHON ?= python3.11
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false
export NO_ALBUMENTATIONS_UPDATE := 1
# empty is not set: where it is, as in many images, each process would compile its libraries anew, for 20 s
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup repro test test-fast coverage lint serve clean

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(VENV)/ready  ## the environment alone: source .venv/bin/activate

repro: $(VENV)/ready  ## the whole pipeline: data, training, evaluation, report
	dvc repro
	sed '/^## Pictures/,$$d' results/report.md | python -m rich.markdown -

# a file each at a time, in the order of tests/conftest.py
TWO_WORKERS := --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/developing  ## all tests
	pytest $(TWO_WORKERS)

test-fast: $(VENV)/developing  ## the tests that start no program and no server and take no seconds
	pytest $(TWO_WORKERS) -m "not slow"

coverage: $(VENV)/developing  ## all tests, and the lines of usd and flows that they run, also in programs they start
	pytest $(TWO_WORKERS) --cov --cov-report term:skip-covered

lint: $(VENV)/developing  ## formatting, lint, types, YAML, whitespace
	pre-commit run --all-files

# all 400 MB of Python files are not compiled, only what a stage imports: also for a shell that forbids it later
INSTALL := $(VENV)/bin/python -m pip install --quiet --no-compile
COMPILE := import pkgutil, dvc.commands.repro, usd.stages as s; \
	[__import__(stage.name) for stage in pkgutil.iter_modules(s.__path__, "usd.stages.")]

# the tools of tests and checks, and the extras that they try
$(VENV)/developing: $(VENV)/ready constraints-extra.txt
	$(INSTALL) --no-deps --requirement constraints-extra.txt
	$(VENV)/bin/python -m pip check
	touch $@

# torch first, with whatever its build for this machine needs; the rest exactly as pinned, which skips pip's resolver
$(VENV)/ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --constraint constraints.txt torch
	$(INSTALL) --no-deps --requirement constraints.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	$(VENV)/bin/python -m pip check
	$(VENV)/bin/python -c '$(COMPILE)'
	touch $@

serve: $(VENV)/ready  ## Prefect server, worker and deployments, until Ctrl-C
	python -m flows.serve

clean:  ## remove the environment, data, caches and models that the targets made
	rm -rf $(VENV) .usd dvc_plots .dvc/cache .dvc/tmp data/scenes data/annotated data/shards models/annotators models/prompt_diffusion models/us_diffusion
