# Two commands do everything, each with all its own set-up on a fresh Debian machine with a Rust toolchain:
#   make lab     runs the whole hyperparameter-tuning lab in a notebook   (OPEN=1 opens it in JupyterLab)
#   make test    passes every test
# Besides: make lint, make bench, make clean-lab.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: lab test unit product lint bench build machine setup-test clean-lab

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
KATLAB := $(TARGET)/debug/katlab
DENY_VERSION := 0.20.2
DENY := $(TARGET)/tools/bin/cargo-deny
LAB_VENV := $(TARGET)/venv-lab
TEST_VENV := $(TARGET)/venv-test
SEARCH_VENV := $(TARGET)/venv-search
EXAMPLES := $(TARGET)/release/examples
SEARCH := $(SEARCH_VENV)/bin/python tests/search_bench.py $(EXAMPLES)/quality
LAB := $(TARGET)/lab
# The lab keeps its own settings, sandbox and registry, so that it touches nothing of the user's.
export KATLAB_HOME ?= $(LAB)/home

build:
	@.ci/packages cc=gcc
	cargo build $(CARGO_OPTIONS) --package katlab-kernel

machine:
	@.ci/packages python3=python3 docker=docker.io
	@.ci/engine
	@.ci/base-image

# The tutorial, end to end: an executed notebook, a page to read, and how to open it.
lab: build machine
	@.ci/venv $(LAB_VENV) notebooks/requirements.txt
	@mkdir -p $(LAB)
	@$(KATLAB) install --prefix $(LAB_VENV) >/dev/null
	$(KATLAB) run notebooks/hyperparameter-tuning.ipynb -o $(LAB)/hyperparameter-tuning.ipynb
	@$(LAB_VENV)/bin/jupyter nbconvert --log-level ERROR --to html $(LAB)/hyperparameter-tuning.ipynb
	@echo
	@echo "The executed notebook:  $(LAB)/hyperparameter-tuning.ipynb"
	@echo "The same as a page:     $(LAB)/hyperparameter-tuning.html"
	@echo "Open it in JupyterLab:  make lab OPEN=1"
	@if [ -n "$(OPEN)" ]; then cp $(LAB)/hyperparameter-tuning.ipynb notebooks/executed.ipynb; \
	    exec $(LAB_VENV)/bin/jupyter lab --ip 127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) \
	    --notebook-dir notebooks notebooks/executed.ipynb; fi

setup-test: build machine
	@.ci/packages docker-registry=docker-registry htpasswd=apache2-utils openssl=openssl chromium=chromium kubectl=kubernetes-client podman=podman ip=iproute2
	@.ci/venv $(TEST_VENV) tests/requirements.txt

unit: machine
	@.ci/packages cc=gcc docker-registry=docker-registry htpasswd=apache2-utils openssl=openssl
	@# A sandbox of the lab's that still runs has the port of Katib's DBManager, which the tests' pods want.
	@if [ -x $(KATLAB) ]; then $(KATLAB) sandbox down; fi
	cargo test $(CARGO_OPTIONS) --workspace

# Whole-product tests: real Jupyter clients, Docker Engine, registry, kubectl, browser.
product: setup-test
	KATLAB_BIN=$(KATLAB) $(TEST_VENV)/bin/python -m pytest -q -n 2 tests $(PYTEST)

test: lint unit product

lint:
	@.ci/packages cc=gcc
	cargo fmt --all --check
	cargo clippy $(CARGO_OPTIONS) --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc $(CARGO_OPTIONS) --workspace --no-deps --quiet
	@test -x $(DENY) || cargo install --debug --quiet --locked --no-default-features --root $(TARGET)/tools cargo-deny@$(DENY_VERSION)
	@# A build fetches what this machine's target needs; the check reads those of every target.
	cargo fetch --locked --quiet
	$(DENY) --offline check bans licenses sources

# Speed, beside what a user would pick instead; medians and ratios, no thresholds.
bench: setup-test
	@.ci/venv $(SEARCH_VENV) tests/requirements-search.txt
	cargo build $(CARGO_OPTIONS) --release --package katlab-kernel
	cargo build $(CARGO_OPTIONS) --release --package katlab-katib --package katlab-suggestion --package katlab-analysis \
	    --example filter --example quality --example importance
	KATLAB_BIN=$(TARGET)/release/katlab KATLAB_BENCH_OPTUNA=$(SEARCH_VENV)/bin/python KATLAB_BENCH_FILTER=$(EXAMPLES)/filter \
	    $(TEST_VENV)/bin/python tests/bench.py
	$(SEARCH) 100 1 21 random sobol tpe multivariate-tpe cmaes
	$(SEARCH) 50 1 3 bayesianoptimization
	$(SEARCH_VENV)/bin/python tests/search_bench.py $(EXAMPLES)/importance

# Stops the lab's sandbox and removes what it made.
clean-lab:
	-$(KATLAB) sandbox reset --yes
	rm -rf $(LAB)
