//! The other devices: where they are, when they were seen, and when to dial them.

use std::collections::BTreeMap;

use super::io::{ConnId, Output};
use super::{Cx, Engine};
use crate::id::DeviceId;
use crate::limits;
use crate::roster::Status;
use crate::store::{Read, StoreError, Table};
use crate::time::{Mono, Wall};
use crate::wire::{Address, Decode, DecodeError, Encode, Reader, Writer};

/// What is known of one other device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer {
    /// Where it was reached or said it can be, best first.
    pub(super) addresses: Vec<Address>,
    pub(super) last_seen: Wall,
    /// Not stored: where it announced itself on the local network. Tried beside `addresses`, and remembered if it worked.
    pub(super) heard: Heard,
    /// Not stored: whether it is being dialled.
    dialling: bool,
    /// Not stored: dials and connections that led to nothing since the last hello.
    pub(super) failures: u32,
    /// Not stored: whether it was handed its revocation.
    told: bool,
    /// Not stored: how often it said since the last hello that it does not know this device.
    pub(super) unknown_there: u32,
    /// Not stored: when to dial next.
    redial: Option<Mono>,
}

/// What a device last announced on the local network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) addresses: Vec<Address>,
    pub(super) at: Option<Mono>,
}

impl Peer {
    /// Where to dial: what was heard and what is remembered take turns, so that neither keeps the other waiting.
    fn dialled_at(&self) -> Vec<Address> {
        let (heard, known) = (&self.heard.addresses, &self.addresses);
        let mut all: Vec<Address> = Vec::new();
        for at in 0..heard.len().max(known.len()) {
            let pair = heard.get(at).into_iter().chain(known.get(at));
            pair.for_each(|address| {
                if !all.contains(address) {
                    all.push(address.clone())
                }
            });
        }
        all
    }

    fn is_dialable(&self) -> bool {
        !self.addresses.is_empty() || !self.heard.addresses.is_empty()
    }
}

impl Encode for Peer {
    fn encode(&self, w: &mut Writer) {
        w.u64(self.last_seen.0);
        w.n8(&self.addresses);
    }
}

impl Decode for Peer {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let last_seen = Wall(r.u64()?);
        Ok(Self { last_seen, addresses: r.n8("addresses", limits::ADDRESSES)?, ..Self::default() })
    }
}

pub(super) fn load(store: &dyn Read) -> Result<BTreeMap<DeviceId, Peer>, StoreError> {
    let mut peers = BTreeMap::new();
    for (key, bytes) in super::load::rows(store, Table::Peers)? {
        if let (Ok(id), Ok(peer)) = (<[u8; 32]>::try_from(key), Peer::from_bytes(&bytes)) {
            peers.insert(DeviceId(id), peer);
        }
    }
    Ok(peers)
}

impl Engine {
    pub(super) fn started(&mut self, cx: &mut Cx<'_>) {
        self.reach_out(cx.now.mono);
    }

    pub(super) fn addressed(&mut self, addresses: Vec<Address>) {
        self.changed.report |= self.addresses != addresses;
        self.addresses = addresses;
        self.addresses.truncate(limits::ADDRESSES);
    }

    /// Dials a device of the account at once where it was found.
    pub(super) fn found(&mut self, cx: &mut Cx<'_>, device: DeviceId, addresses: &[Address]) -> Result<(), StoreError> {
        if self.roster.evaluation().device(device).is_none() {
            return Ok(());
        }
        self.remember(cx, device, None, addresses)?;
        self.peers.entry(device).or_default().redial = Some(cx.now.mono);
        self.redial(cx.now.mono);
        Ok(())
    }

    /// Remembers where a device can be reached: `first` in front if it just worked.
    pub(super) fn remember(
        &mut self,
        cx: &mut Cx<'_>,
        device: DeviceId,
        worked: Option<&Address>,
        told: &[Address],
    ) -> Result<(), StoreError> {
        let peer = self.peers.entry(device).or_default();
        let mut addresses: Vec<Address> =
            worked.into_iter().filter(|address| address.is_worth_keeping()).cloned().collect();
        for address in told.iter().chain(&peer.addresses) {
            if !addresses.contains(address) && address.is_worth_keeping() {
                addresses.push(address.clone());
            }
        }
        addresses.truncate(limits::ADDRESSES);
        peer.addresses = addresses;
        if worked.is_some() {
            peer.last_seen = cx.now.wall;
        }
        cx.store.put(Table::Peers, device.as_bytes(), &peer.to_bytes())
    }

    pub(super) fn seen(&mut self, cx: &mut Cx<'_>, device: DeviceId, wall: Wall) -> Result<(), StoreError> {
        let peer = self.peers.entry(device).or_default();
        peer.last_seen = peer.last_seen.max(wall);
        cx.store.put(Table::Peers, device.as_bytes(), &peer.to_bytes())
    }

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
            Status::Revoked => !self.local.out && self.is_sought(device.id),
            _ => false,
        });
        wanted.map(|device| device.id).filter(|id| *id != me).collect()
    }

    /// Whether to look for a revoked device, which may not know where this one is. One that is gone for good is given
    /// up for this run.
    fn is_sought(&self, device: DeviceId) -> bool {
        self.peers.get(&device).is_some_and(|peer| !peer.told && peer.failures < limits::SEEK_REVOKED)
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
        (peer.failures, peer.unknown_there) = (0, 0);
    }

    /// A device was handed its revocation.
    pub(super) fn told(&mut self, device: DeviceId) {
        self.peers.entry(device).or_default().told = true;
    }

    pub(super) fn redial(&mut self, now: Mono) {
        for device in self.wanted_peers() {
            if self.conn_of(device).is_some() {
                continue;
            }
            let Some(peer) = self.peers.get(&device) else { continue };
            let due = peer.redial.is_some_and(|due| due <= now);
            if due && !peer.dialling && peer.is_dialable() {
                self.dial(device);
            }
        }
    }

    /// Dials, or adds to the dial that is under way.
    fn dial(&mut self, device: DeviceId) {
        let peer = self.peers.entry(device).or_default();
        (peer.dialling, peer.redial) = (true, None);
        self.outputs.push_back(Output::Dial { device, addresses: peer.dialled_at() });
    }

    pub(super) fn redial_due(&self) -> Option<Mono> {
        let waiting = self.wanted_peers().into_iter().filter(|device| self.conn_of(*device).is_none());
        waiting
            .filter_map(|device| self.peers.get(&device))
            .filter(|peer| !peer.dialling && peer.is_dialable())
            .filter_map(|peer| peer.redial)
            .min()
    }

    pub(super) fn dial_failed(&mut self, cx: &mut Cx<'_>, device: DeviceId) {
        let now = cx.now.mono;
        let peer = self.peers.entry(device).or_default();
        peer.dialling = false;
        peer.failures = peer.failures.saturating_add(1);
        peer.redial = Some(now.after(back_off(peer.failures)));
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
        if peer.dialling && self.conn_of(device).is_none() {
            self.dial(device);
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
