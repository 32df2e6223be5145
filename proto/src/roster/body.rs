//! The bodies of actions in bytes: PROTOCOL.md section 5.2.

use std::collections::BTreeMap;

use super::statement::{EpochAction, Genesis, Honoured, Link, Parent, PinSetting, Revoke, Suspend};
use super::{Custody, Role};
use crate::id::{ChallengeId, DeviceId, Hash, PinKey, StatementId};
use crate::key::{HPKE_PUBLIC, valid_pin};
use crate::limits::{ADDRESSES, AUTHORS, PIN_LANES, PIN_MEMORY, PIN_PASSES, REASON_BYTES};
use crate::wire::address::Address;
use crate::wire::codec::sorted;
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Set in the flags of a revocation: also what the device linked.
const WITH_LINKED: u8 = 1;

impl Encode for Parent {
    fn encode(&self, w: &mut Writer) {
        self.author.encode(w);
        w.u32(self.number);
        self.id.encode(w);
    }
}

impl Decode for Parent {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { author: DeviceId::decode(r)?, number: r.u32()?, id: StatementId::decode(r)? })
    }
}

impl Encode for Genesis {
    fn encode(&self, w: &mut Writer) {
        w.t8(&self.label);
        w.t8(&self.name);
        w.t8(&self.platform);
        w.raw(&self.hpke);
        w.raw(&self.salt);
    }
}

impl Decode for Genesis {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            label: r.t8()?,
            name: r.t8()?,
            platform: r.t8()?,
            hpke: r.take(HPKE_PUBLIC)?.to_vec(),
            salt: r.array()?,
        })
    }
}

impl Encode for Link {
    fn encode(&self, w: &mut Writer) {
        self.device.encode(w);
        w.raw(&self.hpke);
        self.role.encode(w);
        self.custody.encode(w);
        w.t8(&self.holder);
        w.u32(self.lease);
        w.t8(&self.name);
        w.t8(&self.platform);
        self.origin.encode(w);
        self.replaces.encode(w);
        self.challenge.encode(w);
        w.raw(&self.consent);
    }
}

impl Decode for Link {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let link = Self {
            device: DeviceId::decode(r)?,
            hpke: r.take(HPKE_PUBLIC)?.to_vec(),
            role: Role::decode(r)?,
            custody: Custody::decode(r)?,
            holder: r.t8()?,
            lease: r.u32()?,
            name: r.t8()?,
            platform: r.t8()?,
            origin: Address::decode(r)?,
            replaces: DeviceId::decode(r)?,
            challenge: ChallengeId::decode(r)?,
            consent: r.array()?,
        };
        match link.custody {
            Custody::Hosted => Ok(link),
            _ if link.holder.is_empty() => Ok(link),
            _ => Err(DecodeError::Invalid("holder")),
        }
    }
}

impl Encode for Revoke {
    fn encode(&self, w: &mut Writer) {
        self.device.encode(w);
        w.u8(self.reason_code);
        w.t8(&self.text);
        w.u8(if self.with_linked { WITH_LINKED } else { 0 });
        let positions: Vec<(u32, Honoured)> = self.honoured.iter().map(|(generation, at)| (*generation, *at)).collect();
        w.n8(&positions);
    }
}

impl Decode for Revoke {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (device, reason_code, text) = (DeviceId::decode(r)?, r.u8()?, reason(r)?);
        let with_linked = match r.u8()? {
            0 => false,
            WITH_LINKED => true,
            _ => return Err(DecodeError::Invalid("flags")),
        };
        let positions: Vec<(u32, Honoured)> = r.n8("honoured", usize::from(u8::MAX))?;
        sorted("honoured", &positions, |(generation, _)| *generation)?;
        let honoured = BTreeMap::from_iter(positions);
        Ok(Self { device, reason_code, text, with_linked, honoured })
    }
}

/// Why, in words.
fn reason(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let text = r.t8()?;
    if text.len() > REASON_BYTES {
        return Err(DecodeError::TooLarge { what: "reason", len: text.len(), max: REASON_BYTES });
    }
    Ok(text)
}

impl Encode for Suspend {
    fn encode(&self, w: &mut Writer) {
        self.device.encode(w);
        w.u8(self.reason_code);
        w.t8(&self.text);
        w.n8(&self.seen_at);
    }
}

impl Decode for Suspend {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (device, reason_code, text) = (DeviceId::decode(r)?, r.u8()?, reason(r)?);
        Ok(Self { device, reason_code, text, seen_at: r.n8("addresses", ADDRESSES)? })
    }
}

impl Encode for (u32, Honoured) {
    fn encode(&self, w: &mut Writer) {
        w.u32(self.0);
        w.u64(self.1.size);
        self.1.root.encode(w);
    }
}

impl Decode for (u32, Honoured) {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((r.u32()?, Honoured { size: r.u64()?, root: Hash::decode(r)? }))
    }
}

/// A PIN that is set; a key of zeros with nothing behind it removes it.
pub(super) fn encode_pin(setting: Option<&PinSetting>, w: &mut Writer) {
    let Some(setting) = setting else { return PinKey::NONE.encode(w) };
    setting.key.encode(w);
    w.raw(&setting.salt);
    [setting.memory, setting.passes, setting.lanes].into_iter().for_each(|number| w.u32(number));
}

pub(super) fn decode_pin(r: &mut Reader<'_>) -> Result<Option<PinSetting>, DecodeError> {
    let key = PinKey::decode(r)?;
    if key == PinKey::NONE {
        return Ok(None);
    }
    let (salt, memory, passes, lanes) = (r.array()?, r.u32()?, r.u32()?, r.u32()?);
    // What is bearable is decided here: devices that ask for the PIN compute this.
    let bearable = PIN_MEMORY.contains(&memory) && PIN_PASSES.contains(&passes) && PIN_LANES.contains(&lanes);
    if !bearable || !valid_pin(&key) {
        return Err(DecodeError::Invalid("PIN key"));
    }
    Ok(Some(PinSetting { key, salt, memory, passes, lanes }))
}

impl Encode for EpochAction {
    fn encode(&self, w: &mut Writer) {
        self.commitment.encode(w);
        w.u8(self.cipher);
        w.n8(&self.recipients);
        w.u8(0);
    }
}

impl Decode for EpochAction {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (commitment, cipher) = (Hash::decode(r)?, r.u8()?);
        let recipients = r.n8("recipients", AUTHORS)?;
        sorted("recipients", &recipients, |device: &DeviceId| *device)?;
        match r.u8()? {
            0 => Ok(Self { commitment, cipher, recipients }),
            _ => Err(DecodeError::Invalid("recovery")),
        }
    }
}
