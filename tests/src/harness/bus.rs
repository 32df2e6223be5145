//! A session bus of a test's own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A `dbus-daemon` that ends with this.
#[derive(Debug)]
pub struct SessionBus {
    child: Child,
    address: String,
}

impl SessionBus {
    /// Starts one.
    ///
    /// # Panics
    /// If there is no `dbus-daemon`.
    #[must_use]
    pub fn start() -> Self {
        Self::spawn(&[], None)
    }

    /// Starts one whose socket is `path`: the same from every network namespace.
    ///
    /// # Panics
    /// If there is no `dbus-daemon`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self::spawn(&[&format!("--address=unix:path={}", path.display())], path.parent())
    }

    /// Whatever it starts by itself lives in `home`.
    fn spawn(args: &[&str], home: Option<&Path>) -> Self {
        let mut command = Command::new("dbus-daemon");
        if let Some(home) = home {
            command.env("HOME", home).env("XDG_RUNTIME_DIR", home);
        }
        command.args(["--session", "--nofork", "--nosyslog", "--print-address=1"]).args(args).stdout(Stdio::piped());
        let mut child = command.spawn().expect("dbus-daemon cannot be started; run: tests/setup");
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned() }
    }

    /// Where it is, as in `DBUS_SESSION_BUS_ADDRESS`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for SessionBus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
