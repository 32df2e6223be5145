//! Devices that are seldom up together still come to hold the same, and get just what they missed.

use std::time::Duration;

use kinlink_tests::harness::{Host, eventually, link, within};
use serde_json::{Value, json};

/// Values and writers of a key with all its concurrent values, the winner first.
fn values(host: &Host, session: &str, key: &str) -> Vec<(Value, Value)> {
    let list = host.ok(&["session", "get", "--conflicts", session, key]);
    list.as_array().unwrap().iter().map(|entry| (entry["value"].clone(), entry["device"]["name"].clone())).collect()
}

#[test]
fn two_devices_that_never_meet_converge_through_a_third() {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::stopped("carl"));
    link(&anna, &bert);
    let session = anna.session("org.example.Notes", "Passed on");
    anna.put(&session, "from anna", "1");
    bert.reads(&session, "from anna", "1");
    anna.stop();

    carl.start();
    link(&bert, &carl);
    carl.reads(&session, "from anna", "1");
    carl.put(&session, "from carl", "1");
    let own = carl.session("org.example.Notes", "Carl's own");
    carl.put(&own, "k", "v");
    bert.reads(&session, "from carl", "1");
    bert.reads(&own, "k", "v");
    carl.stop();

    anna.start();
    anna.reads(&session, "from carl", "1");
    anna.reads(&own, "k", "v");
    assert_eq!(anna.device("carl")["linked"]["by"]["name"], "bert");
    anna.put(&session, "from carl", "2");
    anna.ok(&["session", "end", &own, "--reason", "seen"]);
    anna.ok(&["rename", "carl", "Carl"]);
    bert.reads(&session, "from carl", "2");
    anna.kill();

    carl.start();
    carl.reads(&session, "from carl", "2");
    eventually("carl hears the end and its new name", || {
        let ended = &carl.ok(&["sessions", "--all", "--app", "org.example.Notes"]);
        let ended = ended.as_array().unwrap().iter().find(|session| session["state"] == "ended")?["ended"].clone();
        (ended["by"]["name"] == "anna" && ended["reason"] == "seen" && carl.linked() == ["Carl", "anna", "bert"])
            .then_some(())
    });

    // A revocation goes the same way.
    bert.ok(&["revoke", "anna", "--yes", "--reason", "stolen", "--wait", "30"]);
    eventually("carl applied it", || (carl.device("anna")["status"] == "revoked").then_some(()));
    carl.stop();
    anna.start();
    eventually("anna hears it", || (anna.ok(&["status"])["revoked"]["reason"] == "stolen").then_some(()));
}

#[test]
fn concurrent_writes_survive_until_a_later_one_settles_them() {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    link(&anna, &bert);
    link(&anna, &carl);
    bert.meets("carl");
    let session = anna.session("org.example.Notes", "Argued about");
    anna.put(&session, "dinner", "?");
    bert.reads(&session, "dinner", "?");
    carl.reads(&session, "dinner", "?");
    bert.stop();
    anna.put(&session, "dinner", "soup");
    carl.reads(&session, "dinner", "soup");
    anna.stop();
    carl.stop();
    bert.start();
    bert.put(&session, "dinner", "pizza");
    anna.start();
    carl.start();
    let both = [("pizza".into(), "bert".into()), ("soup".into(), "anna".into())];
    for host in [&anna, &bert, &carl] {
        eventually("both values are there, the later one first", || {
            (values(host, &session, "dinner") == both).then_some(())
        });
        assert_eq!(host.ok(&["session", "get", &session, "dinner"])["conflicts"], 1);
        let said = host.says(&["session", "get", &session, "dinner"]);
        assert!(said.out.trim_end() == "pizza" && said.err.contains("1 more written concurrently"), "{said:?}");
    }
    carl.put(&session, "dinner", "salad");
    for host in [&anna, &bert, &carl] {
        eventually("it is settled", || {
            (values(host, &session, "dinner") == [("salad".into(), "carl".into())]).then_some(())
        });
        assert_eq!(host.ok(&["session", "get", &session, "dinner"])["conflicts"], 0);
        assert_eq!(host.says(&["session", "get", &session, "dinner"]).err, "");
    }
}

#[test]
fn a_device_gets_exactly_what_it_missed() {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    link(&anna, &bert);
    link(&anna, &carl);
    bert.meets("carl");
    let session = anna.session("org.example.Notes", "Long");
    for n in 0..10 {
        anna.put(&session, &format!("early {n}"), "x");
    }
    bert.reads(&session, "early 9", "x");
    carl.reads(&session, "early 9", "x");
    bert.stop();

    // Small ones and, in all, more than travels inline.
    let large = "large ".repeat(20_000);
    let file = anna.runtime().join("large");
    std::fs::write(&file, &large).unwrap();
    for n in 0..12 {
        anna.put(&session, &format!("anna {n}"), "x");
        carl.put(&session, &format!("carl {n}"), "x");
    }
    for n in 0..4 {
        anna.ok(&["session", "put", &session, &format!("large {n}"), "--file", file.to_str().unwrap()]);
    }
    carl.reads(&session, "large 3", &large);
    anna.reads(&session, "carl 11", "x");
    carl.stop();
    let hosts = [&anna, &bert, &carl];
    let before = hosts.map(Host::sent);
    bert.start();
    // From anna alone, who passes on what carl wrote.
    bert.reads(&session, "large 3", &large);
    bert.reads(&session, "carl 11", "x");
    carl.start();
    carl.meets("anna");
    carl.meets("bert");
    // What is written now arrives last: whatever else was on its way has been counted by then.
    anna.put(&session, "last", "anna");
    bert.reads(&session, "last", "anna");
    carl.reads(&session, "last", "anna");
    let sent: Vec<u64> = hosts.iter().zip(before).map(|(host, before)| host.sent() - before).collect();
    assert_eq!(sent, [12 + 12 + 4 + 2, 0, 0], "operations sent by anna, bert and carl");
    assert_eq!(bert.ok(&["session", "ls", &session]).as_array().unwrap().len(), 10 + 12 + 12 + 4 + 1);
}

#[test]
fn a_device_that_was_killed_is_back_at_once() {
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    link(&anna, &bert);
    let session = anna.session("org.example.Notes", "Quick");
    for (round, host) in [&anna, &bert, &anna].into_iter().enumerate() {
        host.kill();
        host.start();
        anna.put(&session, "round", &round.to_string());
        within(Duration::from_secs(15), "it is back", || {
            let got = bert.run(&["session", "get", &session, "round"]);
            (got.code == 0 && got.ok()["value"] == json!(round.to_string())).then_some(())
        });
    }
}
