//! The linking socket, over loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod net_support;

use std::net::UdpSocket;
use std::time::Duration;

use kinlink_daemon::net::NetEvent;
use kinlink_proto::discovery::Key;
use kinlink_proto::id::AccountId;
use kinlink_proto::key::Secret;
use kinlink_proto::limits;
use kinlink_proto::wire::frame::CloseCode;
use net_support::{Device, frame, loopback};

const PAIRING: u64 = 7;

/// What the shower would be looked for under, if these devices searched the network.
fn key() -> Key {
    Key::of_epoch(&Secret([0; 32]), AccountId::NONE)
}

/// S with an open linking socket, and J; neither knows the other.
fn strangers() -> (Device, Device, u16) {
    let (s, j) = (Device::new(1), Device::new(2));
    let port = open(&s);
    (s, j, port)
}

fn open(device: &Device) -> u16 {
    let addresses = device.net.open_linking(false).unwrap();
    addresses[0].socket().unwrap().port()
}

/// S's and J's names for a linking connection that J made.
async fn linked(s: &mut Device, j: &mut Device, port: u16) -> (u64, u64) {
    j.net.dial_link(PAIRING, s.id, &[loopback(port)], false, key());
    let NetEvent::LinkConnected { conn: at_j, peer, dialled, exporter: j_exporter, .. } = j.next().await else {
        panic!()
    };
    assert_eq!((peer, dialled), (s.id, Some(PAIRING)));
    j.net.send(at_j, frame(1, limits::FRAME_STRANGER));
    let NetEvent::LinkConnected { conn: at_s, peer, dialled: None, exporter, .. } = s.next().await else { panic!() };
    assert_eq!((peer, exporter), (j.id, j_exporter));
    assert_eq!(s.received().await, frame(1, limits::FRAME_STRANGER));
    (at_s, at_j)
}

#[tokio::test]
async fn a_stranger_reaches_the_shower_and_both_hold_the_same_exporter() {
    let (mut s, mut j, port) = strangers();
    let (at_s, _) = linked(&mut s, &mut j, port).await;
    s.net.send(at_s, frame(2, limits::FRAME_SHOWER));
    assert_eq!(j.received().await, frame(2, limits::FRAME_SHOWER));
}

#[tokio::test]
async fn a_stranger_may_say_little_at_a_time() {
    let (mut s, mut j, port) = strangers();
    let (at_s, at_j) = linked(&mut s, &mut j, port).await;
    j.net.send(at_j, frame(2, limits::FRAME_STRANGER + 1));
    assert!(matches!(s.next().await, NetEvent::Disconnected { conn, code: None } if conn == at_s));
    let NetEvent::Disconnected { code, .. } = j.next().await else { panic!() };
    assert_eq!(code, Some(CloseCode::Protocol));
}

#[tokio::test]
async fn the_linking_socket_does_not_speak_sync() {
    let (s, mut j, port) = strangers();
    j.admission.admit([s.id]);
    s.admission.admit([j.id]);
    j.net.dial(s.id, &[loopback(port)], Vec::new(), true);
    assert!(matches!(j.next().await, NetEvent::DialFailed { .. }));
    j.net.dial_link(PAIRING, s.id, &[s.address()], false, key());
    assert!(matches!(j.next().await, NetEvent::LinkDialFailed { pairing: PAIRING, code: None, .. }));
}

#[tokio::test]
async fn nothing_listens_once_linking_is_closed() {
    let (mut s, mut j, port) = strangers();
    let (at_s, _) = linked(&mut s, &mut j, port).await;
    assert!(UdpSocket::bind(("0.0.0.0", port)).is_err(), "it listens");
    s.net.send(at_s, frame(3, 3));
    s.net.close_linking();
    assert_eq!(j.received().await, frame(3, 3), "what was sent still arrives");
    let NetEvent::Disconnected { code, .. } = j.next().await else { panic!() };
    assert_eq!(code, Some(CloseCode::PairingClosed));
    let closed = async {
        while UdpSocket::bind(("0.0.0.0", port)).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), closed).await.unwrap();
}

#[tokio::test]
async fn a_new_device_that_stops_says_so() {
    let (mut s, mut j, port) = strangers();
    let (at_s, _) = linked(&mut s, &mut j, port).await;
    j.net.shutdown().await;
    let NetEvent::Disconnected { conn, code } = s.next().await else { panic!() };
    assert_eq!((conn, code), (at_s, Some(CloseCode::ShuttingDown)));
}

#[tokio::test]
async fn a_new_challenge_has_a_new_socket() {
    let (mut s, mut j, first) = strangers();
    let second = open(&s);
    assert_ne!(first, second);
    linked(&mut s, &mut j, second).await;
}

#[tokio::test]
async fn a_shower_on_another_network_is_not_dialled() {
    let (s, mut j, _) = strangers();
    // RFC 1112 section 4: no network has such addresses.
    let elsewhere = "240.0.0.1:4".parse::<std::net::SocketAddr>().unwrap().into();
    j.net.dial_link(PAIRING, s.id, &[elsewhere], false, key());
    let NetEvent::LinkDialFailed { pairing: PAIRING, code, reason } = j.next().await else { panic!() };
    assert_eq!(code, Some(CloseCode::NotOnLink));
    assert!(reason.contains("not on this network"), "{reason}");
}

#[tokio::test]
async fn another_device_at_the_address_is_not_the_shower() {
    let (_s, mut j, port) = strangers();
    j.net.dial_link(PAIRING, j.id, &[loopback(port)], false, key());
    assert!(matches!(j.next().await, NetEvent::LinkDialFailed { .. }));
}
