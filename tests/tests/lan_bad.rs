//! Networks that lose, delay, have no IPv4 or small packets: the whole job is done all the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::time::Duration;

use kinlink_tests::harness::{Host, Lan, Plan, eventually, link};

/// Whether these tests can run here.
fn possible() -> bool {
    Lan::possible() && lab::have(&["ip", "nft", "iptables"])
}

/// Links two, syncs both ways, small and of `large` bytes, and revokes: what a network must not prevent.
fn whole_job(lan: &Lan, large: usize) {
    let (anna, bert) = (lan.host(0, "anna"), lan.host(1, "bert"));
    link(&anna, &bert);
    let session = anna.session("org.example.Notes", "Through thick and thin");
    anna.put(&session, "first", "from anna");
    bert.reads(&session, "first", "from anna");
    for n in 0..10 {
        anna.put(&session, &format!("anna {n}"), "from anna");
        bert.put(&session, &format!("bert {n}"), "from bert");
    }
    let large = write_large(&anna, &session, large);
    bert.reads(&session, "large", &large);
    anna.reads(&session, "bert 9", "from bert");
    bert.reads(&session, "anna 9", "from anna");
    anna.ok(&["revoke", "bert", "--yes", "--reason", "done"]);
    eventually("bert knows that it is out", || (bert.ok(&["status"])["state"] == "revoked").then_some(()));
    assert_eq!(bert.ok(&["status"])["revoked"]["reason"], "done");
}

/// Writes a value of at least so many bytes.
fn write_large(host: &Host, session: &str, bytes: usize) -> String {
    let large = "large ".repeat(bytes / 6 + 1);
    let file = host.runtime().join("large");
    std::fs::write(&file, &large).unwrap();
    host.ok(&["session", "put", session, "large", "--file", file.to_str().unwrap()]);
    large
}

#[test]
fn a_fifth_lost_and_a_tenth_of_a_second_late() {
    if !possible() {
        return;
    }
    let lan = Lan::new(2);
    lan.lose(20);
    lan.delay(Duration::from_millis(100));
    // At this loss congestion control lets a few kilobytes a second through.
    whole_job(&lan, 20_000);
}

#[test]
fn packets_of_1280_bytes() {
    if !possible() {
        return;
    }
    whole_job(&Lan::plan(Plan { mtu: 1280, ..Plan::of(2) }), 300_000);
}

#[test]
fn ipv6_alone() {
    if !possible() {
        return;
    }
    whole_job(&Lan::plan(Plan { v4: false, ..Plan::of(2) }), 300_000);
}

#[test]
fn ipv4_alone() {
    if !possible() {
        return;
    }
    whole_job(&Lan::plan(Plan { v6: false, ..Plan::of(2) }), 300_000);
}
