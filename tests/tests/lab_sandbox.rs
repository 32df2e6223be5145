//! Apps in sandboxes as Flatpak makes them, by both ways to the daemon: each has its own sessions, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use kinlink_tests::harness::{Host, link};

/// An account of two devices; apps reach the first by `route`.
fn apps_by(route: &str) {
    if !lab::have(&["bwrap", "xdg-dbus-proxy", "dbus-daemon", lab::PYTHON]) {
        return;
    }
    let anna = Host::stopped("anna").with_session_bus();
    anna.start();
    let bert = Host::new("bert");
    link(&anna, &bert);
    let bus = anna.session_bus().and_then(|address| address.strip_prefix("unix:path=")).unwrap();
    let bus = bus.split(',').next().unwrap();
    lab::succeed(&mut lab::script("sandbox.py", &[bus, anna.socket().to_str().unwrap(), route]));
    assert_eq!(bert.linked().len(), 2, "nobody was put out");
}

#[test]
fn behind_the_proxy_an_app_has_its_own_sessions_and_nothing_else() {
    apps_by("proxy");
}

#[test]
fn on_the_private_socket_an_app_has_its_own_sessions_and_nothing_else() {
    apps_by("peer");
}
