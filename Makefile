# Two commands matter: `make demo` (the whole loop, ending in a page to chat with) and `make test`.
# Both set up .venv by themselves. ARGS goes to the demo: make demo ARGS=--headless, make demo ARGS="--lang zh".

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that run the tests, file by file: one per core, at most four. make test WORKERS=0 runs them in one.
WORKERS ?= logical
SPREAD := -n $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# Compiled is what commands import, so that the first begins as fast as all others: pip would compile as much again (decision 116)
COMPILE := $(BIN)/python -m compileall -q -j 0 src > $(VENV)/compiled.log 2>&1 && $(BIN)/python -c "import steersman.server.app, steersman.weights.folders" >> $(VENV)/compiled.log 2>&1 || true

.PHONY: demo test test-plain test-postgres test-slow lint bench gpu-check dist web clean
.DEFAULT_GOAL := demo
# With it (images of containers set it) every process would compile all of ours anew (decision 116)
unexport PYTHONDONTWRITEBYTECODE

$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "steersman needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once, about a minute) ..."
	@$(PIP) torch==2.13.0
	@$(PIP) -e .
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "installing what the tests need ..."
	@$(PIP) -e ".[dev,browser]"
	@touch $@

demo: $(VENV)/.runtime
	@$(BIN)/steersman demo $(ARGS)

test: $(VENV)/.dev
	@$(BIN)/pytest $(SPREAD) -m "not slow" $(ARGS)

# The same where kernels of ours compute nothing (a test that needs them is skipped)
test-plain: $(VENV)/.dev
	@STEERSMAN_KERNELS=off $(BIN)/pytest -m "not slow" $(ARGS)

# The same with every store on a server of its own (Debian's postgresql); what is of files alone is skipped, and says so
test-postgres: $(VENV)/.dev
	@STEERSMAN_TEST_STORE=postgresql $(BIN)/pytest $(SPREAD) -m "not slow" -rs $(ARGS)

test-slow: $(VENV)/.dev
	@.ci/packages slow
	@$(BIN)/pytest -m slow $(ARGS)
	@STEERSMAN_PAGE_LANGUAGE=zh $(BIN)/pytest tests/browser

# Types are checked for three systems at a time
lint: $(VENV)/.dev
	@$(BIN)/ruff check src tests bench recipes deploy
	@$(BIN)/ruff check --preview --select PLW1514 src bench deploy
	@$(BIN)/ruff format --check src tests bench recipes deploy
	@$(BIN)/mypy & here=$$!; \
	 $(BIN)/mypy --platform win32 --cache-dir $(if $(CI),/dev/null,.mypy_cache/win32) & windows=$$!; \
	 $(BIN)/mypy --platform darwin --cache-dir $(if $(CI),/dev/null,.mypy_cache/darwin); mac=$$?; \
	 wait $$here; here=$$?; wait $$windows; windows=$$?; \
	 exit $$(( here | windows | mac ))
	@$(BIN)/lint-imports

bench: $(VENV)/.dev
	@$(BIN)/python bench/generate.py
	@$(BIN)/python bench/train.py

# At most eight minutes on a machine with an NVIDIA GPU; nothing is downloaded or installed: PYTHON must have torch and
# transformers. Exit code 2 where there is no GPU.
gpu-check:
	@PYTHONPATH=src$${PYTHONPATH:+:$$PYTHONPATH} $(PYTHON) bench/gpu_check.py $(ARGS)

# What an index of packages takes: wheels and sdists of steersman and steersman-server, into dist
dist: $(VENV)/.dev
	@$(BIN)/python deploy/build.py dist $(ARGS)

web:
	@cd web && npm ci --no-audit --no-fund && npm run check && npm run build

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
