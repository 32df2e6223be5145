//! The other devices: where they are, and when they were seen.

use std::collections::BTreeMap;

use super::command::Reply;
use super::error::ErrorKind;
use super::view::{AddressSource, AddressView};
use super::{Cx, Engine, Fail, refuse};
use crate::id::DeviceId;
use crate::limits;
use crate::reach::HostPort;
use crate::roster::Status;
use crate::store::{Read, StoreError, Table};
use crate::time::{Mono, Wall};
use crate::wire::{Address, Decode, DecodeError, Encode, Reader, Writer};

/// An address that was learned, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) address: Address,
    pub(super) from: AddressSource,
}

impl Known {
    /// Whether the device proved its key there.
    fn proven(&self) -> bool {
        matches!(self.from, AddressSource::Worked | AddressSource::Heard)
    }
}

/// What is known of one other device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer {
    /// Where it was reached or said it can be, best first.
    pub(super) known: Vec<Known>,
    /// Where the user said it is.
    pub(super) given: Vec<HostPort>,
    pub(super) last_seen: Wall,
    /// When both last held the same.
    pub(super) synced: Wall,
    /// Not stored: where it announced itself on the local network. Tried beside `known`, and remembered if it worked.
    pub(super) heard: Heard,
    /// Not stored: whether it is being dialled.
    pub(super) dialling: bool,
    /// Not stored: dials and connections that led to nothing since the last hello.
    pub(super) failures: u32,
    /// Not stored: whether it was handed its revocation.
    pub(super) told: bool,
    /// Not stored: how often it said since the last hello that it does not know this device.
    pub(super) unknown_there: u32,
    /// Not stored: when to dial next.
    pub(super) redial: Option<Mono>,
}

/// What a device last announced on the local network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) addresses: Vec<Address>,
    pub(super) at: Option<Mono>,
}

impl Encode for Peer {
    fn encode(&self, w: &mut Writer) {
        w.u64(self.last_seen.0);
        w.u64(self.synced.0);
        w.n8(&self.known);
        w.n8(&self.given);
    }
}

impl Decode for Peer {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (last_seen, synced) = (Wall(r.u64()?), Wall(r.u64()?));
        let known = r.n8("addresses", limits::ADDRESSES)?;
        let given = r.n8("given addresses", limits::GIVEN)?;
        Ok(Self { last_seen, synced, known, given, ..Self::default() })
    }
}

impl Encode for Known {
    fn encode(&self, w: &mut Writer) {
        w.u8(match self.from {
            AddressSource::Worked => 1,
            AddressSource::Heard => 2,
            AddressSource::Found => 3,
            AddressSource::Reported | AddressSource::Given => 4,
        });
        self.address.encode(w);
    }
}

