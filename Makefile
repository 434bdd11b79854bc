# Everything runs in a virtual environment that the first command sets up; see tools/install.sh.
#   PYTHON=python3.12 make test     which Python a new environment is made with
#   VENV=/path make test            another environment

VENV ?= .venv
PYTHON ?= python3
OUTPUT ?= output/quickstart
MASKS_OUTPUT ?= output/quickstart_masks
QUICK ?= dino_synthetic
CODE := querydet tests tools benchmarks configs projects train_net.py setup.py
export PYTHON
# as in train_net.py: threads that wait must not spin while others need the cores
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help install quickstart quickstart-masks convergence test test-slow test-faults lint format wheel clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' Makefile

install:  ## Set up the environment: pinned requirements, Detectron2, the extension
	@tools/install.sh $(VENV)

# --resume makes it repeatable: a run that was interrupted is continued, a complete one only evaluated.
quickstart: install  ## Train a small DINO on synthetic images on the CPU, evaluate it, draw results and curves, write a report
	$(VENV)/bin/python train_net.py --config-file quick/$(QUICK).py --num-gpus 0 --resume train.output_dir=$(OUTPUT) \
		dataloader.evaluator.output_dir=$(OUTPUT)/inference
	$(VENV)/bin/python tools/visualize_predictions.py --config-file quick/$(QUICK).py \
		--weights $(OUTPUT)/model_final.pth --output $(OUTPUT)/predictions.png train.device=cpu
	$(VENV)/bin/python tools/plot_curves.py $(OUTPUT) --output $(OUTPUT)/curves.png
	$(VENV)/bin/python tools/report.py $(OUTPUT) --output $(OUTPUT)/report.html
	@echo "Look at $(OUTPUT)/report.html, $(OUTPUT)/predictions.png and $(OUTPUT)/curves.png"

quickstart-masks: install  ## The same with masks: instance segmentation, about ten minutes
	$(MAKE) quickstart QUICK=dino_masks_synthetic OUTPUT=$(MASKS_OUTPUT)

convergence: install  ## Train every method in miniature, three seeds each (hours), and compare how they learn
	for comparison in convergence convergence_dense convergence_masks bfloat16_training; do for job in run cost report; do \
		$(VENV)/bin/python benchmarks/convergence.py $$job --comparison $$comparison || exit 1; done; done

# One thread in each of the two processes: with more they wait for each other's.
test: lint  ## Lint, check types and run all tests that are not marked as slow
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal --durations=10

test-slow: install  ## Run only the tests that are marked as slow
	$(VENV)/bin/python -m pytest -m slow --durations=10

test-faults: install  ## Inject faults into real training processes (about ten minutes), and kill at random moments
	$(VENV)/bin/python -m pytest -m "slow or not slow" --durations=10 tests/engine/test_faults.py

lint: install  ## Check style and types
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/mypy

format: install  ## Apply the style
	$(VENV)/bin/ruff check --fix $(CODE)
	$(VENV)/bin/ruff format $(CODE)

wheel: install  ## Build a wheel, configs and extension included, in dist/
	$(VENV)/bin/python -m pip wheel --no-build-isolation --no-deps --wheel-dir dist .

clean:  ## Remove what was built and the tools' caches; keeps the environment and results
	rm -rf build dist querydet/*.so *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f $(VENV)/querydet-package.stamp
	find $(filter-out train_net.py setup.py,$(CODE)) -name __pycache__ -type d -exec rm -rf {} +
