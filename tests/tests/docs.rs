//! Pages that are made from something else are as they would be made now, and what a page names is there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::fs;
use std::process::Command;

#[test]
fn the_d_bus_reference_is_that_of_the_contract() {
    if lab::have(&["python3"]) {
        lab::succeed(Command::new("python3").arg(lab::root().join("docs/dbus/generate")).arg("--check"));
    }
}

/// `SECURITY.md` names tests as `file: function`, several functions of one file one after another.
#[test]
fn every_test_that_plays_an_attacker_is_there() {
    let page = fs::read_to_string(lab::root().join("SECURITY.md")).unwrap();
    let mut file = String::new();
    let mut named = 0;
    for line in page.lines() {
        // Between each two backquotes is something that is quoted.
        for quoted in line.split('`').skip(1).step_by(2) {
            let name = quoted.rsplit("::").next().unwrap();
            if quoted.contains('/') && quoted.ends_with(".rs") {
                let path = lab::root().join(quoted);
                file = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{quoted} is not there"));
            } else if is_a_test(name) {
                named += 1;
                assert!(file.contains(&format!("fn {name}(")), "{quoted} is not in the file named before it: {line}");
            }
        }
    }
    assert!(named > 100, "{named} tests were found in the text");
}

/// Tests are sentences.
fn is_a_test(name: &str) -> bool {
    name.matches('_').count() > 2 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
