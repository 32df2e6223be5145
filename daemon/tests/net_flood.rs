//! A flood of handshakes that are begun and never finished.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod net_support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kinlink_daemon::net::NetEvent;
use kinlink_daemon::net::tls::{ALPN_SYNC, Tls};
use kinlink_proto::id::DeviceId;
use kinlink_proto::limits;
use kinlink_proto::wire::frame::CloseCode;
use net_support::{connect, identity, pair};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

const ATTACKERS: usize = 200;

/// A Retry packet (RFC 9000 section 17.2.5).
fn is_retry(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0xf0 == 0xf0)
}

/// Passes packets between `client` and the target from `source`, of what comes back only Retry: the client proves its
/// address, and its handshake stops half-way.
async fn stall(source: Ipv4Addr, front: UdpSocket, target: SocketAddr) {
    let back = UdpSocket::bind((source, 0)).await.unwrap();
    let (mut there, mut here) = ([0; 2048], [0; 2048]);
    let mut client = None;
    loop {
        tokio::select! {
            Ok((len, from)) = front.recv_from(&mut there) => {
                client = Some(from);
                back.send_to(&there[..len], target).await.unwrap();
            }
            Ok((len, _)) = back.recv_from(&mut here) => {
                if let Some(client) = client.filter(|_| is_retry(&here)) {
                    front.send_to(&here[..len], client).await.unwrap();
                }
            }
        }
    }
}

/// One attacker at an address of its own network of loopback; runs until dropped.
async fn attack(number: usize, endpoint: Endpoint, config: ClientConfig, target: SocketAddr) {
    let source = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + u32::try_from(number).unwrap() / 4);
    let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let through = front.local_addr().unwrap();
    let connecting = endpoint.connect_with(config, through, "kinlink").unwrap();
    tokio::select! {
        () = stall(source, front, target) => {}
        done = connecting => drop(done), // Its deadline has passed.
    }
}

fn attackers(target: SocketAddr, device: DeviceId) -> JoinSet<()> {
    let tls = Tls::new(&identity(66)).unwrap().client(ALPN_SYNC, device).unwrap();
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    (0..ATTACKERS).map(|number| attack(number, endpoint.clone(), config.clone(), target)).collect()
}

#[tokio::test]
async fn a_flood_is_bounded_and_a_device_that_was_here_before_still_gets_in() {
    let (mut a, mut b) = pair();
    let (at_a, _) = connect(&mut a, &mut b).await;
    a.net.close(at_a, CloseCode::Done, Duration::from_secs(10));
    assert!(matches!(a.next().await, NetEvent::Disconnected { .. }));
    assert!(matches!(b.next().await, NetEvent::Disconnected { .. }));
    let _flood = attackers(b.address().socket().unwrap(), b.id);
    let full = limits::HANDSHAKES * 3 / 4;
    while b.net.handshakes() < full {
        tokio::task::yield_now().await;
    }
    connect(&mut a, &mut b).await;
    assert!((full / 2..=limits::HANDSHAKES).contains(&b.net.handshakes()));
}
