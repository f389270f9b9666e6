# What CI runs, runnable anywhere: needs Python >= 3.11, cargo and make, and nothing else.
# Everything lands in .venv/ and target/; the first `make setup` takes a few minutes, later ones seconds.

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench limits scale hyperv-scale audit tracking power-cuts hyperv-kills hyperv-meanwhile hyperv-machines guest fuzz deny windows clean

# The first Python that is new enough and can make a virtual environment. It is run, not only looked
# up: some machines have a `python3.13` that only says that it is not there.
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3 python,\
	$(shell $(p) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(p))))

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif

# The Python that the binding is compiled for, where cargo is called without maturin.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
# What property tests draw is the same each time; another seed draws anew.
export PROPTEST_RNG_SEED ?= 1

RUST_SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find rust -name target -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print)
FUZZ_SECONDS ?= 60
# Many tests wait for a disk or for a simulated host, so more run at once than there are cores.
TEST_PROCESSES ?= 4
GUEST_ROUNDS ?= 5
GUEST_SEED ?= 0
AUDIT_DISKS ?= 50
AUDIT_SEED ?= 1
POWER_CUTS ?= 1000000
POWER_CUT_SEED ?= 1
HYPERV_KILL_SEED ?= 1
MACHINE_RUNS ?= 50
MACHINE_SEED ?= 1

help: ## what there is
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 24

setup: .venv/built ## the virtual environment, the pinned tools and the Rust core

.venv/tools: requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 with venv found; set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# One target folder for the tests and the wheel; `maturin develop` rebuilds only what changed.
.venv/built: .venv/tools $(RUST_SOURCES)
	VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/maturin develop --release --quiet --features fault-injection
	@touch $@

demo: setup ## the whole story on this machine, in under two minutes
	$(BIN)/hypercbt demo

# The binding has no Rust tests: pytest tests it, so cargo need not link it to a Python.
test: setup ## every test, Rust and Python, and every bench once
	cargo test --workspace --exclude hypercbt-python --locked --quiet
	$(BIN)/pytest -n $(TEST_PROCESSES) tests
	HYPERCBT_BENCH_MIB=32 $(BIN)/pytest benches -o python_files='bench_*.py' --benchmark-disable

bench: setup ## measures what users feel; on a quiet machine
	$(BIN)/pytest benches -o python_files='bench_*.py' --benchmark-only

limits: ## what this machine can do at most: each stage of the pipeline alone
	cargo bench --quiet -p hypercbt-engine --bench limits

scale: setup ## cost follows change, memory stays bounded: 10 GiB, 10 TiB and 64 TiB disks (25 GB, minutes)
	$(BIN)/python benches/scale.py

hyperv-scale: setup ## 1,000 virtual machines, and 2 TiB with a million changed ranges, on lab hosts (minutes)
	$(BIN)/python benches/hyperv.py

audit: setup ## AUDIT_DISKS (50) of each kind under hosts that miss changes, 36 days each, from AUDIT_SEED (1) on (minutes)
	PYTHONPATH=tests $(BIN)/python -m audit_campaign --disks $(AUDIT_DISKS) --seed $(AUDIT_SEED)

tracking: setup ## what tracking costs a writer, through NBD with fio (minutes, on a quiet machine)
	$(BIN)/python benches/tracking.py

hyperv-kills: setup ## the client of a VM's backup killed, stopped and cut off at each request and storage call (half an hour on a quiet machine); HYPERV_KILL_SEED (1)
	HYPERV_KILLS=all HYPERV_KILL_SEED=$(HYPERV_KILL_SEED) $(BIN)/pytest tests/crash/test_hyperv_kill.py -q -s

hyperv-meanwhile: setup ## another process that backs up or checks before each request of a VM's backup (minutes)
	HYPERCBT_MEANWHILE_EVERY=1 $(BIN)/pytest tests/integration/hyperv/test_meanwhile.py -q

hyperv-machines: setup ## a machine's life on lab hosts, drawn at random: MACHINE_RUNS (50), MACHINE_SEED (1)
	HYPERCBT_MACHINE_RUNS=$(MACHINE_RUNS) HYPERCBT_MACHINE_SEED=$(MACHINE_SEED) $(BIN)/pytest tests/property/test_hyperv_machine.py -q

guest: setup ## a real guest on a tracked disk whose server is killed; GUEST_ROUNDS (5), GUEST_SEED (random)
	PYTHONPATH=tests HYPERCBT_GUEST_ROUNDS=$(GUEST_ROUNDS) HYPERCBT_GUEST_SEED=$(GUEST_SEED) $(BIN)/python -m guest

lint: setup ## formats, lints, types, stubs, documentation, licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy benches
	$(BIN)/stubtest hypercbt._native --mypy-config-file pyproject.toml \
		--allowlist .ci/stubtest-allowlist.txt --ignore-unused-allowlist
	@if cargo deny --version >/dev/null 2>&1; then \
		cargo deny check --hide-inclusion-graph licenses bans sources; \
	else \
		echo "cargo-deny is not installed: licences and bans are not checked (make deny installs it)"; \
	fi

deny: ## licences and bans of every dependency; installs cargo-deny where it is missing
	cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked
	cargo deny check licenses bans sources

windows: ## lints the Rust core for Windows; needs the target x86_64-pc-windows-gnu and mingw's gcc
	cargo clippy --workspace --exclude hypercbt-python --lib --target x86_64-pc-windows-gnu --quiet -- -D warnings

power-cuts: ## POWER_CUTS (1000000) distinct states after a power cut, a quarter each: tracker, VHDX, tracked disk, repository
	for crate in rct vhdx tracked repo; do \
		HYPERCBT_POWER_CUTS=$$(($(POWER_CUTS) / 4)) HYPERCBT_POWER_CUT_SEED=$(POWER_CUT_SEED) \
			cargo test --release --locked --quiet -p hypercbt-$$crate --test 'power_cuts*' -- --nocapture || exit 1; \
	done

fuzz: ## each fuzz target for FUZZ_SECONDS (60); needs a nightly toolchain
	cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked
	for target in $$(cargo +nightly fuzz list --fuzz-dir rust/fuzz); do \
		cargo +nightly fuzz run --fuzz-dir rust/fuzz $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 || exit 1; \
	done

clean: ## removes what was built here
	rm -rf .venv target python/hypercbt/_native*.so python/hypercbt/_native*.pyd
