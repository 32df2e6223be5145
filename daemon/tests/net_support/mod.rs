//! Devices on loopback, for the tests of the network.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use kinlink_daemon::net::{Admission, Net, NetEvent};
use kinlink_proto::id::DeviceId;
use kinlink_proto::key::{Identity, Secret};
use kinlink_proto::wire::address::Address;
use kinlink_proto::wire::frame::Frame;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A test that waits longer has failed. Handshake deadlines are 10 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// An identity that is the same in every run.
pub fn identity(seed: u8) -> Identity {
    Identity::from_seeds(&Secret([seed; 32]), &Secret([seed ^ 0x80; 32]))
}

/// One device's network and what it tells.
pub struct Device {
    pub net: Net,
    pub id: DeviceId,
    pub admission: Admission,
    pub events: mpsc::Receiver<NetEvent>,
}

impl Device {
    pub fn new(seed: u8) -> Self {
        Self::with_room(seed, 64)
    }

    /// With room for so many events that nobody has looked at yet.
    pub fn with_room(seed: u8, events: usize) -> Self {
        let identity = identity(seed);
        let admission = Admission::new();
        let (sender, events) = mpsc::channel(events);
        let net = Net::bind(&identity, 0, admission.clone(), sender, kinlink_daemon::net::Links::watch()).unwrap();
        Self { net, id: identity.device(), admission, events }
    }

    /// The next event that is not about this machine's addresses.
    pub async fn next(&mut self) -> NetEvent {
        loop {
            match timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("a running network") {
                NetEvent::Addresses(_) => {}
                event => return event,
            }
        }
    }

    /// The name of the connection that is announced next.
    pub async fn connected(&mut self) -> u64 {
        match self.next().await {
            NetEvent::Connected { conn, .. } | NetEvent::LinkConnected { conn, .. } => conn,
            other => panic!("{other:?}"),
        }
    }

    /// The frame that is announced next.
    pub async fn received(&mut self) -> Frame {
        match self.next().await {
            NetEvent::Received { frame, .. } => frame,
            other => panic!("{other:?}"),
        }
    }

    pub fn address(&self) -> Address {
        loopback(self.net.port())
    }
}

/// Two devices that admit each other.
pub fn pair() -> (Device, Device) {
    let (a, b) = (Device::new(1), Device::new(2));
    a.admission.admit([b.id]);
    b.admission.admit([a.id]);
    (a, b)
}

/// Two connected devices, and what each calls the connection.
pub async fn connected_pair() -> (Device, Device, u64, u64) {
    let (mut a, mut b) = pair();
    let (at_a, at_b) = connect(&mut a, &mut b).await;
    (a, b, at_a, at_b)
}

/// Connects two devices by a first frame, which is taken off again.
pub async fn connect(a: &mut Device, b: &mut Device) -> (u64, u64) {
    a.net.dial(b.id, &[b.address()], Vec::new(), true);
    let at_a = a.connected().await;
    a.net.send(at_a, frame(0, 0));
    let at_b = b.connected().await;
    assert_eq!(b.received().await, frame(0, 0));
    (at_a, at_b)
}

pub fn loopback(port: u16) -> Address {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()
}

/// A frame that says which one it is, with a body of `len` bytes.
pub fn frame(number: u16, len: usize) -> Frame {
    Frame::new(number, vec![number.to_be_bytes()[1]; len])
}
