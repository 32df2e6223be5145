//! kinctl on a real session bus, where the private socket is not at hand. Needs `dbus-daemon`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use support::{CODE, Stand};

/// A session bus of this test's own.
struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    fn start() -> Self {
        let mut command = Command::new("dbus-daemon");
        command.args(["--session", "--nofork", "--print-address=1", "--address=unix:tmpdir=/tmp"]);
        let mut daemon = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("dbus-daemon (Debian: dbus-daemon) is needed: {error}"));
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { daemon, address: address.trim().to_owned() }
    }

    fn kinctl(&self, stand: &Stand, args: &[&str]) -> Command {
        let mut command = stand.command(args);
        command.env_remove("KINLINK_SOCKET").env("XDG_RUNTIME_DIR", "/nonexistent");
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        command
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to end.
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}

/// The stand-in's name is not activatable there, as that of a daemon started by hand is not.
#[test]
fn a_daemon_started_by_hand_is_found() {
    let bus = Bus::start();
    let stand = Stand::start_on_bus(&bus.address);
    let output = bus.kinctl(&stand, &["list"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("* laptop"));
}

#[test]
fn a_pairing_is_followed_over_the_bus() {
    let bus = Bus::start();
    let stand = Stand::start_on_bus(&bus.address);
    let mut link = support::Driven::spawn(bus.kinctl(&stand, &["link", "--json"]));
    link.event("open");
    link.event("peer");
    link.line(CODE);
    link.event("linked");
    assert_eq!(link.finish().0, Some(0));
}

#[test]
fn a_daemon_that_leaves_the_bus_ends_the_wait() {
    let bus = Bus::start();
    let stand = Stand::start_on_bus(&bus.address);
    let mut link = support::Driven::spawn(bus.kinctl(&stand, &["link", "--json", "--name", "quiet"]));
    link.event("open");
    // By the end of another command this one has read the pairing's state, and only waits.
    assert!(bus.kinctl(&stand, &["list"]).output().unwrap().status.success());
    drop(stand);
    assert_eq!(link.finish().0, Some(3));
}

#[test]
fn without_a_daemon_the_bus_is_named_among_what_was_tried() {
    let bus = Bus::start();
    let stand = Stand::start();
    let output = bus.kinctl(&stand, &["list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("the session bus (nobody has its name there)"), "{text}");
}
