//! New devices that lift their own checks, and showers that do not: linking is for this network, whatever the other side thinks
//! of that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::net::{IpAddr, SocketAddr};

use kinlink_daemon::net::{Admission, Links, Net, NetEvent};
use kinlink_proto::discovery::Key;
use kinlink_proto::key::{Identity, Secret};
use kinlink_proto::link::{Joiner, Message};
use kinlink_proto::wire::challenge::Challenge;
use kinlink_proto::wire::frame::CloseCode;
use kinlink_tests::harness::{Lan, Linking, Namespace, PATIENCE, Plan};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Whether these tests can run here.
fn possible() -> bool {
    Lan::possible() && lab::have(&["ip", "nft", "python3"])
}

/// How far a cheat got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    /// Nobody shook hands with it.
    Nothing,
    /// It was closed.
    Closed(Option<CloseCode>),
    /// Its proof was taken, and the account was offered to it.
    Offered,
}

/// Somebody in `space` who read the challenge and dials its shower at `ip`, wherever that is.
fn cheat(space: &Namespace, challenge: &Challenge, ip: impl Into<IpAddr>) -> Got {
    let port = challenge.terms.addresses[0].socket().unwrap().port();
    let to = SocketAddr::new(ip.into(), port);
    let attempt = || {
        space.enter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, attempt(challenge, to)).await.expect("an end") })
    };
    std::thread::scope(|scope| scope.spawn(attempt).join().unwrap())
}

async fn attempt(challenge: &Challenge, to: SocketAddr) -> Got {
    let identity = Identity::from_seeds(&Secret([1; 32]), &Secret([2; 32]));
    let mut joiner = Joiner::start(challenge.clone(), identity.device()).unwrap();
    let (sender, mut events) = tokio::sync::mpsc::channel(64);
    let net = Net::bind(&identity, 0, Admission::new(), sender, Links::watch()).unwrap();
    net.dial_link(1, challenge.shower, &[to.into()], true, Key::of_challenge(challenge));
    let got = loop {
        match events.recv().await.unwrap() {
            NetEvent::LinkConnected { conn, exporter, .. } => {
                net.send(conn, joiner.connected(&exporter, &mut ChaCha20Rng::from_seed([3; 32])).unwrap());
            }
            NetEvent::Received { frame, .. } => match Message::from_frame(&frame) {
                Ok(Some(Message::Offer(_))) => break Got::Offered,
                other => panic!("{other:?}"),
            },
            NetEvent::Disconnected { code, .. } => break Got::Closed(code),
            NetEvent::LinkDialFailed { code: None, .. } => break Got::Nothing,
            NetEvent::LinkDialFailed { code, .. } => break Got::Closed(code),
            _ => {}
        }
    };
    net.shutdown().await;
    got
}

const NOT_HERE: Got = Got::Closed(Some(CloseCode::NotOnLink));

#[test]
fn a_shower_links_nobody_from_elsewhere_whatever_that_one_dials() {
    if !possible() {
        return;
    }
    let lan = Lan::plan(Plan { segments: vec![2, 1], ..Plan::of(0) });
    let _vpn = lan.vpn(0, 2);
    let anna = lan.host(0, "anna");
    let (mut show, text) = Linking::open(&anna);
    let challenge = Challenge::parse(&text).unwrap();
    let (near, far) = (lan.space(1), lan.space(2));
    // Its answers die at the router; over the VPN there is none, and it looks.
    assert_eq!(cheat(far, &challenge, lan.v4(0)), Got::Nothing);
    assert_eq!(cheat(far, &challenge, lan.v6(0)), Got::Nothing);
    for ip in ["10.99.0.1", "fd99::1"] {
        assert_eq!(cheat(far, &challenge, ip.parse::<IpAddr>().unwrap()), NOT_HERE, "{ip}");
    }
    assert_eq!(anna.ok(&["status"])["pairing_open"], true, "it cost the challenge nothing");
    assert_eq!(cheat(near, &challenge, lan.v4(0)), Got::Offered);
    assert_eq!(cheat(near, &challenge, lan.v6(0)), Got::Offered);
    show.interrupt();
    show.end();
}

/// Both ends have addresses of one prefix, and routes into it that lead through a tunnel without any.
#[test]
fn a_tunnel_laid_into_the_prefix_of_the_network_is_not_the_network() {
    if !possible() {
        return;
    }
    let lan = Lan::plan(Plan { segments: vec![1, 1], ..Plan::of(0) });
    lan.close_router();
    let _tunnel = lan.tunnel(0, 1);
    lan.space(0).ip("route add 10.77.0.9/32 dev vpn0 src 10.77.0.1");
    lan.space(0).ip("-6 route add fd77::9/128 dev vpn0 src fd77::1");
    for setting in ["addr add 10.77.0.9/24 dev eth0", "-6 addr add fd77::9/64 dev eth0 nodad"] {
        lan.space(1).ip(setting);
    }
    lan.space(1).ip("route add 10.77.0.1/32 dev vpn0 src 10.77.0.9");
    lan.space(1).ip("-6 route add fd77::1/128 dev vpn0 src fd77::9");
    let (anna, bert) = (lan.host(0, "anna"), lan.host(1, "bert"));
    let (mut show, text) = Linking::open(&anna);
    let challenge = Challenge::parse(&text).unwrap();
    assert_eq!(cheat(lan.space(1), &challenge, lan.v4(0)), NOT_HERE);
    assert_eq!(cheat(lan.space(1), &challenge, lan.v6(0)), NOT_HERE);
    show.interrupt();
    show.end();
    // And a strict one does not dial there, though the other one would have it.
    let (mut show, text) = Linking::open_with(&anna, &["--anywhere"]);
    let refused = bert.run(&["join", "--yes", &text]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.out.contains("not on this network"), "{refused:?}");
    show.interrupt();
    let ended = show.end();
    assert!(!ended.out.contains(r#""event":"peer""#), "the shower heard of it: {ended:?}");
    kinlink_tests::harness::link_anywhere(&anna, &bert);
}
