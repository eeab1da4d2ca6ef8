# The ways to use this project: type `make`. All of it lives in .venv, _build and the cache folder.
PROFILE ?= quick
DATASET ?= mnist
PYTHON ?= python3
LAB ?=

BIN := .venv/bin
CHOSEN := --profile "$(PROFILE)" --dataset "$(DATASET)"
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

.DEFAULT_GOAL := help
.PHONY: help book test lab bench clean

help:
	@echo 'make book    install, fetch the data, run the notebooks, make the HTML book'
	@echo '             PROFILE=smoke|quick|paper|full (now: $(PROFILE))'
	@echo '             DATASET=mnist|fashion_mnist|PATH (now: $(DATASET))'
	@echo 'make lab     open the notebooks in JupyterLab; options for it: LAB=--no-browser'
	@echo 'make test    check the code and run the tests'
	@echo 'make bench   measure speed beside its peers, which it installs'
	@echo 'make clean   remove what was built; downloads and trained models stay'
	@echo 'PYTHON=...   the Python, 3.11 to 3.13, that .venv is made with (now: $(PYTHON))'

# Touched last, so an interrupted installation is taken up again by the next command.
.venv/installed: requirements.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { \
			echo '$(PYTHON) is not Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12' >&2; \
			exit 2; \
		}; \
		$(PYTHON) -m venv --clear .venv; \
	}
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --editable .
	@touch $@

book: .venv/installed
	@$(BIN)/aecore data --dataset "$(DATASET)"
	@$(BIN)/aecore run autoencoder $(CHOSEN) || test $$? -le 1
	@failed=0; { $(BIN)/aecore book $(CHOSEN) && echo 'one page is there, the others follow'; } & \
	$(BIN)/aecore run $(CHOSEN) || failed=$$?; \
	wait; test $$failed -le 1 || exit $$failed; \
	$(BIN)/aecore book $(CHOSEN) || exit $$?; \
	exit $$failed

test: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The first folder in which Jupyter looks for a kernel is then that of .venv.
lab: .venv/installed
	JUPYTER_PATH="$(CURDIR)/.venv/share/jupyter" $(BIN)/jupyter lab --notebook-dir=notebooks $(LAB)

bench: .venv/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock lightning
	$(BIN)/python -m benchmarks

clean:
	rm -rf _build .pytest_cache .ruff_cache
