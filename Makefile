# make demo    the lab on loopback: a healthy domain and a broken one; no root, no network beyond PyPI
# make test    all tests; installs Debian's servers and clients where it may
# make check   lint and types
# make bench   the benchmarks, each beside a peer
# make docs    writes the generated pages and the output in the README anew
# make clean   removes what the others made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= auto
BROKEN ?= certificate-expired.lab.test

PLAIN := $(VENV)/installed
DEV := $(VENV)/installed-dev
SOURCES := $(shell find mailprobe -name '*.py' -o -name 'py.typed')

.DELETE_ON_ERROR:
.PHONY: demo test check bench docs clean

demo: $(PLAIN)
	$(BIN)/mailprobe check --lab good.lab.test
	@echo
	@echo "$(BIN)/mailprobe check --lab $(BROKEN)"
	@$(BIN)/mailprobe check --lab $(BROKEN); status=$$?; echo; \
	if [ $$status -eq 1 ]; then \
	    echo "Exit status 1: $(BROKEN) is broken on purpose, and mailprobe found it."; \
	else \
	    echo "Exit status $$status where 1 was due: $(BROKEN) is broken on purpose." >&2; exit 1; \
	fi
	@echo
	$(BIN)/mailprobe trip --lab
	@echo
	@echo "The demo went well. Next: . $(BIN)/activate    and then: mailprobe --help"

test: $(DEV)
	tests/peers/install.sh
	$(BIN)/python -m pytest -n $(WORKERS)

check: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(DEV)
	$(BIN)/python -m benchmarks.run

docs: $(DEV)
	$(BIN)/python -m docs.generate

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# An installation for development follows the sources by itself, so it serves the demo as well.
$(PLAIN): pyproject.toml $(SOURCES) | $(BIN)/python
	if [ -e $(DEV) ]; then $(MAKE) $(DEV); else $(BIN)/python -m pip install --quiet .; fi
	touch $@

$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
