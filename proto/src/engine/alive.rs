//! Whether connections still lead anywhere. QUIC notices a dead path only when its idle time is over, and repeats what was lost
//! ever more rarely; people expect devices back within a second or two.
//!
//! A connection is *probed* (a ping is due an answer) when the network changed and when another connection wants its place. It
//! is *doubted* when no answer came, or nothing at all for [`limits::SILENT`] after something was sent. A doubted one goes on: it
//! is pinged each [`limits::PROBE`], so that the first packet after the network's return is a moment away, and the peer is dialled
//! beside it. Whatever is there first wins: a frame from the peer ends the doubt, a new connection takes the place.

use super::io::{ConnId, Output};
use super::{Cx, Engine};
use crate::id::DeviceId;
use crate::limits;
use crate::store::StoreError;
use crate::time::Mono;
use crate::wire::frame::CloseCode;
use crate::wire::message::Message;

/// What is known of a connection's life.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// When a ping is to be answered by.
    answer_by: Option<Mono>,
    /// Pings in a row that nothing followed; from 1 on it is doubted.
    doubts: u32,
}

impl Life {
    /// Whether the connection may be dead.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubts > 0
    }

    /// Whether the last ping was followed by something.
    pub(super) fn is_answered(&self) -> bool {
        self.answer_by.is_none() && !self.is_doubted()
    }
}

impl Engine {
    /// The network changed: every connection is probed, everybody who is not connected is dialled at once.
    pub(super) fn network_changed(&mut self, now: Mono) {
        for id in self.conns.keys().copied().collect::<Vec<_>>() {
            self.probe(now, id);
        }
        self.start_over_dialling(now);
        self.redial(now);
    }

    /// Something was sent on a connection, and nothing came.
    pub(super) fn silent(&mut self, now: Mono, id: ConnId) {
        if self.conns.get(&id).is_some_and(|conn| conn.ready && !conn.closing && !conn.life.is_doubted()) {
            self.doubt(now, id);
            self.redial(now);
        }
    }

    /// Asks for a sign of life, unless one is due already.
    pub(super) fn probe(&mut self, now: Mono, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.ready && !conn.closing) else { return };
        if conn.life.answer_by.is_none() {
            self.send_probe(now, id);
        }
    }

    fn send_probe(&mut self, now: Mono, id: ConnId) {
        let number = self.next_ping();
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.life.answer_by = Some(now.after(limits::PROBE));
            self.outputs.push_back(Output::Send { conn: id, frame: Message::Ping(number).to_frame() });
        }
    }

    fn doubt(&mut self, now: Mono, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (first, dial) = (conn.life.doubts == 0, conn.life.doubts.is_multiple_of(limits::DOUBTS_PER_DIAL));
        conn.life.doubts = conn.life.doubts.saturating_add(1);
        let peer = conn.peer;
        self.changed.view |= first;
        if dial {
            self.dial_now(now, peer);
        }
        self.send_probe(now, id);
    }

    /// A frame came: the connection lives, and nobody takes its place.
    pub(super) fn lives(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.held) else { return };
        let (peer, doubted) = (conn.peer, conn.life.is_doubted());
        conn.life = Life::default();
        self.changed.view |= doubted;
        for waiting in self.held(peer).into_iter().filter(|waiting| *waiting != id) {
            if self.conns.get(&waiting).is_some_and(|conn| conn.greeting.is_some()) {
                self.close(waiting, CloseCode::Duplicate, std::time::Duration::ZERO);
            }
        }
    }

    /// Connections of a peer that wait for another's end.
    pub(super) fn held(&self, peer: DeviceId) -> Vec<ConnId> {
        let held = self.conns.iter().filter(|(_, conn)| conn.peer == peer && conn.held && !conn.closing);
        held.map(|(id, _)| *id).collect()
    }

    pub(super) fn probe_due(&self) -> Option<Mono> {
        self.conns.values().filter(|conn| !conn.closing).filter_map(|conn| conn.life.answer_by).min()
    }

    pub(super) fn expire_probes(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        let now = cx.now.mono;
        let late = |conn: &super::conn::Conn| !conn.closing && conn.life.answer_by.is_some_and(|due| due <= now);
        let late: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| late(conn)).map(|(id, _)| *id).collect();
        for id in late {
            let Some(peer) = self.conns.get(&id).map(|conn| conn.peer) else { continue };
            match self.held(peer).into_iter().find(|held| *held != id) {
                // Somebody stands ready.
                Some(held) => {
                    self.close(id, CloseCode::Duplicate, std::time::Duration::ZERO);
                    self.release(cx, held)?;
                }
                None => self.doubt(now, id),
            }
        }
        Ok(())
    }
}
