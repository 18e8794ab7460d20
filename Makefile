# Linger: build, run, test. `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run host optimized install setup-profdata guests guests-other guests-bench middleware nats-server proxy-tools client-tools test test-languages peers foreign proxies clients api compatibility soak nats-soak hostile swaps chaos fuzz bench lint format deny deb setup-target clean

# Cargo's target directory may be elsewhere; the guests have one of their own beside it.
TARGET := $(or $(CARGO_TARGET_DIR),target)
GUEST_TARGET := $(TARGET)/guests
COMPONENTS := target/components
# The examples in other languages than Rust. Each is built in a copy of its folder, with its tools beside it.
LANGUAGES := $(TARGET)/languages
OTHERS := python-longpoll js-longpoll js-hello
# The one in C is left out without this tool: cargo install --locked wit-bindgen-cli@0.63.0
WIT_BINDGEN := $(shell command -v wit-bindgen)
OTHERS += $(if $(WIT_BINDGEN),c-longpoll)
# Man pages and completions, on their way into the Debian package.
PACKAGE := target/package
GUEST_CARGO := CARGO_TARGET_DIR=$(abspath $(GUEST_TARGET)) cargo
# The host as it is installed: built by what the compiler has seen of it under load.
OPTIMIZED := $(TARGET)/optimized
PREFIX := /usr/local
# What `make bench` measures. The plain one is there sooner: make bench BUILD=release
BUILD := optimized
MEASURED := $(TARGET)/$(BUILD)/linger
LISTEN := 127.0.0.1:8080
ROUNDS := 6
CHAOS_ROUNDS := 5000
FUZZ_SECONDS := 600

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

run: host guests ## Build all, and serve the long-poll example on 127.0.0.1:8080
	@echo
	@echo "Try, in another terminal:"
	@echo "  curl -i http://$(LISTEN)/poll/greetings?wait=30            # parks: run the next line meanwhile"
	@echo "  curl -i -d 'hello' http://$(LISTEN)/push/greetings         # answers the parked poll"
	@echo "  curl -i http://$(LISTEN)/poll/greetings?wait=1             # nothing left: 204 after a second"
	@echo
	@exec $(TARGET)/release/linger serve $(COMPONENTS)/longpoll.wasm --listen $(LISTEN)

host: ## Build the host, target/release/linger
	@echo "==> building the host (the first time takes about five minutes)"
	@cargo build --release --locked --package linger

optimized: $(OPTIMIZED)/linger ## Build the host, a fifth faster, by how it runs under load: target/optimized/linger (20 minutes)

# With a target named, what runs only in the build is left alone. The second build is always made anew, for the counts are new.
define BUILD_OPTIMIZED
CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=$(abspath $(OPTIMIZED))/$(1) RUSTFLAGS="$(2)" \
    cargo build --release --locked --package linger --target $(shell rustc -vV | sed -n 's/^host: //p')
endef
SEEN := $(abspath $(OPTIMIZED))/seen
PROFDATA := $(shell rustc --print target-libdir)/../bin/llvm-profdata

