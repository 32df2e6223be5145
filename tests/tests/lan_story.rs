//! Four hosts on one network, each with its own bus and daemon: what their owner does with them, in good days and bad.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use kinlink_tests::harness::{Host, Lan, Linking, eventually, link};
use serde_json::Value;

/// Whether these tests can run here.
fn possible() -> bool {
    Lan::possible() && lab::have(&["ip", "nft", "dbus-daemon"])
}

/// The names that [`four`] gives.
const NAMES: [&str; 4] = ["anna", "bert", "carl", "dora"];

/// Four hosts, each with a session bus of its own. Nobody is linked yet.
fn four(lan: &Lan) -> [Host; 4] {
    [0, 1, 2, 3].map(|index| {
        let host = lan.stopped(index, NAMES[index]).with_session_bus();
        host.start();
        host
    })
}

/// Four linked ones: `anna` and `bert` are owners, `carl` and `dora` members.
fn linked(lan: &Lan) -> [Host; 4] {
    let hosts = four(lan);
    for other in &hosts[1..] {
        link(&hosts[0], other);
    }
    everyone(&hosts, "lists all four", |host| host.linked() == NAMES);
    everyone(&hosts, "is connected to all others", |host| NAMES.iter().all(|name| online(host, name)));
    hosts
}

/// Whether the device called `name` is this one, or connected to it.
fn online(host: &Host, name: &str) -> bool {
    host.name() == name || host.device(name)["online"] == true
}

/// Waits until `holds` does on every host.
fn everyone<'a>(hosts: impl IntoIterator<Item = &'a Host>, what: &str, holds: impl Fn(&Host) -> bool) {
    for host in hosts {
        eventually(&format!("{} {what}", host.name()), || holds(host).then_some(()));
    }
}

/// Values and writers of a key with all its concurrent values, the winner first.
fn values(host: &Host, session: &str, key: &str) -> Vec<(Value, Value)> {
    let list = host.ok(&["session", "get", "--conflicts", session, key]);
    list.as_array().unwrap().iter().map(|entry| (entry["value"].clone(), entry["device"]["name"].clone())).collect()
}

/// Links by a picture of the code alone.
fn link_by_picture(shower: &Host, joiner: &Host, between: impl FnOnce()) {
    let picture = shower.runtime().join("code.png");
    let picture = picture.to_str().unwrap();
    let mut show = shower.spawn(&["--json", "link", "--png", picture]);
    show.event("open");
    between();
    let join = joiner.spawn(&["--json", "join", "--yes", "--image", picture]);
    let mut linking = Linking { show, join };
    let code = linking.code();
    linking.show.type_line(&code);
    assert_eq!(linking.show.end().ok()["event"], "linked");
    assert_eq!(linking.join.end().ok()["event"], "linked");
}

#[test]
fn a_picture_of_the_code_links_and_all_come_to_know_all() {
    if !possible() {
        return;
    }
    let lan = Lan::new(4);
    let hosts = four(&lan);
    for other in &hosts[1..] {
        link_by_picture(&hosts[0], other, || {});
    }
    everyone(&hosts, "lists all four", |host| host.linked() == NAMES);
    // Three of them were never told an address of one another.
    everyone(&hosts, "is connected to all others", |host| NAMES.iter().all(|name| online(host, name)));
    for (host, role) in hosts.iter().zip(["owner", "owner", "member", "member"]) {
        assert_eq!(host.device(host.name())["role"], role);
    }
}

#[test]
fn two_that_cannot_reach_each_other_converge_through_a_third() {
    if !possible() {
        return;
    }
    let lan = Lan::new(4);
    let [anna, bert, carl, dora] = linked(&lan);
    lan.cut(0, 2);
    dora.stop();
    let session = anna.session("org.example.Notes", "Passed on");
    for n in 0..20 {
        anna.put(&session, &format!("anna {n}"), "from anna");
    }
    carl.reads(&session, "anna 19", "from anna");
    carl.put(&session, "carl", "from carl");
    anna.reads(&session, "carl", "from carl");
    let own = carl.session("org.example.Notes", "Carl's own");
    carl.put(&own, "k", "v");
    anna.reads(&own, "k", "v");
    // It was bert that passed it on: without bert nothing comes.
    bert.stop();
    carl.put(&own, "k", "while bert is off");
    eventually("anna lost sight of bert", || (!online(&anna, "bert")).then_some(()));
    assert_eq!(anna.ok(&["session", "get", &own, "k"])["value"], "v");
    bert.start();
    anna.reads(&own, "k", "while bert is off");
}

