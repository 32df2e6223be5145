//! A container with an operating system of its own: what it runs in, and what it leaves behind.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{signal, within};

/// How long a machine may take to boot: a second or two, where nothing else runs.
const BOOT: Duration = Duration::from_secs(120);
/// What a machine that has booted says on its console.
const BOOTED: &str = "Reached target multi-user.target";

/// The container.
#[derive(Debug)]
pub(super) struct Running {
    nspawn: Child,
    /// Process 1 inside, as it is known out here.
    pub(super) leader: u32,
    console: PathBuf,
    groups: Vec<PathBuf>,
}

impl Running {
    pub(super) fn start(name: &str, root: &Path, network: &str, console: &Path) -> Self {
        let unique = format!("kinlink-{}-{name}", std::process::id());
        let groups = groups(&unique);
        // A control group of its own: machines that are started from one group would share what is below it.
        let enter: String = groups.iter().map(|group| format!("echo 0 >{}/cgroup.procs; ", group.display())).collect();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{enter} exec systemd-nspawn \"$@\""), "sh"]);
        command.args(["-q", "--register=no", "--keep-unit", network, "-M", &unique, "-b", "-D"]).arg(root);
        command.args(["--", "systemd.unit=multi-user.target"]);
        let log = OpenOptions::new().create(true).append(true).open(console).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let nspawn = command.spawn().unwrap();
        let mut running = Self { nspawn, leader: 0, console: console.to_owned(), groups };
        within(BOOT, &format!("{name} boots"), || {
            assert!(running.nspawn.try_wait().unwrap().is_none(), "{name} does not boot: {}", running.said());
            plain(&running.said()).contains(BOOTED).then_some(())
        });
        running.leader = child_of(running.nspawn.id()).expect("a machine has a process 1");
        running
    }

    /// What it wrote to its console.
    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- console\n{}", plain(&self.said()));
            let journal = Command::new("nsenter")
                .args([
                    "-t",
                    &self.leader.to_string(),
                    "-a",
                    "journalctl",
                    "--no-pager",
                    "-n",
                    "150",
                    "-o",
                    "short-precise",
                ])
                .output();
            if let Ok(journal) = journal {
                eprintln!("--- journal\n{}", String::from_utf8_lossy(&journal.stdout));
            }
        }
        // Process 1 in there would wait for every service; all of it is thrown away.
        if let Some(leader) = Pid::from_raw(i32::try_from(self.leader).unwrap_or_default()) {
            kill_process(leader, Signal::KILL).ok();
        } else {
            signal(&self.nspawn, Signal::KILL);
        }
        self.nspawn.wait().ok();
        for group in self.groups.iter().rev() {
            remove_group(group);
        }
    }
}

/// A group called `name` in each hierarchy that systemd looks at: cgroup v2 alone, or the older layouts beside it.
fn groups(name: &str) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let hybrid = ["systemd", "unified"].map(|hierarchy| top.join(hierarchy));
    let tops = if top.join("cgroup.procs").exists() { vec![top.to_owned()] } else { hybrid.to_vec() };
    let groups = tops.into_iter().filter(|top| top.join("cgroup.procs").exists()).map(|top| top.join(name));
    groups.inspect(|group| fs::create_dir(group).unwrap()).collect()
}

/// With all that the machine made below it. Its processes are gone, or will be in a moment.
fn remove_group(group: &Path) {
    for _ in 0..200 {
        remove_tree(group);
        if !group.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("{} is still in use", group.display());
}

fn remove_tree(group: &Path) {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    fs::remove_dir(group).ok();
}

fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Without the colours.
fn plain(console: &str) -> String {
    let mut parts = console.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest)
    })
}

/// A directory with something mounted on it.
#[derive(Debug)]
pub(super) struct Mounted {
    dir: TempDir,
}

impl Mounted {
    pub(super) fn tmpfs(prefix: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=0755", "kinlink"]).arg(dir.path()));
        Self { dir }
    }

    /// This machine's root below `installed`, with what is written on top in `layers`.
    pub(super) fn overlay(installed: &Path, layers: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("kinlink-root-").tempdir().unwrap();
        let (upper, work) = (layers.join("upper"), layers.join("work"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let options =
            format!("lowerdir={}:/,upperdir={},workdir={}", installed.display(), upper.display(), work.display());
        succeed(Command::new("mount").args(["-t", "overlay", "-o", &options, "overlay"]).arg(dir.path()));
        Self { dir }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = rustix::mount::unmount(self.dir.path(), UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.dir.path().display());
        }
    }
}

/// Runs to the end; its standard output, given that it succeeds.
pub(super) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
