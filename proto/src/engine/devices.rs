//! Commands about devices: rename, revoke, role, leave, erase.

use std::collections::BTreeSet;

use super::command::Reply;
use super::error::ErrorKind;
use super::io::Output;
use super::out::reason;
use super::{Cx, Engine, Fail, refuse};
use crate::id::DeviceId;
use crate::limits;
use crate::names::clean;
use crate::roster::statement::{Action, Honoured, Revoke};
use crate::roster::{Role, Status};
use crate::session::content::Space;
use crate::session::{account_session, device_known_key, device_name_key};

impl Engine {
    pub(super) fn rename(&mut self, cx: &mut Cx<'_>, device: DeviceId, name: &str) -> Result<Reply, Fail> {
        let name = clean(name);
        if name.is_empty() {
            return refuse(ErrorKind::InvalidArgument, "a name needs at least one visible character");
        }
        if device == self.device() {
            self.rename_self(cx, &name)?;
        } else if self.roster.evaluation().device(device).is_none() {
            return refuse(ErrorKind::NotFound, "there is no such device in this account");
        }
        self.changed.view = true;
        if let Some(account) = self.account() {
            let key = device_name_key(device);
            self.write(cx, account_session(account), Space::Entry, &key, Some(name.as_bytes()))?;
        }
        Ok(Reply::Done)
    }

    pub(super) fn dismiss(&mut self, cx: &mut Cx<'_>, device: DeviceId) -> Result<Reply, Fail> {
        let Some(account) = self.account().filter(|_| self.roster.evaluation().device(device).is_some()) else {
            return refuse(ErrorKind::NotFound, "there is no such device in this account");
        };
        if !self.sessions.is_known(device) {
            let key = device_known_key(device);
            self.write(cx, account_session(account), Space::Entry, &key, Some(b"known"))?;
        }
        Ok(Reply::Done)
    }

    /// Keeps this device's own name, which it also has while there is no account.
    pub(super) fn rename_self(&mut self, cx: &mut Cx<'_>, name: &str) -> Result<(), Fail> {
        self.may_write()?;
        self.local.name = clean(name);
        self.local.save(cx.store)?;
        self.changed.view = true;
        Ok(())
    }

    pub(super) fn revoke(&mut self, cx: &mut Cx<'_>, devices: &[DeviceId], why: &str) -> Result<Reply, Fail> {
        self.revoke_as(cx, devices, reason::UNSAID, why)
    }

    pub(super) fn revoke_others(&mut self, cx: &mut Cx<'_>, why: &str) -> Result<Reply, Fail> {
        let me = self.device();
        let others: Vec<DeviceId> =
            self.roster.evaluation().linked().map(|device| device.id).filter(|id| *id != me).collect();
        self.revoke_as(cx, &others, reason::OTHERS, why)
    }

    pub(super) fn revoke_as(
        &mut self,
        cx: &mut Cx<'_>,
        devices: &[DeviceId],
        code: u8,
        why: &str,
    ) -> Result<Reply, Fail> {
        check_reason(why)?;
        self.may_state()?;
        let devices: BTreeSet<DeviceId> = devices.iter().copied().collect();
        for device in &devices {
            self.may_revoke(*device)?;
        }
        let freely = |device: &DeviceId| self.roster.revokes_freely(self.device(), *device);
        self.require_pin(!devices.iter().all(freely))?;
        for device in &devices {
            self.revoke_one(cx, *device, code, why)?;
        }
        if !devices.is_empty() && self.roster.evaluation().write_epoch().is_none() {
            self.make_epoch(cx)?;
        }
        // Never answered "done" before the roster itself says so.
        match devices.iter().find(|device| self.roster.evaluation().is_linked(**device)) {
            Some(device) => refuse(
                ErrorKind::Internal,
                format!("the revocation of {} does not count; look at the list", self.name_of(*device)),
            ),
            None => Ok(Reply::Revoked(devices.into_iter().collect())),
        }
    }

