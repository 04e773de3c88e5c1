# Every target sets itself up: its own .venv, nothing global.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := logs/runs

.DEFAULT_GOAL := help
# One process for each core of a small machine; who is done takes over from the other.
TWO := -n 2 --dist=worksteal
# What computes: rules, networks, files of every format, the arithmetic of training.
NUMERICAL := tests/quantizers tests/models tests/export/test_accounting.py tests/export/test_folding.py \
  tests/export/test_onnx.py tests/export/test_packed.py tests/export/test_summary.py \
  tests/training/test_optimizers.py tests/training/test_schedule.py tests/training/test_metric_sums.py \
  tests/training/test_update_rule.py

.PHONY: help demo test test-cpu test-slow test-cluster test-trackio lint types format benchmark figures docs clean

help: ## show the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1 \2/p' $(MAKEFILE_LIST) | while read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

demo: $(VENV)/installed ## train a ternary ResNet-34 and its baseline on the embedded digits (4 minutes on 2 cores)
	$(BIN)/python src/train.py model=resnet34 quant=tga trainer.max_epochs=4

test: $(VENV)/installed-test ## install the test extra and run the tests
	$(BIN)/python -m pytest $(TWO) -m "not slow and not cluster"

test-cpu: $(VENV)/installed-test ## run the numerical tests as on a smaller CPU: with AVX2 alone, then with torch's kernels for any CPU
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest $(TWO) -m "not slow" $(NUMERICAL)
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest $(TWO) -m "not slow" $(NUMERICAL)

test-slow: $(VENV)/installed-test ## run the tests that take longer; many wait for other processes, so three run at a time
	$(BIN)/python -m pytest -n 3 --dist=worksteal -m "slow and not cluster"

test-cluster: $(VENV)/installed-test ## run the tests on a real SLURM (sbatch on PATH, as root) and a real Ray, both on this machine
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m cluster

test-trackio: $(VENV)/installed-test ## install Trackio, which needs an older Pillow than the newest, and run its tests
	$(BIN)/python -m pip install -q trackio
	$(BIN)/python -m pytest tests/loggers/test_mirrors.py -k trackio

lint: $(VENV)/installed-test ## check style, and that no package imports from a floor above its own
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(VENV)/installed-test ## check types
	$(BIN)/mypy

format: $(VENV)/installed-test ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/installed-test ## print the cost of a ternary step over a full-precision one
	$(BIN)/python benchmarks/steps.py

figures: $(VENV)/installed-docs ## draw the pictures of docs/quantizers.md, and the floors of docs/architecture.md
	$(BIN)/python docs/figures/transfer_functions.py
	$(BIN)/python docs/figures/floors.py

docs: $(VENV)/installed-docs ## build the documentation as a site in docs/_build/html
	$(BIN)/python -m sphinx --quiet --nitpicky --fail-on-warning --keep-going docs docs/_build/html

clean: ## remove the environment and the caches, not the runs
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V). Instead: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@
