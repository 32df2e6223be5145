//! The account: statements taken in, what follows from them, and the first ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::conn::Conn;
use super::io::{ConnId, Output};
use super::{Cx, Engine, Fail, refuse};
use crate::engine::error::ErrorKind;
use crate::id::{AccountId, DeviceId, StatementId};
use crate::key;
use crate::roster::statement::{Action, Genesis, Statement};
use crate::roster::{Roster, Status};
use crate::store::StoreError;
use crate::wire::frame::CloseCode;
use crate::wire::message::Message;

/// Bytes of objects in one frame: well under the limit of a control frame.
const PIECE: usize = 512 * 1024;

impl Engine {
    /// The account, made now if there is none.
    pub(super) fn ensure_account(&mut self, cx: &mut Cx<'_>) -> Result<AccountId, Fail> {
        if let Some(account) = self.account() {
            return Ok(account);
        }
        // A challenge that is shown offers the account that begins now.
        let offered = self.show.as_ref().filter(|show| show.is_open()).and_then(|show| show.genesis.clone());
        let genesis = offered.unwrap_or_else(|| self.new_genesis(cx, ""));
        self.adopt_genesis(cx, &genesis)
    }

    /// A genesis statement of this device, kept nowhere.
    pub(super) fn new_genesis(&self, cx: &mut Cx<'_>, label: &str) -> Statement {
        let genesis = Genesis {
            label: if label.is_empty() { format!("{}'s account", self.own_name()) } else { label.to_owned() },
            name: self.own_name(),
            platform: self.config.platform.clone(),
            hpke: self.config.identity.hpke_public().to_vec(),
            salt: key::random(cx.entropy),
        };
        Roster::genesis(&self.config.identity, cx.now.wall, genesis)
    }

    /// Makes `genesis` the account's first statement, with its first epoch.
    pub(super) fn adopt_genesis(&mut self, cx: &mut Cx<'_>, genesis: &Statement) -> Result<AccountId, Fail> {
        let account = AccountId::from(genesis.id);
        self.absorb(cx, std::slice::from_ref(&genesis.bytes), None)?;
        self.keyring = crate::roster::keyring::Keyring::new(account);
        self.changed.keys = true;
        self.make_epoch(cx)?;
        Ok(account)
    }

    /// Says something in the roster.
    pub(super) fn state(&mut self, cx: &mut Cx<'_>, action: Action) -> Result<StatementId, Fail> {
        let pin = self.countersigner(&action)?;
        let (identity, now) = (&self.config.identity, cx.now.wall);
        let statement = self.roster.draft_countersigned(identity, pin.as_ref(), now, action, cx.entropy);
        self.absorb(cx, std::slice::from_ref(&statement.bytes), None)?;
        Ok(statement.id)
    }

    /// Takes statements in, keeps them, hands them on, and does what follows from them.
    pub(super) fn absorb(&mut self, cx: &mut Cx<'_>, batch: &[Vec<u8>], from: Option<ConnId>) -> Result<(), Fail> {
        let (before, void) = (self.standings(), self.own_contradicted());
        let new = self.roster.insert(batch).map_err(|_| Fail::Peer(CloseCode::Protocol))?;
        if let Some(id) = from {
            self.ask_for(id, self.roster.waiting().collect());
        }
        if new.is_empty() {
            return Ok(());
        }
        self.keep_statements(cx, &new)?;
        self.settle_clones(&new);
        if from.is_some() && self.is_own(&new) {
            self.note_restored(cx)?;
        }
        self.changed.view = true;
        self.changed.report = true;
        self.admit();
        self.close_those_out(&before);
        self.changed.said.extend(new.iter().map(|id| (*id, from)));
        self.roster_changed(cx, &before)?;
        self.say_again(cx, &void)
    }

    fn standings(&self) -> BTreeMap<DeviceId, Status> {
        self.roster.evaluation().devices.iter().map(|(id, device)| (*id, device.status)).collect()
    }

    /// What others say that they applied, they keep and tell again. Everything else is on the disk before anything follows from it.
    fn keep_statements(&mut self, cx: &mut Cx<'_>, new: &[StatementId]) -> Result<(), StoreError> {
        self.unsaved.statements += new.len();
        let me = self.device();
        let again = |said: &Statement| matches!(said.action, Action::Applied { .. }) && said.author != me;
        let all = new.iter().filter_map(|id| self.roster.statement(*id)).all(again);
        if all { Ok(()) } else { self.save_statements(cx) }
    }

    pub(super) fn send_statements(&mut self, conn: ConnId, statements: &[Vec<u8>]) {
        for piece in pieces(statements) {
            self.outputs.push_back(Output::Send { conn, frame: Message::Statements(piece).to_frame() });
        }
    }

    /// The devices that the statements taken in put out: also those that were suspended, and are gone for good now.
    fn newly_out(&self, before: &BTreeMap<DeviceId, Status>) -> BTreeSet<DeviceId> {
        let gone = |status: Status| matches!(status, Status::Revoked | Status::Left);
        let news = |id: &DeviceId, now: Status| match before.get(id) {
            Some(Status::Suspended) => gone(now),
            Some(status) => is_out(now) && !is_out(*status),
            None => is_out(now),
        };
        let devices = self.roster.evaluation().devices.values();
        devices.filter(|device| news(&device.id, device.status)).map(|device| device.id).collect()
    }

