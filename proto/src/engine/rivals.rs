//! Two connections to one peer: which of them stays.

use std::time::Duration;

use super::conn::Conn;
use super::io::ConnId;
use super::{Cx, Engine};
use crate::store::StoreError;
use crate::time::Mono;
use crate::wire::frame::CloseCode;
use crate::wire::message::Hello;

impl Engine {
    /// Of two connections between two devices the one dialled by the lower id stays; of two that one side
    /// dialled, the newer; and none that is doubted. A peer that was killed, or whose address is another now, left a connection
    /// behind that only looks alive: one that it dials is held until its hello says that it was started again, or until the
    /// other one gives no sign of life. Returns whether this one stays for sure.
    pub(super) fn is_alone(&mut self, now: Mono, id: ConnId) -> bool {
        let me = self.device();
        let (Some(new), Some(old)) = (self.conns.get(&id), self.rival(id)) else { return true };
        let by_lower = |conn: &Conn| conn.dialled == (me < conn.peer);
        let weak = |conn: &Conn| conn.life.is_doubted() || !by_lower(conn);
        let stays = by_lower(new) || self.conns.get(&old).is_none_or(weak);
        let peer = new.peer;
        if stays || new.dialled {
            self.close(if stays { old } else { id }, CloseCode::Duplicate, Duration::ZERO);
            return stays;
        }
        // The peer gave up those that it dialled before.
        for earlier in self.held(peer) {
            self.close(earlier, CloseCode::Duplicate, Duration::ZERO);
        }
        if let Some(new) = self.conns.get_mut(&id) {
            new.held = true;
        }
        self.probe(now, old);
        false
    }

    /// Another connection to the same peer that is not held.
    fn rival(&self, id: ConnId) -> Option<ConnId> {
        let peer = self.conns.get(&id)?.peer;
        let rivals = |other: &ConnId, conn: &Conn| *other != id && conn.peer == peer && !conn.closing && !conn.held;
        self.conns.iter().find(|(other, conn)| rivals(other, conn)).map(|(id, _)| *id)
    }

    /// The hello on a connection that is held: whether it takes the other's place now. If not, it waits for that one's end.
    pub(super) fn is_released(&mut self, cx: &mut Cx<'_>, id: ConnId, hello: &Hello) -> bool {
        if let Some(old) = self.rival(id) {
            let rival = self.conns.get(&old);
            let restarted = rival.and_then(|old| old.run).is_some_and(|before| before != hello.run);
            if !restarted && !rival.is_some_and(|old| old.life.is_doubted()) {
                let answers = rival.is_none_or(|old| old.life.is_answered());
                match self.conns.get_mut(&id) {
                    Some(conn) if !answers => conn.greeting = Some(Box::new(hello.clone())),
                    _ => self.close(id, CloseCode::Duplicate, Duration::ZERO),
                }
                return false;
            }
            self.close(old, CloseCode::Duplicate, Duration::ZERO);
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.held = false;
        }
        self.say_hello(cx, id);
        true
    }

    /// The other connection is gone: the one that was held takes its place, now if its hello has come, or with it.
    pub(super) fn release(&mut self, cx: &mut Cx<'_>, id: ConnId) -> Result<(), StoreError> {
        let Some(hello) = self.conns.get_mut(&id).and_then(|conn| conn.greeting.take()) else { return Ok(()) };
        let result = self.hello(cx, id, *hello);
        self.settle_peer(id, result)
    }
}
