//! What this device keeps for itself, in the table `Meta`.

use crate::id::{AccountId, DeviceId};
use crate::limits;
use crate::store::{Read, Store, StoreError, Table};
use crate::wire::{Address, Decode, DecodeError, Encode, Reader, Writer};
use bytes::Bytes;

const LOCAL: &[u8] = b"local";

/// A join that was agreed to and not completed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) account: AccountId,
    pub(super) label: String,
    pub(super) shower: DeviceId,
    pub(super) addresses: Vec<Address>,
    /// The roster that came with the offer, in bytes.
    pub(super) statements: Vec<Vec<u8>>,
    /// Whether sessions made before are brought along.
    pub(super) bring: bool,
    /// The user took it back after having agreed: if it turns out to be linked, it leaves.
    pub(super) cancelled: bool,
    /// An earlier attempt at this account got no answer: it may have linked this device, whatever comes of this one.
    pub(super) earlier: bool,
}

/// One record; rewritten whole, it is small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Local {
    /// The name that the user gave, empty if none.
    pub(super) name: String,
    /// The generation of this device's journal; 0 until the first write.
    pub(super) generation: u32,
    /// The counter of the last report.
    pub(super) reports: u64,
    /// The keys were erased, but the store key not yet replaced.
    pub(super) erasing: bool,
    /// This device was revoked or left; its keys are gone.
    pub(super) out: bool,
    /// It left, and nobody was there to hear it.
    pub(super) untold: bool,
    pub(super) pending: Option<Pending>,
    /// How long this device has been running, in milliseconds, over all its runs.
    pub(super) running: u64,
    /// That, when it was put out.
    pub(super) out_at: u64,
    /// Devices that this one linked and still looks after.
    pub(super) linked: Vec<Linked>,
}

/// A device that this one linked, and its own running time then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Linked {
    pub(super) device: DeviceId,
    pub(super) at: u64,
}

impl Encode for Linked {
    fn encode(&self, w: &mut Writer) {
        self.device.encode(w);
        w.u64(self.at);
    }
}

impl Decode for Linked {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { device: DeviceId::decode(r)?, at: r.u64()? })
    }
}

impl Local {
    pub(super) fn load(store: &dyn Read) -> Result<Self, StoreError> {
        match store.get(Table::Meta, LOCAL)? {
            Some(bytes) => {
                Self::from_bytes(&bytes).map_err(|error| StoreError(format!("damaged record of this device: {error}")))
            }
            None => Ok(Self::default()),
        }
    }

    pub(super) fn save(&self, store: &mut dyn Store) -> Result<(), StoreError> {
        store.put(Table::Meta, LOCAL, &self.to_bytes())
    }
}

impl Encode for Local {
    fn encode(&self, w: &mut Writer) {
        w.t8(&self.name);
        w.u32(self.generation);
        w.u64(self.reports);
        w.u8(u8::from(self.erasing) | u8::from(self.out) << 1 | u8::from(self.untold) << 2);
        w.u8(u8::from(self.pending.is_some()));
        if let Some(pending) = &self.pending {
            pending.encode(w);
        }
        w.u64(self.running);
        w.u64(self.out_at);
        w.n8(&self.linked);
    }
}

impl Decode for Local {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (name, generation, reports, flags) = (r.t8()?, r.u32()?, r.u64()?, r.u8()?);
        let pending = if r.u8()? == 1 { Some(Pending::decode(r)?) } else { None };
        let (running, out_at) = (r.u64()?, r.u64()?);
        let linked = r.n8("devices looked after", limits::AUTHORS)?;
        let flag = |bit: u8| flags & (1 << bit) != 0;
        Ok(Self {
            name,
            generation,
            reports,
            erasing: flag(0),
            out: flag(1),
            untold: flag(2),
            pending,
            running,
            out_at,
            linked,
        })
    }
}

impl Encode for Pending {
    fn encode(&self, w: &mut Writer) {
        self.account.encode(w);
        w.t8(&self.label);
        self.shower.encode(w);
        w.n8(&self.addresses);
        w.n16(&self.statements.iter().cloned().map(Bytes::from).collect::<Vec<_>>());
        w.u8(u8::from(self.bring) | u8::from(self.cancelled) << 1 | u8::from(self.earlier) << 2);
    }
}

impl Decode for Pending {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (account, label, shower) = (AccountId::decode(r)?, r.t8()?, DeviceId::decode(r)?);
        let addresses = r.n8("addresses", limits::ADDRESSES)?;
        let statements = r.n16::<Bytes>("statements", limits::STATEMENTS)?.into_iter().map(Vec::from).collect();
        let flags = r.u8()?;
        Ok(Self {
            account,
            label,
            shower,
            addresses,
            statements,
            bring: flags & 1 != 0,
            cancelled: flags & 2 != 0,
            earlier: flags & 4 != 0,
        })
    }
}
