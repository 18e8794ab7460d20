# Linger: build, run, test. `make help` lists the targets; what they do is in scripts/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDEXPANSION:

# To be set on the command line, as in: make run LISTEN=0.0.0.0:8080
LISTEN := 127.0.0.1:8080
PREFIX := /usr/local
# What `make bench` measures. The plain build is there sooner: BUILD=release. BENCH names some of the measurements.
BUILD := optimized
BENCH :=
ROUNDS := 6
CHAOS_ROUNDS := 5000
FUZZ_SECONDS := 600
# `make foreign FOREIGN=--update` writes the list anew.
FOREIGN :=

# Cargo's target directory may be elsewhere. The components are always here, where tests and benches look for them.
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
COMPONENTS := target/components
HOST := $(TARGET)/release/linger
OPTIMIZED := $(TARGET)/optimized/linger
LONGPOLL := $(COMPONENTS)/longpoll.wasm

# The example in C is left out without this tool: cargo install --locked wit-bindgen-cli@0.63.0
LANGUAGES := python-longpoll js-longpoll js-hello $(if $(shell command -v wit-bindgen),c-longpoll)

BENCHES := cargo bench --profile release --locked --package linger --bench bench --
INTEGRATION := cargo test --release --locked --package linger --test integration -- --nocapture
IGNORED := $(INTEGRATION) --ignored

.PHONY: help
help: ## List the targets
	@sed -nE 's/^##@ (.*)/\n\1/p; s/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

##@ Build and run

.PHONY: run host optimized install deb clean
run: host longpoll ## Build the host and the long-poll example; serve it on 127.0.0.1:8080
	@scripts/run-example $(LISTEN)

host: ## Build the host: target/release/linger
	@scripts/build-host

$(HOST): host

optimized: $(OPTIMIZED) ## Build the host with profile-guided optimization: target/optimized/linger (20 minutes; a fifth faster)

$(OPTIMIZED): Cargo.lock Cargo.toml LICENSE $(shell find host wit guest -type f) | guests llvm-tools nats-server
	@scripts/build-optimized

# Builds nothing, since it may be run by root.
install: ## Install the optimized host, once it is built: PREFIX/bin/linger (/usr/local unless set)
	@[ -x $(OPTIMIZED) ] || { echo "error: there is no host to install; run first: make optimized" >&2; exit 1; }
	@install -D --strip $(OPTIMIZED) $(DESTDIR)$(PREFIX)/bin/linger

deb: $(OPTIMIZED) ## Build the Debian package of the optimized host: target/debian (installs cargo-deb)
	@scripts/build-debian-package

clean: ## Remove all build output
	@rm -rf target $(TARGET)/guests
	@cargo clean

##@ Guests

.PHONY: longpoll guests guests-other guests-bench middleware
longpoll: wasm32-wasip2 ## Build the long-poll example: target/components/longpoll.wasm
	@scripts/build-guests longpoll

guests: wasm32-wasip2 ## Build all guests, test fixtures included: target/components/NAME.wasm
	@scripts/build-guests

guests-other: $(LANGUAGES:%=$(COMPONENTS)/%.built) ## Build the examples in Python and JavaScript, and in C with wit-bindgen (needs python3 and npm)

# Built anew when a file of the example has changed, the WIT package among them.
$(COMPONENTS)/%.built: $$(shell find -L guest/examples/$$* -type f)
	@scripts/build-language $*
	@touch $@

guests-bench: guests-other ## Build the greetings in Python and JavaScript for `make bench BENCH=languages`
	@scripts/build-greetings

middleware: wasm32-wasip2 ## Rebuild guest/cancel into the host's sources, after a change
	@scripts/build-middleware

##@ Test

.PHONY: test test-languages lint format deny
test: guests nats-server proxy-tools ## Run all tests: host, guest SDK, both together over real sockets
	@scripts/test

test-languages: guests guests-other ## Run the examples' tests on those in Python, JavaScript and C
	@scripts/test-languages

lint: wasm32-wasip2 ## Check format, clippy, shell scripts, the shared build, licenses
	@scripts/lint

format: ## Format all code
	@cargo fmt --all
	@cargo fmt --all --manifest-path guest/Cargo.toml

deny: ## Check the dependencies' licenses and sources (installs cargo-deny)
	@scripts/check-licenses

##@ Test for minutes

.PHONY: soak nats-soak hostile swaps chaos fuzz proxies clients
soak: guests ## Disconnect 20,000 clients at random: no event lost, no resource leaked (four minutes)
	@$(IGNORED) soak::

nats-soak: guests nats-server ## Kill one of three hosts and one of three NATS servers under load: no event lost (some minutes)
	@$(IGNORED) nats_soak::

hostile: guests ## Serve guests that trap, loop, allocate and recurse under full load: memory stays flat (ten minutes)
	@$(IGNORED) hostile::

swaps: guests ## Hot-swap a component 200 times with 2,000 parked polls: no request fails, no event lost (four minutes)
	@$(IGNORED) swap::

chaos: guests ## Poll, push and disconnect at random moments, 5,000 rounds of each case: no event lost (LINGER_SEED repeats a run)
	@LINGER_ROUNDS=$(CHAOS_ROUNDS) $(INTEGRATION) chaos::

fuzz: guests ## Fuzz each parser and a connection: FUZZ_SECONDS in all, 600 unless set (needs a C++ compiler)
	@scripts/fuzz $(FUZZ_SECONDS)

proxies: guests proxy-tools ## Serve behind nginx, HAProxy and Varnish: no request fails, no event is redelivered (some minutes)
	@$(IGNORED) proxies::

clients: guests client-tools ## Serve seven HTTP clients over TLS: urllib, wget, Ruby, LWP, HTTP::Tiny, requests, Tcl: no event is redelivered
	@CLIENTS_PYTHON=$(TARGET)/clients/bin/python $(IGNORED) clients::

##@ Compare and measure

.PHONY: bench peers foreign api compatibility first-run
bench: guests $(TARGET)/$(BUILD)/linger ## Measure speed and memory, beside other servers: docs/benchmarks.md (20 minutes; a quiet machine)
	@echo "==> measuring $(TARGET)/$(BUILD)/linger"
	@MEASURED=$(TARGET)/$(BUILD)/linger $(BENCHES) $(BENCH)

peers: host guests ## Run the conformance suite on Linger, and on servers in Go and Node if they are installed
	@tests/peers/run.sh $(HOST) $(LONGPOLL) --rounds $(ROUNDS)

foreign: host guests ## Run others' HTTP checks (gunicorn's requests, REDbot, httplint, httpwg, smugglex): none worse than listed
	@tests/foreign/run.sh $(HOST) $(abspath $(COMPONENTS)) $(TARGET)/foreign $(FOREIGN)

api: host guests ## Fuzz the admin API by its OpenAPI description (schemathesis, from PyPI): no 500
	@tests/api/run.sh $(HOST) $(LONGPOLL) $(TARGET)/schemathesis

compatibility: host guests ## Serve components made with other SDKs; write docs/compatibility.md (builds and fetches some)
	@tests/compat/run.py $(HOST)

first-run: ## Measure `make run` on a clean clone: time to the first answer (a quiet machine)
	@scripts/measure-first-run

# What others of the targets need: parts of the Rust toolchain, and programs that tests start.
.PHONY: wasm32-wasip2 llvm-tools nats-server proxy-tools client-tools
wasm32-wasip2 llvm-tools:
	@scripts/add-rust-part $@

nats-server:
	@scripts/install-tools nats

proxy-tools:
	@scripts/install-tools proxies

client-tools:
	@scripts/install-tools clients
