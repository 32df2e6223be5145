//! What a statement does: PROTOCOL.md section 5.2. The bodies in bytes are in `body.rs`.

use std::collections::BTreeMap;

use super::{Custody, Role};
use crate::id::{AccountId, ChallengeId, DeviceId, Hash, PinKey, StatementId};
use crate::key;
use crate::limits::STATEMENT_BYTES;
use crate::wire::address::Address;
use crate::wire::codec::sorted;
use crate::wire::object::CRITICAL;
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Types of actions.
mod kind {
    pub(super) const GENESIS: u16 = 0x8001;
    pub(super) const LINK: u16 = 0x8002;
    pub(super) const REVOKE: u16 = 0x8003;
    pub(super) const SUSPEND: u16 = 0x8004;
    pub(super) const READMIT: u16 = 0x8005;
    pub(super) const ROLE: u16 = 0x8006;
    pub(super) const PIN: u16 = 0x800a;
    pub(super) const EPOCH: u16 = 0x800c;
    pub(super) const APPLIED: u16 = 0x000d;
}

/// The cipher of entries in an epoch: XChaCha20-Poly1305.
pub const CIPHER: u8 = 1;

/// What a statement does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Starts an account.
    Genesis(Genesis),
    /// Links a device.
    Link(Box<Link>),
    /// Revokes a device, or leaves if it is the author's own.
    Revoke(Revoke),
    /// Takes a device's rights until it is readmitted.
    Suspend(Suspend),
    /// Lifts the suspensions of a device that the author had seen.
    Readmit {
        /// Which.
        device: DeviceId,
    },
    /// Changes a role.
    Role {
        /// Whose.
        device: DeviceId,
        /// To what.
        role: Role,
    },
    /// Sets or changes the account's PIN; none removes it.
    Pin(Option<PinSetting>),
    /// Starts an epoch of the account's keys.
    Epoch(EpochAction),
    /// The author has acted upon these revocations, or counts with these PINs.
    Applied {
        /// Their ids, ascending.
        revocations: Vec<StatementId>,
    },
    /// A type that this version does not know, or that is reserved: carried on unread.
    Unknown {
        /// The type; [`CRITICAL`] may be set.
        kind: u16,
        /// The content.
        body: Vec<u8>,
    },
}

/// The first statement of an account: its author is the first owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The account's first label.
    pub label: String,
    /// The device's first name.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// Its X-Wing public key, 1216 bytes.
    pub hpke: Vec<u8>,
    /// Random, so that one device can start more than one account in its life.
    pub salt: [u8; 16],
}

/// Links a device, with that device's consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Which.
    pub device: DeviceId,
    /// Its X-Wing public key, 1216 bytes.
    pub hpke: Vec<u8>,
    /// As what.
    pub role: Role,
    /// Whose machine it is.
    pub custody: Custody,
    /// Who hosts it; empty unless hosted.
    pub holder: String,
    /// Seconds without an owner before it locks itself; 0 is the default.
    pub lease: u32,
    /// Its first name.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// Where it was linked from.
    pub origin: Address,
    /// The device that it replaces; [`DeviceId::NONE`] if none.
    pub replaces: DeviceId,
    /// The challenge that it answered.
    pub challenge: ChallengeId,
    /// Its signature over [`consent_message`].
    pub consent: [u8; 64],
}

/// Revokes a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// Which; the author's own: it leaves.
    pub device: DeviceId,
    /// Why: 0 unsaid, 1 lost or stolen, 2 replaced, 3 never completed, 4 left, 5 others.
    pub reason_code: u8,
    /// Why, in words: at most [`crate::limits::REASON_BYTES`].
    pub text: String,
    /// Also what it linked.
    pub with_linked: bool,
    /// How far its journals count, by generation; generations not named do not.
    pub honoured: BTreeMap<u32, Honoured>,
}

/// Suspends a device: it has no rights, and nothing of it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspend {
    /// Which; never the author's own.
    pub device: DeviceId,
    /// Why: as [`Revoke::reason_code`], and 6 clone.
    pub reason_code: u8,
    /// Why, in words: at most [`crate::limits::REASON_BYTES`].
    pub text: String,
    /// Where it was seen: of a clone, where each of the two was.
    pub seen_at: Vec<Address>,
}