$(OPTIMIZED)/linger: Cargo.lock Cargo.toml LICENSE host/Cargo.toml $(shell find host/src wit guest -type f) \
    | guests setup-profdata nats-server
	@rm -rf $(SEEN) $(OPTIMIZED)/final
	@echo "==> building a host that notes how it runs (the first time takes about ten minutes)"
	@$(call BUILD_OPTIMIZED,noting,-Cprofile-generate=$(SEEN))
	@echo "==> watching it under load"
	@MEASURED=$$(echo $(abspath $(OPTIMIZED))/noting/*/release/linger) \
	    cargo bench --profile release --locked --package linger --bench bench -- train
	@$(PROFDATA) merge --output=$(SEEN)/all.profdata $(SEEN)/*.profraw
	@echo "==> building the host by that (about ten minutes)"
	@$(call BUILD_OPTIMIZED,final,-Cprofile-use=$(SEEN)/all.profdata)
	@install $(OPTIMIZED)/final/*/release/linger $@

# Without building anything, for that may be root.
install: ## Install that host, once it is built, to PREFIX/bin, /usr/local unless set
	@[ -x $(OPTIMIZED)/linger ] || { echo "error: there is no host to install; run first: make optimized" >&2; exit 1; }
	@install -D --strip $(OPTIMIZED)/linger $(DESTDIR)$(PREFIX)/bin/linger

# A part of rustup's toolchains that is not there at first.
setup-profdata:
	@if [ ! -x $(PROFDATA) ]; then \
	    echo "==> adding llvm-tools, which read what a host has noted"; \
	    rustup component add llvm-tools || { \
	        echo "error: llvm-tools cannot be had; install rustup (https://rustup.rs) and run: rustup component add llvm-tools" >&2; \
	        exit 1; \
	    }; \
	fi

# Puts a file in its place in one step, and only if it is another: a server may be running from there, and tests beside it.
PUT = cmp --quiet $(1) $(2) || { install -m 644 $(1) $(2).$$$$ && mv $(2).$$$$ $(2); }

guests: setup-target ## Build every guest to target/components/NAME.wasm
	@echo "==> building the guests"
	@$(GUEST_CARGO) build --release --locked --target wasm32-wasip2 --manifest-path guest/Cargo.toml
	@mkdir -p $(COMPONENTS)
	@for file in $(GUEST_TARGET)/wasm32-wasip2/release/*.wasm; do \
	    name=$$(basename "$$file" .wasm); \
	    $(call PUT,"$$file","$(COMPONENTS)/$${name//_/-}.wasm"); \
	done

guests-other: $(OTHERS:%=$(COMPONENTS)/%.built) ## Build the examples in Python and JavaScript, and in C if wit-bindgen is there (needs python3 and npm)

build-python-longpoll = python3 build.py --wasi 0.2 && mv app.wasm python-longpoll-p2.wasm \
    && python3 build.py && mv app.wasm python-longpoll.wasm && python3 -m unittest --quiet
build-js-longpoll = npm run --silent build && mv app.wasm js-longpoll-p2.wasm && npm test --silent >/dev/null
build-js-hello = npm run --silent build && mv app.wasm js-hello.wasm
build-c-longpoll = $(MAKE) --silent && mv app.wasm c-longpoll-p2.wasm

# Again when a file of it has changed, the WIT package among them, or where the components have gone.
.SECONDEXPANSION:
$(COMPONENTS)/%.built: $$(shell find -L guest/examples/$$* -type f)
	@echo "==> building $*"
	@mkdir -p $(LANGUAGES)/$* $(COMPONENTS)
	@cp -RL guest/examples/$*/. $(LANGUAGES)/$*
	@cd $(LANGUAGES)/$* && { [ ! -e package.json ] || npm ci --no-audit --no-fund --loglevel=error; } && $(build-$*)
	@for file in $(LANGUAGES)/$*/*.wasm; do $(call PUT,"$$file","$(COMPONENTS)/$$(basename "$$file")"); done
	@touch $@

# With the tools of the examples, which have the same pins.
guests-bench: guests-other ## Build the greetings in Python and JavaScript that `make bench BENCH=languages` compares
	@echo "==> building the greetings"
	@componentize="$(LANGUAGES)/python-longpoll/.venv/bin/componentize-py --quiet --wit-path wit"; \
	$$componentize --world wasi:http/proxy@0.2.12 componentize --python-path bench/languages \
	    --output $(COMPONENTS)/python-hello-p2.wasm hello_p2; \
	$$componentize --world wasi:http/service@0.3.0 componentize --python-path bench/languages \
	    --output $(COMPONENTS)/python-hello.wasm hello_p3
	@$(LANGUAGES)/js-longpoll/node_modules/.bin/componentize-js bench/languages/hello.js --wit wit \
	    --world-name wasi:http/proxy@0.2.12 --out $(COMPONENTS)/js-hello-p2.wasm

# Without the paths of this machine, since the host has it in its binary.
middleware: setup-target ## Build guest/cancel anew into the host's sources, after a change
	@CARGO_TARGET_DIR=$(abspath $(TARGET))/middleware RUSTFLAGS="--remap-path-prefix=$(CURDIR)=/linger \
	    $$(for folder in $${CARGO_HOME:-$$HOME/.cargo}/registry/src/*; do echo --remap-path-prefix=$$folder=/crates; done)" \
	    cargo build --release --locked --target wasm32-wasip2 --manifest-path guest/Cargo.toml --package cancel
	@install -m 644 "$(TARGET)/middleware/wasm32-wasip2/release/cancel.wasm" host/crates/wasm/src/cancel.wasm

# rustup adds the target for the toolchain that rust builds with here.
setup-target:
	@sysroot=$$(rustc --print sysroot); \
	if [ ! -d "$$sysroot/lib/rustlib/wasm32-wasip2" ]; then \
	    echo "==> adding the Rust target wasm32-wasip2"; \
	    rustup target add wasm32-wasip2 || { \
	        echo "error: the Rust target wasm32-wasip2 cannot be had; install rustup (https://rustup.rs) and run: rustup target add wasm32-wasip2" >&2; \
	        exit 1; \
	    }; \
	fi

# $(call WANT,PROGRAM,PACKAGE,TESTS): Debian's packages need root. Tests say in one line that they are skipped where a program
# is missing.
define WANT
if ! PATH="$$PATH:/usr/sbin" command -v $(1) >/dev/null; then \
    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
        echo "==> installing $(2)"; \
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(2) >/dev/null 2>&1 \
            || { apt-get update >/dev/null 2>&1 && DEBIAN_FRONTEND=noninteractive \
                apt-get install --yes --no-install-recommends $(2) >/dev/null 2>&1; } || true; \
    fi; \
    PATH="$$PATH:/usr/sbin" command -v $(1) >/dev/null || echo "==> skipped: $(3) (install $(2))"; \
fi
endef

nats-server:
	@$(call WANT,nats-server,nats-server,the tests of events in NATS)

proxy-tools:
	@$(call WANT,haproxy,haproxy,the tests behind HAProxy)
	@$(call WANT,nginx,nginx-light,the tests behind nginx)
	@$(call WANT,varnishd,varnish,the tests behind Varnish)

test: guests nats-server proxy-tools ## Run all tests: host, guest SDK, and both together over real sockets
	@echo "==> testing the guest SDK and the examples"
	@$(GUEST_CARGO) test --locked --manifest-path guest/Cargo.toml \
	    --package linger-guest --package hello --package longpoll --package sse
	@echo "==> testing the host (the first time takes about five minutes to build)"
	@PATH="$$PATH:/usr/sbin" cargo test --release --locked --package linger
	@if command -v npm >/dev/null && python3 -c "import ensurepip, venv" 2>/dev/null; then $(MAKE) --no-print-directory test-languages; \
	    else echo "==> skipped: the examples in Python and JavaScript, which python3 with venv and npm are needed for"; fi
	@echo "==> testing what other systems than Linux get"
	@test=$$(cargo rustc --locked --package linger --lib --profile bench --message-format json-render-diagnostics \
	    -- --cfg linger_read_ahead | grep -o '"executable":"[^"]*"' | tail -1 | cut -d'"' -f4); \
	"$$test" --quiet net::

# What is tested with `longpoll` and `longpoll-p2`, with those that have the same contract in their place.
# They take long to compile, and tests wait for no server that long: so that is done before.
test-languages: guests guests-other ## Test the examples in Python and JavaScript as those in Rust are
	@cargo test --release --locked --package linger --test integration --no-run
	@for file in $(wildcard $(LANGUAGES)/*/*.wasm); do $(TARGET)/release/linger check "$$file" >/dev/null; done
	@echo "==> testing the examples in Python"
	@LINGER_LONGPOLL=python-longpoll LINGER_LONGPOLL_P2=python-longpoll-p2 $(CONTRACT)
	@echo "==> testing the examples in JavaScript"
	@LINGER_LONGPOLL_P2=js-longpoll-p2 $(CONTRACT) --skip ::p3
	@$(if $(WIT_BINDGEN),echo "==> testing the example in C" && LINGER_LONGPOLL_P2=c-longpoll-p2 $(CONTRACT) --skip ::p3)
	@cargo test --release --locked --package linger --test integration -- --ignored languages::

