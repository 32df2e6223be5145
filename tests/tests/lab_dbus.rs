//! A client that is not ours links and uses two devices over D-Bus: on the session bus, and on the private socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use kinlink_tests::harness::{Host, kinlinkd};
use lab::Beside;

/// The steps that `client.py` tells of.
const STEPS: usize = 10;

/// A session bus of its own at `socket`, which serves when this returns.
fn session_bus(socket: &Path) -> Beside {
    let mut command = Command::new("dbus-daemon");
    command.args(["--session", "--nofork", "--nopidfile", "--print-address=1"]);
    command.arg(format!("--address=unix:path={}", socket.display()));
    let mut bus = Beside::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut address = String::new();
    BufReader::new(bus.0.stdout.take().unwrap()).read_line(&mut address).unwrap();
    assert!(address.starts_with("unix:path="), "the bus did not start: {address}");
    bus
}

/// A device whose daemon serves the session bus at `socket` too.
fn on_session_bus(name: &str, socket: &Path) -> Host {
    let host = Host::stopped(name);
    let address = format!("unix:path={}", socket.display());
    let (state, runtime) = (host.state(), host.runtime());
    let mut command = kinlinkd(&[
        ("KINLINK_STATE_DIR", &state),
        ("KINLINK_RUNTIME_DIR", &runtime),
        ("HOME", state.parent().unwrap()),
        ("DBUS_SESSION_BUS_ADDRESS", Path::new(&address)),
    ]);
    host.start_with({
        command.args(["--name", name]);
        command
    });
    host
}

fn told_all(told: &str) {
    assert_eq!(told.lines().filter(|line| line.starts_with("ok: ")).count(), STEPS, "{told}");
}

/// Two devices, each with a daemon on a session bus of its own, for a script of `tests/lab`.
fn on_two_buses(script: &str, kind: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let _buses = [session_bus(&a), session_bus(&b)];
    let _hosts = [on_session_bus("anna", &a), on_session_bus("bert", &b)];
    lab::succeed(&mut lab::script(script, &[kind, a.to_str().unwrap(), b.to_str().unwrap()]))
}

/// Every method, property and signal of `proto/dbus/*.xml`, with one client; the script names what was not used.
fn covers(tool: &str, program: &str) {
    if lab::have(&["dbus-daemon", lab::PYTHON, program]) {
        let told = on_two_buses("coverage.py", tool);
        assert!(told.contains(&format!("ok: {tool} used ")), "{told}");
    }
}

#[test]
fn jeepney_uses_every_member_of_the_contract() {
    covers("jeepney", lab::PYTHON);
}

#[test]
fn busctl_uses_every_member_of_the_contract() {
    covers("busctl", "busctl");
}

#[test]
fn gdbus_uses_every_member_of_the_contract() {
    covers("gdbus", "gdbus");
}

/// What `agents.py` tells of.
fn agents_asked(told: &str) {
    assert_eq!(told.lines().filter(|line| line.starts_with("ok: ")).count(), 4, "{told}");
}

#[test]
fn agents_are_asked_about_their_own_pairings_on_session_buses() {
    if lab::have(&["dbus-daemon", lab::PYTHON]) {
        agents_asked(&on_two_buses("agents.py", "bus"));
    }
}

#[test]
fn agents_are_asked_about_their_own_pairings_on_private_sockets() {
    if lab::have(&[lab::PYTHON]) {
        let (anna, bert) = (Host::new("anna"), Host::new("bert"));
        let (a, b) = (anna.socket(), bert.socket());
        let sockets = ["peer", a.to_str().unwrap(), b.to_str().unwrap()];
        agents_asked(&lab::succeed(&mut lab::script("agents.py", &sockets)));
    }
}

#[test]
fn a_foreign_client_links_two_devices_on_their_session_buses() {
    if !lab::have(&["dbus-daemon", lab::PYTHON]) {
        return;
    }
    told_all(&on_two_buses("client.py", "bus"));
}

#[test]
fn a_foreign_client_links_two_devices_on_their_private_sockets() {
    if !lab::have(&[lab::PYTHON]) {
        return;
    }
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    let (a, b) = (anna.socket(), bert.socket());
    let sockets = ["peer", a.to_str().unwrap(), b.to_str().unwrap()];
    told_all(&lab::succeed(&mut lab::script("client.py", &sockets)));
}
