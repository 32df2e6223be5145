//! Four hosts on one network, each with its own daemon and bus, on good days and bad ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use kinlink_tests::harness::{Lan, Plan, link};

/// Whether these tests can run here.
fn possible() -> bool {
    Lan::possible() && lab::have(&["ip", "nft"])
}

#[test]
fn two_hosts_with_ipv6_alone_link_and_sync() {
    if !possible() {
        return;
    }
    let lan = Lan::plan(Plan { v4: false, ..Plan::of(2) });
    let (anna, bert) = (lan.host(0, "anna"), lan.host(1, "bert"));
    link(&anna, &bert);
    let session = anna.session("org.example.Notes", "Six");
    anna.put(&session, "k", "v");
    bert.reads(&session, "k", "v");
    lan.unplug(0);
    bert.put(&session, "k", "w");
    assert_eq!(anna.ok(&["session", "get", &session, "k"])["value"], "v");
    lan.replug(0);
    anna.reads(&session, "k", "w");
}
