//! A real keyring on the session bus of a host.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::{Host, eventually};

/// A `gnome-keyring-daemon` that ends with this; what it keeps stays in the home of its host.
#[derive(Debug)]
pub struct Keyring {
    child: Child,
    address: String,
}

impl Keyring {
    /// Starts one that is open: made at the first time.
    #[must_use]
    pub fn open(host: &Host) -> Self {
        Self::start(host, Some("a password of the login"))
    }

    /// Starts one that is locked.
    #[must_use]
    pub fn locked(host: &Host) -> Self {
        Self::start(host, None)
    }

    /// # Panics
    /// If there is no `gnome-keyring-daemon`, or it does not come.
    fn start(host: &Host, password: Option<&str>) -> Self {
        let address = host.session_bus().expect("it needs a session bus").to_owned();
        let mut command = Command::new("gnome-keyring-daemon");
        command
            .args(["--foreground", "--components=secrets", "--control-directory"])
            .arg(host.runtime().join("keyring"));
        command.args(password.map(|_| "--unlock"));
        command.env_clear().env("HOME", host.home()).env("XDG_RUNTIME_DIR", host.runtime());
        command.env("DBUS_SESSION_BUS_ADDRESS", &address);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("gnome-keyring-daemon cannot be started; run: tests/setup");
        let mut input = child.stdin.take().unwrap();
        // Without --unlock it reads nothing.
        input.write_all(password.unwrap_or_default().as_bytes()).unwrap();
        drop(input);
        let keyring = Self { child, address };
        let owned = ["NameHasOwner", "org.freedesktop.secrets"];
        eventually("a keyring", || {
            keyring.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus", &owned).contains("true").then_some(())
        });
        keyring
    }

    /// Locks it.
    pub fn lock(&self) {
        let all = "[objectpath '/org/freedesktop/secrets/collection/login']";
        let said = self.call(
            "org.freedesktop.secrets",
            "/org/freedesktop/secrets",
            "org.freedesktop.Secret.Service",
            &["Lock", all],
        );
        assert!(said.contains("login"), "{said}");
    }

    /// How many keys of Kinlink's it has, and how many of these are locked.
    #[must_use]
    pub fn items(&self) -> (usize, usize) {
        let schema = "{'xdg:schema': 'org.kinlink.StoreKey'}";
        let search = ["SearchItems", schema];
        let said =
            self.call("org.freedesktop.secrets", "/org/freedesktop/secrets", "org.freedesktop.Secret.Service", &search);
        let (open, locked) = said.split_once("],").unwrap_or((&said, ""));
        let count = |text: &str| text.matches("/collection/").count();
        (count(open) + count(locked), count(locked))
    }

    fn call(&self, name: &str, path: &str, interface: &str, call: &[&str]) -> String {
        let mut command = Command::new("gdbus");
        command.args(["call", "--address", &self.address, "--dest", name, "--object-path", path, "--method"]);
        command.arg(format!("{interface}.{}", call[0])).args(&call[1..]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
