//! Linking that goes wrong: each way has its own words on both sides, and none leaves anything half linked.

use kinlink_tests::harness::{Ctl, Failure, Host, Linking, eventually, link, wrong};
use serde_json::Value;

fn two() -> (Host, Host) {
    (Host::new("anna"), Host::new("bert"))
}

/// Neither lists the other, and both are as they were before.
fn assert_apart(anna: &Host, bert: &Host) {
    for host in [anna, bert] {
        eventually("it is free again", || {
            let status = host.ok(&["status"]);
            (status["state"] == "unlinked" && status["pairing_open"] == false).then_some(())
        });
        assert_eq!(host.linked(), [host.name()]);
    }
}

#[test]
fn three_wrong_codes_end_it_on_both_sides() {
    let (anna, bert) = two();
    let mut linking = Linking::start(&anna, &bert);
    for left in [2, 1] {
        let code = linking.code();
        linking.show.type_line(&wrong(&code));
        assert_eq!(linking.show.event("wrong_code")["tries_left"], left);
    }
    // What is not a code at all is not counted.
    let code = linking.code();
    linking.show.type_line("12 34");
    assert_eq!(linking.show.event("wrong_code")["tries_left"], 1);
    linking.show.event("peer");
    linking.show.type_line(&wrong(&code));
    for mut ctl in [linking.show, linking.join] {
        let failure = ctl.end().fails(7);
        assert_eq!(failure.name, "TooManyTries");
        assert!(failure.message.contains("three times"), "{failure:?}");
    }
    assert_apart(&anna, &bert);

    // The code of an earlier try is as wrong as any other; the one that is shown now is right.
    let mut linking = Linking::start(&anna, &bert);
    let first = linking.code();
    linking.show.type_line(&wrong(&first));
    let second = linking.code();
    assert_ne!(first, second);
    linking.show.type_line(&first);
    let third = linking.code();
    linking.show.type_line(&third);
    linking.show.end().ok();
    linking.join.end().ok();
    assert_eq!((anna.linked(), bert.linked()), (bert.linked(), vec!["anna".to_owned(), "bert".to_owned()]));
}

#[test]
fn a_challenge_expires_and_says_so() {
    let (anna, bert) = two();
    let mut show = anna.spawn(&["--json", "link", "--timeout", "30"]);
    let text = show.event("open")["text"].as_str().unwrap().to_owned();
    let busy = anna.fails(&["link"], 5);
    assert_eq!(busy.name, "PairingOpen");
    let expired = show.end().fails(6);
    assert_eq!(expired.name, "Expired");
    let late = bert.fails(&["join", "--yes", &text], 6);
    assert_eq!(late.name, "Expired");
    assert!(late.hint.contains("kinctl link again"), "{late:?}");
    assert_apart(&anna, &bert);
    let short = anna.run(&["link", "--timeout", "29"]);
    assert!(short.code == 2 && short.err.contains("30..=300"), "{short:?}");
    link(&anna, &bert);
}

#[test]
fn a_challenge_links_one_device_once() {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    let (show, text) = Linking::open(&anna);
    let join = Linking::join(&bert, &text);
    let mut linking = Linking { show, join };
    let code = linking.code();
    linking.show.type_line(&code);
    linking.show.end().ok();
    linking.join.end().ok();
    let used = carl.fails(&["join", "--yes", &text], 6);
    assert_eq!(used.name, "AlreadyUsed");
    eventually("the new device is listed", || (anna.linked() == ["anna", "bert"]).then_some(()));
    assert_eq!(carl.ok(&["status"])["state"], "unlinked");

    // A linked device joins nothing before it has left: neither another account nor its own again.
    for other in [&carl, &anna] {
        let (_show, text) = Linking::open(other);
        let refused = bert.fails(&["join", "--yes", &text], 5);
        assert_eq!(refused.name, "LeaveFirst");
        assert!(refused.hint.contains("kinctl leave"), "{refused:?}");
    }
    eventually("it is still linked", || (bert.linked() == ["anna", "bert"]).then_some(()));
}

