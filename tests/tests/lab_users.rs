//! Two users of one machine, each with a daemon: neither meets the other's buses, names or files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kinlink_tests::harness::{NO_DISCOVERY, eventually, program};
use lab::Beside;
use tempfile::TempDir;

const NAME: &str = "org.kinlink.Kinlink1";
/// `list` and `backup`: accounts that each Debian has and that run nothing. A bus serves nobody without one.
const UIDS: [u32; 2] = [38, 34];

/// A place that both users can enter, with programs that both can run.
struct Machine {
    dir: TempDir,
}

/// One of [`UIDS`].
struct User {
    uid: u32,
    home: PathBuf,
    bin: PathBuf,
    bus: Option<Beside>,
    daemon: Option<Beside>,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["kinlinkd", "kinctl"] {
            fs::copy(program(name), dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    /// A user with a session bus that everybody can reach, and a daemon that serves.
    fn user(&self, uid: u32) -> User {
        let home = self.dir.path().join(uid.to_string());
        for dir in [home.clone(), home.join("run")] {
            fs::create_dir(&dir).unwrap();
            fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
            chown(&dir, Some(uid), Some(uid)).unwrap();
        }
        let mut user = User { uid, home, bin: self.dir.path().to_owned(), bus: None, daemon: None };
        // Where anybody can reach it: it is the bus that has to refuse others.
        let open = self.dir.path().join(format!("bus-{uid}"));
        fs::create_dir(&open).unwrap();
        chown(&open, Some(uid), Some(uid)).unwrap();
        let mut bus = user.runs("dbus-daemon", &["--session", "--nofork", "--nopidfile"]);
        user.bus = Some(Beside::start(bus.arg(format!("--address={}", user.address())).stderr(Stdio::null())));
        eventually("the bus serves", || UnixStream::connect(open.join("bus")).ok());
        user.daemon = Some(Beside::start(user.kinlinkd().args(["--name", &uid.to_string()]).stderr(Stdio::null())));
        eventually("the daemon serves", || user.status().status.success().then_some(()));
        user
    }
}

impl User {
    /// A program that runs as this user, in its environment.
    fn runs(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &self.uid.to_string(), "--regid", &self.uid.to_string(), "--clear-groups", program]);
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.home).env("XDG_RUNTIME_DIR", self.home.join("run")).env(NO_DISCOVERY, "1");
        command.env("DBUS_SESSION_BUS_ADDRESS", self.address()).stdin(Stdio::null());
        command
    }

    fn kinlinkd(&self) -> Command {
        self.runs(self.bin.join("kinlinkd").to_str().unwrap(), &[])
    }

    fn kinctl(&self, args: &[&str]) -> Output {
        self.runs(self.bin.join("kinctl").to_str().unwrap(), args).output().unwrap()
    }

    fn status(&self) -> Output {
        self.kinctl(&["--json", "status"])
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.home.with_file_name(format!("bus-{}", self.uid)).join("bus").display())
    }

    fn socket(&self) -> PathBuf {
        self.home.join("run/kinlink/bus")
    }

    /// Whose process has the name on the bus that this user sees.
    fn holder(&self) -> u32 {
        let address = format!("--address={}", self.address());
        let who = ["org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetConnectionUnixProcessID", "s", NAME];
        let told = lab::succeed(&mut self.runs("busctl", &[&[address.as_str(), "call"], &who[..]].concat()));
        told.trim().strip_prefix("u ").unwrap().parse().unwrap()
    }

    fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().0.id()
    }
}

fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} succeeds: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `busctl`, asking the daemon at `address` for what it tells every app.
fn ask(command: &mut Command, address: &str) -> String {
    let get = ["get-property", NAME, "/org/kinlink/Kinlink1", "org.kinlink.Kinlink1.Manager", "State"];
    fails(command.arg(format!("--address={address}")).args(get))
}

#[test]
fn two_users_of_one_machine_do_not_meet() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: only root can be two users");
        return;
    }
    if !lab::have(&["dbus-daemon", "busctl", "setpriv"]) {
        return;
    }
    let machine = Machine::new();
    let [uid, other] = UIDS;
    let (alice, bob) = (machine.user(uid), machine.user(other));

    // Each has its own.
    let (of_alice, of_bob) = (alice.status().stdout, bob.status().stdout);
    assert_ne!(of_alice, of_bob);
    assert_eq!((alice.holder(), bob.holder()), (alice.pid(), bob.pid()));

    // The other's bus and socket are closed, whatever stands in their names' way.
    ask(&mut bob.runs("busctl", &[]), &alice.address());
    ask(&mut bob.runs("busctl", &[]), &format!("unix:path={}", alice.socket().display()));
    let refused = bob.kinctl(&["--socket", alice.socket().to_str().unwrap(), "list"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    // Directories keep root out of nothing; the daemon itself does.
    ask(&mut Command::new("busctl"), &format!("unix:path={}", alice.socket().display()));

    // A state directory of another user's is refused, closed or open.
    let state = alice.home.join(".local/state/kinlink");
    refuses(&bob, &state);
    for dir in [&alice.home, &alice.home.join(".local"), &alice.home.join(".local/state"), &state] {
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    }
    let said = refuses(&bob, &state);
    assert!(said.contains(&format!("belongs to user {uid}")), "{said}");
    assert_eq!(alice.status().stdout, of_alice, "the other's daemon goes on");
}

/// A second daemon of `user` does not start over `state`.
fn refuses(user: &User, state: &Path) -> String {
    let run = user.home.join("run/other");
    let args = ["--state-dir", state.to_str().unwrap(), "--runtime-dir", run.to_str().unwrap(), "--no-session-bus"];
    fails(user.kinlinkd().args(args))
}
