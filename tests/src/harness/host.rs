//! A device: a throwaway home and the daemon that lives in it.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::netns::Namespace;
use super::{Ctl, Done, Failure, SessionBus, eventually, program, signal, within};

/// How long a daemon may take until it serves, and to stop.
const START: Duration = Duration::from_secs(20);

/// A device of its own. What its daemon wrote to standard error is shown when a test fails.
#[derive(Debug)]
pub struct Host {
    name: String,
    home: TempDir,
    daemon: Mutex<Option<Child>>,
    /// Where it is, unless in the machine's own network.
    place: Option<Arc<Namespace>>,
    /// Its buses: that of its session, and the system's.
    buses: [Option<SessionBus>; 2],
}

/// What keeps a daemon off the network that this machine is on. One in a network of its own goes without it.
pub const NO_DISCOVERY: &str = "KINLINK_NO_DISCOVERY";

/// A `kinlinkd` with an empty environment, in which only `vars` are set, and [`NO_DISCOVERY`].
#[must_use]
pub fn kinlinkd(vars: &[(&str, &Path)]) -> Command {
    let mut command = Command::new(program("kinlinkd"));
    command.env_clear().env(NO_DISCOVERY, "1").envs(vars.iter().copied()).stdin(Stdio::null());
    command
}

/// A `kinctl` with an empty environment, in which only `vars` are set.
#[must_use]
pub fn kinctl(vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program("kinctl"));
    command.env_clear().envs(vars.iter().copied()).stdin(Stdio::null());
    command
}

