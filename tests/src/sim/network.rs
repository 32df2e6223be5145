//! The simulated network: connections that are ordered and reliable until they break, as QUIC's are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use kinlink_proto::engine::command::PairingId;
use kinlink_proto::id::DeviceId;
use kinlink_proto::wire::Address;
use kinlink_proto::wire::frame::{CloseCode, Frame};

/// What arrives at a device.
#[derive(Debug)]
pub enum Arrival {
    /// A handshake is done.
    Up,
    /// A frame on the control or linking stream.
    Frame(Frame),
    /// A frame on a stream of its own.
    Transfer(u64, Frame),
    /// The end, with the peer's code if it closed.
    Down(Option<CloseCode>),
}

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    /// On a connection, at its end `to`.
    Arrive {
        /// The connection.
        conn: u64,
        /// The device.
        to: usize,
        /// What.
        what: Arrival,
    },
    /// Dialling led nowhere.
    DialFailed(usize, DeviceId),
    /// Dialling a shower led nowhere.
    LinkDialFailed(usize, PairingId),
    /// A deadline may have passed.
    Tick(usize),
    /// The power is back.
    Restart(usize),
    /// Somebody does something.
    Act,
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    /// The device that dialled.
    pub dialler: usize,
    /// The other.
    pub acceptor: usize,
    /// For linking: the dialler's pairing.
    pub link: Option<PairingId>,
    /// What TLS exports at both ends.
    pub exporter: [u8; 32],
    /// Ends that are still told of it.
    pub ends: BTreeSet<usize>,
    /// Ends that read nothing any more.
    pub deaf: BTreeSet<usize>,
    /// Ends that were told of the handshake.
    pub up: BTreeSet<usize>,
    /// Ends that were told of the end.
    pub down: BTreeSet<usize>,
    /// When the last thing of each (receiver, stream) arrives: streams are ordered.
    last: BTreeMap<(usize, u64), u64>,
}

impl Conn {
    /// A connection between two devices.
    #[must_use]
    pub fn new(dialler: usize, acceptor: usize, link: Option<PairingId>, exporter: [u8; 32]) -> Self {
        let ends = BTreeSet::from([dialler, acceptor]);
        Self {
            dialler,
            acceptor,
            link,
            exporter,
            ends,
            deaf: BTreeSet::new(),
            up: BTreeSet::new(),
            down: BTreeSet::new(),
            last: BTreeMap::new(),
        }
    }

    /// The other end.
    #[must_use]
    pub fn other(&self, end: usize) -> usize {
        if end == self.dialler { self.acceptor } else { self.dialler }
    }

    /// When something that would arrive at `due` does arrive: not before what was sent before it on its stream.
    pub fn arrival(&mut self, to: usize, stream: u64, due: u64) -> u64 {
        let last = self.last.entry((to, stream)).or_default();
        *last = (*last).max(due);
        *last
    }

    /// When everything sent to `to` so far has arrived.
    #[must_use]
    pub fn drained(&self, to: usize) -> u64 {
        self.last.iter().filter(|((end, _), _)| *end == to).map(|(_, at)| *at).max().unwrap_or(0)
    }
}

const SYNC_PORT: u16 = 7000;
const LINK_PORT: u16 = 7001;

/// Where a device listens.
#[must_use]
pub fn address(device: usize, linking: bool) -> Address {
    let host = u8::try_from(device + 1).unwrap_or(u8::MAX);
    let port = if linking { LINK_PORT } else { SYNC_PORT };
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, host), port)).into()
}

/// Which device listens at an address for `kinlink/1` (or for linking).
#[must_use]
pub fn device_at(address: &Address, linking: bool) -> Option<usize> {
    let addr = address.socket()?;
    let SocketAddr::V4(v4) = addr else { return None };
    let port = if linking { LINK_PORT } else { SYNC_PORT };
    (addr.port() == port).then(|| usize::from(v4.ip().octets()[3]).wrapping_sub(1))
}
