//! Holds every `--help` against its golden file, so that a change of the command line is a decision.
//!
//! `KINLINK_BLESS=1 cargo test -p kinlink-ctl --test help` writes them anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::process::{Command, Output};

/// Every command, and the topics.
const COMMANDS: &[&str] = &[
    "",
    "list",
    "show",
    "rename",
    "dismiss",
    "ping",
    "address",
    "address add",
    "address list",
    "address remove",
    "config",
    "config port",
    "key",
    "key status",
    "key move",
    "unlock",
    "revoke",
    "suspend",
    "readmit",
    "role",
    "pin",
    "pin status",
    "pin set",
    "pin change",
    "pin remove",
    "link",
    "join",
    "leave",
    "erase",
    "status",
    "sessions",
    "session",
    "session new",
    "session put",
    "session get",
    "session ls",
    "session rm",
    "session changes",
    "session watch",
    "session end",
    "completions",
    "man",
];

fn kinctl(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinctl"));
    // The width of help follows the terminal; without one it is 100.
    command.args(args).env_clear().env("COLUMNS", "100").output().unwrap()
}

fn golden(name: &str) -> PathBuf {
    let name = if name.is_empty() { "kinctl".to_owned() } else { format!("kinctl-{}", name.replace(' ', "-")) };
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/cmd/ctl-help/{name}.txt"))
}

fn hold(name: &str, args: &[&str]) {
    let output = kinctl(args);
    assert!(output.status.success(), "kinctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let path = golden(name);
    if std::env::var_os("KINLINK_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, expected, "kinctl {args:?} differs from {}", path.display());
}

#[test]
fn help_of_every_command_is_as_reviewed() {
    for name in COMMANDS {
        let args: Vec<&str> = name.split_whitespace().chain(["--help"]).collect();
        hold(name, &args);
    }
}

#[test]
fn topics_are_as_reviewed() {
    hold("exit-codes", &["help", "exit-codes"]);
    hold("json", &["help", "json"]);
}

/// A command without a golden file would escape review.
#[test]
fn no_command_is_missing_here() {
    for parent in ["", "session", "address", "config"] {
        let args: Vec<&str> = parent.split_whitespace().chain(["--help"]).collect();
        let help = String::from_utf8(kinctl(&args).stdout).unwrap();
        let commands = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
        for line in commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let name = format!("{parent} {}", line.split_whitespace().next().unwrap());
            assert!(name.ends_with("help") || COMMANDS.contains(&name.trim()), "{name}");
        }
    }
}

/// `kinctl completions bash | head -1` ends without a word.
#[test]
fn a_reader_that_has_seen_enough_is_no_failure_to_report() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinctl"));
    command.args(["completions", "bash"]).env_clear();
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
