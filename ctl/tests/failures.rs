//! What a person sees when something is wrong before any daemon is asked.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn kinctl(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinctl"));
    // No runtime directory, no session bus: nothing of this machine's is touched.
    command
        .env_clear()
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn without_a_daemon_it_says_where_it_looked_and_what_to_do() {
    let output = kinctl(&["list"]);
    assert_eq!(output.status.code(), Some(3));
    let text = stderr(&output);
    assert!(text.contains("/nonexistent/kinlink/bus") && text.contains("session bus"), "{text}");
    assert!(text.contains("systemctl --user start kinlinkd"), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_socket_that_is_named_is_the_only_one_tried() {
    let text = stderr(&kinctl(&["--socket", "/nonexistent/other", "status"]));
    assert!(text.contains("/nonexistent/other") && !text.contains("session bus"), "{text}");
}

#[test]
fn with_json_a_failure_is_json_too() {
    let output = kinctl(&["--json", "status"]);
    assert_eq!(output.status.code(), Some(3));
    let line = stderr(&output);
    let error: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!(error["exit"], 3);
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("kinlinkd")), "{line}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [&["link", "--timeout", "5"][..], &["revoke"], &["revoke", "a", "--others"], &["nonsense"], &["join"]] {
        assert_eq!(kinctl(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_picture_without_a_challenge_says_so() {
    let dir = std::env::temp_dir().join(format!("kinctl-failures-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("not-a-picture.png");
    std::fs::write(&path, "hello").unwrap();
    let output = kinctl(&["join", "--image", path.to_str().unwrap()]);
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).contains("not a picture"), "{}", stderr(&output));
    let output = kinctl(&["join", "--image", "/nonexistent.png"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nonexistent.png"), "{}", stderr(&output));
}

#[test]
fn man_pages_and_completions_need_no_daemon() {
    let dir = std::env::temp_dir().join(format!("kinctl-man-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let output = kinctl(&["man", dir.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(Path::new(&dir).join(name)).unwrap();
    let (top, put) = (page("kinctl.1"), page("kinctl-session-put.1"));
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(top.contains("Exit codes") && put.contains("session put"), "{top}\n{put}");
    let script = kinctl(&["completions", "bash"]);
    assert!(script.status.success() && String::from_utf8_lossy(&script.stdout).contains("_kinctl"));
}
