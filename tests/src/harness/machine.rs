//! A whole machine: systemd as process 1, logind, users with their own managers and buses, and what `make install` brings.
//!
//! `systemd-nspawn` boots it on an overlay of this machine's own root, so it costs no download and about a second. What is
//! installed here and would run there is masked. Needs root.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::container::{Mounted, Running, succeed};
use super::{Ctl, Done, eventually};

/// Services that may be installed here, and have no place in a machine for tests.
const MASKED: [&str; 17] = [
    "avahi-daemon.service",
    "avahi-daemon.socket",
    "containerd.service",
    "docker.service",
    "docker.socket",
    "e2scrub_reap.service",
    "etcd.service",
    "getty.target",
    "man-db.timer",
    "nats-server.service",
    "nginx.service",
    "postgresql.service",
    "redis-server.service",
    "console-getty.service",
    "systemd-timesyncd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
];

/// What `make install` made of the programs beside this test, in a file system of its own.
#[derive(Debug)]
pub struct Installed {
    tree: Mounted,
}

/// A booted machine. Dropping it powers it off and takes everything away.
#[derive(Debug)]
pub struct Machine {
    name: String,
    // In this order: the machine ends, then its file systems.
    running: Running,
    _root: Mounted,
    _layers: Mounted,
    _installed: Arc<Installed>,
}

/// A user of a machine.
#[derive(Clone, Copy, Debug)]
pub struct User<'m> {
    machine: &'m Machine,
    name: &'static str,
    id: u32,
}

impl Installed {
    /// Installs into a throwaway tree, below `/usr/local`.
    ///
    /// # Panics
    /// If it cannot be installed.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let tree = Mounted::tmpfs("kinlink-installed-");
        let built = super::program("kinlinkd");
        let mut make = Command::new("make");
        make.arg("-C").arg(top()).arg("install").arg(format!("DESTDIR={}", tree.path().display()));
        make.arg(format!("BUILT={}", built.parent().unwrap().display()));
        succeed(&mut make);
        Arc::new(Self { tree })
    }
}

impl Machine {
    /// Whether a test may boot one: as root, it must, with what `tests/setup` installs. Otherwise it is skipped on a
    /// developer's machine, and fails in CI.
    ///
    /// # Panics
    /// In CI without root, and as root without the programs.
    #[must_use]
    pub fn possible() -> bool {
        let root = rustix::process::getuid().is_root();
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(root || !ci, "only root can boot a machine");
        if !root {
            eprintln!("skipped: only root can boot a machine");
            return false;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        for tool in ["systemd-nspawn", "nsenter", "setpriv", "make", "mount", "bwrap"] {
            assert!(
                std::env::split_paths(&path).any(|dir| dir.join(tool).exists()),
                "{tool} is missing; run: tests/setup"
            );
        }
        true
    }

    /// Boots a machine called `name`, cut off from every network.
    #[must_use]
    pub fn boot(name: &str, installed: &Arc<Installed>) -> Self {
        Self::start(name, installed, "--private-network")
    }

    /// Boots a machine called `name` in the network namespace `netns`.
    #[must_use]
    pub fn boot_in(netns: &str, name: &str, installed: &Arc<Installed>) -> Self {
        Self::start(name, installed, &format!("--network-namespace-path=/run/netns/{netns}"))
    }

    fn start(name: &str, installed: &Arc<Installed>, network: &str) -> Self {
        let layers = Mounted::tmpfs("kinlink-layers-");
        let root = Mounted::overlay(installed.tree.path(), layers.path());
        let system = root.path().join("etc/systemd/system");
        for unit in MASKED {
            fs::remove_file(system.join(unit)).ok();
            std::os::unix::fs::symlink("/dev/null", system.join(unit)).unwrap();
        }
        fs::write(root.path().join("etc/hostname"), format!("{name}\n")).unwrap();
        let running = Running::start(name, root.path(), network, &layers.path().join("console"));
        Self { name: name.to_owned(), running, _root: root, _layers: layers, _installed: installed.clone() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `program` with `args`, as root inside.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.running.leader.to_string(), "-a", "env", "-i"]);
        command.args(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]);
        command.arg(program).args(args).stdin(Stdio::null());
        command
    }

    /// Runs `script` in a shell as root inside, to its end; what it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn sh(&self, script: &str) -> String {
        succeed(&mut self.command("sh", &["-euc", script]))
    }

    /// Writes a file inside; its directory is made.
    pub fn write(&self, path: &str, content: &str) {
        self.sh(&format!("mkdir -p \"$(dirname {path})\"; cat >{path} <<'END'\n{content}\nEND\n"));
    }

    /// A new user, with a manager that runs from boot on.
    pub fn user(&self, name: &'static str) -> User<'_> {
        self.sh(&format!("useradd -m -s /bin/bash {name}; loginctl enable-linger {name}"));
        let id = self.sh(&format!("id -u {name}")).trim().parse().unwrap();
        eventually(&format!("{name}'s manager runs"), || {
            let test = self.command("test", &["-S", &format!("/run/user/{id}/bus")]).status().unwrap();
            test.success().then_some(())
        });
        User { machine: self, name, id }
    }
}

