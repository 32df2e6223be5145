//! A VPN between two hosts: a point-to-point interface on each, and what passes between them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::netns::Namespace;

/// What opens the interfaces. Its input is held open: it ends with whoever started it.
const RELAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lab/tunnel.py");

/// A tunnel, until it is dropped; its interfaces go with it.
#[derive(Debug)]
pub struct Tunnel(Child);

impl Tunnel {
    /// Lays one between two namespaces, as `interface` in each, which is up and has no address.
    ///
    /// # Panics
    /// If there is no `/dev/net/tun`.
    pub(super) fn start(a: &Namespace, b: &Namespace, interface: &str) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.args([RELAY, interface, a.name(), b.name()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 is missing; run: tests/setup");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "laid\n", "the tunnel was not laid");
        for space in [a, b] {
            space.ip(&format!("link set {interface} up"));
        }
        Self(child)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
