# One verb per job, the same by hand and in CI. `make` alone lists them.

CARGO ?= cargo
# Where cargo builds; the demo and the unit check look for the program there.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# Build scripts and progress bars in CI logs are noise.
export CARGO_TERM_PROGRESS_WHEN ?= auto

.DEFAULT_GOAL := help
.PHONY: help build release demo test tools handover kills fuzz soak bench chaos lint docs deb static clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the program for development: target/debug/mainstay
	$(CARGO) build --bin mainstay

release: ## build the program for use: target/release/mainstay
	$(CARGO) build --release --bin mainstay

demo: ## balancer, three stand-in masters that register, and traffic, on this machine (ONCE=1: one round)
	@$(CARGO) build --quiet --bin mainstay --example demo
	@exec "$(CARGO_TARGET_DIR)/debug/examples/demo"

test: tools ## run every test; installs the programs that some need if it may (INSTALL=no: never)
	$(CARGO) test --workspace

handover: ## hand 5 000 streams with data over 50 times and say how long each stood still
	$(CARGO) build --release --bin mainstay
	MAINSTAY_PROGRAM="$(CARGO_TARGET_DIR)/release/mainstay" MAINSTAY_STREAMS=5000 MAINSTAY_HANDOVERS=50 \
	  $(CARGO) test --test handover streams -- --nocapture

kills: ## kill the coordinator at 200 random moments of joins (KILLS=, SEED=)
	MAINSTAY_KILLS=$(or $(KILLS),200) $(if $(SEED),MAINSTAY_SEED=$(SEED)) \
	  $(CARGO) test --test join killed_at_random -- --nocapture

fuzz: ## try what takes input from outside with random inputs (SECONDS=, TARGET=)
	@CARGO="$(CARGO)" sh fuzz/run.sh "$(or $(SECONDS),300)" "$(TARGET)"

soak: ## half an hour of 5 000 sessions and hostile clients: memory and descriptors stay flat (SECONDS=, SESSIONS=)
	$(CARGO) build --release --bin mainstay
	MAINSTAY_PROGRAM="$(CARGO_TARGET_DIR)/release/mainstay" MAINSTAY_SOAK_SECONDS=$(or $(SECONDS),1800) \
	  MAINSTAY_SOAK_SESSIONS=$(or $(SESSIONS),5000) $(CARGO) test --test soak -- --nocapture

tools:
	@sh tests/tools.sh

# The whole catalogue takes more than an hour: docs/benchmarks.md says how to choose from it.
bench: ## measure beside NGINX and HAProxy into bench/out; ARGS="--scenario rr-64x64,bulk-8" chooses
	$(CARGO) build --release --bin mainstay
	$(CARGO) run --release -p mainstay-bench -- run --out bench/out $(ARGS)

# Root, for network namespaces.
chaos: tools ## kill, freeze and cut, beside NGINX and HAProxy, into docs/chaos.md; CHAOS=word chooses
	CHAOS="$(CHAOS)" $(CARGO) test --release --test chaos whole -- --ignored --exact --nocapture

lint: ## formatting, clippy, house rules, docs, unit file; machete and deny if they are there
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --quiet --test tidy
	@$(MAKE) --no-print-directory docs
	@sh deploy/verify-unit.sh
	@if command -v cargo-machete >/dev/null; then $(CARGO) machete; \
	 else echo "skipped: cargo-machete is not installed"; fi
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --offline check bans licenses sources; \
	 else echo "skipped: cargo-deny is not installed"; fi

# The pages are for those who change the code, so private items are shown and may be linked to.
docs: ## build the documentation of the code: target/doc
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --document-private-items

deb: release ## make target/deb/mainstay_*.deb, with unit files, manual pages and completions
	@sh deploy/deb/build.sh "$(CARGO_TARGET_DIR)/release/mainstay" "$(CARGO_TARGET_DIR)/deb"

# A program that needs no C library, for hosts other than Debian and for the image.
static: ## build the program for use without a C library: target/MACHINE-unknown-linux-musl/release/mainstay
	@sh deploy/static.sh

clean: ## remove everything that was built or measured
	$(CARGO) clean
	rm -rf bench/out
