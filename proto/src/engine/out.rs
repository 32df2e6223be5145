//! Being out: what a revoked device, or one that left, does to itself.

use super::io::{ConnId, Event, Output};
use super::view::RevokedBy;
use super::{Cx, Engine, Fail};
use crate::id::DeviceId;
use crate::limits;
use crate::wire::frame::CloseCode;

impl Engine {
    /// This device was revoked, or left: its keys go in this very transaction, its apps hear who ended their
    /// sessions and why, and the store key is replaced so that no old page of the store can be read.
    pub(super) fn put_out(&mut self, cx: &mut Cx<'_>) -> Result<(), Fail> {
        let by = self.removal_of(self.device());
        // Before the connections end: nobody else may know.
        self.spread(cx.now.mono);
        self.end_all_sessions(&by);
        self.local.out = true;
        self.local.erasing = true;
        self.local.out_at = self.local.running;
        self.local.pending = None;
        self.local.save(cx.store)?;
        self.keyring.clear();
        self.changed.keys = true;
        self.sessions.clear(cx.store)?;
        super::load::forget_sealed(cx.store)?;
        self.admit();
        self.stop_show(cx.now.mono, CloseCode::NotOwner);
        let conns: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| !conn.closing).map(|(id, _)| *id).collect();
        for id in conns {
            self.close(id, CloseCode::Done, limits::REVOKED_WAIT);
        }
        self.changed.view = true;
        self.outputs.push_back(Output::EraseKeys);
        Ok(())
    }

    fn end_all_sessions(&mut self, by: &RevokedBy) {
        let open: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, info)| info.ended.is_none())
            .map(|(id, info)| (id, info.app.clone()))
            .collect();
        for (session, app) in open {
            self.emit(Event::SessionEnded { session, app, by: by.clone() });
        }
    }

    /// Who put a device out or suspended it, why and when; made up of nothing if nobody did.
    pub(super) fn removal_of(&self, device: DeviceId) -> RevokedBy {
        let found = self.roster.evaluation().device(device).and_then(|device| device.removal.as_ref());
        match found {
            Some(removal) => RevokedBy {
                by: removal.by,
                name: self.name_of(removal.by),
                reason: reason_text(removal.reason_code, &removal.text),
                at: removal.at,
            },
            None => {
                RevokedBy { by: device, name: self.name_of(device), reason: String::new(), at: crate::time::Wall(0) }
            }
        }
    }
}

/// Codes of a revocation's reason.
pub(super) mod reason {
    /// Unsaid.
    pub(in crate::engine) const UNSAID: u8 = 0;
    /// It was linked and never showed up.
    pub(in crate::engine) const NEVER_COMPLETED: u8 = 3;
    /// The device left by its own wish.
    pub(in crate::engine) const LEFT: u8 = 4;
    /// One of all others that were revoked at once.
    pub(in crate::engine) const OTHERS: u8 = 5;
    /// Two of it were running.
    pub(in crate::engine) const CLONE: u8 = 6;
}

fn reason_text(code: u8, text: &str) -> String {
    let text = crate::names::clean(text);
    if !text.is_empty() {
        return text;
    }
    match code {
        1 => "lost or stolen",
        2 => "replaced",
        reason::NEVER_COMPLETED => "never completed",
        reason::LEFT => "left",
        reason::OTHERS => "all others were revoked",
        reason::CLONE => "two of it were running",
        _ => "",
    }
    .to_owned()
}
