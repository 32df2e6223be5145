//! The verbs that look at devices and sessions, or change them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use serde_json::Value;
use support::{LAPTOP, PHONE, SESSION, Stand};

fn json(stand: &Stand, args: &[&str]) -> Value {
    let output = stand.run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(stand: &Stand, args: &[&str]) -> String {
    let output = stand.run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn list_marks_this_device_and_comes_without_a_verb() {
    let stand = Stand::start();
    let list = text(&stand, &[]);
    assert_eq!(list, text(&stand, &["list"]));
    let rows: Vec<&str> = list.lines().collect();
    assert!(rows[1].starts_with("* laptop  aaaa0000") && rows[2].starts_with("  phone   bbbb0000"), "{list}");
    let ids: Vec<Value> =
        json(&stand, &["--json"]).as_array().unwrap().iter().map(|device| device["id"].clone()).collect();
    assert_eq!(ids, [LAPTOP, PHONE]);
}

#[test]
fn redacted_output_holds_no_name() {
    let stand = Stand::start();
    for args in [&["list"][..], &["show", "phone"], &["--json", "list"], &["sessions"]] {
        let output = stand.command(args).arg("--redact").output().unwrap();
        let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !all.contains("laptop") && !all.contains("phone"), "{args:?}: {all}");
    }
}

#[test]
fn revoke_asks_first_and_says_how_far_it_got() {
    let stand = Stand::start();
    let refused = stand.run(&["revoke", "phone"]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(stand.said().is_empty());
    let told = text(&stand, &["revoke", "bbbb", "--yes", "--reason", "lost"]);
    assert_eq!(told, "phone is revoked, applied on 1 of 1.\n");
    assert_eq!(stand.said(), ["revoke phone: lost"]);
}

#[test]
fn revoke_others_revokes_the_others() {
    let stand = Stand::start();
    let revoked = json(&stand, &["revoke", "--others", "--yes", "--json", "--reason", "tidying"]);
    assert_eq!(revoked[0]["id"], PHONE);
    assert_eq!(stand.said(), ["revoke others: tidying"]);
}

#[test]
fn this_device_is_left_not_revoked() {
    let stand = Stand::start();
    let output = stand.run(&["revoke", "laptop", "--yes"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("kinctl leave"));
    text(&stand, &["leave", "--yes"]);
    assert_eq!(stand.said(), ["leave"]);
}

#[test]
fn a_suspended_device_is_shown_with_where_it_was_seen_and_what_can_be_done() {
    let stand = Stand::start();
    let told = text(&stand, &["suspend", "phone", "--reason", "lent"]);
    assert_eq!(told, "phone is suspended. kinctl readmit lets it in again.\n");
    let list = stand.run(&["list"]);
    let (table, notes) = (String::from_utf8(list.stdout).unwrap(), String::from_utf8(list.stderr).unwrap());
    assert!(table.contains("owner (suspended)"), "{table}");
    let alert = "Suspended: phone, 2026-11-24 10:58 UTC by laptop (lent), seen at 192.0.2.7:4000 and 192.0.2.9:4000. \
                 Is it yours alone? kinctl readmit bbbb0000. If not: kinctl revoke bbbb0000.";
    assert!(notes.contains(alert), "{notes}");
    let shown = json(&stand, &["show", "phone", "--json"]);
    assert_eq!((&shown["suspended"]["reason"], &shown["revoked"]), (&"lent".into(), &Value::Null));
    assert_eq!(text(&stand, &["readmit", "bbbb"]), "phone is in again.\n");
    assert_eq!(json(&stand, &["show", "phone", "--json"])["suspended"], Value::Null);
    assert_eq!(stand.said(), ["suspend phone: lent", "readmit phone"]);
    assert_eq!(stand.run(&["suspend", "laptop"]).status.code(), Some(2));
}

#[test]
fn rename_says_both_names() {
    let stand = Stand::start();
    assert_eq!(text(&stand, &["rename", "phone", "mobile"]), "phone is now called mobile.\n");
    assert_eq!(stand.said(), ["rename phone mobile"]);
}

#[test]
fn an_unknown_device_is_not_found() {
    let output = Stand::start().run(&["show", "toaster"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no device \"toaster\""));
}

#[test]
fn sessions_come_over_all_pages() {
    let stand = Stand::start();
    assert_eq!(json(&stand, &["sessions", "--json"])[0]["id"], SESSION);
    assert!(text(&stand, &["sessions"]).contains("Groceries"));
}

#[test]
fn entries_go_in_and_out_by_title_byte_for_byte() {
    let stand = Stand::start();
    assert_eq!(
        text(&stand, &["session", "new", "--app", "org.example.Notes", "--title", "Groceries"]),
        format!("{SESSION}\n")
    );
    assert_eq!(text(&stand, &["session", "get", "Groceries", "milk"]), "2 litres");
    text(&stand, &["session", "put", "cccc0", "eggs", "-6"]);
    assert_eq!(text(&stand, &["session", "get", SESSION, "milk"]), "2 litres");
    let mut put = stand.drive(&["session", "put", "Groceries", "bread", "-"]);
    put.line("rye");
    put.end_input();
    assert_eq!(put.finish().0, Some(0));
    let missing = stand.run(&["session", "get", "Groceries", "caviar"]);
    assert_eq!(missing.status.code(), Some(4));
    assert_eq!(stand.said()[1..], ["put eggs = -6", "put bread = rye\n"]);
}

#[test]
fn watch_tells_each_change_and_ends_with_the_session() {
    let stand = Stand::start();
    let mut watch = stand.drive(&["session", "watch", "Groceries", "--json"]);
    watch.event("watching");
    let put = watch.event("put");
    assert_eq!(
        (&put["key"], &put["value"], &put["device"]["name"]),
        (&"milk".into(), &"2 litres".into(), &"phone".into())
    );
    assert_eq!(watch.event("delete")["key"], "eggs");
    assert_eq!(watch.event("ended")["reason"], "done shopping");
    let (code, stderr) = watch.finish();
    assert_eq!(code, Some(9));
    assert!(stderr.contains("ended by phone: done shopping"), "{stderr}");
}
