//! Hosts on one network that find each other without being told any address, and strangers who try to be in the way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use kinlink_proto::wire::challenge::Challenge;
use kinlink_tests::harness::{Host, Lan, Linking, Plan, eventually, link};

/// Whether these tests can run here.
fn possible() -> bool {
    Lan::possible() && lab::have(&["ip", "nft"])
}

/// A challenge on `shower`: its QR code's text.
fn qr(shower: &Host) -> (kinlink_tests::harness::Ctl, String) {
    let mut show = shower.spawn(&["--json", "link"]);
    let qr = show.event("open")["qr"].as_str().unwrap().to_owned();
    (show, qr)
}

/// `joiner` answers the challenge that is shown, and both are linked.
fn answer(show: kinlink_tests::harness::Ctl, joiner: &Host, text: &str) {
    let mut linking = Linking { show, join: Linking::join(joiner, text) };
    let code = linking.code();
    linking.show.type_line(&code);
    assert_eq!(linking.show.end().ok()["event"], "linked");
    assert_eq!(linking.join.end().ok()["event"], "linked");
}

#[test]
fn a_challenge_without_an_address_links_with_ipv6_alone() {
    if !possible() {
        return;
    }
    let lan = Lan::plan(Plan { v4: false, ..Plan::of(2) });
    let (anna, bert) = (lan.host(0, "anna"), lan.host(1, "bert"));
    let (show, qr) = qr(&anna);
    assert_eq!(Challenge::parse(&qr).unwrap().terms.addresses, [], "a QR code has no room for an IPv6 address");
    answer(show, &bert, &qr);
}

#[test]
fn a_network_with_link_local_addresses_alone_is_enough() {
    if !possible() {
        return;
    }
    let lan = Lan::plan(Plan { v4: false, ..Plan::of(2) });
    (0..2).for_each(|host| lan.space(host).ip("addr flush dev eth0 scope global"));
    let (anna, bert) = (lan.host(0, "anna"), lan.host(1, "bert"));
    let (show, qr) = qr(&anna);
    answer(show, &bert, &qr);
    let session = anna.session("org.example.Notes", "Near");
    anna.put(&session, "k", "v");
    bert.reads(&session, "k", "v");
    bert.stop();
    bert.start();
    anna.put(&session, "k", "w");
    bert.reads(&session, "k", "w");
}

#[test]
fn a_challenge_with_an_address_that_is_no_more_links() {
    if !possible() {
        return;
    }
    let lan = Lan::plan(Plan { v6: false, ..Plan::of(2) });
    let (anna, bert) = (lan.host(0, "anna"), lan.host(1, "bert"));
    let (show, qr) = qr(&anna);
    let named = Challenge::parse(&qr).unwrap().terms.addresses[0].socket().unwrap().ip();
    lan.readdress(0);
    assert_ne!(named, lan.v4(0));
    answer(show, &bert, &qr);
}

#[test]
fn devices_that_both_moved_while_apart_meet_again() {
    if !possible() {
        return;
    }
    let lan = Lan::new(2);
    let (anna, bert) = (lan.host(0, "anna"), lan.host(1, "bert"));
    link(&anna, &bert);
    let session = anna.session("org.example.Notes", "Moving");
    bert.stop();
    anna.put(&session, "k", "v");
    anna.stop();
    (0..2).for_each(|host| lan.readdress(host));
    anna.start();
    bert.start();
    bert.reads(&session, "k", "v");
    bert.meets("anna");
    anna.meets("bert");
}

#[test]
fn a_device_that_was_away_over_a_revocation_is_found() {
    if !possible() {
        return;
    }
    let lan = Lan::new(3);
    let (anna, bert, carl) = (lan.host(0, "anna"), lan.host(1, "bert"), lan.host(2, "carl"));
    link(&anna, &bert);
    link(&anna, &carl);
    let session = anna.session("org.example.Notes", "Away");
    anna.put(&session, "k", "v");
    carl.reads(&session, "k", "v");
    carl.stop();
    anna.ok(&["revoke", "bert", "--yes"]);
    bert.stop();
    // Under a key that carl does not have.
    anna.put(&session, "k", "w");
    // It forgets where it heard carl before, link-local addresses too.
    anna.stop();
    lan.readdress(0);
    lan.readdress(2);
    anna.start();
    carl.start();
    carl.reads(&session, "k", "w");
    assert_eq!(carl.device("bert")["status"], "revoked");
}

/// Carl was linked after the revocation; whoever else could tell bert is gone, and bert is at an address that carl was
/// never told.
#[test]
fn a_revoked_device_that_was_away_is_told_by_one_that_it_never_heard_of() {
    if !possible() {
        return;
    }
    let lan = Lan::new(3);
    let (anna, bert, carl) = (lan.host(0, "anna"), lan.host(1, "bert"), lan.host(2, "carl"));
    link(&anna, &bert);
    let session = anna.session("org.example.Notes", "Away");
    anna.put(&session, "k", "v");
    bert.reads(&session, "k", "v");
    bert.stop();
    anna.ok(&["revoke", "bert", "--yes", "--reason", "left on a train"]);
    lan.readdress(1);
    link(&anna, &carl);
    carl.reads(&session, "k", "v");
    anna.stop();
    bert.start();
    eventually("bert knows", || (bert.ok(&["status"])["state"] == "revoked").then_some(()));
    let told = bert.ok(&["status"]);
    assert_eq!((&told["revoked"]["by"], &told["revoked"]["reason"]), (&"anna".into(), &"left on a train".into()));
    assert_eq!(bert.fails(&["session", "get", &session, "k"], 8).name, "Revoked");
    // It was told no more than that.
    assert_eq!(bert.linked(), ["anna"]);
    assert_eq!(carl.device("bert")["status"], "revoked");
    assert_eq!(carl.device("bert")["online"], false);
}
