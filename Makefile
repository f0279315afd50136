# make demo   the CPU runtime in .venv, then 70,000 images embedded, searched and scored
# make test   everything the tests need in .venv, then lint, types and all tests
# make bench  speed and accuracy against TensorFlow and others, minutes: a result file and semblance-bench/report.html
# make bench-full   the same with every batch size, data set and model: hours
# make gpu-check [ARGS='--models siamese --seconds 120']   on an NVIDIA GPU: proves the CUDA path, measures it
PYTHON ?= python3
BIN := .venv/bin
GPU_BIN := .venv/gpu/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint bench bench-full gpu-check clean

demo: .venv/.runtime
	$(BIN)/semblance demo

test: lint
	$(BIN)/python -m pytest

lint: .venv/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.tests
	$(BIN)/python -m bench run --page semblance-bench $(ARGS)

bench-full: .venv/.tests
	$(BIN)/python -m bench run --full --page semblance-bench $(ARGS)

# An environment of its own, since the wheels for CPU and GPU overwrite each other; none where there is no GPU (status 3)
gpu-check: | $(BIN)/python
	@$(BIN)/python -m bench.gpu_check.device; case $$? in \
	0) $(MAKE) --no-print-directory .venv/.gpu && $(GPU_BIN)/python -m bench.gpu_check $(ARGS);; \
	3) ;; \
	*) exit 1;; esac

.venv/.gpu: pyproject.toml constraints.txt | $(BIN)/python
	test -x $(GPU_BIN)/python || $(BIN)/python -m venv .venv/gpu
	$(INSTALL:$(BIN)/%=$(GPU_BIN)/%) -e '.[gpu]' onnx
	@touch $@

.venv/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[cpu]'
	@touch $@

.venv/.tests: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[cpu,openvino,serve,export,bench,dev]'
	@touch $@ .venv/.runtime

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; \
	sys.exit(sys.version_info < (3, 11) and "semblance needs Python 3.11 or newer, " + sys.executable + " is " + v + "; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv build dist engine/*.egg-info semblance-demo semblance-bench