    /// Cuts who is out before anybody else hears of it.
    fn close_those_out(&mut self, before: &BTreeMap<DeviceId, Status>) {
        for device in self.newly_out(before) {
            self.close_device(device);
            // Nobody hears from it any more, nor has to be told that.
            for conn in self.conns.values_mut() {
                conn.near.remove(&device);
                conn.told.remove(&device);
            }
        }
        let unconfirmed = |conn: &Conn| {
            !conn.closing && self.roster.evaluation().device(conn.peer).map(|d| d.status) == Some(Status::Unconfirmed)
        };
        let strangers: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| unconfirmed(conn)).map(|(id, _)| *id).collect();
        for conn in strangers {
            self.close(conn, CloseCode::UnknownDevice, Duration::ZERO);
        }
    }

    fn roster_changed(&mut self, cx: &mut Cx<'_>, before: &BTreeMap<DeviceId, Status>) -> Result<(), Fail> {
        let now_out = self.newly_out(before);
        if now_out.contains(&self.device()) {
            if self.own_status() != Some(Status::Suspended) {
                return self.put_out(cx);
            }
            self.suspended(cx.now.mono);
        }
        self.readmitted(cx.now.mono, before);
        if !now_out.is_empty() {
            self.stop_transfers(&now_out);
            self.honour(cx)?;
        }
        self.apply_revocations(cx)?;
        self.reach_out(cx.now.mono);
        // Journals of a device that was not known count now, and their positions came before its link.
        self.want_more(cx.now.mono);
        Ok(())
    }

    /// Says that revocations were applied here, and that a PIN counts here, so that everyone can see where they are.
    fn apply_revocations(&mut self, cx: &mut Cx<'_>) -> Result<(), Fail> {
        let me = self.device();
        let evaluation = self.roster.evaluation();
        if !evaluation.is_linked(me) || self.changed.applying {
            return Ok(());
        }
        let revocations: BTreeSet<StatementId> = evaluation
            .devices
            .values()
            .filter(|device| !device.applied_by.contains(&me))
            .flat_map(|device| device.revocations.iter().copied())
            .chain(evaluation.pins.iter().filter(|pin| !pin.known_by.contains(&me)).map(|pin| pin.id))
            .collect();
        if revocations.is_empty() {
            return Ok(());
        }
        let revocations = revocations.into_iter().take(usize::from(u8::MAX)).collect();
        self.changed.applying = true;
        let said = self.state(cx, Action::Applied { revocations });
        self.changed.applying = false;
        said.map(|_| ())
    }

    /// Tells the shell which keys may connect: linked ones, and those that are out, who are handed the proof.
    pub(super) fn admit(&mut self) {
        let me = self.device();
        let mut keys: BTreeSet<DeviceId> = match &self.local.pending {
            Some(pending) => pending_roster(pending).evaluation().devices.keys().copied().collect(),
            None => BTreeSet::new(),
        };
        keys.extend(self.roster.evaluation().devices.keys());
        keys.remove(&me);
        self.outputs.push_back(Output::Admit(keys.into_iter().collect()));
    }

    pub(super) fn own_status(&self) -> Option<Status> {
        self.roster.evaluation().device(self.device()).map(|device| device.status)
    }

    /// Refuses what a device that is out, suspended or too old must not do.
    pub(super) fn may_write(&self) -> Result<(), Fail> {
        self.may_state()?;
        if self.roster.evaluation().update_needed {
            return refuse(
                ErrorKind::UpdateNeeded,
                "the account uses something that this version does not know; update kinlink",
            );
        }
        Ok(())
    }

    /// As [`Self::may_write`], but with something unknown in the account: to revoke must not depend on what those
    /// who are to be revoked have said.
    pub(super) fn may_state(&self) -> Result<(), Fail> {
        if self.local.out {
            return refuse(ErrorKind::Revoked, "this device was revoked; `kinctl erase` lets it start over");
        }
        match self.own_status() {
            None | Some(Status::Linked) => Ok(()),
            Some(Status::Suspended) => refuse(ErrorKind::Locked, self.why_suspended()),
            Some(_) => refuse(ErrorKind::Locked, "this device waits for an owner to link it"),
        }
    }
}

pub(super) fn is_out(status: Status) -> bool {
    matches!(status, Status::Revoked | Status::Left | Status::Suspended)
}

/// The roster that came with an offer. What is kept was verified when it came; a damaged one is empty.
pub(super) fn pending_roster(pending: &super::local::Pending) -> Roster {
    let mut roster = Roster::new();
    if roster.insert(&pending.statements).is_err() {
        return Roster::new();
    }
    roster
}

/// Objects in as many frames as they need.
pub(super) fn pieces(objects: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let mut out: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut size = usize::MAX;
    for object in objects {
        if size.saturating_add(object.len()) > PIECE {
            out.push(Vec::new());
            size = 0;
        }
        size += object.len();
        if let Some(last) = out.last_mut() {
            last.push(object.clone());
        }
    }
    out
}
