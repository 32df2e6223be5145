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
use crate::id::DeviceId;
use crate::limits;
use crate::time::Mono;
use crate::wire::frame::CloseCode;
use crate::wire::message::{Have, Message};

/// What is gathered for [`limits::TELL`] before it is passed on.
#[derive(Debug, Default)]
pub(super) struct Tell {
    due: Option<Mono>,
    /// Reports of others that came, and from whom.
    reports: BTreeMap<DeviceId, Option<ConnId>>,
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

    /// Passes on what was gathered, and says whom this device is connected with by now.
    pub(super) fn tell(&mut self) {
        let Tell { reports, .. } = std::mem::take(&mut self.tell);
        let peers = self.connected_with();
        for id in self.ready().map(|(id, _)| id).collect::<Vec<_>>() {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            let lacks = |(device, from): &(&DeviceId, &Option<ConnId>)| **from != Some(id) && !conn.hears(**device);
            let of: Vec<DeviceId> = reports.iter().filter(lacks).map(|(device, _)| *device).collect();
            let new = |peer: &&DeviceId| **peer != conn.peer && !conn.told.contains(*peer);
            let joined: Vec<DeviceId> = peers.iter().filter(new).copied().collect();
            conn.told.extend(joined.iter().copied());
            self.send_reports(id, of);
            self.send_have(id, Have { joined, ..Have::default() });
        }
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
        let Have { journals, reports, joined, lost, .. } = have;
        if !journals.is_empty() {
            self.receive_positions(cx, id, journals)?;
        }
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        conn.near.extend(joined);
        conn.near.retain(|device| !lost.contains(device));
        if conn.near.len() > limits::AUTHORS {
            return Err(Fail::Peer(CloseCode::Protocol));
        }
        self.send_newer_reports(id, &reports)
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