#[test]
fn what_is_not_a_challenge_is_refused() {
    let (anna, bert) = two();
    let (show, text) = Linking::open(&anna);
    let at = text.len() / 2;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    let tampered = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    let cut = &text[..text.len() - 4];
    for bad in ["hello", "KL:", "kinlink:AAAA", &tampered, cut, &format!("{text}AAAA")] {
        let failure = bert.fails(&["join", "--yes", bad], 6);
        assert_eq!(failure.name, "BadChallenge", "{bad}");
        assert!(failure.hint.contains("kinctl link"), "{failure:?}");
    }
    let altered = bert.fails(&["join", "--yes", &tampered], 6);
    assert!(altered.message.contains("signature is wrong"), "{altered:?}");
    assert_eq!(anna.fails(&["join", "--yes", &text], 5).name, "PairingOpen");
    drop(show);
    assert_apart(&anna, &bert);
    // Nobody is there any more: its client is gone, and the daemon too.
    anna.stop();
    let nobody = bert.fails(&["join", "--yes", &text], 6);
    assert_eq!(nobody.name, "Unreachable");
}

#[test]
fn a_second_claimant_ends_it_for_everybody() {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    let (show, text) = Linking::open(&anna);
    let join = Linking::join(&bert, &text);
    let mut linking = Linking { show, join };
    linking.code();
    let mut thief = Linking::join(&carl, &text);
    for ctl in [&mut linking.show, &mut linking.join, &mut thief] {
        let failure = ctl.end().fails(6);
        assert_eq!(failure.name, "SecondClaimant");
    }
    assert_apart(&anna, &bert);
    assert_apart(&anna, &carl);
    link(&anna, &bert);
}

/// Where Ctrl-C or kill -9 strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The challenge is shown, and nobody has answered.
    Open,
    /// The new device shows the offer and asks its user.
    Offered,
    /// The new device shows the code.
    Code,
    /// It shows another one, as the first was typed wrong.
    SecondCode,
    /// The right code was typed a moment ago.
    Typed,
}

/// Both `kinctl`, having come as far as `step`.
fn come_to(anna: &Host, bert: &Host, step: Step) -> (Ctl, Option<Ctl>) {
    let (show, text) = Linking::open(anna);
    if step == Step::Open {
        return (show, None);
    }
    if step == Step::Offered {
        let mut join = bert.at_terminal(&["--json", "join", &text]);
        join.event("offer");
        return (show, Some(join));
    }
    let join = Linking::join(bert, &text);
    let mut linking = Linking { show, join };
    let code = linking.code();
    if step == Step::SecondCode {
        linking.show.type_line(&wrong(&code));
        linking.code();
    }
    if step == Step::Typed {
        linking.show.type_line(&code);
    }
    (linking.show, Some(linking.join))
}

const STEPS: [Step; 4] = [Step::Open, Step::Offered, Step::Code, Step::SecondCode];

#[test]
fn ctrl_c_where_it_is_shown_leaves_nothing() {
    let (anna, bert) = two();
    for step in STEPS {
        let (mut show, join) = come_to(&anna, &bert, step);
        show.interrupt();
        let cancelled = show.end().fails(130);
        assert_eq!(cancelled.message, "Cancelled; nothing was linked.", "{step:?}");
        if let Some(mut join) = join {
            told(step, &join.end().fails(6));
        }
        assert_apart(&anna, &bert);
    }
    link(&anna, &bert);
}

#[test]
fn ctrl_c_where_it_is_joined_leaves_nothing() {
    let (anna, bert) = two();
    for step in &STEPS[1..] {
        let (mut show, join) = come_to(&anna, &bert, *step);
        let mut join = join.unwrap();
        join.interrupt();
        let cancelled = join.end().fails(130);
        assert_eq!(cancelled.message, "Cancelled; nothing was linked.", "{step:?}");
        told(*step, &show.end().fails(6));
        assert_apart(&anna, &bert);
    }
    link(&anna, &bert);
}

/// The other side's words for it.
fn told(step: Step, failure: &Failure) {
    assert_eq!(failure.name, "Cancelled", "{step:?}");
}

#[test]
fn a_client_that_vanishes_takes_its_pairing_along() {
    let (anna, bert) = two();
    for step in STEPS {
        let (show, join) = come_to(&anna, &bert, step);
        drop(show);
        if let Some(mut join) = join {
            told(step, &join.end().fails(6));
        }
        assert_apart(&anna, &bert);
    }
    for step in &STEPS[1..] {
        let (mut show, join) = come_to(&anna, &bert, *step);
        drop(join);
        told(*step, &show.end().fails(6));
        assert_apart(&anna, &bert);
    }
    link(&anna, &bert);
}