/// A PIN: the key that it gives, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinSetting {
    /// The public half.
    pub key: PinKey,
    /// Random.
    pub salt: [u8; 16],
    /// What Argon2id takes in memory, in KiB: [`crate::limits::PIN_MEMORY`].
    pub memory: u32,
    /// Its passes: [`crate::limits::PIN_PASSES`].
    pub passes: u32,
    /// Its lanes: [`crate::limits::PIN_LANES`].
    pub lanes: u32,
}

/// A position in a journal up to which a revoked device is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Honoured {
    /// How many operations.
    pub size: u64,
    /// The journal's root at that size.
    pub root: Hash,
}

/// Starts an epoch: its secret travels beside the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochAction {
    /// See [`super::keyring::commitment`].
    pub commitment: Hash,
    /// How entries are sealed: [`CIPHER`].
    pub cipher: u8,
    /// To whom its secret was sealed, ascending.
    pub recipients: Vec<DeviceId>,
}

/// What a device signs (label `consent`) to be linked: it agrees to the account, its role and custody.
#[must_use]
pub fn consent_message(
    account: AccountId,
    device: DeviceId,
    hpke: &[u8],
    role: Role,
    custody: Custody,
    challenge: ChallengeId,
) -> Vec<u8> {
    let mut w = Writer::new();
    account.encode(&mut w);
    device.encode(&mut w);
    w.raw(hpke);
    role.encode(&mut w);
    custody.encode(&mut w);
    challenge.encode(&mut w);
    w.finish()
}

impl Link {
    pub(super) fn check(&self, account: AccountId) -> Result<(), DecodeError> {
        let message = consent_message(account, self.device, &self.hpke, self.role, self.custody, self.challenge);
        if !key::verify(&self.device, "consent", &message, &self.consent) {
            return Err(DecodeError::Signature("consent"));
        }
        Ok(())
    }
}

impl Action {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> u16 {
        match self {
            Self::Genesis(_) => kind::GENESIS,
            Self::Link(_) => kind::LINK,
            Self::Revoke(_) => kind::REVOKE,
            Self::Suspend(_) => kind::SUSPEND,
            Self::Readmit { .. } => kind::READMIT,
            Self::Role { .. } => kind::ROLE,
            Self::Pin(_) => kind::PIN,
            Self::Epoch(_) => kind::EPOCH,
            Self::Applied { .. } => kind::APPLIED,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    pub(super) fn critical(&self) -> Option<u16> {
        match self {
            Self::Unknown { kind, .. } if kind & CRITICAL != 0 => Some(*kind),
            _ => None,
        }
    }

    pub(super) fn body(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Genesis(genesis) => genesis.encode(&mut w),
            Self::Link(link) => link.encode(&mut w),
            Self::Revoke(revoke) => revoke.encode(&mut w),
            Self::Suspend(suspend) => suspend.encode(&mut w),
            Self::Readmit { device } => device.encode(&mut w),
            Self::Role { device, role } => {
                device.encode(&mut w);
                role.encode(&mut w);
            }
            Self::Pin(setting) => super::body::encode_pin(setting.as_ref(), &mut w),
            Self::Epoch(epoch) => epoch.encode(&mut w),
            Self::Applied { revocations } => w.n8(revocations),
            Self::Unknown { body, .. } => w.raw(body),
        }
        w.finish()
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = r.u16()?;
        let body = r.v16("action", STATEMENT_BYTES)?;
        let mut r = Reader::new(body);
        let action = match kind {
            kind::GENESIS => Self::Genesis(Genesis::decode(&mut r)?),
            kind::LINK => Self::Link(Box::new(Link::decode(&mut r)?)),
            kind::REVOKE => Self::Revoke(Revoke::decode(&mut r)?),
            kind::SUSPEND => Self::Suspend(Suspend::decode(&mut r)?),
            kind::READMIT => Self::Readmit { device: DeviceId::decode(&mut r)? },
            kind::ROLE => Self::Role { device: DeviceId::decode(&mut r)?, role: Role::decode(&mut r)? },
            kind::PIN => Self::Pin(super::body::decode_pin(&mut r)?),
            kind::EPOCH => Self::Epoch(EpochAction::decode(&mut r)?),
            kind::APPLIED => {
                let revocations = r.n8("revocations", usize::from(u8::MAX))?;
                sorted("revocations", &revocations, |id: &StatementId| *id)?;
                Self::Applied { revocations }
            }
            kind => return Ok(Self::Unknown { kind, body: body.to_vec() }),
        };
        r.finish()?;
        Ok(action)
    }
}
