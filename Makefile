# Kinlink. `make` builds; `make demo` shows the main job; `make test` runs every test.

CARGO ?= cargo
SEEDS ?= 500
SEED ?=

.PHONY: all build demo test sim setup lint fmt

all: build

build:
	$(CARGO) build --release -p kinlink-daemon -p kinlink-ctl

# Two real daemons with throwaway homes; needs neither root nor a message bus.
demo:
	$(CARGO) build -p kinlink-daemon -p kinlink-ctl -p kinlink-tests --bins
	target/debug/demo

# What the tests need beyond a Rust toolchain: Debian packages, and Python packages in a directory of their own.
setup:
	tests/setup

test: setup
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --no-fail-fast -- --test-threads=2

# Seeded simulations of the engine that ships: `make sim SEEDS=2000`, or `make sim SEED=57` to replay one.
sim:
	$(CARGO) build -p kinlink-tests --bin sim
	target/debug/sim --seeds $(SEEDS) $(if $(SEED),--seed $(SEED))

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fmt:
	$(CARGO) fmt --all
