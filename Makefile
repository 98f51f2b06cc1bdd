# `make help` lists the targets. PYTHON: the interpreter that .venv is made from, 3.10 to 3.13.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
FAST := tests/unit/test_energies.py tests/unit/test_rings.py tests/unit/test_decode.py tests/unit/test_pretrained_energies.py \
  tests/gradient/test_algorithm1.py tests/end_to_end/test_public_api.py tests/install/test_windows.py \
  -k "not cancels and not bin_sample"
DEMO := runs/demo
BENCH_PYTHON ?= $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help demo test oldest check house tables defaults notebook pages docs bench fuzz clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements.txt requirements-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	touch $@

demo: $(VENV)/.installed  ## train the hybrid on the rings (no download), evaluate it, draw it
	@if [ -f $(DEMO)/config.json ]; then rm -r $(DEMO); fi
	$(BIN)/python bin/train.py --flagfile=configs/rings_demo.flags --workdir=$(DEMO)
	$(BIN)/python bin/evaluate.py --workdir=$(DEMO) --tasks=density,short_run
	@ls $(DEMO)/figures/fig2.png
	@ls $(DEMO)/results.json
	@ls $(DEMO)/model.keras

test: $(VENV)/.installed  ## the tests, without those marked slow
	$(BIN)/python -m pytest -n 2 --dist=worksteal

# --no-compile: of TensorFlow's thousands of files most are never imported. promise, which TFDS needs, has no wheel.
$(OLDEST)/.installed: requirements-oldest.txt
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --only-binary=:all: \
	  --no-binary=promise -r requirements-oldest.txt
	touch $@

oldest: $(OLDEST)/.installed  ## a fast part of the tests with the oldest packages that pyproject.toml allows: .venv-oldest
	$(OLDEST)/bin/python -m pytest -p no:cacheprovider $(FAST)

check: house  ## lint, types, the house, and the numbers in the pages
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tools/tables.py --check

tables: $(VENV)/.installed  ## write the tables and numbers of README, docs and cards from results/numbers, pictures of examples.md
	$(BIN)/python tools/tables.py

house: $(VENV)/.installed  ## the direction of imports, and sizes
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/python tools/house.py

defaults: $(VENV)/.installed  ## densities by the settings that fit the data, against exact ones and a kernel density; minutes
	$(BIN)/python -m pytest -n 2 --dist=worksteal -m slow tests/end_to_end/test_preset_density.py

notebook: $(VENV)/.installed  ## run the notebooks of examples/ as they stand, minutes, and check their numbers
	$(BIN)/python -m pytest -m slow tests/end_to_end/test_notebook.py

pages: $(VENV)/.installed  ## run the commands of README, docs and cards, made small; data sets of ../shared/tfds or EBM_TF_DATA
	$(BIN)/python -m pytest -n 2 --dist=worksteal -m slow tests/end_to_end/test_pages_run.py

$(VENV)/.docs: $(VENV)/.installed requirements-docs.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@

docs: $(VENV)/.docs  ## the site of README.md, docs/ and the docstrings: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@ls site/index.html

fuzz: $(VENV)/.installed  ## feed made-up settings and files to the readers for a minute
	$(BIN)/python tests/fuzz/fuzz_readers.py --seconds=60

bench: $(VENV)/.installed  ## time Langevin steps and updates here. BENCH_PYTHON: a Python that has torch, to compare
	$(BIN)/python benchmarks/langevin.py --torch_python=$(BENCH_PYTHON)
	$(BIN)/python benchmarks/train.py

clean:  ## remove .venv and caches; runs stay
	rm -rf $(VENV) $(OLDEST) site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