impl Host {
    /// A new device called `name`, whose daemon runs.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let host = Self::stopped(name);
        host.start();
        host
    }

    /// A new device whose daemon was not started yet.
    #[must_use]
    pub fn stopped(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            home: tempfile::tempdir().unwrap(),
            daemon: Mutex::new(None),
            place: None,
            buses: [None, None],
        }
    }

    /// A new device in a network namespace, whose daemon was not started yet.
    pub(super) fn placed(name: &str, place: Arc<Namespace>) -> Self {
        let mut host = Self::stopped(name);
        host.place = Some(place);
        host
    }

    /// The same with a session bus of its own, which its daemon will serve.
    #[must_use]
    pub fn with_session_bus(mut self) -> Self {
        self.buses[0] = Some(SessionBus::at(&self.home.path().join("session-bus")));
        self
    }

    /// The same with a system bus of its own, for a stand-in of logind.
    #[must_use]
    pub fn with_system_bus(mut self) -> Self {
        self.buses[1] = Some(SessionBus::at(&self.system_bus()));
        self
    }

    /// The address of its session bus, if it has one of its own.
    #[must_use]
    pub fn session_bus(&self) -> Option<&str> {
        self.buses[0].as_ref().map(SessionBus::address)
    }

    /// The socket of its system bus, whether there is one or not: no daemon of a test talks to the machine's.
    #[must_use]
    pub fn system_bus(&self) -> PathBuf {
        self.home.path().join("system-bus")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The home of its user.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Its state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// Its runtime directory.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.home.path().join("run")
    }

    /// The daemon's private socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime().join("bus")
    }

    /// What its daemons wrote to standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// How many operations its daemons have sent to others so far, as their log says.
    #[must_use]
    pub fn sent(&self) -> u64 {
        let log = self.log();
        let sent = log.lines().filter(|line| line.contains("operations leave"));
        sent.filter_map(|line| line.split("operations=").nth(1)?.split_whitespace().next()?.parse::<u64>().ok()).sum()
    }

    /// The command that starts its daemon.
    #[must_use]
    pub fn command(&self) -> Command {
        let (state, runtime) = (self.state(), self.runtime());
        let vars =
            [("KINLINK_STATE_DIR", state.as_path()), ("KINLINK_RUNTIME_DIR", &runtime), ("HOME", self.home.path())];
        let mut command = self.daemon(&vars);
        command.args(["--name", &self.name]).env("KINLINK_LOG", "info,kinlink_daemon=debug");
        command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", self.system_bus().display()));
        match self.session_bus() {
            Some(address) => command.env("DBUS_SESSION_BUS_ADDRESS", address),
            None => command.arg("--no-session-bus"),
        };
        command
    }

    /// `kinlinkd` in its place. In the machine's own network it sends nothing to groups.
    fn daemon(&self, vars: &[(&str, &Path)]) -> Command {
        let Some(place) = &self.place else {
            return kinlinkd(vars);
        };
        let mut command = place.exec(program("kinlinkd"));
        command.env_clear().envs(vars.iter().copied());
        command
    }

    /// Starts the daemon and waits until it serves.
    pub fn start(&self) {
        self.start_with(self.command());
    }

    /// [`start`](Self::start), with a command of the caller's.
    ///
    /// # Panics
    /// If it does not serve in time.
    pub fn start_with(&self, mut command: Command) {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(self.home.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        within(START, &format!("{} serves", self.name), || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended: {}", self.name, self.log());
            UnixStream::connect(self.socket()).ok()
        });
        *self.daemon.lock().unwrap() = Some(child);
    }

    /// The daemon's process id.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.lock().unwrap().as_ref().expect("the daemon does not run").id()
    }

    /// Stops the daemon as a service manager does, and waits until it has ended.
    pub fn stop(&self) -> ExitStatus {
        self.end(Signal::TERM)
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.end(Signal::KILL);
    }

    fn end(&self, with: Signal) -> ExitStatus {
        let mut child = self.daemon.lock().unwrap().take().expect("the daemon does not run");
        signal(&child, with);
        within(START, &format!("{} ends", self.name), || child.try_wait().unwrap())
    }

    /// Starts `kinctl` with `args` in a script; it runs on.
    #[must_use]
    pub fn spawn(&self, args: &[&str]) -> Ctl {
        Ctl::script(self.kinctl(args), format!("{}: kinctl {}", self.name, args.join(" ")))
    }

    /// Starts `kinctl` with `args` at a terminal, where it asks; it runs on.
    #[must_use]
    pub fn at_terminal(&self, args: &[&str]) -> Ctl {
        Ctl::person(self.kinctl(args), format!("{}: kinctl {}", self.name, args.join(" ")))
    }

    fn kinctl(&self, args: &[&str]) -> Command {
        let mut command = kinctl(&[("KINLINK_SOCKET", self.socket().to_str().unwrap())]);
        command.args(args);
        command
    }

    /// Runs `kinctl` with `args` to its end, its input empty: what a person sees.
    pub fn says(&self, args: &[&str]) -> Done {
        let mut ctl = self.spawn(args);
        ctl.close_input();
        ctl.end()
    }

    /// Runs `kinctl --json` to its end.
    pub fn run(&self, args: &[&str]) -> Done {
        self.says(&[&["--json"], args].concat())
    }

    /// Runs `kinctl --json` to its end, with a line on its input.
    pub fn given(&self, args: &[&str], line: &str) -> Done {
        let mut ctl = self.spawn(&[&["--json"], args].concat());
        ctl.type_line(line);
        ctl.close_input();
        ctl.end()
    }

    /// What `kinctl --json` prints, given that it succeeds.
    pub fn ok(&self, args: &[&str]) -> Value {
        self.run(args).ok()
    }

    /// What `kinctl --json` says, given that it fails with `code`.
    pub fn fails(&self, args: &[&str], code: i32) -> Failure {
        self.run(args).fails(code)
    }

    /// Its own id.
    #[must_use]
    pub fn id(&self) -> String {
        self.ok(&["status"])["device"]["id"].as_str().unwrap().to_owned()
    }

    /// The device called `name` as this one lists it, null if it does not.
    #[must_use]
    pub fn device(&self, name: &str) -> Value {
        let devices = self.ok(&["list"]);
        devices.as_array().unwrap().iter().find(|device| device["name"] == name).cloned().unwrap_or_default()
    }

    /// The names that it lists as linked, sorted.
    #[must_use]
    pub fn linked(&self) -> Vec<String> {
        let devices = self.ok(&["list"]);
        let linked = devices.as_array().unwrap().iter().filter(|device| device["status"] == "linked");
        let mut names: Vec<_> = linked.map(|device| device["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    /// Makes a session; its id.
    #[must_use]
    pub fn session(&self, app: &str, title: &str) -> String {
        let session = self.ok(&["session", "new", "--app", app, "--title", title]);
        session["id"].as_str().unwrap().to_owned()
    }

    /// Writes an entry.
    pub fn put(&self, session: &str, key: &str, value: &str) {
        self.ok(&["session", "put", session, key, value]);
    }

    /// The value of an entry, once it is there.
    ///
    /// # Panics
    /// If it never is.
    pub fn reads(&self, session: &str, key: &str, value: &str) {
        eventually(&format!("{} reads {key} = {value}", self.name), || {
            let got = self.run(&["session", "get", session, key]);
            (got.code == 0 && got.ok()["value"] == value).then_some(())
        });
    }

    /// Waits until the device called `name` is listed as online here.
    pub fn meets(&self, name: &str) {
        eventually(&format!("{} meets {name}", self.name), || {
            self.device(name)["online"].as_bool().filter(|online| *online)
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.get_mut().ok().and_then(Option::take) {
            // One that has ended already is not a failure of its own here.
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).ok();
            let ended = (0..400).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                !matches!(child.try_wait(), Ok(None))
            });
            if !ended {
                child.kill().ok();
                child.wait().ok();
            }
        }
        if std::thread::panicking() {
            eprintln!("--- {}: standard error of its daemon\n{}", self.name, self.log());
        }
    }
}
