//! The simulated network: connections that are ordered and reliable until they break, as QUIC's are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use kinlink_proto::engine::command::PairingId;
use kinlink_proto::engine::io::{ConnId, Input};
use kinlink_proto::id::DeviceId;
use kinlink_proto::sync::transfer::{Outgoing, Prepared};
use kinlink_proto::wire::Address;
use kinlink_proto::wire::frame::{CloseCode, Frame};
use kinlink_proto::wire::message::kind;

use super::world::World;

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

impl World {
    /// A connection breaks: what is under way on it is lost.
    pub fn break_conn(&mut self, id: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let ends = std::mem::take(&mut conn.ends);
        self.breaks += usize::from(!ends.is_empty());
        for to in ends {
            if self.devices[to].engine.is_some() {
                let delay = self.below(3_000);
                self.at(self.now + delay, Event::Arrive { conn: id, to, what: Arrival::Down(None) });
            }
        }
    }

    /// The connections that stand.
    #[must_use]
    pub fn standing(&self) -> Vec<u64> {
        self.conns.iter().filter(|(_, conn)| conn.ends.len() == 2).map(|(id, _)| *id).collect()
    }

    /// Two devices cannot reach one another any more.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert((a.min(b), a.max(b)));
        let between =
            |conn: &Conn| (conn.dialler.min(conn.acceptor), conn.dialler.max(conn.acceptor)) == (a.min(b), a.max(b));
        let broken: Vec<u64> = self.conns.iter().filter(|(_, conn)| between(conn)).map(|(id, _)| *id).collect();
        broken.into_iter().for_each(|conn| self.break_conn(conn));
    }

    pub(super) fn reachable(&self, a: usize, b: usize) -> bool {
        a != b
            && !self.cut.contains(&(a.min(b), a.max(b)))
            && self.devices.get(b).is_some_and(|device| device.engine.is_some())
    }

    pub(super) fn arrive(&mut self, id: u64, to: usize, what: Arrival) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let seen = match what {
            Arrival::Up => conn.ends.contains(&to) && conn.up.insert(to),
            Arrival::Down(_) => conn.down.insert(to),
            _ => conn.ends.contains(&to) && !conn.deaf.contains(&to),
        };
        if !seen {
            return;
        }
        let (conn_id, peer) = (ConnId(id), self.devices[conn.other(to)].id());
        let dialled = conn.dialler == to;
        if matches!(what, Arrival::Down(_)) && !conn.up.contains(&to) {
            // Nobody has heard of this connection: all there was is a dialling that led nowhere.
            let link = conn.link;
            if dialled {
                self.dialled_in_vain(to, peer, link);
            }
            return;
        }
        let input = match (what, conn.link) {
            (Arrival::Up, None) => {
                let (address, exporter) = (address(conn.other(to), false), conn.exporter);
                Input::Connected { conn: conn_id, peer, dialled, address, exporter }
            }
            (Arrival::Up, Some(pairing)) => Input::LinkConnected {
                conn: conn_id,
                peer,
                dialled: dialled.then_some(pairing),
                address: address(conn.other(to), true),
                exporter: conn.exporter,
            },
            (Arrival::Frame(frame), _) => {
                self.frames += 1;
                *self.kinds.entry(frame.kind).or_default() += 1;
                Input::Received { conn: conn_id, frame }
            }
            (Arrival::Transfer(stream, frame), _) => {
                let prepared = self.prepare(to, (id, stream), &frame);
                Input::Transfer { conn: conn_id, stream, frame, prepared }
            }
            (Arrival::Down(code), _) => Input::Disconnected { conn: conn_id, code },
        };
        self.input(to, input);
    }

    /// Works out a segment as the shell does, of every other transfer.
    fn prepare(&mut self, to: usize, (conn, stream): (u64, u64), frame: &Frame) -> Option<Prepared> {
        let preparer = self.preparers.entry((conn, stream)).or_default();
        match frame.kind {
            kind::TRANSFER_HEADER if stream % 2 == 0 => preparer.header(&frame.body),
            kind::SEGMENT => return preparer.segment(&frame.body, &self.keyrings[to]),
            _ => {}
        }
        None
    }

    /// Keeps some of the frames that could be sent again.
    pub(super) fn remember(&mut self, from: usize, to: Option<usize>, frame: &Frame) {
        const REPLAYABLE: [u16; 4] = [kind::STATEMENTS, kind::REPORTS, kind::JOURNAL, kind::HAVE];
        if let Some(to) = to.filter(|_| REPLAYABLE.contains(&frame.kind)) {
            let old = self.old.entry((from, to)).or_default();
            if old.len() < 32 {
                old.push(frame.clone());
            }
        }
    }

    /// A device sends again what it has sent before, perhaps on an earlier connection.
    pub fn replay(&mut self) {
        let standing: Vec<u64> = self
            .standing()
            .into_iter()
            .filter(|id| self.conns[id].link.is_none() && self.conns[id].up.len() == 2)
            .collect();
        let Some(id) = self.pick(&standing) else { return };
        let (from, to) = (self.conns[&id].dialler, self.conns[&id].acceptor);
        let (from, to) = if self.chance(50) { (from, to) } else { (to, from) };
        let count = self.old.get(&(from, to)).map_or(0, Vec::len);
        let at = usize::try_from(self.below(count as u64)).unwrap_or(0);
        if let Some(frame) = self.old.get(&(from, to)).and_then(|old| old.get(at)).cloned() {
            self.replayed += 1;
            self.send(from, id, 0, Arrival::Frame(frame));
        }
    }

    pub(super) fn dialled_in_vain(&mut self, from: usize, peer: DeviceId, link: Option<PairingId>) {
        let event = match link {
            Some(pairing) => Event::LinkDialFailed(from, pairing),
            None => Event::DialFailed(from, peer),
        };
        self.later(0, event);
    }

    pub(super) fn send(&mut self, from: usize, id: u64, stream: u64, what: Arrival) {
        let delay = 1 + self.below(200);
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.ends.contains(&from)) else { return };
        let to = conn.other(from);
        let due = conn.arrival(to, stream, self.now + delay);
        self.at(due, Event::Arrive { conn: id, to, what });
    }

    pub(super) fn connect(&mut self, dialler: usize, acceptor: usize, link: Option<PairingId>) {
        let exporter = kinlink_proto::key::random(&mut self.rng);
        self.sequence += 1;
        let id = self.sequence;
        self.conns.insert(id, Conn::new(dialler, acceptor, link, exporter));
        for end in [dialler, acceptor] {
            self.send(if end == dialler { acceptor } else { dialler }, id, 0, Arrival::Up);
        }
    }

    pub(super) fn dial(&mut self, from: usize, device: DeviceId, addresses: &[Address]) {
        // A key that the other does not admit may still introduce itself there.
        let at = addresses
            .iter()
            .filter_map(|address| device_at(address, false))
            .find(|at| self.reachable(from, *at) && self.devices[*at].id() == device);
        let delay = 1 + self.below(2_000);
        match at.filter(|_| self.admitted[from].contains(&device)) {
            Some(at) => self.connect(from, at, None),
            None => self.later(delay, Event::DialFailed(from, device)),
        }
    }

    pub(super) fn close(&mut self, from: usize, id: u64, code: CloseCode) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.deaf.insert(from);
        let to = conn.other(from);
        let due = conn.drained(to).max(self.now) + 1;
        self.at(due, Event::Arrive { conn: id, to, what: Arrival::Down(Some(code)) });
        self.at(due, Event::Arrive { conn: id, to: from, what: Arrival::Down(None) });
    }

    pub(super) fn send_journal(
        &mut self,
        from: usize,
        id: u64,
        journal: kinlink_proto::id::JournalId,
        at: u64,
        upto: Option<u64>,
    ) {
        let mut frames = Vec::new();
        let disk = &self.devices[from].disk;
        if let Ok(Some(mut outgoing)) = Outgoing::new(disk, journal, at, upto) {
            while let Ok(Some(frame)) = outgoing.frame(disk) {
                frames.push(frame);
            }
        }
        self.streams += 1;
        let stream = self.streams;
        frames.into_iter().for_each(|frame| self.send(from, id, stream, Arrival::Transfer(stream, frame)));
    }
}
