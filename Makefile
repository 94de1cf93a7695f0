# Two commands set mmmtl up and show it: `make install`, `make demo`. `make help` lists the rest.

VENV ?= .venv
PYTHON ?= python3
# torch and torchvision go in first, in the build for this machine; give another pair here, e.g.
# make install TORCH="torch==2.9.1 torchvision==0.24.1"
TORCH ?= torch==2.14.1 torchvision==0.29.1
# PyPI's build for Linux brings 3 GB of CUDA libraries. Where there is no NVIDIA driver, that of PyTorch's own index for
# CPUs is taken, if the index answers; CPU_INDEX= leaves it alone.
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
EXTRAS ?= tests,app,mmseg,diffusion,tensorboard,balancing,datasets,completion,hub
JOBS ?= 2
PYTEST_ARGS ?=

PY := $(VENV)/bin/python
STAMP := $(VENV)/.mmmtl-installed
DOCS_STAMP := $(VENV)/.mmmtl-docs-installed
# One thread a process: the tests run in parallel processes already.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: help install demo test numerics benchmark lint docs pages weights clean

help:
	@echo "make install   a virtual environment in $(VENV) with everything that the tests and the demo need"
	@echo "make demo      train, evaluate and draw on generated scenes (no download)"
	@echo "make test      ruff, mypy and the tests with branch coverage"
	@echo "make numerics  the tests that compare numbers, as on two other processors (under four minutes)"
	@echo "make benchmark the table of docs/results/speed.md measured again, under 40 minutes (ROWS=NAME: one row)"
	@echo "make lint      ruff and mypy only"
	@echo "make weights   the network that ships, from its config and seed (ten minutes on two cores), and its pictures"
	@echo "make pages     the catalogue pages of the documentation, out of the registries"
	@echo "make docs      the documentation as a website in site/"
	@echo "make clean     remove what was built (not $(VENV), not work_dirs/)"

install: $(STAMP)

$(STAMP): setup.py mmmtl/version.py $(wildcard requirements/*.txt)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -c 'import torch, torchvision' 2>/dev/null \
	    || { [ "$$(uname -s)" = Linux ] && [ -n "$(CPU_INDEX)" ] && ! command -v nvidia-smi >/dev/null \
	        && $(PY) -m pip install --retries 1 --timeout 20 --index-url $(CPU_INDEX) $(TORCH); } \
	    || $(PY) -m pip install $(TORCH)
	$(PY) -m pip install -e '.[$(EXTRAS)]'
	@# opencv-python links libGL, which slim containers lack; the headless build has the same module without it
	$(PY) -c 'import cv2' 2>/dev/null || { $(PY) -m pip uninstall -y opencv-python \
	    && $(PY) -m pip install --force-reinstall --no-deps opencv-python-headless; }
	$(PY) -c 'import mmmtl; print("mmmtl", mmmtl.__version__, "is installed in $(VENV)")'
	@$(PY) -c 'import shutil, torch; cuda = torch.version.cuda; \
	    print("torch", torch.__version__, f"with CUDA {cuda}" if cuda else "for the CPU"); \
	    cuda and not shutil.which("nvidia-smi") and print("This machine has no NVIDIA driver, and no build for the CPU" \
	    " could be had at $(CPU_INDEX): the CUDA libraries (3 GB) are of no use here, and do no harm.")'
	@touch $@

demo: install
	$(PY) tools/demo.py

lint: install
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

test: lint
	$(ONE_THREAD) $(PY) -m pytest -n $(JOBS) --dist worksteal --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

# What compares numbers that an instruction set or a number of threads could change, without what takes long for others.
NUMERICS := tests/test_parity.py tests/test_models/test_taskdiffusion_parity.py tests/test_models/test_diffusionmtl.py \
    tests/test_models/test_latent_model.py tests/test_models/test_latent_parts.py tests/test_models/test_xtc.py \
    tests/test_ops tests/test_diffusion tests/test_evaluation/test_functional.py \
    tests/test_evaluation/test_saliency_structure.py
NUMERICAL_TESTS = -m pytest -q -n $(JOBS) --dist worksteal -m 'not slow' -k 'not meta_device and not is_imported' \
    --deselect tests/test_ops/test_allocator.py $(NUMERICS)

numerics: install
	@# two threads in each process are more than there are cores: they must not spin while they wait
	$(ONE_THREAD) OMP_WAIT_POLICY=PASSIVE ONEDNN_MAX_CPU_ISA=AVX2 MMMTL_TEST_THREADS=2 $(PY) $(NUMERICAL_TESTS)
	$(ONE_THREAD) ATEN_CPU_CAPABILITY=default $(PY) $(NUMERICAL_TESTS)

benchmark: install
	$(PY) benchmarks/table.py $(if $(ROWS),--rows $(ROWS))

# The network that ships: its config with changed colours in the training, 600 iterations of a schedule of 1600; then its
# figures on the 120 held-out scenes, and the pictures. A trial of the recipe: make weights SHIPPED_ITERS=2 SHIPPED_RUN=/tmp/x
# SHIPPED_FOLDER=/tmp/y SHIPPED_PICTURES=/tmp/z
SHIPPED := taskdiffusion/vitt_diorama
SHIPPED_RUN := work_dirs/shipped
SHIPPED_ITERS := 600
SHIPPED_FOLDER := mmmtl/hub/weights/$(SHIPPED)
SHIPPED_PICTURES := docs/pictures
COLOURS := "train_pipeline=[dict(type='RandomFlip'),dict(type='PhotoMetricDistortion'),dict(type='PackMTLInputs')]"
SHIPPED_ABOUT := A small network, trained on generated rooms alone. It shows what the outputs look like: on photographs it \
    finds strong edges and rough layouts, and is wrong about most else, since its eight classes, its figures and its \
    depth in metres are those of generated rooms. For real work train on your own data or convert a published checkpoint.
PACK = $(PY) -m mmmtl pack mmmtl::$(SHIPPED) $(SHIPPED_RUN)/iter_$(SHIPPED_ITERS).pth $(SHIPPED_FOLDER) --half --drop-aux \
    --weights-licence Apache-2.0 --about "$(SHIPPED_ABOUT)"

weights: install
	$(PY) tools/train.py mmmtl::$(SHIPPED) --resume --work-dir $(SHIPPED_RUN) \
	    --cfg-options max_iters=1600 train_cfg.max_iters=$(SHIPPED_ITERS) train_cfg.val_interval=$(SHIPPED_ITERS) $(COLOURS)
	$(PACK)
	$(PY) tools/test.py mmmtl::$(SHIPPED) $(SHIPPED_FOLDER)/model.safetensors --work-dir $(SHIPPED_RUN)/test
	$(PACK) --metrics $(SHIPPED_RUN)/test/metrics.json
	$(PY) -m mmmtl pictures --model $(SHIPPED_FOLDER) --out $(SHIPPED_PICTURES)

pages: install
	$(PY) -m mmmtl methods
	$(PY) -m mmmtl pages

docs: $(DOCS_STAMP)
	$(PY) -m mkdocs build --strict

$(DOCS_STAMP): $(STAMP) requirements/docs.txt
	$(PY) -m pip install -r requirements/docs.txt
	@touch $@

clean:
	rm -rf build dist site *.egg-info mmmtl/.mim .coverage .coverage.* .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
