# Kinlink. `make` builds; `make demo` shows the main job; `make test` runs every test.

CARGO ?= cargo
SEEDS ?= 500
SEED ?=
# What `bench` measures: all rows, or those named; how many entries the large ones have.
ROWS ?=
ENTRIES ?= 100000
PREFIX ?= /usr/local
DESTDIR ?=
# Where `install` takes the programs from.
BUILT ?= target/release

.PHONY: all build install uninstall demo test bench bench-idle sim planted fuzz setup docs lint fmt

all: build

build:
	$(CARGO) build --release -p kinlink-daemon -p kinlink-ctl

# After `make build`: programs, user units, D-Bus activation, man pages and completions. PREFIX=$$HOME/.local needs no root.
install:
	@test -x $(BUILT)/kinlinkd -a -x $(BUILT)/kinctl || { echo "first: make build" >&2; exit 1; }
	install -d $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(SYSTEM_DIR) $(addprefix $(DESTDIR)$(PREFIX)/,bin $(DIRS:%=share/%))
	install $(BUILT)/kinlinkd $(BUILT)/kinctl $(DESTDIR)$(PREFIX)/bin
	install $(BUILT)/kinlink-callers $(DESTDIR)$(LIBEXECDIR)
	for unit in $(UNITS); do $(PLACED) systemd/$$unit >$(SHARE)/systemd/user/$$unit || exit 1; done
	$(PLACED) systemd/$(SYSTEM_UNIT) >$(DESTDIR)$(SYSTEM_DIR)/$(SYSTEM_UNIT)
	$(PLACED) systemd/$(ACTIVATION) >$(SHARE)/dbus-1/services/$(ACTIVATION)
	chmod 644 $(UNITS:%=$(SHARE)/systemd/user/%) $(DESTDIR)$(SYSTEM_DIR)/$(SYSTEM_UNIT) $(SHARE)/dbus-1/services/$(ACTIVATION)
	install -m 644 proto/dbus/*.xml $(SHARE)/dbus-1/interfaces
	$(BUILT)/kinlinkd --man >$(SHARE)/man/man8/kinlinkd.8
	$(BUILT)/kinctl man $(SHARE)/man/man1
	$(BUILT)/kinctl completions bash >$(SHARE)/bash-completion/completions/kinctl
	$(BUILT)/kinctl completions zsh >$(SHARE)/zsh/site-functions/_kinctl
	$(BUILT)/kinctl completions fish >$(SHARE)/fish/vendor_completions.d/kinctl.fish

# Takes away what `install` with the same PREFIX brought; nobody's state. Stop the daemon first: systemctl --user disable --now kinlinkd
uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,kinlinkd kinctl) $(DESTDIR)$(LIBEXECDIR)/kinlink-callers
	rm -f $(UNITS:%=$(SHARE)/systemd/user/%) $(DESTDIR)$(SYSTEM_DIR)/$(SYSTEM_UNIT) $(SHARE)/dbus-1/services/$(ACTIVATION)
	rm -f $(patsubst proto/dbus/%,$(SHARE)/dbus-1/interfaces/%,$(wildcard proto/dbus/*.xml))
	rm -f $(SHARE)/man/man8/kinlinkd.8 $(SHARE)/man/man1/kinctl.1 $(SHARE)/man/man1/kinctl-*.1
	rm -f $(SHARE)/bash-completion/completions/kinctl $(SHARE)/zsh/site-functions/_kinctl
	rm -f $(SHARE)/fish/vendor_completions.d/kinctl.fish

SHARE = $(DESTDIR)$(PREFIX)/share
LIBEXECDIR ?= $(PREFIX)/libexec
UNITS = kinlinkd.service kinlinkd.socket kinlinkd-callers.service kinlinkd-callers.socket
SYSTEM_UNIT = kinlinkd@.service
SYSTEM_DIR ?= $(PREFIX)/lib/systemd/system
ACTIVATION = org.kinlink.Kinlink1.service
PLACED = sed -e 's,/usr/local/libexec/,$(LIBEXECDIR)/,' -e 's,/usr/local/bin/,$(PREFIX)/bin/,'
DIRS = systemd/user dbus-1/services dbus-1/interfaces man/man1 man/man8 bash-completion/completions zsh/site-functions \
	fish/vendor_completions.d

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

# Kinlink beside the least that the work can take: docs/PERFORMANCE.md.
bench:
	$(CARGO) build --release -p kinlink-daemon -p kinlink-ctl
	$(CARGO) bench -p kinlink-tests --bench bench -- --entries $(ENTRIES) --json $(CURDIR)/target/bench.json $(ROWS)

# A daemon that has nothing to do, watched for two minutes. As root also what it puts on the wire.
bench-idle:
	$(CARGO) build --release -p kinlink-daemon -p kinlink-ctl
	$(CARGO) bench -p kinlink-tests --bench bench -- --watch 120 --json $(CURDIR)/target/bench-idle.json idle

# Seeded simulations of the engine that ships: `make sim SEEDS=2000`, or `make sim SEED=57` to replay one.
sim:
	$(CARGO) build -p kinlink-tests --bin sim
	target/debug/sim --seeds $(SEEDS) $(if $(SEED),--seed $(SEED))

# Bugs planted in copies of the protocol, each of which the simulator has to find: `make planted BUGS="any_code_links"`.
planted:
	CARGO="$(CARGO)" tests/planted/run $(BUGS)

# Every decoder of what others send, and sequences of what an engine is told, fuzzed from tests/fuzz/corpus.
fuzz:
	CARGO="$(CARGO)" tests/fuzz/run $(TARGETS)

# The reference of the D-Bus interfaces, from proto/dbus/*.xml.
docs:
	python3 docs/dbus/generate

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fmt:
	$(CARGO) fmt --all
