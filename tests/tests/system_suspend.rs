//! Devices that are suspended and readmitted, over real daemons.

use kinlink_tests::harness::{Host, eventually, link};

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