#[test]
fn what_was_written_on_both_sides_of_a_cut_is_kept_and_settled() {
    if !possible() {
        return;
    }
    let lan = Lan::new(4);
    let hosts = linked(&lan);
    let [anna, bert, carl, dora] = &hosts;
    let session = anna.session("org.example.Notes", "Dinner");
    anna.put(&session, "dish", "?");
    everyone(&hosts, "has the first value", |host| values(host, &session, "dish").len() == 1);
    lan.part(&[&[0, 1], &[2, 3]]);
    anna.put(&session, "dish", "soup");
    bert.reads(&session, "dish", "soup");
    dora.put(&session, "dish", "pizza");
    carl.reads(&session, "dish", "pizza");
    // The cut held: neither side has the other's.
    assert_eq!(values(anna, &session, "dish"), [("soup".into(), "anna".into())]);
    lan.heal();
    let both = [("pizza".into(), "dora".into()), ("soup".into(), "anna".into())];
    everyone(&hosts, "has both, the later one first", |host| values(host, &session, "dish") == both);
    let said = bert.says(&["session", "get", &session, "dish"]);
    assert!(said.out.trim_end() == "pizza" && said.err.contains("1 more written concurrently"), "{said:?}");
    bert.put(&session, "dish", "salad");
    everyone(&hosts, "has it settled", |host| values(host, &session, "dish") == [("salad".into(), "bert".into())]);
}

#[test]
fn one_that_was_away_hears_from_a_third_that_it_is_out() {
    if !possible() {
        return;
    }
    let lan = Lan::new(4);
    let [anna, bert, carl, dora] = linked(&lan);
    let session = anna.session("org.example.Notes", "Private");
    anna.put(&session, "k", "v");
    dora.reads(&session, "k", "v");
    lan.unplug(3);
    anna.ok(&["revoke", "dora", "--yes", "--reason", "left on a train"]);
    everyone([&anna, &bert, &carl], "knows that dora is out", |host| host.device("dora")["status"] == "revoked");
    assert_eq!(dora.ok(&["status"])["state"], "linked", "it cannot know");
    // Those who could tell it are off, but for one that did not revoke it.
    anna.stop();
    bert.stop();
    lan.replug(3);
    eventually("dora knows", || (dora.ok(&["status"])["state"] == "revoked").then_some(()));
    let told = dora.ok(&["status"]);
    assert_eq!((&told["revoked"]["by"], &told["revoked"]["reason"]), (&"anna".into(), &"left on a train".into()));
    assert_eq!(dora.fails(&["session", "get", &session, "k"], 8).name, "Revoked");
    anna.start();
    carl.meets("anna");
    assert_eq!(anna.device("dora")["online"], false);
}

#[test]
fn killed_or_carried_elsewhere_a_device_goes_on() {
    if !possible() {
        return;
    }
    let lan = Lan::new(4);
    let hosts = linked(&lan);
    let [anna, bert, _, dora] = &hosts;
    let session = anna.session("org.example.Notes", "Goes on");
    anna.put(&session, "k", "1");
    bert.kill();
    anna.put(&session, "k", "2");
    bert.start();
    bert.reads(&session, "k", "2");
    bert.put(&session, "k", "3");
    everyone(&hosts, "has what was written after the kill", |host| values(host, &session, "k")[0].0 == "3");
    // With the cable out, and other addresses when it is in again.
    lan.unplug(3);
    dora.put(&session, "k", "6");
    lan.readdress(3);
    lan.replug(3);
    everyone(&hosts, "has what dora wrote alone", |host| values(host, &session, "k")[0].0 == "6");
}
