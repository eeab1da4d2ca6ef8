# The ways to use this project: type `make`. All of it lives in .venv, _build and the cache folder.
PROFILE ?= quick
DATASET ?= mnist
PYTHON ?= python3
LAB ?=
CPU ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install
CHOSEN := --profile "$(PROFILE)" --dataset "$(DATASET)"
# PyTorch without a GPU's libraries. torchvision, which only fetches data, does not fit beside it.
TORCH := torch==2.13.0+cpu
OF_GPU := (torch|torchvision|triton|nvidia-[^=]*|cuda-[^=]*)

.DEFAULT_GOAL := help
.PHONY: help book test lab bench clean

help:
	@echo 'make book    install, fetch the data, run the notebooks, make the HTML book'
	@echo '             PROFILE=smoke|quick|paper (now: $(PROFILE))'
	@echo '             DATASET=mnist|fashion_mnist|PATH (now: $(DATASET))'
	@echo 'make lab     open the notebooks in JupyterLab; options for it: LAB=--no-browser'
	@echo 'make test    check the code and run the tests'
	@echo 'make bench   measure speed beside its peers, which it installs'
	@echo 'make clean   remove what was built; downloads and trained models stay'
	@echo 'PYTHON=...   the Python, 3.11 to 3.14, that .venv is made with (now: $(PYTHON))'
	@echo 'CPU=1        with any of these on Linux: install PyTorch without the libraries for a GPU'

# Touched last, so an interrupted installation is taken up again by the next command.
.venv/installed: requirements.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) .ci/supported.py || exit 2; \
		$(PYTHON) -m venv --clear .venv; \
	}
ifdef CPU
	@sed -E '/^$(OF_GPU)==/,/[^\]$$/d' requirements.lock > .venv/requirements.txt
	@$(PIP) --no-deps '$(TORCH)' || { \
		echo '$(TORCH) is on no index that pip asks: name that of PyTorch in PIP_EXTRA_INDEX_URL' >&2; \
		exit 2; \
	}
	$(PIP) --require-hashes --no-deps -r .venv/requirements.txt
else
	$(PIP) --require-hashes -r requirements.lock
endif
	$(PIP) --no-deps --editable .
	@touch $@

# The first page is made while the others run; what is wrong with it the last line says again.
book: .venv/installed
	@$(BIN)/aecore data --dataset "$(DATASET)"
	@$(BIN)/aecore run autoencoder $(CHOSEN) || test $$? -le 1
	@failed=0; { $(BIN)/aecore book $(CHOSEN) 2>/dev/null && echo 'one page is there, the others follow'; } & \
	$(BIN)/aecore run $(CHOSEN) || failed=$$?; \
	wait; test $$failed -le 1 || exit $$failed; \
	$(BIN)/aecore book $(CHOSEN) || exit $$?; \
	exit $$failed

test: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The first folder in which Jupyter looks for a kernel is then that of .venv.
lab: .venv/installed
	JUPYTER_PATH="$(CURDIR)/.venv/share/jupyter" $(BIN)/jupyter lab --notebook-dir=notebooks $(LAB)

bench: .venv/installed
	@$(PIP) --quiet lightning
	$(BIN)/python -m benchmarks

clean:
	rm -rf _build .pytest_cache .ruff_cache