impl Decode for Known {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let from = match r.u8()? {
            1 => AddressSource::Worked,
            2 => AddressSource::Heard,
            3 => AddressSource::Found,
            _ => AddressSource::Reported,
        };
        Ok(Self { address: Address::decode(r)?, from })
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
        self.changed.view |= self.addresses != addresses;
        self.addresses = addresses;
        self.addresses.truncate(limits::ADDRESSES);
    }

    pub(super) fn listens_on(&mut self, port: u16) {
        self.changed.view |= self.port != port;
        self.port = port;
    }

    /// Dials a device of the account at once where it was found.
    pub(super) fn found(&mut self, cx: &mut Cx<'_>, device: DeviceId, addresses: &[Address]) -> Result<(), StoreError> {
        if self.roster.evaluation().device(device).is_none() {
            return Ok(());
        }
        self.remember(device, addresses, AddressSource::Found);
        self.peers.entry(device).or_default().redial = Some(cx.now.mono);
        self.redial(cx.now.mono);
        Ok(())
    }

    /// A connection to a device stands: `address` led to it, or it came from there.
    pub(super) fn met(&mut self, now: Wall, device: DeviceId, address: &Address, how: AddressSource) {
        let peer = self.peers.entry(device).or_default();
        if peer.last_seen == Wall(0) {
            // It shows that the device is linked for good, which is not to look open after a restart.
            self.unsaved.at_once();
        }
        peer.last_seen = now;
        // Once dialled with success it stays that, though the device comes from there as well.
        let worked = peer.known.iter().any(|known| known.address == *address && known.from == AddressSource::Worked);
        let from = if worked { AddressSource::Worked } else { how };
        self.remember(device, std::slice::from_ref(address), from);
    }

    /// Remembers where a device may be reached. The one place where addresses that others name are taken: those at which it
    /// proved its key stay in front, and a few of them stay whatever it reports.
    pub(super) fn remember(&mut self, device: DeviceId, told: &[Address], from: AddressSource) {
        let peer = self.peers.entry(device).or_default();
        let told = told.iter().filter(|address| address.is_worth_keeping()).take(limits::ADDRESSES);
        let told: Vec<Known> = told.map(|address| Known { address: address.clone(), from }).collect();
        let (fresh, said) = if from.is_proof() { (told, Vec::new()) } else { (Vec::new(), told) };
        let proven: Vec<Known> = peer.known.iter().filter(|known| known.proven()).cloned().collect();
        let mut known: Vec<Known> = Vec::new();
        for each in fresh.into_iter().chain(proven) {
            if known.len() < limits::PROVEN && known.iter().all(|other| other.address != each.address) {
                known.push(each);
            }
        }
        for each in said.into_iter().chain(std::mem::take(&mut peer.known)) {
            if known.len() < limits::ADDRESSES && known.iter().all(|other| other.address != each.address) {
                known.push(each);
            }
        }
        peer.known = known;
        self.changed.view = true;
        self.unsaved.peers.insert(device);
    }

    pub(super) fn save_peer(&mut self, cx: &mut Cx<'_>, device: DeviceId) -> Result<(), StoreError> {
        let peer = self.peers.entry(device).or_default();
        cx.store.put(Table::Peers, device.as_bytes(), &peer.to_bytes())
    }

    /// The user says where a device is; it is dialled there at once.
    pub(super) fn give_address(&mut self, cx: &mut Cx<'_>, device: DeviceId, address: HostPort) -> Result<Reply, Fail> {
        self.may_be_dialled(device)?;
        let peer = self.peers.entry(device).or_default();
        if peer.given.contains(&address) {
            return Ok(Reply::Done);
        }
        if peer.given.len() >= limits::GIVEN {
            let text = format!("a device has at most {} addresses of yours; remove one first", limits::GIVEN);
            return refuse(ErrorKind::TooLarge, text);
        }
        peer.given.push(address);
        self.changed.view = true;
        self.save_peer(cx, device)?;
        self.dial_afresh(cx.now.mono, device);
        Ok(Reply::Done)
    }

    /// Forgets an address, whether it was given or learned; a learned one may be learned again.
    pub(super) fn take_address(
        &mut self,
        cx: &mut Cx<'_>,
        device: DeviceId,
        address: &HostPort,
    ) -> Result<Reply, Fail> {
        if self.roster.evaluation().device(device).is_none() {
            return refuse(ErrorKind::NotFound, "there is no such device in this account");
        }
        let peer = self.peers.entry(device).or_default();
        let before = peer.given.len() + peer.known.len();
        peer.given.retain(|given| given != address);
        peer.known.retain(|known| Some(&known.address) != address.address().as_ref());
        if peer.given.len() + peer.known.len() == before {
            return refuse(
                ErrorKind::NotFound,
                format!("{address} is none of its addresses; `kinctl address list` shows them"),
            );
        }
        self.changed.view = true;
        self.save_peer(cx, device)?;
        Ok(Reply::Done)
    }

    /// Whether a device is one that this one connects to.
    pub(super) fn may_be_reached(&self, device: DeviceId) -> Result<(), Fail> {
        if device == self.device() {
            return refuse(ErrorKind::InvalidArgument, "this is the device you are on");
        }
        let pending = self.local.pending.as_ref().is_some_and(|pending| pending.shower == device);
        match self.roster.evaluation().device(device).map(|device| device.status) {
            _ if pending => Ok(()),
            None => refuse(ErrorKind::NotFound, "there is no such device in this account"),
            Some(_) if self.local.out => refuse(ErrorKind::Revoked, "this device was put out; it talks to nobody"),
            Some(Status::Linked) => Ok(()),
            Some(_) => refuse(
                ErrorKind::Refused,
                format!("{} is out, and there is nothing to say to it", self.name_of(device)),
            ),
        }
    }

    /// As [`Self::may_be_reached`], and a revoked one that was not told yet.
    fn may_be_dialled(&self, device: DeviceId) -> Result<(), Fail> {
        if self.is_untold(device) { Ok(()) } else { self.may_be_reached(device) }
    }

    pub(super) fn seen(&mut self, device: DeviceId, wall: Wall) {
        let peer = self.peers.entry(device).or_default();
        peer.last_seen = peer.last_seen.max(wall);
        self.unsaved.peers.insert(device);
    }
}

impl Peer {
    /// For people; `in_use` is where the connection goes.
    pub(super) fn addresses(&self, in_use: Option<&Address>) -> Vec<AddressView> {
        let view = |text, address: Option<&Address>, from| AddressView {
            text,
            from,
            in_use: address.is_some() && address == in_use,
        };
        let given =
            self.given.iter().map(|given| view(given.to_string(), given.address().as_ref(), AddressSource::Given));
        let is_given = |address: &Address| self.given.iter().any(|given| given.address().as_ref() == Some(address));
        let known = self.known.iter().filter(|known| known.address.socket().is_some() && !is_given(&known.address));
        let known = known.map(|known| view(known.address.to_string(), Some(&known.address), known.from));
        let announced =
            self.heard.addresses.iter().filter(|address| self.known.iter().all(|known| known.address != **address));
        let announced = announced.filter(|address| !is_given(address));
        let known = known.chain(announced.map(|at| view(at.to_string(), Some(at), AddressSource::Found)));
        given.chain(known).collect()
    }

    /// How an address of it is known here.
    pub(super) fn source(&self, address: &Address) -> AddressSource {
        if self.given.iter().any(|given| given.address().as_ref() == Some(address)) {
            return AddressSource::Given;
        }
        self.known.iter().find(|known| known.address == *address).map_or(AddressSource::Heard, |known| known.from)
    }

    pub(super) fn has_address(&self) -> bool {
        !self.known.is_empty() || !self.given.is_empty() || !self.heard.addresses.is_empty()
    }

    /// Where it was met, then where the user says it is, then where it says it is; what it announced on the local network takes
    /// turns with these, so that neither keeps the other waiting. And the names that the user gave.
    pub(super) fn where_to_dial(&self) -> (Vec<Address>, Vec<HostPort>) {
        let proven = self.known.iter().filter(|known| known.proven()).map(|known| known.address.clone());
        let said = self.known.iter().filter(|known| !known.proven()).map(|known| known.address.clone());
        let known: Vec<Address> = proven.chain(self.given.iter().filter_map(HostPort::address)).chain(said).collect();
        let heard = &self.heard.addresses;
        let mut all: Vec<Address> = Vec::new();
        for at in 0..heard.len().max(known.len()) {
            for address in heard.get(at).into_iter().chain(known.get(at)) {
                if !all.contains(address) {
                    all.push(address.clone());
                }
            }
        }
        (all, self.given.iter().filter(|given| given.name().is_some()).cloned().collect())
    }
}
