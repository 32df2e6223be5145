//! Network namespaces of a test's own.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What the names of all namespaces begin with, before the process id.
const PREFIX: &str = "kinlink-";
static COUNT: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A network namespace that is removed with this. Its name carries the process id: tests run in parallel.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

/// The number of a LAN within this process, for the names of its namespaces.
pub(super) fn number() -> u32 {
    SWEEP.call_once(sweep);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

impl Namespace {
    /// Makes the namespace `part` of LAN `lan`, with its loopback up.
    ///
    /// # Panics
    /// If it cannot, for lack of privileges above all.
    pub(super) fn new(lan: u32, part: &str) -> Self {
        let name = format!("{PREFIX}{}-{lan}-{part}", std::process::id());
        succeed(Command::new(ip()).args(["netns", "add", &name]));
        let space = Self { name };
        space.ip("link set lo up");
        space
    }

    /// Its name, as `ip netns` has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in it. Words are parted by spaces.
    ///
    /// # Panics
    /// If that fails.
    pub fn ip(&self, args: &str) {
        succeed(Command::new(ip()).args(["-n", &self.name]).args(args.split_whitespace()));
    }

    /// A command that runs `program` in it. The process is the program's own: it can be signalled and waited for. Its
    /// environment is this process's, so far.
    pub fn exec(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(ip());
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }

    /// Takes the calling thread into it, for good: the sockets that it opens from then on are there.
    ///
    /// # Panics
    /// If it is gone.
    pub fn enter(&self) {
        enter(&self.name).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Sets a value below `/proc/sys/net`.
    pub fn sysctl(&self, key: &str, value: &str) {
        succeed(self.exec("sh").args(["-c", &format!("echo {value} >/proc/sys/net/{key}")]));
    }

    /// Loads rules of nftables.
    ///
    /// # Panics
    /// If it does not take them.
    pub fn nft(&self, rules: &str) {
        let mut command = self.exec("nft");
        command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("nft cannot be started; run: tests/setup");
        child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{rules}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Gives the programs that are started in it from now on a hosts file of their own.
    pub fn hosts_file(&self, text: &str) {
        std::fs::create_dir_all(self.files()).unwrap();
        std::fs::write(self.files().join("hosts"), text).unwrap();
    }

    /// What `ip netns exec` lays over `/etc`.
    fn files(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
        if self.files().exists() {
            std::fs::remove_dir_all(self.files()).ok();
        }
    }
}

/// Takes the calling thread into the namespace called `name`.
pub(super) fn enter(name: &str) -> std::io::Result<()> {
    let space = std::fs::File::open(Path::new("/run/netns").join(name))?;
    Ok(move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// The program `ip`: its path, as daemons are started with an empty environment.
pub(super) fn ip() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.map(|dir| dir.join("ip")).find(|path| path.exists()).expect("ip is missing; run: tests/setup")
}

/// Runs to the end.
///
/// # Panics
/// If it fails, with what it said.
pub(super) fn succeed(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn remove(name: &str) {
    // It may be gone already; nothing hangs on it then.
    Command::new(ip()).args(["netns", "del", name]).stderr(Stdio::null()).status().ok();
}

/// Removes what a test that was killed left behind, with the programs in it.
fn sweep() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            end_all(&name);
            remove(&name);
            std::fs::remove_dir_all(Path::new("/etc/netns").join(&name)).ok();
        }
    }
}

fn end_all(space: &str) {
    let Ok(output) = Command::new(ip()).args(["netns", "pids", space]).output() else { return };
    let pids = String::from_utf8_lossy(&output.stdout).into_owned();
    for pid in pids.split_whitespace().filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)) {
        // One that has ended meanwhile is what is wanted.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}