/// Kills one daemon of two at `step`, starts it again, and waits until both agree.
fn killed(step: Step, shower: bool) {
    let (anna, bert) = two();
    let (show, join) = come_to(&anna, &bert, step);
    let victim = if shower { &anna } else { &bert };
    victim.kill();
    drop(join);
    drop(show);
    victim.start();
    let linked = eventually("both list both, or neither does", || {
        let statuses = [anna.device("bert"), bert.device("anna")].map(|device| device["status"].clone());
        let settled = anna.ok(&["status"])["pairing_open"] == false;
        match statuses {
            [Value::Null, Value::Null] if settled => Some(false),
            [there, here] if there == "linked" && here == "linked" => Some(true),
            _ => None,
        }
    });
    assert!(!linked || step == Step::Typed, "linked without a code at {step:?}");
    if !linked {
        link(&anna, &bert);
    }
    for host in [&anna, &bert] {
        eventually("both list both", || (host.linked() == ["anna", "bert"]).then_some(()));
        assert_eq!(host.ok(&["status"])["state"], "linked");
    }
    let session = bert.session("org.example.Notes", "After all");
    bert.put(&session, "k", "v");
    anna.reads(&session, "k", "v");
}

#[test]
fn kill_9_of_the_shower_leaves_nothing_half_linked() {
    for step in [Step::Offered, Step::Code, Step::Typed] {
        killed(step, true);
    }
}

#[test]
fn kill_9_of_the_joiner_leaves_nothing_half_linked() {
    for step in [Step::Offered, Step::Code, Step::Typed] {
        killed(step, false);
    }
}

/// Stops a device and starts it again with its keys but an empty store, as after a restored home.
fn lose_store(host: &Host) {
    host.stop();
    std::fs::remove_file(host.state().join("store")).unwrap();
    host.start();
    assert_eq!(host.ok(&["status"])["state"], "unlinked");
}

#[test]
fn a_key_that_is_known_there_is_not_linked_again() {
    let (anna, bert) = two();
    link(&anna, &bert);
    let refused = |there: (&str, i32), here: (&str, i32)| {
        let mut linking = Linking::start(&anna, &bert);
        for (ctl, (name, code)) in [(&mut linking.show, there), (&mut linking.join, here)] {
            let failure = ctl.end().fails(code);
            assert_eq!(failure.name, name);
            assert_eq!(failure.message.contains("kinctl erase"), code != 5 || name == "Refused", "{failure:?}");
        }
    };
    lose_store(&bert);
    refused(("AlreadyLinked", 5), ("AlreadyLinked", 5));
    assert_eq!(anna.device("bert")["revoked"], Value::Null);
    bert.stop();
    anna.ok(&["revoke", "bert", "--yes", "--wait", "0"]);
    bert.start();
    refused(("Refused", 5), ("Revoked", 8));
    assert_eq!(anna.linked(), ["anna"]);
    bert.ok(&["erase", "--yes"]);
    link(&anna, &bert);
}

#[test]
fn earlier_sessions_are_brought_or_discarded() {
    let (anna, bert, carl) = (Host::new("anna"), Host::new("bert"), Host::new("carl"));
    let join = |host: &Host, what: &str| {
        let session = host.session("org.example.Notes", &format!("Made on {}", host.name()));
        host.put(&session, "k", host.name());
        let (show, text) = Linking::open(&anna);
        let join = host.spawn(&["--json", "join", "--yes", "--sessions", what, &text]);
        let mut linking = Linking { show, join };
        let code = linking.code();
        linking.show.type_line(&code);
        linking.show.end().ok();
        linking.join.end().ok();
        session
    };
    let brought = join(&bert, "bring");
    anna.reads(&brought, "k", "bert");
    bert.reads(&brought, "k", "bert");
    let discarded = join(&carl, "discard");
    carl.reads(&brought, "k", "bert");
    for host in [&anna, &bert, &carl] {
        assert_eq!(host.fails(&["session", "get", &discarded, "k"], 4).name, "");
        let titles = host.ok(&["sessions"]);
        assert_eq!((titles.as_array().unwrap().len(), &titles[0]["title"]), (1, &"Made on bert".into()));
    }
}

#[test]
fn an_account_has_as_many_devices_as_the_one_that_links_lets_it() {
    let (anna, bert, carl) = (Host::stopped("anna"), Host::new("bert"), Host::new("carl"));
    let limited = |most: &str| {
        let mut command = anna.command();
        command.args(["--devices", most]);
        command
    };
    anna.start_with(limited("2"));
    link(&anna, &bert);
    assert_eq!(anna.fails(&["link"], 5).name, "TooManyDevices");
    anna.stop();
    anna.start_with(limited("3"));
    link(&anna, &carl);
    assert_eq!(anna.linked(), ["anna", "bert", "carl"]);
}
