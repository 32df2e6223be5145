//! A new device is announced on every device until somebody says that it is known.

use kinlink_tests::harness::{Host, eventually, link};

#[test]
fn a_new_device_is_announced_until_somebody_dismisses_it() {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    link(&anna, &bert);
    link(&anna, &carl);
    for host in [&anna, &bert] {
        eventually("carl is announced", || (host.device("carl")["new"] == true).then_some(()));
        let said = host.says(&["list"]);
        let both = format!("{}{}", said.out, said.err);
        assert!(both.contains("New device: carl, linked") && both.contains("by anna from"), "{both}");
    }
    assert_eq!(anna.device("anna")["new"], false, "the first device is nobody's news");
    assert_eq!(carl.device("carl")["new"], false, "a device does not announce itself to itself");

    bert.ok(&["dismiss", "carl"]);
    for host in [&anna, &bert] {
        eventually("the notice is gone", || (host.device("carl")["new"] == false).then_some(()));
    }
    // Each notice is its own, and outlives a restart.
    anna.stop();
    anna.start();
    assert_eq!(anna.device("bert")["new"], true);
    assert_eq!(anna.device("carl")["new"], false);
    anna.fails(&["dismiss", "nobody"], 4);
}
