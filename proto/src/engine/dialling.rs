//! When to dial the other devices.

use super::io::{ConnId, Output};
use super::{Cx, Engine};
use crate::id::DeviceId;
use crate::limits;
use crate::roster::Status;
use crate::time::Mono;

impl Engine {
    /// Dials every linked device that is not connected and whose time has come.
    pub(super) fn reach_out(&mut self, now: Mono) {
        for device in self.wanted_peers() {
            let peer = self.peers.entry(device).or_default();
            peer.redial.get_or_insert(now);
        }
        self.redial(now);
    }

    pub(super) fn wanted_peers(&self) -> Vec<DeviceId> {
        if let Some(pending) = &self.local.pending {
            // While the pairing itself is under way, its own connection brings the answer.
            let active = self.join.as_ref().is_some_and(super::join::Join::is_active);
            return if active { Vec::new() } else { vec![pending.shower] };
        }
        // An unconfirmed device waits for an owner to link it again.
        if self.local.out && !self.local.untold || self.own_status() == Some(Status::Unconfirmed) {
            return Vec::new();
        }
        let me = self.device();
        let wanted = self.roster.evaluation().devices.values().filter(|device| match device.status {
            Status::Linked => true,
            Status::Revoked | Status::Suspended => self.is_sought(device.id),
            _ => false,
        });
        wanted.map(|device| device.id).filter(|id| *id != me).collect()
    }

    /// Whether to look for a revoked or suspended device, which may know neither where this one is nor who it is. One that is gone for
    /// good is given up, until it is heard or the user says where it is, or for this run.
    fn is_sought(&self, device: DeviceId) -> bool {
        let given_up = self.peers.get(&device).is_some_and(|peer| peer.failures >= limits::SEEK_REVOKED);
        self.is_untold(device) && !given_up
    }

    /// Whether a device is out, and was not told so by this one.
    pub(super) fn is_untold(&self, device: DeviceId) -> bool {
        // One that is suspended itself has no say.
        self.is_put_out(device)
            && self.own_status() == Some(Status::Linked)
            && !self.local.out
            && !self.peers.get(&device).is_some_and(|peer| peer.told)
    }

    pub(super) fn is_put_out(&self, device: DeviceId) -> bool {
        let status = self.roster.evaluation().device(device).map(|device| device.status);
        matches!(status, Some(Status::Revoked | Status::Suspended))
    }

    /// Looks once more for a revoked device that announced itself, though it was given up.
    pub(super) fn seek_again(&mut self, device: DeviceId) {
        let peer = self.peers.entry(device).or_default();
        peer.failures = peer.failures.min(limits::SEEK_REVOKED - 1);
    }

    /// A device that was dialled does not know this one: it is dialled again, at once the first time, to be told.
    pub(super) fn refused_as_unknown(&mut self, device: DeviceId) {
        let peer = self.peers.entry(device).or_default();
        peer.unknown_there = peer.unknown_there.saturating_add(1);
        // What it was handed it did not read.
        peer.told = false;
    }

    /// A device that said hello knows this one.
    pub(super) fn well_known_to(&mut self, device: DeviceId) {
        let peer = self.peers.entry(device).or_default();
        peer.unknown_there = 0;
    }

    /// A device was handed its revocation.
    pub(super) fn told(&mut self, device: DeviceId) {
        self.peers.entry(device).or_default().told = true;
    }

    /// Everybody who is not connected is dialled at once, and the waits begin anew: what failed before says nothing about the
    /// network of now.
    pub(super) fn start_over_dialling(&mut self, now: Mono) {
        for device in self.wanted_peers() {
            let sought = self.is_put_out(device);
            let met = self.is_met(device);
            let peer = self.peers.entry(device).or_default();
            // One that is looked for to be told that it is out is given up after a while, however restless the network is.
            peer.failures = if sought { peer.failures } else { 0 };
            if !met {
                (peer.dialling, peer.redial) = (false, Some(now));
            }
        }
    }

