//! Devices that are suspended and readmitted, and those of which two run, over real daemons.

#![allow(clippy::unwrap_used, reason = "a test stops at what fails")]

use kinlink_tests::harness::{Host, Lan, eventually, link};

fn state(host: &Host, name: &str) -> String {
    host.device(name)["status"].as_str().unwrap_or_default().to_owned()
}

/// A suspended device is given nothing and writes to nobody; readmitted, it has what it missed, and the others what it wrote.
#[test]
fn a_suspended_device_takes_part_in_nothing_until_it_is_readmitted() {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    link(&anna, &bert);
    link(&anna, &carl);
    carl.meets("bert");
    let session = carl.session("org.example.Notes", "Kept");
    carl.put(&session, "before", "1");
    bert.reads(&session, "before", "1");
    // What it writes while it is away, without having heard, waits on its disk.
    anna.stop();
    bert.stop();
    carl.put(&session, "offline", "2");
    carl.stop();
    anna.start();
    let told = anna.ok(&["suspend", "carl", "--reason", "lent it to dora"]);
    assert_eq!((&told["status"], &told["suspended"]["reason"]), (&"suspended".into(), &"lent it to dora".into()));
    bert.start();
    anna.meets("bert");
    carl.start();
    eventually("carl knows", || (carl.ok(&["status"])["state"] == "suspended").then_some(()));
    assert_eq!(carl.ok(&["status"])["suspended"]["by"], "anna");
    assert!(carl.log().contains("a device was suspended"));
    bert.put(&session, "meanwhile", "3");
    anna.reads(&session, "meanwhile", "3");
    let refused = carl.says(&["session", "put", &session, "refused", "4"]);
    assert!(refused.code != 0 && refused.err.contains("suspended by anna (lent it to dora)"), "{}", refused.err);
    carl.reads(&session, "before", "1");
    for host in [&anna, &bert] {
        assert_eq!(state(host, "carl"), "suspended");
        assert_eq!(host.device("carl")["online"], false);
        assert_eq!(host.says(&["session", "get", &session, "offline"]).code, 4);
    }
    assert_eq!(carl.says(&["session", "get", &session, "meanwhile"]).code, 4);
    // By the other owner, and while the one that suspended it is away.
    anna.stop();
    bert.ok(&["readmit", "carl"]);
    carl.reads(&session, "meanwhile", "3");
    bert.reads(&session, "offline", "2");
    assert_eq!(carl.ok(&["status"])["state"], "linked");
    carl.put(&session, "after", "5");
    anna.start();
    anna.reads(&session, "after", "5");
    anna.reads(&session, "offline", "2");
    assert_eq!(state(&anna, "carl"), "linked");
}

/// Copies a state directory to another host's.
fn copy_state(from: &Host, to: &Host) {
    std::fs::remove_dir_all(to.state()).ok();
    let done = std::process::Command::new("cp").arg("-a").arg(from.state()).arg(to.state()).status().unwrap();
    assert!(done.success());
}

/// A copied state directory that runs in two places is suspended, both places are named, and an owner settles it.
#[test]
fn a_copied_state_directory_that_runs_twice_is_suspended_and_announced() {
    if !Lan::possible() {
        return;
    }
    let lan = Lan::new(4);
    let [anna, bert, carl] = [(0, "anna"), (1, "bert"), (2, "carl")].map(|(index, name)| lan.host(index, name));
    link(&anna, &bert);
    link(&anna, &carl);
    carl.meets("anna");
    carl.meets("bert");
    let session = carl.session("org.example.Notes", "Kept");
    carl.put(&session, "before", "1");
    anna.reads(&session, "before", "1");
    // Stopped, copied and started again it is one device.
    carl.stop();
    let thief = lan.stopped(3, "carl");
    copy_state(&carl, &thief);
    carl.start();
    carl.meets("anna");
    carl.meets("bert");
    thief.start();
    for host in [&anna, &bert] {
        eventually(&format!("{} knows", host.name()), || (state(host, "carl") == "suspended").then_some(()));
    }
    for host in [&carl, &thief] {
        eventually("both know", || (host.ok(&["status"])["state"] == "suspended").then_some(()));
    }
    let seen = anna.device("carl")["suspended"].clone();
    assert_eq!(seen["reason"], "two of it were running");
    let seen_at = seen["seen_at"].to_string();
    let at =
        |index: usize| seen_at.contains(&lan.v4(index).to_string()) || seen_at.contains(&lan.v6(index).to_string());
    assert!(at(2) && at(3), "{seen_at}");
    let list = anna.says(&["list"]);
    assert!(list.err.contains("Suspended: carl") && list.err.contains("two of it were running"), "{}", list.err);
    assert!(anna.log().contains("a device was suspended") && anna.log().contains("seen_at"));
    // The user finds the copy, and settles it.
    thief.stop();
    bert.ok(&["readmit", "carl"]);
    eventually("carl is in again", || (carl.ok(&["status"])["state"] == "linked").then_some(()));
    carl.put(&session, "after", "2");
    anna.reads(&session, "after", "2");
    carl.stop();
    carl.start();
    carl.put(&session, "once more", "3");
    bert.reads(&session, "once more", "3");
    assert_eq!(state(&anna, "carl"), "linked");
}

/// A restart, a kill, an older disk and a machine that comes back elsewhere are no clone.
#[test]
fn a_restored_killed_or_moved_device_is_not_suspended() {
    if !Lan::possible() {
        return;
    }
    let lan = Lan::new(3);
    let [anna, bert] = [(0, "anna"), (1, "bert")].map(|(index, name)| lan.host(index, name));
    link(&anna, &bert);
    let session = bert.session("org.example.Notes", "Kept");
    for round in 0..3 {
        bert.meets("anna");
        bert.put(&session, "k", &format!("{round}"));
        anna.reads(&session, "k", &format!("{round}"));
        bert.kill();
        bert.start();
    }
    // The same disk, an hour later on another machine, while anna still counts on the connection to the first.
    lan.unplug(1);
    bert.kill();
    let moved = lan.stopped(2, "bert");
    copy_state(&bert, &moved);
    moved.start();
    moved.meets("anna");
    lan.replug(1);
    moved.put(&session, "k", "moved");
    anna.reads(&session, "k", "moved");
    assert_eq!(anna.linked(), ["anna", "bert"]);
    assert!(!anna.log().contains("a device was suspended"));
}