impl User<'_> {
    /// Their id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        self.machine
    }

    /// `program` with `args`, with the environment of a login.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let run = format!("/run/user/{}", self.id);
        let login = [
            &format!("--reuid={}", self.name),
            &format!("--regid={}", self.name),
            "--init-groups",
            "--",
            "env",
            &format!("HOME=/home/{}", self.name),
            &format!("USER={}", self.name),
            &format!("XDG_RUNTIME_DIR={run}"),
            &format!("DBUS_SESSION_BUS_ADDRESS=unix:path={run}/bus"),
            program,
        ];
        self.machine.command("setpriv", &[&login[..], args].concat())
    }

    /// Runs `script` in a shell, to its end; what it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn sh(&self, script: &str) -> String {
        succeed(&mut self.command("sh", &["-euc", &format!("cd; {script}")]))
    }

    /// Whether `script` succeeds.
    #[must_use]
    pub fn can(&self, script: &str) -> bool {
        let mut command = self.command("sh", &["-euc", &format!("cd; {script}")]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// `systemctl --user` with `args`; what it prints.
    pub fn systemctl(&self, args: &str) -> String {
        self.sh(&format!("systemctl --user {args}"))
    }

    /// A property of a unit.
    #[must_use]
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&format!("show --value -p {name} {unit}")).trim().to_owned()
    }

    /// Starts `kinctl` with `args`; it runs on.
    #[must_use]
    pub fn spawn(&self, args: &[&str]) -> Ctl {
        let call = format!("{}@{}: kinctl {}", self.name, self.machine.name, args.join(" "));
        Ctl::script(self.command("kinctl", args), call)
    }

    /// Runs `kinctl --json` with `args` to its end.
    pub fn run(&self, args: &[&str]) -> Done {
        let mut ctl = self.spawn(&[&["--json"], args].concat());
        ctl.close_input();
        ctl.end()
    }

    /// What `kinctl --json` prints, given that it succeeds.
    pub fn ok(&self, args: &[&str]) -> serde_json::Value {
        self.run(args).ok()
    }

    /// The device called `name` as it is listed here, null if it is not.
    #[must_use]
    pub fn device(&self, name: &str) -> serde_json::Value {
        let devices = self.ok(&["list"]);
        devices.as_array().unwrap().iter().find(|device| device["name"] == name).cloned().unwrap_or_default()
    }

    /// What the daemon noted in the journal of an event of `systemd/README.md`, as JSON.
    ///
    /// # Panics
    /// If there is no such event.
    #[must_use]
    pub fn events(&self, event: &str) -> Vec<serde_json::Value> {
        let (_, id) = kinlink_daemon::log::EVENTS.iter().find(|(name, _)| *name == event).unwrap();
        self.journal(&format!("MESSAGE_ID={id} _UID={}", self.id))
    }

    /// Checks that no unit of theirs has failed, and none of the machine.
    ///
    /// # Panics
    /// If one has.
    pub fn nothing_failed(&self) {
        assert_eq!(self.systemctl("--failed --no-legend --plain"), "");
        assert_eq!(self.machine.sh("systemctl --failed --no-legend --plain"), "");
    }

    /// Entries of the journal that match, as JSON.
    #[must_use]
    pub fn journal(&self, matches: &str) -> Vec<serde_json::Value> {
        // What was sent is on its way to the file for a moment.
        let machine = self.machine;
        machine.sh("journalctl --sync");
        let entries = machine.sh(&format!("journalctl -o json --no-pager {matches}"));
        entries.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// The top of the source tree.
fn top() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
