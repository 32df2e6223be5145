//! Devices that were away: linked, revoked or set back without the others hearing of it at once.

use kinlink_tests::harness::{Host, eventually, link};

/// Copies a state directory.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

fn warnings(host: &Host) -> String {
    host.ok(&["status"])["warnings"].to_string()
}

/// Where a device listens on this machine.
fn place(host: &Host) -> String {
    format!("127.0.0.1:{}", host.ok(&["status"])["port"])
}

/// Over real TLS: carl was linked by anna while bert was away, and anna is gone when bert comes back.
#[test]
fn a_new_device_meets_one_that_has_not_heard_of_it() {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    link(&anna, &bert);
    bert.meets("anna");
    let session = anna.session("org.example.Notes", "Handed on");
    anna.put(&session, "k", "v");
    bert.reads(&session, "k", "v");
    let at = place(&bert);
    bert.stop();
    link(&anna, &carl);
    carl.reads(&session, "k", "v");
    carl.ok(&["address", "add", "bert", &at]);
    anna.stop();
    carl.put(&session, "k", "from carl");
    bert.start();
    bert.reads(&session, "k", "from carl");
    assert_eq!(bert.device("carl")["linked"]["by"]["name"], "anna");
    bert.put(&session, "k", "from bert");
    carl.reads(&session, "k", "from bert");
}

/// Across networks nobody hears a device announce itself: the user says where it is.
#[test]
fn a_revoked_device_is_told_where_the_user_says_that_it_is() {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    link(&anna, &bert);
    bert.meets("anna");
    let at = place(&bert);
    bert.stop();
    anna.ok(&["revoke", "bert", "--yes", "--reason", "left on a train"]);
    link(&anna, &carl);
    anna.stop();
    bert.start();
    carl.ok(&["address", "add", "bert", &at]);
    eventually("bert knows", || (bert.ok(&["status"])["state"] == "revoked").then_some(()));
    assert_eq!(bert.ok(&["status"])["revoked"]["reason"], "left on a train");
    // There is nothing more to say to it.
    eventually("carl knows that", || {
        let again = carl.says(&["address", "add", "bert", &at]);
        again.err.contains("Bert is out, and there is nothing to say").then_some(())
    });
}

/// How far a revocation has got is known through a third device as well.
#[test]
fn that_a_revocation_was_applied_is_known_through_a_third() {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    let dora = Host::new("dora");
    for host in [&bert, &carl, &dora] {
        link(&anna, host);
    }
    carl.meets("bert");
    carl.stop();
    let told = anna.ok(&["revoke", "dora", "--yes"]);
    assert_eq!((&told[0]["revoked"]["applied_on"], &told[0]["revoked"]["applied_of"]), (&2.into(), &3.into()));
    // Carl hears of it from bert while anna is away; anna hears of that from bert.
    anna.stop();
    carl.start();
    eventually("carl heard", || (carl.device("dora")["status"] == "revoked").then_some(()));
    carl.meets("bert");
    eventually("bert knows that carl applied it", || (bert.device("dora")["revoked"]["applied_on"] == 3).then_some(()));
    carl.stop();
    anna.start();
    eventually("anna knows it from bert", || (anna.device("dora")["revoked"]["applied_on"] == 3).then_some(()));
}

/// An old copy of a state directory in the place of a newer one: nothing is lost of either, and nobody is suspended.
#[test]
fn an_old_disk_costs_nothing() {
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    link(&anna, &bert);
    bert.meets("anna");
    let session = anna.session("org.example.Notes", "Kept");
    anna.put(&session, "before", "1");
    bert.reads(&session, "before", "1");
    anna.stop();
    let old = anna.runtime().parent().unwrap().join("old");
    copy(&anna.state(), &old);
    anna.start();
    for key in ["lost 1", "lost 2", "both"] {
        anna.put(&session, key, "lost");
    }
    bert.reads(&session, "both", "lost");
    anna.stop();
    bert.stop();
    std::fs::remove_dir_all(anna.state()).unwrap();
    copy(&old, &anna.state());
    anna.start();
    for key in ["since 1", "since 2", "both"] {
        anna.put(&session, key, "since");
    }
    assert!(!warnings(&anna).contains("restored"), "nobody has told it");
    bert.start();
    for host in [&anna, &bert] {
        for (key, value) in
            [("before", "1"), ("lost 1", "lost"), ("lost 2", "lost"), ("since 1", "since"), ("since 2", "since")]
        {
            host.reads(&session, key, value);
        }
        eventually("both values are shown", || {
            let values = host.ok(&["session", "get", "--conflicts", &session, "both"]).to_string();
            (values.contains("lost") && values.contains("since")).then_some(())
        });
        assert_eq!(host.linked(), ["anna", "bert"]);
    }
    assert!(warnings(&anna).contains("restored") && !warnings(&bert).contains("restored"));
    assert!(anna.log().contains("restored"));
    anna.put(&session, "both", "settled");
    bert.reads(&session, "both", "settled");
}
