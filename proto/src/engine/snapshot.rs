//! Building the snapshot that clients see.

use std::sync::Arc;

use super::Engine;
use super::io::Event;
use super::view::{DeviceStatus, DeviceView, Standing, Status, View};
use crate::id::{DeviceId, StatementId};
use crate::names::clean;
use crate::roster::statement::Action;
use crate::roster::{Custody, Device, Role, Status as RosterStatus};
use crate::time::Wall;

impl Engine {
    /// Publishes the snapshot if it is another than the last.
    pub(super) fn publish(&mut self) {
        let view = Arc::new(View { status: self.status(), devices: self.device_views() });
        if view != self.view {
            self.view = Arc::clone(&view);
            self.emit(Event::View(view));
        }
    }

    /// The newest snapshot.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    fn status(&self) -> Status {
        let me = self.device();
        Status {
            standing: self.standing(),
            account: self.local.pending.as_ref().map(|pending| pending.account).or(self.account()),
            label: self.label(),
            device: me,
            name: self.own_name(),
            heads: self.roster.heads().into_iter().map(|head| (head.author, head.number, head.id)).collect(),
            epoch: self.held_write_epoch(),
            port: self.port,
            two_step: self.two_step(),
            pairing_open: self.show.as_ref().is_some_and(super::show::Show::is_open),
            update_needed: self.roster.evaluation().update_needed,
            arriving: self.arriving(),
            revoked: (self.local.out || self.is_suspended()).then(|| self.removal_of(me)),
            warnings: self.warnings(),
        }
    }

    fn standing(&self) -> Standing {
        if self.local.out {
            return Standing::Revoked;
        }
        if self.local.pending.is_some() {
            return Standing::Pending;
        }
        if self.is_suspended() {
            return Standing::Suspended;
        }
        if self.roster.evaluation().linked().count() > 1 { Standing::Linked } else { Standing::Unlinked }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.is_suspended() {
            warnings.push(self.why_suspended());
        }
        if self.own_status() == Some(RosterStatus::Unconfirmed) {
            warnings.push(
                "this device was linked by one that was being revoked, so nobody counts it in; `kinctl erase` lets it be linked anew"
                    .to_owned(),
            );
        }
        for device in self.roster.evaluation().linked() {
            match self.wrong_pins(device.id) {
                0 => {}
                1 => warnings.push(format!("a wrong PIN was typed on {}", self.name_of(device.id))),
                wrong => {
                    warnings.push(format!("{wrong} wrong PINs in a row were typed on {}", self.name_of(device.id)))
                }
            }
        }
        if self.was_restored_lately() {
            warnings.push(
                "this device was restored from an older state of its disk; what it had lost came back from other devices, \
                 and what it wrote meanwhile was kept"
                    .to_owned(),
            );
        }
        if self.local.untold {
            warnings.push(
                "this device left, but no other device has heard of it yet; keep it running, or revoke it from another"
                    .to_owned(),
            );
        }
        warnings
    }

    fn device_views(&self) -> Vec<DeviceView> {
        let me = self.device();
        let mut views: Vec<DeviceView> =
            self.roster.evaluation().devices.values().map(|device| self.device_view(device)).collect();
        if !views.iter().any(|view| view.this) {
            views.push(self.lone_view());
        }
        let rank = |view: &DeviceView| {
            (view.id != me, matches!(view.status, DeviceStatus::Revoked | DeviceStatus::Left), view.name.clone())
        };
        views.sort_by_key(rank);
        views
    }

    /// This device while it is in no account.
    fn lone_view(&self) -> DeviceView {
        let me = self.device();
        DeviceView {
            id: me,
            name: self.own_name(),
            platform: clean(&self.config.platform),
            role: Role::Owner,
            custody: Custody::Personal,
            status: DeviceStatus::Linked,
            this: true,
            new: false,
            linked_at: Wall(0),
            linked_by: me,
            linked_from: None,
            online: true,
            last_seen: Wall(0),
            address: self.addresses.first().cloned(),
            addresses: Vec::new(),
            lease: 0,
            revoked: None,
            seen_at: Vec::new(),
            wrong_pins: 0,
            applied: (0, 0),
        }
    }

    fn device_view(&self, device: &Device) -> DeviceView {
        let me = self.device();
        let evaluation = self.roster.evaluation();
        let peer = self.peers.get(&device.id);
        let met = |conn: &super::conn::Conn| conn.peer == device.id && !conn.life.is_doubted();
        let conn = self.ready().find(|(_, conn)| met(conn)).map(|(_, conn)| conn);
        let applied_on = evaluation.linked().filter(|other| device.applied_by.contains(&other.id)).count();
        let out = device.removal.is_some();
        DeviceView {
            id: device.id,
            name: self.name_of(device.id),
            platform: clean(&device.platform),
            role: device.role,
            custody: device.custody,
            status: self.device_status(device),
            this: device.id == me,
            new: device.linked_by != device.id && !out && device.id != me && !self.sessions.is_known(device.id),
            linked_at: device.linked_at,
            linked_by: device.linked_by,
            linked_from: device.origin.clone().filter(|address| address.socket().is_some()),
            online: conn.is_some() || device.id == me && !self.local.out,
            last_seen: peer.map_or(Wall(0), |peer| peer.last_seen),
            address: conn
                .map(|conn| conn.address.clone())
                .or_else(|| peer.and_then(|peer| peer.known.first()).map(|known| known.address.clone())),
            addresses: peer.map(|peer| peer.addresses(conn.map(|conn| &conn.address))).unwrap_or_default(),
            lease: device.lease,
            revoked: out.then(|| self.removal_of(device.id)),
            seen_at: device.removal.as_ref().map(|removal| removal.seen_at.clone()).unwrap_or_default(),
            wrong_pins: if out { 0 } else { self.wrong_pins(device.id) },
            applied: if !device.revocations.is_empty() {
                (count(applied_on), count(evaluation.linked().count()))
            } else {
                (0, 0)
            },
        }
    }

    fn device_status(&self, device: &Device) -> DeviceStatus {
        let met = self.peers.get(&device.id).is_some_and(|peer| peer.last_seen.0 > 0);
        let shown_up = met || device.id == self.device() || self.reports.contains_key(&device.id);
        match device.status {
            RosterStatus::Linked if shown_up || device.linked_by == device.id => DeviceStatus::Linked,
            RosterStatus::Linked => DeviceStatus::Pending,
            RosterStatus::Revoked => DeviceStatus::Revoked,
            RosterStatus::Left => DeviceStatus::Left,
            RosterStatus::Suspended => DeviceStatus::Suspended,
            RosterStatus::Unconfirmed => DeviceStatus::Unconfirmed,
        }
    }

    /// This device's name: the one that the user gave it, or the machine's.
    pub(super) fn own_name(&self) -> String {
        let given = self.sessions.device_name(self.device()).map(str::to_owned);
        let own = given.unwrap_or_else(|| self.local.name.clone());
        let own = clean(&own);
        if own.is_empty() { clean(&self.config.name) } else { own }
    }

    /// A device's name, cleaned; its short id if it has none.
    pub(super) fn name_of(&self, device: DeviceId) -> String {
        let renamed = self.sessions.device_name(device).map(clean).filter(|name| !name.is_empty());
        let linked = || {
            self.roster.evaluation().device(device).map(|device| clean(&device.name)).filter(|name| !name.is_empty())
        };
        renamed.or_else(linked).unwrap_or_else(|| device.to_string()[..8].to_owned())
    }

    /// The account's label.
    pub(super) fn label(&self) -> String {
        if let Some(pending) = &self.local.pending {
            return clean(&pending.label);
        }
        let relabelled = self.sessions.label().map(clean).filter(|label| !label.is_empty());
        relabelled.or_else(|| self.genesis_label()).unwrap_or_default()
    }

    /// The label that the account began with.
    fn genesis_label(&self) -> Option<String> {
        match &self.roster.statement(StatementId(self.account()?.0))?.action {
            Action::Genesis(genesis) => Some(clean(&genesis.label)),
            _ => None,
        }
    }
}

pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
