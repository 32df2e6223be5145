//! From *pending* to linked: this device becomes part of the account that it agreed to join.

use super::account::{is_out, pending_roster, pieces};
use super::command::OldSessions;
use super::io::{ConnId, Output};
use super::out::reason;
use super::view::AddressSource;
use super::{Cx, Engine, Fail};
use crate::id::AccountId;
use crate::limits;
use crate::link::Message;
use crate::link::message::Linked;
use crate::roster::keyring::Keyring;
use crate::roster::statement::{Action, Revoke};
use crate::roster::{Roster, Status};
use crate::session::content::Space;
use crate::store::{StoreError, Table};
use crate::wire::frame::CloseCode;
use crate::wire::message::Message as Sync;

impl Engine {
    pub(super) fn linked(&mut self, cx: &mut Cx<'_>, conn: ConnId, linked: &Linked) -> Result<(), Fail> {
        let Some(join) = self.join.as_mut() else { return Ok(()) };
        join.joiner.linked(linked).map_err(Fail::Peer)?;
        if !self.complete(cx, None, linked)? {
            return Err(Fail::Peer(CloseCode::Protocol));
        }
        self.send_link(conn, &Message::Done);
        self.close_link(conn, CloseCode::Done);
        self.tell_join();
        Ok(())
    }

    /// A device of the account brought statements: perhaps they link this one.
    pub(super) fn complete_pending(
        &mut self,
        cx: &mut Cx<'_>,
        from: Option<ConnId>,
        statements: &[Vec<u8>],
    ) -> Result<(), Fail> {
        let linked = Linked { statements: statements.to_vec(), ..Linked::default() };
        if self.complete(cx, from, &linked)?
            && let Some(conn) = from
        {
            // The next hello speaks for the account.
            self.close(conn, CloseCode::Done, limits::REVOKED_WAIT);
        }
        Ok(())
    }

    /// Completes a pending join if the statements link this device. Returns whether they did.
    fn complete(&mut self, cx: &mut Cx<'_>, from: Option<ConnId>, linked: &Linked) -> Result<bool, Fail> {
        let Some(pending) = self.local.pending.clone() else { return Ok(false) };
        let mut roster = pending_roster(&pending);
        roster.insert(&linked.statements).map_err(|_| Fail::Peer(CloseCode::Protocol))?;
        let standing = roster.evaluation().device(self.device()).map(|device| device.status);
        let shower = roster.evaluation().device(pending.shower).map(|device| device.status);
        // With all that the shower said before it was put out at hand, and no link by it, nobody will link this device.
        let in_vain = standing.is_none() && !pending.earlier && matches!(shower, Some(Status::Revoked | Status::Left));
        if roster.account() == Some(pending.account) && (standing.is_some_and(is_out) || in_vain) {
            // If it was linked, it was put out before it came: there is nothing to wait for.
            self.forget_pending(cx)?;
            return Ok(false);
        }
        if roster.account() != Some(pending.account) || standing != Some(Status::Linked) {
            return Ok(false);
        }
        if pending.cancelled {
            return self.leave_unseen(cx, from, roster);
        }
        let all: Vec<Vec<u8>> = roster.statements().map(|statement| statement.bytes.clone()).collect();
        let sessions = if pending.bring { OldSessions::Bring } else { OldSessions::Discard };
        let brought = self.bring_along(cx, sessions)?;
        let writes = roster.evaluation().entitled().any(|device| device.id == self.device());
        if !brought.is_empty() && (!writes || roster.evaluation().update_needed) {
            // What could not be written there would be lost: it stays here, and the link waits.
            return Err(Fail::Peer(CloseCode::UpdateNeeded));
        }
        self.start_over(cx, pending.account)?;
        self.absorb(cx, &all, None)?;
        self.receive_epochs(cx, &linked.epochs, &linked.histories)?;
        self.receive_reports(cx, None, &linked.reports)?;
        self.remember(pending.shower, &linked.addresses, AddressSource::Reported);
        for (session, space, key, value) in brought {
            self.write(cx, session, space, &key, Some(&value))?;
        }
        self.reach_out(cx.now.mono);
        Ok(true)
    }

    /// The user had taken it back when the link was made: this device leaves the account without having come to it, and
    /// keeps what it has. *Pending* stays until somebody of that account hands the leaving back.
    fn leave_unseen(&mut self, cx: &mut Cx<'_>, from: Option<ConnId>, mut roster: Roster) -> Result<bool, Fail> {
        let Some(conn) = from else {
            self.reach_out(cx.now.mono);
            return Ok(true);
        };
        let (device, text) = (self.device(), "cancelled while linking".to_owned());
        let honoured = std::collections::BTreeMap::new();
        let revoke = Revoke { device, reason_code: reason::LEFT, text, with_linked: false, honoured };
        let leaving = roster.draft(&self.config.identity, cx.now.wall, Action::Revoke(revoke), cx.entropy);
        roster.insert(&[leaving.bytes]).map_err(|_| Fail::Peer(CloseCode::Internal))?;
        let proof: Vec<Vec<u8>> =
            roster.proof_of_removal(device).into_iter().map(|statement| statement.bytes.clone()).collect();
        for piece in pieces(&proof) {
            self.outputs.push_back(Output::Send { conn, frame: Sync::Revoked(piece).to_frame() });
        }
        Ok(false)
    }

    /// Forgets everything of the account that this device was alone in.
    fn start_over(&mut self, cx: &mut Cx<'_>, account: AccountId) -> Result<(), StoreError> {
        for table in [Table::Statements, Table::Secrets, Table::Reports] {
            cx.store.clear(table)?;
        }
        self.journals.clear(cx.store)?;
        self.sessions.clear(cx.store)?;
        self.roster = Roster::new();
        self.keyring = Keyring::new(account);
        self.changed.keys = true;
        self.reports.clear();
        self.local.pending = None;
        self.local.generation = 0;
        self.local.linked.clear();
        self.local.save(cx.store)
    }

    pub(super) fn forget_pending(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        if self.local.pending.take().is_some() {
            self.local.save(cx.store)?;
            self.changed.view = true;
            self.admit();
        }
        Ok(())
    }
}

/// What is brought along: session, space, key, value.
pub(super) type Brought = Vec<(crate::id::SessionId, Space, Vec<u8>, Vec<u8>)>;
