//! What `/proc` says about a hardened process.

#![allow(clippy::unwrap_used, reason = "a test stops at what fails")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use kinlink_daemon::harden::harden;
use rustix::process::{DumpableBehavior, dumpable_behavior};

const CHILD: &str = "KINLINK_TEST_HARDENED";

/// Hardens itself, says so, and waits until its input ends.
fn child(file: &std::ffi::OsStr) {
    harden().unwrap();
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    std::fs::write(file, "").unwrap();
    std::thread::spawn(|| {
        println!("\nready");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    })
    .join()
    .unwrap();
}

/// A child that has said that it is ready, and what it says further. Dropping its input ends it.
fn start(file: &std::path::Path) -> (Child, impl Iterator<Item = std::io::Result<String>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_hardened_process_shows_in_proc", "--nocapture"])
        .env(CHILD, file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"), "the child ended");
    (child, lines)
}

#[test]
fn a_hardened_process_shows_in_proc() {
    if let Some(file) = std::env::var_os(CHILD) {
        return child(&file);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("made");
    let (mut child, rest) = start(&file);
    let proc = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let threads: Vec<_> = tasks.map(|task| task.unwrap().file_name().into_string().unwrap()).collect();
    let (status, limits) = (proc("status"), proc("limits"));
    // libtest runs a test on a thread of its own, so the first one was started before.
    let late: Vec<_> = threads.iter().map(|id| proc(&format!("task/{id}/status"))).collect();
    let with = |text: &str| late.iter().filter(|status| status.contains(text)).count();
    assert_eq!(with("NoNewPrivs:\t1"), late.len() - 1, "{threads:?}");
    assert!(status.contains("Umask:\t0077"), "{status}");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    drop(child.stdin.take());
    assert!(rest.flatten().any(|line| line.contains("1 passed")));
    assert!(child.wait().unwrap().success());
}
