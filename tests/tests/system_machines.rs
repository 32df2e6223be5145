//! Three machines that boot systemd, on one LAN: found without an address, linked, in sync, restarted, revoked, each by the daemon that its units run.

use std::time::Instant;

use kinlink_tests::harness::{Installed, Lan, Machine, User, eventually};
use serde_json::Value;

/// Links `joiner` to the account of `shower`, with nothing but the challenge going from one to the other. The shower moves
/// when the challenge is made, so that no address in it is true any more.
fn link(shower: &User<'_>, joiner: &User<'_>, moved: impl FnOnce()) {
    let mut show = shower.spawn(&["--json", "link"]);
    let text = show.event("open")["text"].as_str().unwrap().to_owned();
    moved();
    let mut join = joiner.spawn(&["--json", "join", "--yes", &text]);
    let code = join.event("code")["code"].as_str().unwrap().to_owned();
    show.event("peer");
    show.type_line(&code);
    show.end().ok();
    join.end().ok();
}

fn meets(user: &User<'_>, name: &str) {
    let machine = user.machine().name();
    eventually(&format!("{machine} meets {name}"), || (user.device(name)["online"] == true).then_some(()));
}

fn reads(user: &User<'_>, session: &str, key: &str, value: &str) {
    let machine = user.machine().name();
    eventually(&format!("{machine} reads {key}"), || {
        let got = user.run(&["session", "get", session, key]);
        (got.code == 0 && got.ok()["value"] == value).then_some(())
    });
}

/// The ids in entries of an event, sorted.
fn told(user: &User<'_>, event: &str) -> Vec<String> {
    let device = |entry: &Value| entry["KINLINK_DEVICE"].as_str().unwrap_or_default().to_owned();
    let mut ids: Vec<_> = user.events(event).iter().map(device).collect();
    ids.sort();
    ids
}

#[test]
fn three_machines_find_each_other_link_sync_restart_and_revoke() {
    if !Machine::possible() || !Lan::possible() {
        return;
    }
    let lan = Lan::new(3);
    let installed = Installed::new();
    let names = ["anna", "bert", "carl"];
    let boot = |at: usize| Machine::boot_in(lan.space(at).name(), names[at], &installed);
    let machines: Vec<_> = std::thread::scope(|scope| {
        let booting: Vec<_> = (0..3).map(|at| scope.spawn(move || boot(at))).collect();
        booting.into_iter().map(|booting| booting.join().unwrap()).collect()
    });
    let users: Vec<_> = machines.iter().map(|machine| machine.user("alice")).collect();
    let [anna, bert, carl] = [&users[0], &users[1], &users[2]];
    let ids: Vec<_> =
        users.iter().map(|user| user.ok(&["status"])["device"]["id"].as_str().unwrap().to_owned()).collect();

    link(anna, bert, || lan.readdress(0));
    link(anna, carl, || lan.readdress(0));
    let session = anna.ok(&["session", "new", "--app", "org.example.Notes", "--title", "Shopping"]);
    let session = session["id"].as_str().unwrap();
    anna.ok(&["session", "put", session, "milk", "2 l"]);
    reads(bert, session, "milk", "2 l");
    reads(carl, session, "milk", "2 l");
    meets(bert, "carl");

    // Both at addresses where nobody knows them: they find one another.
    for user in [anna, bert] {
        user.systemctl("stop kinlinkd");
    }
    (0..2).for_each(|host| lan.readdress(host));
    for user in [anna, bert] {
        user.ok(&["status"]);
    }
    meets(anna, "bert");
    meets(bert, "anna");

    for (how, restart) in
        [("restart", "systemctl --user restart kinlinkd"), ("kill -9", "systemctl --user kill -s KILL kinlinkd")]
    {
        let begun = Instant::now();
        let before = bert.property("kinlinkd.service", "MainPID");
        bert.sh(restart);
        eventually("another daemon runs", || (bert.property("kinlinkd.service", "MainPID") != before).then_some(()));
        meets(bert, "anna");
        meets(anna, "bert");
        println!("after a {how} of bert's daemon he and anna have one another again in {:?}", begun.elapsed());
    }
    anna.ok(&["session", "put", session, "bread", "1"]);
    reads(bert, session, "bread", "1");

    anna.ok(&["revoke", "carl", "--yes", "--reason", "lost on the train"]);
    eventually("carl knows that he is out", || (carl.ok(&["status"])["state"] == "revoked").then_some(()));
    eventually("bert knows", || (bert.device("carl")["status"] == "revoked").then_some(()));
    let mut others = [ids[1].clone(), ids[2].clone()];
    others.sort();
    assert_eq!(told(anna, "linked"), others);
    assert_eq!((told(anna, "revoked"), told(bert, "revoked")), (vec![ids[2].clone()], vec![ids[2].clone()]));
    assert_eq!(told(carl, "out"), [ids[2].clone()]);
    assert_eq!(told(carl, "erased").len(), 1);

    // Erased for a fresh start it is another device, on a socket that systemd keeps again.
    carl.ok(&["erase", "--yes"]);
    eventually("carl starts over", || (carl.ok(&["status"])["state"] == "unlinked").then_some(()));
    eventually("its socket is kept", || {
        (carl.property("kinlinkd.service", "NFileDescriptorStore") == "1").then_some(())
    });
    users.iter().for_each(User::nothing_failed);
}