    fn may_revoke(&self, device: DeviceId) -> Result<(), Fail> {
        let evaluation = self.roster.evaluation();
        if device == self.device() {
            return refuse(ErrorKind::Refused, "this is the device you are on; `kinctl leave` takes it out");
        }
        match evaluation.device(device).map(|device| device.status) {
            None => refuse(ErrorKind::NotFound, "there is no such device in this account"),
            Some(Status::Revoked | Status::Left) => {
                refuse(ErrorKind::Refused, format!("{} is out already", self.name_of(device)))
            }
            Some(_) if evaluation.role(self.device()) == Some(Role::Owner) => Ok(()),
            Some(_) => refuse(ErrorKind::NotOwner, "only an owner revokes other devices; this one is not an owner"),
        }
    }

    fn revoke_one(&mut self, cx: &mut Cx<'_>, device: DeviceId, code: u8, why: &str) -> Result<(), Fail> {
        let journals = self.journals.vector().into_iter().filter(|position| position.journal.device == device);
        let honoured = journals
            .map(|position| (position.journal.generation, Honoured { size: position.size, root: position.root }))
            .collect();
        let revoke = Revoke { device, reason_code: code, text: why.to_owned(), with_linked: false, honoured };
        self.state(cx, Action::Revoke(revoke)).map(|_| ())
    }

    pub(super) fn set_role(&mut self, cx: &mut Cx<'_>, device: DeviceId, role: Role) -> Result<Reply, Fail> {
        self.may_write()?;
        let evaluation = self.roster.evaluation();
        if evaluation.role(self.device()) != Some(Role::Owner) {
            return refuse(ErrorKind::NotOwner, "only an owner changes roles; this device is not an owner");
        }
        let Some(target) = evaluation.device(device).filter(|device| device.status == Status::Linked) else {
            return refuse(ErrorKind::NotFound, "there is no such linked device in this account");
        };
        if role == Role::Guest || target.role == Role::Guest {
            return refuse(ErrorKind::Refused, "a device is a guest from its linking on; link it again to change that");
        }
        if target.role == role {
            return Ok(Reply::Done);
        }
        if role != Role::Owner && evaluation.owners().count() == 1 {
            return refuse(ErrorKind::LastOwner, "this is the last owner; make another device an owner first");
        }
        self.state(cx, Action::Role { device, role })?;
        // From now on it is what it was made, and not what it would become by itself.
        if self.reports.contains_key(&device) {
            self.forget_linked(cx, device)?;
        }
        Ok(Reply::Done)
    }

    pub(super) fn leave(&mut self, cx: &mut Cx<'_>, why: &str) -> Result<Reply, Fail> {
        check_reason(why)?;
        if self.local.out {
            return refuse(ErrorKind::Revoked, "this device is out already; `kinctl erase` wipes what is left here");
        }
        let me = self.device();
        let evaluation = self.roster.evaluation();
        if !evaluation.is_linked(me) || evaluation.linked().count() < 2 {
            return refuse(
                ErrorKind::NotLinked,
                "this device is not linked with any other; `kinctl erase` wipes what is here",
            );
        }
        if evaluation.owners().all(|device| device.id == me) && evaluation.role(me) == Some(Role::Owner) {
            return refuse(
                ErrorKind::LastOwner,
                "this is the last owner; make another device an owner first, or revoke the others",
            );
        }
        self.local.untold = true;
        self.revoke_self(cx, reason::LEFT, why)?;
        Ok(Reply::Done)
    }

    /// Says that this device is out. Its keys go in the same transaction.
    pub(super) fn revoke_self(&mut self, cx: &mut Cx<'_>, code: u8, why: &str) -> Result<(), Fail> {
        self.revoke_one(cx, self.device(), code, why)
    }

    pub(super) fn erase(&mut self) -> Result<Reply, Fail> {
        let me = self.device();
        let evaluation = self.roster.evaluation();
        if !self.local.out && evaluation.is_linked(me) && evaluation.linked().count() > 1 {
            return refuse(
                ErrorKind::LeaveFirst,
                "this device is linked; `kinctl leave` takes it out first, so that the others know",
            );
        }
        self.outputs.push_back(Output::Reset);
        Ok(Reply::Done)
    }
}

pub(super) fn check_reason(why: &str) -> Result<(), Fail> {
    if why.len() > limits::REASON_BYTES {
        return refuse(ErrorKind::TooLarge, format!("a reason has at most {} bytes", limits::REASON_BYTES));
    }
    Ok(())
}