CONTRACT := cargo test --release --locked --package linger --test integration -- \
    longpoll:: topics:: disconnect:: shutdown::shutdown_answers conformance:: --skip suite_runs_on --skip tolerant_listener

peers: host guests ## Run the conformance suite on Linger and, where they are there, on Go and Node
	@tests/peers/run.sh $(TARGET)/release/linger $(COMPONENTS)/longpoll.wasm --rounds $(ROUNDS)

# `make foreign FOREIGN=--update` writes the list anew.
foreign: host guests ## Ask what checks of HTTP by others ask (gunicorn's requests, REDbot, httplint, httpwg, smugglex): no worse than listed
	@tests/foreign/run.sh $(abspath $(TARGET))/release/linger $(abspath $(COMPONENTS)) $(abspath $(TARGET))/foreign $(FOREIGN)

# As with nats-server: where a package cannot be had, what needs it says in one line that it is skipped.
define INSTALL_WITH_APT
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "==> installing $(1)"; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get install --yes --no-install-recommends $(1) >/dev/null 2>&1 \
        || { apt-get update >/dev/null 2>&1 && apt-get install --yes --no-install-recommends $(1) >/dev/null 2>&1; } || true; \
fi
endef

proxies: guests proxy-tools ## Behind nginx and HAProxy: 10,000 posts with bodies that nobody reads, and 200 events confirmed: none fails, none comes again
	@echo "==> behind proxies (some minutes)"
	@PATH="$$PATH:/usr/sbin" cargo test --release --locked --package linger --test integration -- --ignored --nocapture proxies::

