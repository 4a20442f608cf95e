# Everything here happens in .venv. PYTHON=/path/to/python3 chooses the interpreter; without it the first Python 3.11 or later
# on PATH is taken.
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help demo test check slow sanitize tiny clean
.DELETE_ON_ERROR:

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed  ## install, then let the embedded model continue a story
	@$(BIN)/mistral7b generate "Once upon a time" --max-tokens 120

# A process a processor, up to eight, of one thread each; the tests of a file stay together.
test: $(VENV)/.installed-test  ## install what the tests need, then run all but the slow ones
	@echo "==> tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" -n logical --maxprocesses 8 --dist loadfile

check: $(VENV)/.installed-test  ## style, types, import floors, docs, spelling
	@echo "==> style"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@echo "==> types"
	@$(BIN)/mypy
	@echo "==> import floors"
	@$(BIN)/lint-imports --no-logo --no-cache
	@echo "==> docs"
	@$(BIN)/python -m pytest -q tests/test_docs.py tests/test_readme.py
	@echo "==> spelling"
	@$(BIN)/codespell

slow: $(VENV)/.installed-test  ## run the slow tests
	@echo "==> slow tests"
	@$(BIN)/python -m pytest -q -m slow || test $$? -eq 5  # 5: none is marked slow

# The kernels built with sanitizers, in an environment of their own that sees the packages of .venv.
SANITIZED := build/sanitized
SITE := $(VENV)/lib/python3*/site-packages

sanitize: $(VENV)/.installed-test  ## run the kernel tests under the address and undefined behaviour sanitizers
	@echo "==> kernels with sanitizers"
	@rm -rf $(SANITIZED) && $(BIN)/python -m venv --without-pip $(SANITIZED)
	@$(BIN)/python -c "import glob, pathlib; \
	  pathlib.Path(glob.glob('$(SANITIZED)/lib/python3*/site-packages')[0], 'venv.pth').write_text(str(pathlib.Path(glob.glob('$(SITE)')[0]).resolve()))"
	@$(PIP) --python $(SANITIZED)/bin/python install --quiet --no-deps --ignore-installed \
	  -C cmake.define.SANITIZE=ON -C build-dir=build/sanitized-objects .
	@LD_PRELOAD="$$($${CXX:-g++} -print-file-name=libasan.so) $$($${CXX:-g++} -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	  $(SANITIZED)/bin/python -m pytest -q -p no:cacheprovider tests/kernels/test_native*.py tests/model/test_fused.py

# Each stage's folder is whole when its manifest is there; an interrupted one goes on when make is called again.
DATA = ../shared/data
RUN := runs/tiny
tiny: $(RUN)/shards/manifest.json  ## DATA=folder RUN=runs/tiny: raw text to the embedded model; hours, and it can be stopped
	@echo "==> training"
	@$(BIN)/mistral7b pretrain recipes/tiny/pretrain.yaml --set RUN=$(RUN)

$(RUN)/documents/manifest.json: $(VENV)/.installed-train recipes/tiny/curate.yaml
	@echo "==> documents"
	@$(BIN)/mistral7b curate recipes/tiny/curate.yaml --set DATA=$(DATA) --out $(RUN)/documents
	@touch $@

$(RUN)/tokenizer/tokenizer.model.v3: $(RUN)/documents/manifest.json recipes/tiny/tokenizer.yaml
	@echo "==> tokenizer"
	@$(BIN)/mistral7b tokenizer train recipes/tiny/tokenizer.yaml --set DATA=$(DATA) --set RUN=$(RUN) --out $(RUN)/tokenizer --force
	@touch $@

$(RUN)/shards/manifest.json: $(RUN)/tokenizer/tokenizer.model.v3
	@echo "==> shards"
	@$(BIN)/mistral7b tokenizer encode $(RUN)/documents $(RUN)/shards --tokenizer $< --workers 2
	@touch $@

clean:  ## remove .venv, caches and builds
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests recipes -name __pycache__ -type d -prune -exec rm -rf {} +

# pip is the last thing venv writes, so an interrupted attempt is made again.
$(BIN)/pip:
	@set -e; python=""; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
	  if "$$candidate" -c '$(NEW_ENOUGH)' 2>/dev/null; then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make: $(if $(PYTHON),$(PYTHON) is not,found no) Python 3.11 or later; install one, or name it: make demo PYTHON=/path/to/python3" >&2; exit 2; \
	fi; \
	echo "==> $(VENV) from $$("$$python" -V)"; \
	"$$python" -m venv $(VENV) || { echo "make: $$python cannot make a virtual environment; install its venv package (Debian: python3-venv)" >&2; exit 2; }

NATIVE := $(wildcard native/*)

$(VENV)/.installed: $(BIN)/pip pyproject.toml constraints.txt $(NATIVE)
	@echo "==> installing mistral7b into $(VENV) (the first time downloads PyTorch: some minutes)"
	@$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-train: $(BIN)/pip pyproject.toml constraints.txt $(NATIVE)
	@echo "==> installing mistral7b and what training needs into $(VENV) (the first time downloads PyTorch: some minutes)"
	@$(PIP) install --quiet -c constraints.txt -e '.[data,train]'
	@touch $(VENV)/.installed $@

# One installation, not two: the kernels are compiled each time.
$(VENV)/.installed-test: $(BIN)/pip pyproject.toml constraints.txt $(NATIVE)
	@echo "==> installing mistral7b and what the tests need into $(VENV) (the first time downloads PyTorch: some minutes)"
	@$(PIP) install --quiet -c constraints.txt -e '.[test]'
	@touch $(VENV)/.installed $@
