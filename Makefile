# make repro: the main job. make test: all tests. Both set up what they need on a fresh machine with Python 3.11.
PYTHON ?= python3.11
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: repro test lint serve clean

repro: $(VENV)/ready
	dvc repro
	sed '/^## Pictures/,$$d' results/report.md | python -m rich.markdown -

# two workers, a file each at a time, in the order of tests/conftest.py
test: $(VENV)/developing
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/developing
	pre-commit run --all-files

# the tools of tests and checks, and the extras that they try
$(VENV)/developing: $(VENV)/ready constraints-extra.txt
	$(VENV)/bin/python -m pip install --quiet --no-deps --requirement constraints-extra.txt
	$(VENV)/bin/python -m pip check
	touch $@

# torch first, with whatever its build for this machine needs; the rest exactly as pinned, which skips pip's resolver
$(VENV)/ready: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/python -m pip install --quiet --no-deps --requirement constraints.txt
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(VENV)/bin/python -m pip check
	touch $@

# scheduled runs on this machine until Ctrl-C: Prefect server, work pool, worker, deployments of prefect.yaml
serve: $(VENV)/ready
	python -m flows.serve

clean:
	rm -rf $(VENV) .usd dvc_plots .dvc/cache .dvc/tmp data/scenes data/annotated data/shards models/annotators models/prompt_diffusion models/us_diffusion
