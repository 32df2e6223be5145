//! What two devices do to each other over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod net_support;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kinlink_daemon::net::NetEvent;
use kinlink_daemon::net::tls::{ALPN_SYNC, Tls};
use kinlink_proto::id::DeviceId;
use kinlink_proto::limits;
use kinlink_proto::wire::frame::{CloseCode, Frame};
use kinlink_proto::wire::message::kind;
use net_support::{Device, connect, connected_pair, frame, identity, loopback, pair};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, Endpoint};
use tokio::sync::oneshot;
use tokio::time::timeout;

const LINGER: Duration = Duration::from_secs(10);

#[track_caller]
fn assert_ended(event: &NetEvent, name: u64, with: Option<CloseCode>) {
    match event {
        NetEvent::Disconnected { conn, code } => assert_eq!((*conn, *code), (name, with)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn frames_go_both_ways_and_each_side_knows_the_other() {
    let (mut a, mut b) = pair();
    a.net.dial(b.id, &[b.address()], Vec::new(), true);
    let NetEvent::Connected { conn: at_a, peer, dialled: true, address, .. } = a.next().await else { panic!() };
    assert_eq!((peer, address), (b.id, b.address()));
    a.net.send(at_a, frame(1, limits::FRAME_CONTROL));
    let NetEvent::Connected { conn: at_b, peer, dialled: false, .. } = b.next().await else { panic!() };
    assert_eq!(peer, a.id);
    assert_eq!(b.received().await, frame(1, limits::FRAME_CONTROL));
    b.net.send(at_b, frame(2, 3));
    assert_eq!(a.received().await, frame(2, 3));
    a.net.close(at_a, CloseCode::Done, LINGER);
    assert_ended(&b.next().await, at_b, Some(CloseCode::Done));
    assert_ended(&a.next().await, at_a, None);
}

#[tokio::test]
async fn a_dead_address_does_not_hide_a_live_one() {
    let (mut a, mut b) = pair();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    a.net.dial(b.id, &[loopback(silent.local_addr().unwrap().port()), b.address()], Vec::new(), true);
    let at_a = a.connected().await;
    a.net.send(at_a, frame(1, 1));
    b.connected().await;
}

#[tokio::test]
async fn a_device_without_addresses_cannot_be_dialled() {
    let (mut a, b) = pair();
    a.net.dial(b.id, &[], Vec::new(), true);
    assert!(matches!(a.next().await, NetEvent::DialFailed { device, .. } if device == b.id));
}

#[tokio::test]
async fn another_device_at_the_address_is_not_connected_to() {
    let (mut a, b) = pair();
    let absent = identity(9).device();
    a.admission.admit([absent]);
    a.net.dial(absent, &[b.address()], Vec::new(), true);
    assert!(matches!(a.next().await, NetEvent::DialFailed { device, .. } if device == absent));
}

#[tokio::test]
async fn an_oversized_frame_ends_the_connection() {
    let (mut a, mut b, at_a, at_b) = connected_pair().await;
    a.net.send(at_a, frame(1, limits::FRAME_CONTROL + 1));
    assert_ended(&b.next().await, at_b, None);
    assert_ended(&a.next().await, at_a, Some(CloseCode::Protocol));
}

#[tokio::test]
async fn a_close_that_lingers_delivers_the_last_frame_and_reads_nothing() {
    let (mut a, mut b, at_a, at_b) = connected_pair().await;
    let last = 12;
    (1..=last).for_each(|number| b.net.send(at_b, frame(number, limits::FRAME_CONTROL)));
    b.net.close(at_b, CloseCode::Revoked, LINGER);
    a.net.send(at_a, frame(99, 1));
    for number in 1..=last {
        assert_eq!(a.received().await, frame(number, limits::FRAME_CONTROL));
    }
    assert_ended(&a.next().await, at_a, Some(CloseCode::Revoked));
    assert_ended(&b.next().await, at_b, None);
}

#[tokio::test]
async fn a_close_does_not_wait_for_a_peer_that_takes_nothing() {
    let (mut a, mut b) = (Device::with_room(1, 1), Device::new(2));
    a.admission.admit([b.id]);
    b.admission.admit([a.id]);
    let (_, at_b) = connect(&mut a, &mut b).await;
    (0..12).for_each(|number| b.net.send(at_b, frame(number, limits::FRAME_CONTROL)));
    b.net.close(at_b, CloseCode::Revoked, limits::REVOKED_WAIT);
    assert_ended(&b.next().await, at_b, None);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_closed_before_it_costs_all_memory() {
    let (mut a, mut b) = (Device::with_room(1, 1), Device::new(2));
    a.admission.admit([b.id]);
    b.admission.admit([a.id]);
    let (_, at_b) = connect(&mut a, &mut b).await;
    (0..1000).for_each(|number| b.net.send(at_b, frame(number, 64 * 1024)));
    assert_ended(&b.next().await, at_b, None);
}

#[tokio::test]
async fn an_unknown_device_learns_that_it_is_unknown() {
    for known in [vec![], vec![identity(3).device()]] {
        learns_that_it_is_unknown(&known).await;
    }
}

/// Whether or not others are known there, a key that is not and does not introduce itself is closed, and nobody hears of it.
async fn learns_that_it_is_unknown(known: &[DeviceId]) {
    let (mut a, mut b) = pair();
    b.admission.admit(known.iter().copied());
    a.net.dial(b.id, &[b.address()], Vec::new(), true);
    // The refusal may arrive before or after this side's part of the handshake is done.
    match a.next().await {
        NetEvent::DialFailed { .. } => {}
        NetEvent::Connected { conn, .. } => {
            a.net.send(conn, frame(0x8201, 100));
            assert_ended(&a.next().await, conn, Some(CloseCode::UnknownDevice));
        }
        other => panic!("{other:?}"),
    }
    a.net.shutdown().await;
    b.net.shutdown().await;
    while let Ok(event) = b.events.try_recv() {
        assert!(matches!(event, NetEvent::Addresses(_)), "{event:?}");
    }
}

/// A key that `b` does not know, with its first frame sent.
async fn stranger(b: &Device, seed: u8, first: Frame) -> (Device, u64) {
    let mut a = Device::new(seed);
    a.admission.admit([b.id]);
    a.net.dial(b.id, &[b.address()], Vec::new(), true);
    let at_a = a.connected().await;
    a.net.send(at_a, first);
    (a, at_a)
}

fn on_the_wire(frame: &Frame) -> Vec<u8> {
    [&frame.head()[..], &frame.body].concat()
}

fn introduction(len: usize) -> Frame {
    Frame::new(kind::INTRODUCTION, vec![7; len])
}

#[tokio::test]
async fn an_unknown_key_is_heard_frame_by_frame_until_it_is_known() {
    let mut b = Device::new(2);
    b.admission.admit([identity(9).device()]);
    let (mut a, at_a) = stranger(&b, 1, introduction(limits::FRAME_STRANGER)).await;
    a.net.send(at_a, frame(1, limits::FRAME_INTRODUCED));
    let NetEvent::Connected { conn: at_b, peer, .. } = b.next().await else { panic!("no connection") };
    assert_eq!(peer, a.id);
    assert_eq!(b.received().await, introduction(limits::FRAME_STRANGER));
    b.net.widen(at_b, limits::FRAME_INTRODUCED);
    assert_eq!(b.received().await, frame(1, limits::FRAME_INTRODUCED));
    // Nothing more is read before it is known; then transfers, too.
    a.net.send(at_a, frame(2, 10));
    a.net.send_journal(at_a, std::iter::once(frame(3, 10)));
    b.net.widen(at_b, limits::FRAME_CONTROL);
    let mut came = vec![b.next().await, b.next().await];
    came.sort_by_key(|event| matches!(event, NetEvent::Transfer { .. }));
    assert!(matches!(&came[0], NetEvent::Received { frame: got, .. } if *got == frame(2, 10)), "{came:?}");
    assert!(matches!(&came[1], NetEvent::Transfer { frame: got, .. } if *got == frame(3, 10)), "{came:?}");
    b.net.send(at_b, frame(4, 10));
    assert_eq!(a.received().await, frame(4, 10));
}

#[tokio::test]
async fn an_unknown_key_that_says_too_much_is_closed() {
    let mut b = Device::new(2);
    b.admission.admit([identity(9).device()]);
    let (mut a, at_a) = stranger(&b, 1, introduction(limits::FRAME_STRANGER + 1)).await;
    assert_ended(&a.next().await, at_a, Some(CloseCode::UnknownDevice));
    let (mut a, at_a) = stranger(&b, 3, introduction(10)).await;
    let at_b = b.connected().await;
    assert_eq!(b.received().await, introduction(10));
    a.net.send(at_a, frame(1, limits::FRAME_INTRODUCED + 1));
    b.net.widen(at_b, limits::FRAME_INTRODUCED);
    assert_ended(&b.next().await, at_b, None);
    assert_ended(&a.next().await, at_a, Some(CloseCode::Protocol));
}

#[tokio::test]
async fn unknown_keys_that_lead_to_nothing_are_heard_a_few_at_a_time() {
    let mut b = Device::new(2);
    b.admission.admit([identity(9).device()]);
    for seed in 10..10 + u8::try_from(limits::INTRODUCTIONS_PER_SOURCE).unwrap() {
        let (_a, _) = stranger(&b, seed, introduction(10)).await;
        let at_b = b.connected().await;
        assert_eq!(b.received().await, introduction(10));
        b.net.close(at_b, CloseCode::UnknownDevice, Duration::ZERO);
        assert_ended(&b.next().await, at_b, None);
    }
    let (mut a, at_a) = stranger(&b, 99, introduction(10)).await;
    assert_ended(&a.next().await, at_a, Some(CloseCode::UnknownDevice));
    b.net.shutdown().await;
    while let Ok(event) = b.events.try_recv() {
        assert!(matches!(event, NetEvent::Addresses(_)), "{event:?}");
    }
}

/// Device 1 as a bare QUIC client.
async fn bare_connection(to: &Device, device: DeviceId) -> (Endpoint, quinn::Connection) {
    let tls = Tls::new(&identity(1)).unwrap().client(ALPN_SYNC, device).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = to.address().socket().unwrap();
    let connection = endpoint.connect_with(config, address, "kinlink").unwrap().await.unwrap();
    (endpoint, connection)
}

/// What the peer closes a bare connection with.
async fn close_code(connection: &quinn::Connection) -> CloseCode {
    let closed = timeout(LINGER, connection.closed()).await.expect("a close in time");
    let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed:?}") };
    CloseCode::from_code(close.error_code.into_inner().try_into().unwrap())
}

#[tokio::test]
async fn a_device_removed_between_handshake_and_first_word_is_not_let_in() {
    let (_, mut b) = pair();
    let (_endpoint, connection) = bare_connection(&b, b.id).await;
    // The server says so when it has verified the client's certificate.
    while connection.stats().frame_rx.handshake_done == 0 {
        tokio::task::yield_now().await;
    }
    b.admission.admit([]);
    let (mut stream, _recv) = connection.open_bi().await.unwrap();
    stream.write_all(&on_the_wire(&frame(1, 1))).await.unwrap();
    assert_eq!(close_code(&connection).await, CloseCode::UnknownDevice);
    b.net.shutdown().await;
    while let Ok(event) = b.events.try_recv() {
        assert!(matches!(event, NetEvent::Addresses(_)), "{event:?}");
    }
}

#[tokio::test]
async fn a_frame_cut_short_ends_the_connection() {
    let (_, mut b) = pair();
    let (_endpoint, connection) = bare_connection(&b, b.id).await;
    let (mut stream, _recv) = connection.open_bi().await.unwrap();
    stream.write_all(&on_the_wire(&frame(1, 100))[..50]).await.unwrap();
    stream.finish().unwrap();
    let at_b = b.connected().await;
    assert_ended(&b.next().await, at_b, None);
    assert_eq!(close_code(&connection).await, CloseCode::Protocol);
}

#[tokio::test]
async fn a_stopping_device_says_so() {
    let (mut a, b, at_a, _) = connected_pair().await;
    b.net.shutdown().await;
    assert_ended(&a.next().await, at_a, Some(CloseCode::ShuttingDown));
}

#[tokio::test]
async fn a_device_that_lost_its_state_closes_what_it_knew() {
    let (mut a, mut b, at_a, at_b) = connected_pair().await;
    b.net.close_all();
    assert_ended(&a.next().await, at_a, Some(CloseCode::Internal));
    assert_ended(&b.next().await, at_b, None);
    connect(&mut a, &mut b).await;
}

#[tokio::test]
async fn a_stopped_device_gives_its_port_back_though_nobody_reads_its_events() {
    let (mut a, mut b) = (Device::new(1), Device::with_room(2, 1));
    a.admission.admit([b.id]);
    b.admission.admit([a.id]);
    let (at_a, _) = connect(&mut a, &mut b).await;
    (0..9).for_each(|number| a.net.send(at_a, frame(number, 1)));
    let port = b.net.port();
    b.net.shutdown().await;
    assert_ended(&a.next().await, at_a, Some(CloseCode::ShuttingDown));
    let free = async {
        while UdpSocket::bind(("0.0.0.0", port)).is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), free).await.unwrap();
}

/// Counts what is taken from it, and says when it is dropped.
struct Journal {
    next: u16,
    end: u16,
    produced: Arc<AtomicUsize>,
    dropped: Option<oneshot::Sender<()>>,
}

impl Journal {
    fn new(end: u16) -> (Self, Arc<AtomicUsize>, oneshot::Receiver<()>) {
        let (dropped, when) = oneshot::channel();
        let produced = Arc::new(AtomicUsize::new(0));
        (Self { next: 0, end, produced: produced.clone(), dropped: Some(dropped) }, produced, when)
    }
}

impl Iterator for Journal {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let number = self.next;
        self.next += 1;
        self.produced.fetch_add(1, Ordering::SeqCst);
        (number < self.end).then(|| frame(number, 16 * 1024))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(dropped) = self.dropped.take() {
            dropped.send(()).unwrap_or_default();
        }
    }
}

#[tokio::test]
async fn a_journal_arrives_in_order_no_faster_than_it_is_taken() {
    let (mut a, mut b) = (Device::new(1), Device::with_room(2, 4));
    a.admission.admit([b.id]);
    b.admission.admit([a.id]);
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    let (journal, produced, _) = Journal::new(1000);
    a.net.send_journal(at_a, journal);
    for number in 0..1000 {
        let NetEvent::Transfer { conn, stream: 0, frame: arrived, .. } = b.next().await else { panic!() };
        assert_eq!((conn, arrived), (at_b, frame(number, 16 * 1024)));
        let ahead = produced.load(Ordering::SeqCst) - usize::from(number);
        assert!(ahead < 400, "{ahead} frames of 16 KiB are held in memory");
    }
    // Nothing else is on the way, and the connection goes on.
    a.net.send(at_a, frame(7, 7));
    assert_eq!(b.received().await, frame(7, 7));
}

#[tokio::test]
async fn live_changes_pass_a_transfer_that_stands_still() {
    let (a, mut b, at_a, _) = connected_pair().await;
    let (journal, _, _) = Journal::new(1000);
    a.net.send_journal(at_a, journal);
    let NetEvent::Transfer { .. } = b.next().await else { panic!() };
    a.net.send(at_a, frame(7, 7));
    let mut before = 0;
    while let NetEvent::Transfer { .. } = b.next().await {
        before += 1;
    }
    assert!(before < 999, "the frame came after {before} of 999");
}

#[tokio::test]
async fn a_transfer_ends_with_its_connection() {
    let (a, mut b, at_a, at_b) = connected_pair().await;
    let (journal, _, dropped) = Journal::new(u16::MAX);
    a.net.send_journal(at_a, journal);
    let NetEvent::Transfer { .. } = b.next().await else { panic!() };
    b.net.close(at_b, CloseCode::Done, Duration::ZERO);
    dropped.await.unwrap();
}

#[tokio::test]
async fn a_close_in_the_middle_of_a_transfer_is_not_taken_for_a_fault() {
    let (a, mut b, at_a, at_b) = connected_pair().await;
    // Larger than the window of a stream, so that it cannot have been written whole when the connection closes.
    a.net.send_journal(at_a, std::iter::repeat_with(|| frame(1, limits::FRAME_SEGMENT)));
    let NetEvent::Transfer { .. } = b.next().await else { panic!() };
    (0..8).for_each(|number| a.net.send(at_a, frame(number, limits::FRAME_CONTROL)));
    a.net.close(at_a, CloseCode::Revoked, LINGER);
    loop {
        match b.next().await {
            NetEvent::Transfer { .. } | NetEvent::Received { .. } => {}
            end => return assert_ended(&end, at_b, Some(CloseCode::Revoked)),
        }
    }
}

#[tokio::test]
async fn an_oversized_segment_ends_the_connection() {
    let (mut a, mut b, at_a, at_b) = connected_pair().await;
    a.net.send_journal(at_a, std::iter::once(frame(1, limits::FRAME_SEGMENT + 1)));
    assert_ended(&b.next().await, at_b, None);
    assert_ended(&a.next().await, at_a, Some(CloseCode::Protocol));
}
