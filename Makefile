# A developer's day. Every target does its own set-up; PYTHON=python3.12 chooses the interpreter.
PYTHON ?= python3
VENV ?= .venv
OUT ?= gpu
ifeq ($(VENV),none)  # the interpreter as it is, for a machine without network
RUN := $(PYTHON) -m
READY :=
else
RUN := $(VENV)/bin/python -m
READY = $(VENV)/.installed-dev
endif
HOUSES := pipelines fastssl launchers benchmarks tests  # not `.`: a user's clone holds data, runs, notebooks

.PHONY: help demo style test test-slow fuzz test-slurm bench lint format pages gpu gpu-long clean

help:
	@echo "make demo       train the quickstart recipe on built-in images and measure it (minutes)"
	@echo "make test       lint, types and the test suite"
	@echo "make test-slow  trainings of minutes: every method learns, EqCo's effect shows"
	@echo "make fuzz       damaged images, tars, betons and lists by the hundred thousand (minutes)"
	@echo "make test-slurm the tests on a SLURM of their own; installs Debian's packages (root)"
	@echo "make bench      what the data path costs: rendering, decoding, the loader beside others (minutes)"
	@echo "make lint       ruff and mypy"
	@echo "make format     ruff's formatter"
	@echo "make pages      write the pages of --help, --list and the recipes anew, after a change of them"
	@echo "make gpu        what needs a CUDA device, in 6 minutes: OUT=gpu/results.json (STEPS=c,f chooses)"
	@echo "make gpu-long   byol-cifar10 on a CUDA device for 9 minutes: DATA=CIFAR10.beton"
	@echo "make clean      remove caches of compiled code and tools"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    || { echo "error: $(PYTHON) is missing or older than 3.11: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) \
	    || { rm -rf $(VENV); echo "error: cannot make a virtual environment: apt-get install python3-venv" >&2; exit 2; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV): about 7 GB, most of it torch"
	$(RUN) pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(RUN) pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	$(RUN) fastssl.train quickstart --out runs/quickstart
	$(RUN) fastssl.evaluate knn runs/quickstart
	@echo "pictures: runs/quickstart/views.png runs/quickstart/curves.png"

style: $(VENV)/.installed-dev
	$(RUN) ruff check $(HOUSES)
	$(RUN) ruff format --check $(HOUSES)

lint: style
	$(RUN) mypy

test: style  # types are checked beside the tests, which leave the cores idle now and then
	@$(RUN) mypy & types=$$!; \
	    $(RUN) pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	        -m "not gpu and not slow and not slurm" --durations 10; tests=$$?; \
	    wait $$types || { echo "error: mypy found errors: see above" >&2; exit 1; }; exit $$tests

test-slow: $(VENV)/.installed-dev
	$(RUN) pytest -m slow --durations 10

fuzz: $(VENV)/.installed-dev
	$(RUN) pytest -m fuzz tests/pipelines
	$(RUN) pytest --hypothesis-profile random tests/pipelines/backends/test_remote_loader.py

test-slurm: $(VENV)/.installed-dev
	tests/slurm/cluster.sh lacks || tests/slurm/cluster.sh install || true
	$(RUN) pytest -m slurm --durations 10

bench: $(VENV)/.installed
	$(RUN) benchmarks.render
	$(RUN) benchmarks.decode --data generated
	$(RUN) benchmarks.limits --data generated --views 2
	$(RUN) benchmarks.loader --data generated --views 2 --images 64

gpu: $(READY)
	$(RUN) benchmarks.gpu --out $(OUT) --steps "$(STEPS)"

gpu-long: $(READY)
	$(RUN) benchmarks.gpu --long --out $(OUT) --data "$(DATA)"

format: $(VENV)/.installed-dev
	$(RUN) ruff check --fix $(HOUSES)
	$(RUN) ruff format $(HOUSES)

pages: $(VENV)/.installed
	$(RUN) fastssl.live_pages
	$(RUN) fastssl.recipes.table > fastssl/recipes/README.md

clean:
	find $(HOUSES) -name __pycache__ -prune -exec rm -rf {} +
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