client-tools:
	@if ! command -v ruby >/dev/null || ! command -v wget >/dev/null || ! perl -MLWP::Protocol::https -e 1 2>/dev/null \
	    || ! echo 'puts [package require tls]' | tclsh 2>/dev/null | grep -q .; then \
	    $(call INSTALL_WITH_APT,wget ruby perl liblwp-protocol-https-perl libio-socket-ssl-perl tcl tcl-tls python3-venv); \
	fi
	@[ -x $(TARGET)/clients/bin/python ] || { python3 -m venv $(TARGET)/clients \
	    && $(TARGET)/clients/bin/pip install --quiet requests==2.34.2; } || true

clients: guests client-tools ## Seven clients over TLS read their answer, and close: none comes again (urllib, wget, Ruby, LWP, HTTP::Tiny, requests, Tcl)
	@echo "==> clients that read by length, and close"
	@CLIENTS_PYTHON=$(abspath $(TARGET))/clients/bin/python cargo test --release --locked --package linger --test integration \
	    -- --ignored --nocapture clients::

api: host guests ## Ask the admin API at random all that its description allows (schemathesis, from PyPI): no 500
	@tests/api/run.sh $(abspath $(TARGET))/release/linger $(COMPONENTS)/longpoll.wasm $(abspath $(TARGET))/schemathesis

compatibility: host guests ## Serve components that others made, and write docs/compatibility.md (builds and fetches some)
	@echo "==> trying components that others made"
	@tests/compat/run.py $(abspath $(TARGET))/release/linger

soak: guests ## Let 20,000 clients leave in random ways for minutes: nothing is lost, and nothing is left over
	@echo "==> soaking (four minutes)"
	@cargo test --release --locked --package linger --test integration -- --ignored --nocapture soak::

nats-soak: guests nats-server ## Three hosts on three NATS servers, 5,000 polls, 50,000 events; one of each is killed: nothing is lost
	@echo "==> soaking (some minutes)"
	@cargo test --release --locked --package linger --test integration -- --ignored --nocapture nats_soak::

hostile: guests ## Full load with requests whose guests trap, loop, allocate and recurse, ten minutes: memory stays flat
	@echo "==> hostile requests (ten minutes)"
	@cargo test --release --locked --package linger --test integration -- --ignored --nocapture hostile::

