PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# one thread a process: two processes of two threads each would wait for one another on two cores
TEST := OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses auto --dist loadfile
TORCH := torch==2.13.0
# the text recogniser asks for opencv-python, which needs libraries of a display that a bare machine does not have
OPENCV := opencv-python-headless
# a step a line; what its command prints is shown only if that fails
STEP := @step() { echo "$$1"; shift; out=$$("$$@" 2>&1) || { echo "$$out"; exit 1; }; }; step
PIP := $(RUN) -m pip --no-input --disable-pip-version-check install --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install compare fit test test-fast lint bench bench-gpu world clean

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## create .venv with the pinned dependencies

# torch comes first and by its exact version: on a machine without a GPU nothing must pull CUDA's gigabytes later
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(STEP) "1/4 virtual environment in $(VENV)" $(PYTHON) -m venv $(VENV)
	$(STEP) "2/4 $(TORCH)" $(PIP) $(TORCH)
	$(STEP) "3/4 hypernoise_pl with its dependencies" $(PIP) --editable '.[compare,llm,sweep,test,lint]'
	$(STEP) "4/4 OpenCV" sh -c '$(RUN) -m pip uninstall --yes opencv-python && $(PIP) --force-reinstall --no-deps $(OPENCV)'
	@touch $@

compare: $(VENV)/.installed ## search methods and what was trained side by side, with a report
	$(RUN) -m hypernoise_pl compare

fit: $(VENV)/.installed ## the main job: train a noise hypernetwork on the shapes world and see what it gains (4 to 9 minutes)
	$(RUN) -m hypernoise_pl fit

test: $(VENV)/.installed ## all tests
	$(TEST)

test-fast: $(VENV)/.installed ## tests that take less than ten seconds each
	$(TEST) -m 'not slow'

lint: $(VENV)/.installed ## format, style, types, and who may import whom
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.installed ## speed measurements
	$(RUN) benchmarks/shapes.py
	$(RUN) benchmarks/training_step.py
	$(RUN) benchmarks/search.py

bench-gpu: $(VENV)/.installed ## full-size models with random weights on a GPU: step time, memory, utilisation
	$(RUN) benchmarks/real_models.py

world: $(VENV)/.installed ## train the shapes world's own models anew (about forty minutes)
	$(RUN) -m hypernoise_pl.shapes.training.generator --config experiments/shapes_world/generator.yaml --output hypernoise_pl/shapes/weights/generator
	$(RUN) -m hypernoise_pl.shapes.training.rewards --config experiments/shapes_world/rewards.yaml --output hypernoise_pl/shapes/weights
	$(RUN) -m hypernoise_pl.shapes.training.latent --config experiments/shapes_world/latent.yaml --output hypernoise_pl/shapes/weights/latent

clean: ## remove caches and builds; keeps .venv and runs
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
