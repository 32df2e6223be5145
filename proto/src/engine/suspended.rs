//! Suspension: a device without rights, of which nothing is deleted, until an owner readmits or revokes it.

use std::collections::BTreeMap;

use super::command::Reply;
use super::devices::check_reason;
use super::error::ErrorKind;
use super::io::ConnId;
use super::{Cx, Engine, Fail, refuse};
use crate::id::DeviceId;
use crate::limits;
use crate::roster::statement::{Action, Suspend};
use crate::roster::{Role, Status};
use crate::time::Mono;
use crate::wire::Address;
use crate::wire::frame::CloseCode;

impl Engine {
    pub(super) fn suspend(
        &mut self,
        cx: &mut Cx<'_>,
        device: DeviceId,
        code: u8,
        why: &str,
        seen_at: Vec<Address>,
    ) -> Result<Reply, Fail> {
        check_reason(why)?;
        // As with a revocation: it must not depend on what the suspended device has said.
        self.may_state()?;
        self.may_suspend(device)?;
        let suspend = Suspend { device, reason_code: code, text: why.to_owned(), seen_at };
        self.state(cx, Action::Suspend(suspend))?;
        if self.roster.evaluation().write_epoch().is_none() {
            self.make_epoch(cx)?;
        }
        // Never answered "done" before the roster itself says so.
        if self.roster.evaluation().is_linked(device) {
            return refuse(
                ErrorKind::Internal,
                format!("the suspension of {} does not count; look at the list", self.name_of(device)),
            );
        }
        Ok(Reply::Done)
    }

    fn may_suspend(&self, device: DeviceId) -> Result<(), Fail> {
        if device == self.device() {
            return refuse(ErrorKind::Refused, "this is the device you are on; another owner can suspend it");
        }
        let name = self.name_of(device);
        match self.roster.evaluation().device(device).map(|device| device.status) {
            None => refuse(ErrorKind::NotFound, "there is no such device in this account"),
            Some(_) if self.roster.evaluation().role(self.device()) != Some(Role::Owner) => {
                refuse(ErrorKind::NotOwner, "only an owner suspends other devices; this one is not an owner")
            }
            Some(Status::Linked) => Ok(()),
            Some(Status::Suspended) => refuse(ErrorKind::Refused, format!("{name} is suspended already")),
            Some(Status::Revoked | Status::Left) => refuse(ErrorKind::Refused, format!("{name} is out already")),
            Some(Status::Unconfirmed) => refuse(ErrorKind::Refused, format!("{name} has no rights yet")),
        }
    }

    /// Lifts the suspension of a device. Whoever is connected hands it the epochs when it comes back.
    pub(super) fn readmit(&mut self, cx: &mut Cx<'_>, device: DeviceId) -> Result<Reply, Fail> {
        self.may_write()?;
        if self.roster.evaluation().role(self.device()) != Some(Role::Owner) {
            return refuse(ErrorKind::NotOwner, "only an owner readmits devices; this one is not an owner");
        }
        let name = self.name_of(device);
        match self.roster.evaluation().device(device).map(|device| device.status) {
            None => return refuse(ErrorKind::NotFound, "there is no such device in this account"),
            Some(Status::Suspended) => {}
            Some(Status::Revoked | Status::Left) => {
                return refuse(
                    ErrorKind::Refused,
                    format!("{name} is out for good; `kinctl erase` on it gives it a fresh key to link again"),
                );
            }
            Some(_) => return refuse(ErrorKind::Refused, format!("{name} is not suspended")),
        }
        self.state(cx, Action::Readmit { device })?;
        if self.roster.evaluation().is_linked(device) {
            return Ok(Reply::Done);
        }
        refuse(ErrorKind::Internal, format!("the readmission of {name} does not count; look at the list"))
    }

    pub(super) fn is_suspended(&self) -> bool {
        !self.local.out && self.own_status() == Some(Status::Suspended)
    }

    /// This device was suspended: nobody talks to it before it is readmitted.
    pub(super) fn suspended(&mut self, now: Mono) {
        self.stop_show(now, CloseCode::NotOwner);
        let conns: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| !conn.closing).map(|(id, _)| *id).collect();
        for id in conns {
            self.close(id, CloseCode::Done, limits::REVOKED_WAIT);
        }
    }

    /// Meets devices again that were suspended before: they are waiting to be asked in.
    pub(super) fn readmitted(&mut self, now: Mono, before: &BTreeMap<DeviceId, Status>) {
        let me = self.device();
        let back =
            |id: &DeviceId| before.get(id) == Some(&Status::Suspended) && self.roster.evaluation().is_linked(*id);
        let back: Vec<DeviceId> = before.keys().copied().filter(back).collect();
        for device in back.iter().filter(|device| **device != me) {
            let peer = self.peers.entry(*device).or_default();
            // Should it be put out once more, it is to be told once more.
            (peer.told, peer.failures) = (false, 0);
            peer.redial = Some(now);
        }
        if back.contains(&me) {
            self.changed.report = true;
        }
    }

    /// Why this device has no rights, and what can be done.
    pub(super) fn why_suspended(&self) -> String {
        let by = self.removal_of(self.device());
        let contested = self
            .roster
            .evaluation()
            .device(self.device())
            .and_then(|device| device.removal.as_ref())
            .is_some_and(|removal| self.roster.statement(removal.id).is_some_and(|said| said.revokes().is_some()));
        if contested {
            return "this device and another revoked each other; a third owner has to settle it".to_owned();
        }
        let why = if by.reason.is_empty() { String::new() } else { format!(" ({})", by.reason) };
        format!(
            "this device was suspended by {}{why}: nothing is lost, but it takes part in nothing until an owner runs `kinctl readmit` for it",
            by.name
        )
    }
}
