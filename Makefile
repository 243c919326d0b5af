# The targets are what CI runs; `make` alone lists them.
#
# PYTHON=python3.12 make venv      another interpreter than the first one found; .venv is made anew
# make test PYTEST='-k playlist'   further words for pytest, as in '-n 0 --pdb': in this process
# make -j lint                      Python and Rust side by side

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PYTEST ?=
# Tests marked `xdist_group` stay together.
SIDE_BY_SIDE := -n auto --maxprocesses 8 --dist loadgroup
# A recipe that names MAKE itself runs even under `make -n`, and this one clears the environment.
SELF := $(MAKE)

# Some machines ask Python to keep nothing that it has compiled. Then each of the thousands of processes
# that the tests start compiles all of pystream for itself.
unexport PYTHONDONTWRITEBYTECODE

# cargo and maturin have to agree on these, or each rebuilds what the other made.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export PYO3_BUILD_EXTENSION_MODULE := 1
# The machine's own programs, even where .venv is activated: .venv is not made from itself.
MACHINE_PATH := $(shell printf '%s' "$$PATH" | tr ':' '\n' | grep -vxF '$(CURDIR)/$(BIN)' | paste -sd ':')
# maturin is called by its bare name.
export PATH := $(CURDIR)/$(BIN):$(MACHINE_PATH)

