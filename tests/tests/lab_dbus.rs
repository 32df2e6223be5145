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

fn client(kind: &str, anna: &Path, bert: &Path) {
    let told = lab::succeed(&mut lab::script("client.py", &[kind, anna.to_str().unwrap(), bert.to_str().unwrap()]));
    assert_eq!(told.lines().filter(|line| line.starts_with("ok: ")).count(), STEPS, "{told}");
}

#[test]
fn a_foreign_client_links_two_devices_on_their_session_buses() {
    if !lab::have(&["dbus-daemon", lab::PYTHON]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let _buses = [session_bus(&a), session_bus(&b)];
    let _hosts = [on_session_bus("anna", &a), on_session_bus("bert", &b)];
    client("bus", &a, &b);
}

#[test]
fn a_foreign_client_links_two_devices_on_their_private_sockets() {
    if !lab::have(&[lab::PYTHON]) {
        return;
    }
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    client("peer", &anna.socket(), &bert.socket());
}
