//! Linking is for the network that both devices are on. Who is beyond it, behind a router or at the other end of a VPN, links only
//! if both users say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use kinlink_proto::wire::challenge::Challenge;
use kinlink_tests::harness::{Host, Lan, Linking, Plan, Tunnel, link_anywhere};

/// Whether these tests can run here.
fn possible() -> bool {
    Lan::possible() && lab::have(&["ip", "nft", "python3"])
}

/// Two hosts with a router between them.
fn apart() -> Lan {
    Lan::plan(Plan { segments: vec![1, 1], ..Plan::of(0) })
}

/// Two hosts that reach each other over a VPN alone.
fn joined_by_a_vpn() -> (Lan, Tunnel) {
    let lan = apart();
    lan.close_router();
    let vpn = lan.vpn(0, 1);
    (lan, vpn)
}

/// That `bert` is refused unless both say `--anywhere`, and told what to do.
fn refused_unless_both_agree(anna: &Host, bert: &Host) {
    for (shows, joins) in [(false, false), (true, false), (false, true)] {
        let lenient = |is: bool| if is { &["--anywhere"][..] } else { &[] };
        let (mut show, text) = Linking::open_with(anna, lenient(shows));
        let refused = bert.run(&[&["join", "--yes"], lenient(joins), &[&text]].concat());
        // The challenge says whether its shower allows it.
        assert_eq!(refused.code, 5, "{refused:?}");
        assert!(refused.out.contains("not on this network") && refused.out.contains("--anywhere"), "{refused:?}");
        assert_eq!(bert.ok(&["status"])["state"], "unlinked");
        show.interrupt();
        let ended = show.end();
        assert!(!ended.out.contains(r#""event":"peer""#), "the shower heard of it: {ended:?}");
    }
}

#[test]
fn a_host_behind_a_router_links_only_if_both_sides_say_anywhere() {
    if !possible() {
        return;
    }
    let lan = apart();
    let (anna, bert) = (lan.host(0, "anna"), lan.host(1, "bert"));
    refused_unless_both_agree(&anna, &bert);
    link_anywhere(&anna, &bert);
}

#[test]
fn a_host_on_a_vpn_links_only_if_both_sides_say_anywhere() {
    if !possible() {
        return;
    }
    let (lan, _vpn) = joined_by_a_vpn();
    let (anna, bert) = (lan.host(0, "anna"), lan.host(1, "bert"));
    refused_unless_both_agree(&anna, &bert);
    link_anywhere(&anna, &bert);
}

/// The picture alone is enough, and after that they find each other over the VPN, whichever of them starts anew.
#[test]
fn devices_that_a_vpn_alone_joins_stay_together() {
    if !possible() {
        return;
    }
    let (lan, _vpn) = joined_by_a_vpn();
    let (anna, bert) = (lan.host(0, "anna"), lan.host(1, "bert"));
    let mut show = anna.spawn(&["--json", "link", "--anywhere"]);
    let qr = show.event("open")["qr"].as_str().unwrap().to_owned();
    let named = Challenge::parse(&qr).unwrap().terms.addresses;
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].socket().unwrap().ip().to_string(), "10.99.0.1");
    let mut linking = Linking { show, join: bert.spawn(&["--json", "join", "--yes", "--anywhere", &qr]) };
    let code = linking.code();
    linking.show.type_line(&code);
    assert_eq!(linking.join.end().ok()["event"], "linked");

    let session = anna.session("org.example.Notes", "Far");
    anna.put(&session, "k", "v");
    bert.reads(&session, "k", "v");
    for (round, (down, up)) in [(&anna, &bert), (&bert, &anna)].into_iter().enumerate() {
        let key = format!("k{round}");
        down.stop();
        up.put(&session, &key, "v");
        down.start();
        down.reads(&session, &key, "v");
        up.meets(down.name());
        assert_eq!(up.ok(&["ping", down.name()])["place"], "routed");
    }
}