SOURCES := Cargo.toml Cargo.lock pyproject.toml build_backend.py $(wildcard README.md npm/package*.json) \
	$(shell find core_rs -name target -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print) \
	$(wildcard pystream/*.pyx)
PYTHON_CODE := build_backend.py $(wildcard pystream tests benchmarks)
STUBS := $(patsubst pystream/%.pyi,pystream.%,$(wildcard pystream/*.pyi))
ARM := aarch64-unknown-linux-gnu

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

.PHONY: check-machine
check-machine: ## say what this machine lacks to build pystream
	@export PATH='$(MACHINE_PATH)'
	missing=0
	lacks() { echo "pystream cannot be built here: $$*" >&2; missing=1; }
	at_least() { [[ "$$(printf '%s\n' "$$1" "$$2" | sort -V | head -n 1)" == "$$1" ]]; }
	python=$$($(find_python)) || lacks $(if $(PYTHON),"PYTHON=$(PYTHON) is no Python of 3.11 or later: name" \
		"another one or leave it out.","Python 3.11 or later is missing" \
		"(Debian 12 and later: apt-get install python3). PYTHON=... names another one.")
	if [[ -n $$python ]]; then
		"$$python" -c 'import ensurepip, venv' 2>/dev/null || lacks "$$python has no venv module" \
			"(Debian: apt-get install python3-venv)."
		header=$$("$$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
		[[ -e $$header ]] || lacks "$$header, a header of $$python, is missing" \
			"(Debian: apt-get install python3-dev)."
	fi
	if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
		lacks "Rust (rustc and cargo) is missing: install 1.89 or later with rustup" \
			"(Debian 12 has 1.63, which is too old)."
	else
		rust=$$(rustc --version | cut -d ' ' -f 2)
		at_least 1.89 "$$rust" || lacks "Rust 1.89 or later is needed, and $$(command -v rustc) is $$rust:" \
			"run 'rustup update stable', or install it with rustup."
	fi
	if ! command -v cc >/dev/null; then
		lacks "there is no C compiler called cc (Debian: apt-get install gcc libc6-dev)."
	elif ! echo '#include <stdio.h>' | cc -x c -fsyntax-only - 2>/dev/null; then
		lacks "cc finds no C headers (Debian: apt-get install libc6-dev)."
	fi
	exit $$missing

# Prints the first interpreter that is new enough.
define find_python
for p in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	if [[ "$$("$$p" -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null)" == True ]]; \
	then command -v "$$p"; exit 0; fi; done; exit 1
endef

# The interpreter that a name stands for, without the virtual environment that it may belong to.
BASE_OF := -c 'import os, sys; print(os.path.realpath(sys._base_executable))'

.PHONY: venv
venv: $(VENV)/.venv-stamp ## make .venv with what building and testing need

$(VENV)/.venv-stamp: constraints.txt
	@MAKEFLAGS='$(filter-out -j% --jobserver%,$(MAKEFLAGS))' $(SELF) --no-print-directory check-machine
	python=$$(PATH='$(MACHINE_PATH)'; $(find_python))
	echo "Making $(VENV) with $$python ($$("$$python" -V)) and what constraints.txt names"
	"$$python" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints.txt
	"$$python" $(BASE_OF) > $@

# An environment of another interpreter than the one that is asked for is out of date.
ifneq ($(PYTHON),)
STANDS_FOR := $(shell { PATH='$(MACHINE_PATH)'; '$(PYTHON)' $(BASE_OF); } 2>/dev/null)
ifneq ($(STANDS_FOR),$(shell cat $(VENV)/.venv-stamp 2>/dev/null))
$(VENV)/.venv-stamp: asked-for
.PHONY: asked-for
asked-for:
endif
endif

.PHONY: install
install: $(VENV)/.install-stamp ## build both modules and install pystream (editable) into .venv

.PHONY: build
build: install ## the same: an editable install builds in place

$(VENV)/.install-stamp: $(VENV)/.venv-stamp $(SOURCES)
	@echo "Building pystream's compiled modules (the first time takes some minutes)"
	node=$$($(BIN)/python -c 'import build_backend; print(*build_backend.node_requirement())')
	[[ -z $$node ]] || $(BIN)/python -m pip install --quiet --disable-pip-version-check $$node
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

.PHONY: wheel
wheel: venv ## build the wheel into dist/
	$(BIN)/python -m pip wheel --disable-pip-version-check --no-build-isolation --no-deps -w dist .

.PHONY: test
test: test-rust test-python ## all tests; needs no network and no ffmpeg

.PHONY: test-python
test-python: install ## those of Python, one a core at a time
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -p no:benchmark $(PYTEST)

.PHONY: browser-tools
browser-tools: npm/node_modules/.package-lock.json ## what the tests in a browser need from npm (and Chromium)

npm/node_modules/.package-lock.json: npm/package.json npm/package-lock.json
	cd npm && npm ci --ignore-scripts --no-audit --no-fund
	touch node_modules/.package-lock.json

.PHONY: test-rust
test-rust: venv ## the Rust crates' own tests
	cargo test --locked --workspace --quiet

.PHONY: build-test-rust
build-test-rust: venv ## build those, and run none
	cargo test --locked --workspace --quiet --no-run

.PHONY: test-bench
test-bench: install ## the benchmarks, once each and without a clock
	$(BIN)/python -m pytest benchmarks --benchmark-disable --quiet $(SIDE_BY_SIDE)

# Debug code is many times slower than what is measured here, so everything is built first.
.PHONY: bench
bench: install ## pytest-benchmark suites, then side by side with other packagers and servers
	$(BIN)/python -m pytest benchmarks --benchmark-only
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.origin
	$(BIN)/python -m benchmarks.attendance

.PHONY: demo
demo: install ## serve the sample film on this machine, and print the page to open (DEMO_PORT=N: where)
	@exec $(BIN)/pystream demo

.PHONY: lint
lint: lint-python lint-rust ## every static check

.PHONY: lint-python
lint-python: install ## those of Python
	$(BIN)/ruff check $(PYTHON_CODE)
	$(BIN)/ruff format --check $(PYTHON_CODE)
	$(BIN)/mypy --strict $(PYTHON_CODE)
	$(BIN)/python -m mypy.stubtest $(STUBS) --allowlist tests/stubtest-allowlist.txt --ignore-unused-allowlist

.PHONY: lint-rust
lint-rust: venv ## those of Rust
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --quiet -- -D warnings

.PHONY: format
format: venv ## let the formatters rewrite the code
	$(BIN)/ruff check --fix $(PYTHON_CODE)
	$(BIN)/ruff format $(PYTHON_CODE)
	cargo fmt --all

# Debian sid: a standard library from another release than the compiler's does not link.
.PHONY: test-arm
test-arm: ## the crates' tests for ARM, under qemu-user (a Debian sid machine or chroot)
	@for tool in cargo aarch64-linux-gnu-gcc qemu-aarch64; do
		command -v $$tool >/dev/null || { echo "test-arm: $$tool is missing. On Debian sid:" \
			"apt-get install rustc cargo libstd-rust-dev:arm64 gcc-aarch64-linux-gnu" \
			"libc6-dev-arm64-cross qemu-user" >&2; exit 1; }
	done
	export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
	export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu'
	cargo test --locked --target $(ARM) -p pystream-media -p pystream-cipher

.PHONY: clean
clean: ## remove everything that was built
	rm -rf $(VENV) target dist build pystream/*.so pystream/server/page/hls.* npm/node_modules \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -maxdepth 1 -name __pycache__ -exec rm -rf {} +
	find $(PYTHON_CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

.ONESHELL:
