//! Who tells whom what is new. PROTOCOL.md section 10.
//!
//! Whoever says something tells all of its peers at once. Who hears it passes it on to those of its own peers alone that are not
//! connected with who said it, as far as they have told: in a full mesh nothing comes twice, and along a chain everything goes on.
//! That makes it fast. What makes it sure is comparing, in the hello and in each report: nobody has to be right about who is
//! connected with whom.

use std::collections::{BTreeMap, BTreeSet};

use super::conn::Conn;
use super::io::{ConnId, Output};
use super::{Cx, Engine, Fail};
use crate::id::{DeviceId, StatementId};
use crate::limits;
use crate::roster::statement::{Action, Parent, Statement};
use crate::time::Mono;
use crate::wire::frame::CloseCode;
use crate::wire::message::{Have, Message};

/// What is gathered for [`limits::TELL`] before it is passed on.
#[derive(Debug, Default)]
pub(super) struct Tell {
    due: Option<Mono>,
    /// Reports of others that came, and from whom.
    reports: BTreeMap<DeviceId, Option<ConnId>>,
    /// Statements that revocations were applied, and from whom they came.
    applied: BTreeMap<StatementId, Option<ConnId>>,
}

impl Conn {
    /// Whether the peer hears from a device itself what that says.
    pub(super) fn hears(&self, device: DeviceId) -> bool {
        self.peer == device || self.near.contains(&device)
    }

    /// Notes that the peer holds a report of a device. Returns whether that is news.
    pub(super) fn holds_report(&mut self, device: DeviceId, counter: u64) -> bool {
        let known = self.reports.entry(device).or_default();
        let news = *known < counter;
        *known = counter.max(*known);
        news
    }
}

impl Engine {
    pub(super) fn tell_soon(&mut self, now: Mono) {
        self.tell.due.get_or_insert(now.after(limits::TELL));
    }

    pub(super) fn tell_due(&self) -> Option<Mono> {
        self.tell.due
    }

    /// A report of another device came, and is passed on soon.
    pub(super) fn pass_on_report(&mut self, now: Mono, device: DeviceId, from: Option<ConnId>) {
        self.tell.reports.insert(device, from);
        self.tell_soon(now);
    }

    /// Tells statements that were taken in to the peers that do not hear their author. That revocations were applied only those
    /// who revoked hear at once, the others soon: that is as many statements as devices, from each to each.
    pub(super) fn spread(&mut self, now: Mono) {
        let said = std::mem::take(&mut self.changed.said);
        if said.is_empty() {
            return;
        }
        let later: BTreeSet<StatementId> = said.iter().map(|(id, _)| *id).filter(|id| self.may_wait(*id)).collect();
        self.spread_to_each(&said, |engine, peer, id| !later.contains(&id) || engine.revokers_in(id).contains(&peer));
        if !later.is_empty() {
            self.tell.applied.extend(said.into_iter().filter(|(id, _)| later.contains(id)));
            self.tell_soon(now);
        }
        if !self.lacking_epochs().is_empty() {
            self.tell_soon(now);
        }
    }

    fn spread_to_each(
        &mut self,
        said: &[(StatementId, Option<ConnId>)],
        now: impl Fn(&Self, DeviceId, StatementId) -> bool,
    ) {
        let me = self.device();
        for id in self.ready().map(|(id, _)| id).collect::<Vec<_>>() {
            let Some(conn) = self.conns.get(&id) else { continue };
            let lacks = |statement: &&Statement| statement.author == me || !conn.hears(statement.author);
            let new = said.iter().filter(|(said, from)| *from != Some(id) && now(self, conn.peer, *said));
            let new = new.filter_map(|(said, _)| self.roster.statement(*said)).filter(lacks);
            let new: Vec<Vec<u8>> = new.map(|statement| statement.bytes.clone()).collect();
            self.send_statements(id, &new);
        }
    }

    /// Whether a statement only says that revocations were applied, and everybody who said those hears of it: they are this
    /// device and its peers. Who is out asks no more.
    fn may_wait(&self, id: StatementId) -> bool {
        let applied = self.roster.statement(id).is_some_and(|said| matches!(said.action, Action::Applied { .. }));
        let told = |device: &DeviceId| {
            *device == self.device()
                || !self.roster.evaluation().is_linked(*device)
                || self.ready().any(|(_, conn)| conn.peer == *device)
        };
        applied && self.revokers_in(id).iter().all(told)
    }

    /// Who said the revocations that were applied by a statement.
    fn revokers_in(&self, id: StatementId) -> BTreeSet<DeviceId> {
        let Some(Action::Applied { revocations }) = self.roster.statement(id).map(|said| &said.action) else {
            return BTreeSet::new();
        };
        revocations.iter().filter_map(|id| self.roster.statement(*id)).map(|said| said.author).collect()
    }

    /// Passes on what was gathered, says whom this device is connected with by now, and asks for keys that it lacks.
    pub(super) fn tell(&mut self) {
        let Tell { reports, applied, .. } = std::mem::take(&mut self.tell);
        let applied: Vec<(StatementId, Option<ConnId>)> = applied.into_iter().collect();
        self.spread_to_each(&applied, |engine, peer, id| !engine.revokers_in(id).contains(&peer));
        let (peers, lacking) = (self.connected_with(), self.lacking_epochs());
        for id in self.ready().map(|(id, _)| id).collect::<Vec<_>>() {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            let unheard = |(device, from): &(&DeviceId, &Option<ConnId>)| **from != Some(id) && !conn.hears(**device);
            let of: Vec<DeviceId> = reports.iter().filter(unheard).map(|(device, _)| *device).collect();
            let new = |peer: &&DeviceId| **peer != conn.peer && !conn.told.contains(*peer);
            let joined: Vec<DeviceId> = peers.iter().filter(new).copied().collect();
            conn.told.extend(joined.iter().copied());
            let lacks = if conn.lacking == lacking { Vec::new() } else { lacking.clone() };
            conn.lacking.clone_from(&lacking);
            self.send_reports(id, of);
            self.send_have(id, Have { joined, lacks, ..Have::default() });
        }
    }

    /// Asks a peer for the statements that this device lacks: what it knows of does not stand in its roster.
    pub(super) fn ask_for(&mut self, id: ConnId, unknown: Vec<StatementId>) {
        let heads = self.roster.heads();
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.ready && !conn.closing) else { return };
        if unknown.is_empty() || conn.sought == (heads.clone(), unknown.clone()) {
            return;
        }
        conn.sought = (heads.clone(), unknown);
        self.send_have(id, Have { heads, ..Have::default() });
    }

    /// Says at once whom this device hears from no longer: what is new of them comes from others from now on. With the newest
    /// report of each that it has.
    pub(super) fn tell_lost(&mut self) {
        let peers = self.connected_with();
        for id in self.ready().map(|(id, _)| id).collect::<Vec<_>>() {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            let lost: Vec<DeviceId> = conn.told.difference(&peers).copied().collect();
            conn.told.retain(|device| peers.contains(device));
            let counter = |device: &DeviceId| self.reports.get(device).map_or(0, |report| report.content.counter);
            let reports = lost.iter().map(|device| (*device, counter(device))).collect();
            self.send_have(id, Have { reports, lost, ..Have::default() });
        }
    }

    fn connected_with(&self) -> BTreeSet<DeviceId> {
        self.ready().map(|(_, conn)| conn.peer).collect()
    }

    pub(super) fn send_have(&mut self, conn: ConnId, have: Have) {
        if have != Have::default() {
            self.outputs.push_back(Output::Send { conn, frame: Message::Have(Box::new(have)).to_frame() });
        }
    }

    pub(super) fn receive_have(&mut self, cx: &mut Cx<'_>, id: ConnId, have: Have) -> Result<(), Fail> {
        let Have { journals, heads, reports, lacks, joined, lost } = have;
        if !journals.is_empty() {
            self.receive_positions(cx, id, journals)?;
        }
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        conn.near.extend(joined);
        conn.near.retain(|device| !lost.contains(device));
        if conn.near.len() > limits::AUTHORS {
            return Err(Fail::Peer(CloseCode::Protocol));
        }
        if !heads.is_empty() {
            self.send_missing(id, &heads)?;
        }
        if !lacks.is_empty() {
            self.receive_lacks(cx, id, &lacks)?;
        }
        self.send_newer_reports(id, &reports)
    }

    /// A peer asks for what is not in the past of its heads.
    fn send_missing(&mut self, id: ConnId, heads: &[Parent]) -> Result<(), Fail> {
        let missing: Vec<Vec<u8>> = self.roster.missing(heads).into_iter().map(|s| s.bytes.clone()).collect();
        let total = self.roster.statements().count();
        let Some(conn) = self.conns.get_mut(&id).filter(|_| !missing.is_empty()) else { return Ok(()) };
        if std::mem::replace(&mut conn.answered, total) == total {
            self.count_again(id)?;
        }
        self.send_statements(id, &missing);
        Ok(())
    }

    /// A peer says how new its reports of some devices are, and is sent newer ones.
    fn send_newer_reports(&mut self, id: ConnId, theirs: &[(DeviceId, u64)]) -> Result<(), Fail> {
        for (device, counter) in theirs {
            let newest = self.reports.get(device).map_or(0, |report| report.content.counter);
            let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
            // It was sent that one, and did not keep it.
            if *counter < newest && conn.reports.insert(*device, *counter).is_some_and(|known| known >= newest) {
                self.count_again(id)?;
            }
        }
        self.send_reports(id, theirs.iter().map(|(device, _)| *device));
        Ok(())
    }
}
