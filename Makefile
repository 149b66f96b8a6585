# Every target sets up what it needs: `make demo`, `make test` and `make lint` work in a fresh clone.
# Needs make and Python >= 3.11; everything else goes into .venv, in the versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BROWSER := $(VENV)/.browser

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(STAMP) ## make .venv with everything

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Seqloom needs Python >= 3.11; name one with PYTHON=...' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,tensorboard,sentencepiece]'
	@touch $(STAMP)

demo: $(STAMP) ## train a small translation model: about two minutes on two cores
	@echo 'A recurrent encoder-decoder learns to translate phrases from English to German:'
	@echo '    python train.py task=translation'
	@$(BIN)/python train.py task=translation

# A browser for the tests of the pages; where none can be had, it says why, and they are skipped.
$(BROWSER): $(STAMP) scripts/install_browser.py
	@$(BIN)/python scripts/install_browser.py
	@touch $(BROWSER)

test: $(STAMP) $(BROWSER) ## run the tests
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

lint: $(STAMP) ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv and the caches (not outputs/)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