    /// Dials a device at once, though an attempt is under way.
    pub(super) fn dial_now(&mut self, now: Mono, device: DeviceId) {
        let peer = self.peers.entry(device).or_default();
        (peer.dialling, peer.redial) = (false, Some(now));
    }

    /// As [`Self::dial_now`], because somebody asks for it: the waits begin anew.
    pub(super) fn dial_afresh(&mut self, now: Mono, device: DeviceId) {
        if !self.is_met(device) {
            self.peers.entry(device).or_default().failures = 0;
            self.dial_now(now, device);
            self.redial(now);
        }
    }

    pub(super) fn redial(&mut self, now: Mono) {
        for device in self.wanted_peers() {
            if self.is_met(device) {
                continue;
            }
            let Some(peer) = self.peers.get(&device) else { continue };
            let due = peer.redial.is_some_and(|due| due <= now);
            if due && !peer.dialling && peer.has_address() {
                self.dial(device, true);
            }
        }
    }

    /// Dials; unless `anew`, adds to the dial that is under way.
    fn dial(&mut self, device: DeviceId, anew: bool) {
        let peer = self.peers.entry(device).or_default();
        (peer.dialling, peer.redial) = (true, None);
        let (addresses, names) = peer.where_to_dial();
        self.outputs.push_back(Output::Dial { device, addresses, names, anew });
    }

    /// Whether nothing is known of where a device is.
    pub(super) fn is_nowhere(&self, device: DeviceId) -> bool {
        !self.is_met(device) && self.peers.get(&device).is_none_or(|peer| !peer.has_address())
    }

    /// Whether there is a connection to a device that nobody doubts.
    pub(super) fn is_met(&self, device: DeviceId) -> bool {
        self.conns.values().any(|conn| conn.peer == device && !conn.closing && !conn.life.is_doubted())
    }

    pub(super) fn redial_due(&self) -> Option<Mono> {
        let waiting = self.wanted_peers().into_iter().filter(|device| !self.is_met(*device));
        waiting
            .filter_map(|device| self.peers.get(&device))
            .filter(|peer| !peer.dialling && peer.has_address())
            .filter_map(|peer| peer.redial)
            .min()
    }

    pub(super) fn dial_failed(&mut self, cx: &mut Cx<'_>, device: DeviceId, reason: &str) {
        let now = cx.now.mono;
        let peer = self.peers.entry(device).or_default();
        peer.dialling = false;
        peer.failures = peer.failures.saturating_add(1);
        peer.redial = Some(now.after(back_off(peer.failures)));
        self.ping_failed(device, reason);
    }

    /// A connection stands. Whether it leads to anything is not known before the peer's hello.
    pub(super) fn dial_succeeded(&mut self, device: DeviceId) {
        let peer = self.peers.entry(device).or_default();
        (peer.dialling, peer.redial) = (false, None);
    }

    /// It is known better where a device is than when it was last dialled.
    pub(super) fn dial_at_once(&mut self, now: Mono, device: DeviceId) {
        let peer = self.peers.entry(device).or_default();
        peer.redial = Some(now);
        if peer.dialling && !self.is_met(device) {
            self.dial(device, false);
        }
        self.redial(now);
    }

    /// A connection ended: dial again soon.
    pub(super) fn dial_soon(&mut self, now: Mono, device: DeviceId) {
        let peer = self.peers.entry(device).or_default();
        let wait = if peer.unknown_there == 1 { std::time::Duration::ZERO } else { back_off(peer.failures) };
        peer.redial = Some(now.after(wait));
    }

    /// The connection to a device, if there is one.
    pub(super) fn conn_of(&self, device: DeviceId) -> Option<ConnId> {
        self.conns.iter().find(|(_, conn)| conn.peer == device && !conn.closing).map(|(id, _)| *id)
    }
}

/// Doubles from [`limits::REDIAL_MIN`] to [`limits::REDIAL_MAX`].
fn back_off(failures: u32) -> std::time::Duration {
    limits::REDIAL_MIN.saturating_mul(1 << failures.min(16)).min(limits::REDIAL_MAX)
}
