//! What the tests against programs that are not ours share: which of them are installed, and running them.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Whether all these programs are there. A test without its programs is skipped on a developer's machine, and fails in
/// CI and as root, where `tests/setup` can install them.
///
/// # Panics
/// If one is missing where it must not be.
pub(crate) fn have(tools: &[&str]) -> bool {
    let Some(missing) = tools.iter().find(|tool| !runs(tool)) else { return true };
    let must = std::env::var("CI").is_ok_and(|ci| ci == "true") || rustix::process::getuid().is_root();
    assert!(!must, "{missing} is missing; run: tests/setup");
    eprintln!("skipped: {missing} is missing; run: tests/setup");
    false
}

fn runs(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(tool).exists())
}

/// The Python that `tests/setup` made. It is a program for [`have`] too: an absolute path counts from anywhere.
pub(crate) const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/venv/bin/python");

/// A script of `tests/lab` with `args`.
pub(crate) fn script(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg(root().join("tests/lab").join(name)).args(args);
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command
}

/// Runs to the end; its standard output, given that it succeeds.
///
/// # Panics
/// If it does not, with all it said.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// `kinctl`, as it was built beside this test.
pub(crate) fn kinctl() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("kinctl")
}

/// The top of the source tree.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A program that runs beside the test, and is killed with it.
#[derive(Debug)]
pub(crate) struct Beside(pub(crate) Child);

impl Beside {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
