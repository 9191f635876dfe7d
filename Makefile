# Every target sets itself up: .venv is created once, and updated when pyproject.toml changes.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DOCS := .venv-docs/bin
DOCS_READY := .venv-docs/.ready
BENCH := .venv-bench/bin
BENCH_READY := .venv-bench/.ready
BENCH_GPU := .venv-bench-gpu/bin
BENCH_GPU_READY := .venv-bench-gpu/.ready
JAX_CUDA ?= cuda13

.PHONY: demo test test-all test-oldest test-newest lint types pictures docs gallery release bench bench-steps bench-gpu import-time clean

$(READY): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
	  rm -rf .venv; \
	  echo "python3 can't make a virtual environment. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: $(READY)
	$(BIN)/funcnet train iris --out runs/iris
	$(BIN)/funcnet train digits --out runs/digits

test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --quiet

# The quick tests, then the slow ones: oracles, derivatives, precision and the loop on optimised code, as
# users run it, and the others, most of whose time is compilation, on code that compiles fast
# (tests/conftest.py). Some compare with PyTorch, and are skipped without it: the CPU build, by its exact
# version.
OPTIMISED := tests/oracles tests/train tests/transform tests/interop/test_torch.py tests/test_mesh.py \
  tests/test_precision.py tests/test_weighted_losses.py \
  $(patsubst %,tests/test_laws_%.py,half narrowing scale transform)
test-all: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0+cpu \
	  --extra-index-url https://download.pytorch.org/whl/cpu
	$(BIN)/python -m pytest --numprocesses auto --quiet
	$(BIN)/python -m pytest --numprocesses auto --quiet -m slow $(OPTIMISED:%=--ignore=%)
	XLA_FLAGS= $(BIN)/python -m pytest --numprocesses auto --quiet -m slow $(OPTIMISED)

# The quick tests at both ends of the pins, each in an environment of its own. pip installs the newest
# versions only, so uv chooses.
test-oldest test-newest: test-%: .venv-%/.ready
	.venv-$*/bin/python -m pytest --numprocesses auto --quiet

.venv-oldest/.ready: RESOLUTION = lowest-direct
.venv-newest/.ready: RESOLUTION = highest
.venv-oldest/.ready .venv-newest/.ready: .venv-%/.ready: pyproject.toml
	@test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python --resolution $(RESOLUTION) --upgrade \
	  --editable '.[test]'
	@touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

pictures: $(READY)
	$(BIN)/python experiments/pictures.py

# The site, in docs/_build/html. Its pages run when it is built; warnings are errors.
docs: $(DOCS_READY)
	PATH="$(CURDIR)/$(DOCS):$$PATH" $(DOCS)/sphinx-build --fail-on-warning --keep-going --jobs auto --quiet \
	  docs docs/_build/html

# Records the scripts of the gallery that take more than a minute; commit what it writes.
gallery: $(DOCS_READY)
	$(DOCS)/python docs/_ext/gallery.py $(SCRIPTS)

# The sdist and the wheel, built, checked, and tried in an empty environment: in dist/.
release: $(READY)
	rm -rf dist build .venv-release
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build twine
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd dist && ../.venv-release/bin/python ../tests/smoke.py

# Other libraries, for the site and the benchmarks, have environments of their own, so that the one of the
# tests is not changed. PyTorch is installed first, by its exact version; otherwise pip would install one
# with half a gigabyte of CUDA.
$(DOCS_READY) $(BENCH_READY): .venv-%/.ready: pyproject.toml
	@test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0+cpu \
	  --extra-index-url https://download.pytorch.org/whl/cpu
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# Writes tables, CSV and picture to runs/bench. The machine should be idle otherwise.
bench: $(BENCH_READY)
	@status=0; for script in peers ensembles compile_time memory matmul; do \
	  $(BENCH)/python experiments/benchmarks/$$script.py || status=1; done; exit $$status

# Only fit and the hand-written scan: needs no other library.
bench-steps: $(READY)
	$(BIN)/python experiments/benchmarks/peers.py --workloads a --peers funcnet_fit --out runs/bench-steps

# Needs an NVIDIA GPU and takes less than ten minutes after its set-up; tables go to runs/bench-gpu.
#   make bench-gpu JAX_CUDA=cuda12       # for a driver older than 580
#   make bench-gpu GPU_PYTHON=python3    # with the packages of that interpreter: installs nothing
#   make bench-gpu ARGS='--parts a,c'
# PyTorch is optional: without it its rows give the reason.
$(BENCH_GPU_READY): pyproject.toml
	@test -x $(BENCH_GPU)/python || $(PYTHON) -m venv .venv-bench-gpu
	$(BENCH_GPU)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BENCH_GPU)/python -m pip install --quiet --disable-pip-version-check --editable . \
	  'jax[$(JAX_CUDA)]>=0.10.0,<0.11' 'torch>=2.11,<3' || \
	  $(BENCH_GPU)/python -m pip install --quiet --disable-pip-version-check --editable . \
	  'jax[$(JAX_CUDA)]>=0.10.0,<0.11'
	@touch $@

bench-gpu: $(if $(GPU_PYTHON),,$(BENCH_GPU_READY))
	PYTHONPATH=.$${PYTHONPATH:+:$$PYTHONPATH} \
	  $(or $(GPU_PYTHON),$(BENCH_GPU)/python) experiments/benchmarks/gpu.py $(ARGS)

import-time: $(READY)
	$(BIN)/python experiments/benchmarks/import_time.py

clean:
	rm -rf .venv .venv-* runs build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
