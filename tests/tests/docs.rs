//! Pages that are made from something else are as they would be made now.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::process::Command;

#[test]
fn the_d_bus_reference_is_that_of_the_contract() {
    if lab::have(&["python3"]) {
        lab::succeed(Command::new("python3").arg(lab::root().join("docs/dbus/generate")).arg("--check"));
    }
}