swaps: guests ## Swap an app's component 200 times under load, with 2,000 parked polls: no request fails, no event is lost
	@echo "==> swapping (four minutes)"
	@cargo test --release --locked --package linger --test integration -- --ignored --nocapture swap::

chaos: guests ## Poll, push and leave at random moments, 5,000 rounds of each case: nothing is lost (LINGER_SEED repeats one)
	@echo "==> chaos (some minutes)"
	@LINGER_ROUNDS=$(CHAOS_ROUNDS) cargo test --release --locked --package linger --test integration -- --nocapture chaos::

# Our own code counts which way an input takes; what it is built on is the host's, so that this takes a minute or two.
FUZZ_TARGETS := $(patsubst fuzz/seeds/%,%,$(wildcard fuzz/seeds/*))
FUZZ_EACH := $(shell echo $$(( $(FUZZ_SECONDS) / $(words $(FUZZ_TARGETS)) )))

fuzz: guests ## Feed each parser, and a connection, arbitrary bytes: FUZZ_SECONDS in all, 600 unless set (needs a C++ compiler)
	@echo "==> building the fuzz targets"
	@RUSTC_WORKSPACE_WRAPPER=$(abspath fuzz/rustc) cargo build --release --locked --package linger-fuzz --features run
	@for name in $(FUZZ_TARGETS); do \
	    echo "==> fuzzing $$name for $(FUZZ_EACH) s"; \
	    mkdir -p fuzz/corpus/$$name fuzz/artifacts; \
	    $(TARGET)/release/fuzz-$$name fuzz/corpus/$$name fuzz/seeds/$$name -artifact_prefix=fuzz/artifacts/$$name- \
	        -max_total_time=$(FUZZ_EACH) -timeout=30 -max_len=8192 -print_final_stats=1 2>&1 \
	        | grep -vE '^(#[0-9]|INFO|\s*NEW_FUNC)'; \
	done

$(TARGET)/release/linger: host

bench: guests $(MEASURED) ## Measure the stores, departures, and all beside other servers: docs/benchmarks.md (twenty minutes after `make optimized`; a quiet machine)
	@echo "==> measuring $(MEASURED)"
	@MEASURED=$(abspath $(MEASURED)) cargo bench --profile release --locked --package linger --bench bench -- $(BENCH)

lint: setup-target ## Check formatting, clippy, and the dependencies' licenses
	@echo "==> checking the format"
	@cargo fmt --all --check
	@cargo fmt --all --check --manifest-path guest/Cargo.toml
	@echo "==> clippy"
	@cargo clippy --release --locked --workspace --all-targets -- --deny warnings
	@$(GUEST_CARGO) clippy --release --locked --target wasm32-wasip2 --manifest-path guest/Cargo.toml -- --deny warnings
	@if command -v cargo-deny >/dev/null; then $(MAKE) --no-print-directory deny; \
	    else echo "==> skipped: dependencies' licenses (make deny installs cargo-deny and checks them)"; fi

# Advisories are left to a scheduled job: a new one should not break an old commit.
deny: ## Check the dependencies' licenses and sources (installs cargo-deny)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	@echo "==> checking the dependencies' licenses and sources"
	@cargo deny check bans licenses sources
	@cargo deny --manifest-path guest/Cargo.toml check bans licenses sources

deb: $(OPTIMIZED)/linger ## Build a Debian package in target/debian (installs cargo-deb)
	@command -v cargo-deb >/dev/null || cargo install --locked cargo-deb
	@echo "==> packaging"
	@rm -rf $(PACKAGE) && mkdir -p $(PACKAGE)
	@install --strip $(OPTIMIZED)/linger $(PACKAGE)
	@$(OPTIMIZED)/linger man $(PACKAGE)/man
	@for shell in bash zsh fish; do $(OPTIMIZED)/linger completions $$shell >$(PACKAGE)/linger.$$shell; done
	@cargo deb --package linger --locked --no-build

format: ## Format all code
	@cargo fmt --all
	@cargo fmt --all --manifest-path guest/Cargo.toml

clean: ## Remove all that was built
	@rm -rf target "$(GUEST_TARGET)"
	@cargo clean
