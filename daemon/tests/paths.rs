//! Which directories are used, and that they are private.

#![allow(clippy::unwrap_used, reason = "a test stops at what fails")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use kinlink_daemon::paths::{Env, PathError, StateLock, make_private};

fn env() -> Env {
    Env { home: Some("/home/ada".into()), xdg_runtime_dir: Some("/run/user/7".into()), ..Env::default() }
}

#[test]
fn flags_come_before_variables_and_those_before_xdg() {
    let mut env = env();
    assert_eq!(env.state_dir().unwrap(), Path::new("/home/ada/.local/state/kinlink"));
    assert_eq!(env.runtime_dir().unwrap(), Path::new("/run/user/7/kinlink"));
    env.xdg_state_home = Some("/state".into());
    assert_eq!(env.state_dir().unwrap(), Path::new("/state/kinlink"));
    env.kinlink_state_dir = Some("/variable".into());
    env.kinlink_runtime_dir = Some("/variable-run".into());
    assert_eq!(env.state_dir().unwrap(), Path::new("/variable"));
    assert_eq!(env.runtime_dir().unwrap(), Path::new("/variable-run"));
    env.state_flag = Some("relative".into());
    env.runtime_flag = Some("/flag-run".into());
    assert_eq!(env.state_dir().unwrap(), std::env::current_dir().unwrap().join("relative"));
    assert_eq!(env.runtime_dir().unwrap(), Path::new("/flag-run"));
}

#[test]
fn empty_and_relative_xdg_variables_count_as_not_set() {
    let mut env = Env { xdg_state_home: Some("relative".into()), kinlink_state_dir: Some("".into()), ..env() };
    assert_eq!(env.state_dir().unwrap(), Path::new("/home/ada/.local/state/kinlink"));
    env.home = Some("".into());
    let said = env.state_dir().unwrap_err().to_string();
    assert!(said.contains("HOME") && said.contains("--state-dir"), "{said}");
}

#[test]
fn without_a_runtime_directory_the_one_of_logind_is_used_if_it_is_private() {
    let run = tempfile::tempdir().unwrap();
    let env = Env { run_user: run.path().to_owned(), ..Env::default() };
    fs::set_permissions(run.path(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(env.runtime_dir().unwrap(), run.path().join("kinlink"));
    fs::set_permissions(run.path(), Permissions::from_mode(0o755)).unwrap();
    let said = env.runtime_dir().unwrap_err().to_string();
    assert!(said.contains("XDG_RUNTIME_DIR") && said.contains("--runtime-dir"), "{said}");
}

#[test]
fn directories_are_made_private_and_stay_so() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a/b");
    make_private(&state).unwrap();
    make_private(&state).unwrap();
    for made in [&state, &dir.path().join("a")] {
        assert_eq!(fs::metadata(made).unwrap().mode() & 0o7777, 0o700);
    }
    fs::set_permissions(&state, Permissions::from_mode(0o750)).unwrap();
    let said = make_private(&state).unwrap_err().to_string();
    assert!(said.contains("0750") && said.contains("chmod 700"), "{said}");
}

#[test]
fn a_directory_of_somebody_else_or_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(make_private(&file), Err(PathError::Io { .. })));
    // Root can give a directory away; anybody else finds one that is root's.
    let other = dir.path().join("other");
    make_private(&other).unwrap();
    if std::os::unix::fs::chown(&other, Some(12345), None).is_ok() {
        assert!(matches!(make_private(&other), Err(PathError::Owner { owner: 12345, .. })));
    } else {
        assert!(matches!(make_private(Path::new("/proc/1")), Err(PathError::Owner { owner: 0, .. })));
    }
}

#[test]
fn a_second_daemon_is_told_who_holds_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let held = StateLock::take(dir.path()).unwrap();
    let said = StateLock::take(dir.path()).unwrap_err().to_string();
    assert!(said.contains(&format!("(process {})", std::process::id())), "{said}");
    assert_eq!(fs::metadata(dir.path().join("lock")).unwrap().mode() & 0o7777, 0o600);
    drop(held);
    StateLock::take(dir.path()).unwrap();
}
