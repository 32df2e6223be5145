//! `kinctl link` and `kinctl join`, at every turn that a pairing can take.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use support::{CODE, PHONE, Stand};

#[test]
fn the_right_code_links() {
    let stand = Stand::start();
    let mut link = stand.drive(&["link", "--json", "--label", "Ada"]);
    let open = link.event("open");
    assert!(open["qr"].as_str().unwrap().starts_with("KL:"));
    assert_eq!(link.event("peer")["peer"]["id"], PHONE);
    link.line(CODE);
    assert_eq!(link.event("linked")["device"]["id"], PHONE);
    assert_eq!(link.finish(), (Some(0), String::new()));
    assert_eq!(stand.said(), [r#"open ["anywhere", "label", "timeout"]"#, "confirm 012345"]);
}

#[test]
fn linking_from_anywhere_comes_with_a_warning() {
    for (args, warned) in [(vec!["link", "--anywhere"], true), (vec!["link"], false)] {
        let stand = Stand::start();
        let mut link = stand.drive(&args);
        link.line(CODE);
        let (code, stderr) = link.finish();
        assert_eq!((code, stderr.contains("need not be on this network")), (Some(0), warned), "{stderr}");
    }
}

#[test]
fn a_wrong_code_is_asked_for_again_and_the_third_ends_it() {
    let stand = Stand::start();
    let mut link = stand.drive(&["link", "--json"]);
    link.event("open");
    for left in [2, 1] {
        link.event("peer");
        link.line("999999");
        assert_eq!(link.event("wrong_code")["tries_left"], left);
    }
    link.event("peer");
    link.line("999999");
    assert_eq!(link.event("failed")["exit"], 7);
    let (code, stderr) = link.finish();
    assert_eq!(code, Some(7));
    assert!(stderr.contains("Error.TooManyTries"), "{stderr}");
    assert!(!stand.said().contains(&"cancel".to_owned()));
}

#[test]
fn a_wrong_code_can_be_followed_by_the_right_one() {
    let stand = Stand::start();
    let mut link = stand.drive(&["link", "--json"]);
    link.event("open");
    link.event("peer");
    link.line("999999");
    assert_eq!(link.event("wrong_code")["tries_left"], 2);
    link.event("peer");
    // A slip of the hand is no try, and is asked for again just the same.
    link.line("12");
    assert_eq!(link.event("wrong_code")["tries_left"], 2);
    link.event("peer");
    link.line(CODE);
    link.event("linked");
    assert_eq!(link.finish().0, Some(0));
}

#[test]
fn no_code_is_a_no() {
    for answer in [Some(""), None] {
        let stand = Stand::start();
        let mut link = stand.drive(&["link", "--json"]);
        link.event("open");
        link.event("peer");
        match answer {
            Some(line) => link.line(line),
            None => link.end_input(),
        }
        assert_eq!(link.event("failed")["exit"], 5);
        assert_eq!(link.finish().0, Some(5));
        assert_eq!(stand.said().last().unwrap(), "reject", "{answer:?}");
    }
}

#[test]
fn ctrl_c_cancels_and_says_so() {
    let stand = Stand::start();
    let mut link = stand.drive(&["link"]);
    // The first row of the QR code: by now the pairing is open.
    link.skip_line();
    link.interrupt();
    let (code, stderr) = link.finish();
    assert_eq!(code, Some(130));
    assert!(stderr.contains("Cancelled; nothing was linked."), "{stderr}");
    assert_eq!(stand.said().last().unwrap(), "cancel");
}

#[test]
fn ctrl_c_cancels_a_join_too() {
    let stand = Stand::start();
    let mut join = stand.drive(&["join", "--yes", "--name", "quiet", "KL:ABC"]);
    assert!(join.told().starts_with("Looking for the device"));
    join.interrupt();
    let (code, stderr) = join.finish();
    assert_eq!(code, Some(130));
    assert!(stderr.contains("Cancelled; nothing was linked."), "{stderr}");
    assert_eq!(stand.said().last().unwrap(), "cancel");
}

#[test]
fn join_reads_the_picture_that_link_drew() {
    let stand = Stand::start();
    let png = stand.file("qr.png");
    let mut link = stand.drive(&["link", "--json", "--png", png.to_str().unwrap()]);
    let qr = link.event("open")["qr"].as_str().unwrap().to_owned();
    let mut join = stand.drive(&["join", "--json", "--yes", "--image", png.to_str().unwrap()]);
    assert_eq!(join.event("offer")["role"], "member");
    assert_eq!(join.event("code")["code"], CODE);
    join.event("linked");
    assert_eq!(join.finish(), (Some(0), String::new()));
    let said = stand.said();
    assert!(said.contains(&format!("join {qr}")) && said.contains(&"accept, bring sessions".to_owned()), "{said:?}");
    link.interrupt();
    assert_eq!(link.finish().0, Some(130));
}

#[test]
fn join_takes_text_from_standard_input() {
    let stand = Stand::start();
    let mut join = stand.drive(&["join", "--json", "--yes", "--sessions", "discard", "-"]);
    join.line("  KL:FROM STDIN ");
    join.end_input();
    for event in ["offer", "code", "linked"] {
        join.event(event);
    }
    assert_eq!(join.finish().0, Some(0));
    assert!(stand.said().starts_with(&["join KL:FROM STDIN".to_owned(), "accept, discard sessions".to_owned()]));
}

#[test]
fn join_takes_a_picture_from_standard_input() {
    let stand = Stand::start();
    let png = stand.file("qr.png");
    let mut link = stand.drive(&["link", "--json", "--png", png.to_str().unwrap()]);
    let qr = link.event("open")["qr"].as_str().unwrap().to_owned();
    let mut join = stand.drive(&["join", "--json", "--yes", "-"]);
    join.bytes(&std::fs::read(&png).unwrap());
    join.end_input();
    join.event("offer");
    assert!(stand.said().contains(&format!("join {qr}")));
}

#[test]
fn who_looks_on_sees_how_what_there_is_arrives() {
    let stand = Stand::start();
    let (code, told) = stand.drive(&["join", "--yes", "--color", "always", "KL:ABC"]).finish();
    let shown: Vec<&str> = told.lines().filter(|line| line.starts_with("Recei")).collect();
    let leaves = "Ctrl-C leaves it to kinlinkd.";
    assert_eq!(
        shown,
        [
            &format!("Receiving: 2000 of 4000 changes (50 %). {leaves}"),
            &format!("Receiving: 3000 of 4000 changes (75 %). {leaves}"),
            "Received 4000 changes."
        ]
    );
    assert_eq!(code, Some(0));
    // A script is not kept waiting.
    let (code, told) = stand.drive(&["join", "--yes", "KL:ABC"]).finish();
    assert_eq!((code, told.contains("Recei")), (Some(0), false), "{told}");
}

#[test]
fn join_does_not_agree_by_itself() {
    let stand = Stand::start();
    let output = stand.run(&["join", "KL:ABC"]);
    assert_eq!(output.status.code(), Some(5));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--yes"), "{text}");
    assert!(!stand.said().iter().any(|said| said.starts_with("accept")));
}

#[test]
fn what_is_no_challenge_is_refused_with_advice() {
    let output = Stand::start().run(&["join", "hello"]);
    assert_eq!(output.status.code(), Some(6));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("The text is not a challenge.\nkinctl link on the other device"), "{text}");
}

/// A daemon that dies must not leave anybody waiting.
#[test]
fn a_daemon_that_goes_away_ends_the_wait() {
    let stand = Stand::start();
    let mut link = stand.drive(&["link", "--json", "--name", "quiet"]);
    link.event("open");
    // By the end of another command this one has read the pairing's state, and only waits.
    assert!(stand.run(&["list"]).status.success());
    drop(stand);
    let (code, stderr) = link.finish();
    assert_eq!(code, Some(3), "{stderr}");
}
