//! Statements: what devices say about one another, in the bytes of PROTOCOL.md section 5.1 and 5.2.

use std::collections::BTreeMap;

use super::{Custody, Role};
use crate::id::{AccountId, ChallengeId, DeviceId, Hash, PinKey, StatementId};
use crate::key::{self, Identity, PinSigner};
use crate::limits::{PARENTS, STATEMENT_BYTES};
use crate::time::Wall;
use crate::wire::address::Address;
use crate::wire::codec::sorted;
use crate::wire::object::{self, CRITICAL, Extensions};
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

/// The kind of a countersignature that a PIN's key made.
const BY_PIN: u8 = 1;
/// Bytes of a countersignature with its kind, and of the signature behind it.
const SIGNATURES: usize = 1 + 64 + 64;

/// One signed statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The hash of [`Self::bytes`].
    pub id: StatementId,
    /// The bytes as they came: these are stored, relayed and hashed.
    pub bytes: Vec<u8>,
    /// The account; that of a genesis is its own id.
    pub account: AccountId,
    /// Who says it.
    pub author: DeviceId,
    /// The author's own count, from 1.
    pub number: u32,
    /// The author's statement before this one; [`StatementId::NONE`] for number 1.
    pub previous: StatementId,
    /// The newest statement of every other author that this one knew, ascending by author.
    pub parents: Vec<Parent>,
    /// When, by the author's clock: for display, never evaluated.
    pub time: Wall,
    /// What.
    pub action: Action,
    /// The type of an action or extension that must be understood and is not: update needed.
    pub critical: Option<u16>,
    /// The kind of countersignature: 0 none, 1 PIN, 2 recovery key.
    pub countersign: u8,
}

/// A reference to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parent {
    /// Its author.
    pub author: DeviceId,
    /// Its number.
    pub number: u32,
    /// Its id.
    pub id: StatementId,
}

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

/// What stands in a statement beside what its author signs it with.
pub(crate) struct Draft {
    pub(crate) account: AccountId,
    pub(crate) number: u32,
    pub(crate) previous: StatementId,
    pub(crate) parents: Vec<Parent>,
    pub(crate) time: Wall,
    pub(crate) action: Action,
    pub(crate) ext: Extensions,
}

impl Draft {
    /// Signs it.
    #[cfg(test)]
    pub(crate) fn sign(self, identity: &Identity) -> Statement {
        self.countersign(identity, None)
    }

    /// Has it countersigned by the PIN's key, if there is one, and signs it.
    pub(crate) fn countersign(self, identity: &Identity, pin: Option<&PinSigner>) -> Statement {
        let critical = self.critical();
        let by_pin = pin.map(|pin| move |message: &[u8]| pin.countersign(message));
        let bytes = object::wrap_countersigned(
            object::kind::STATEMENT,
            |w| self.encode(identity.device(), w),
            by_pin.as_ref().map(|sign| (BY_PIN, sign as &dyn Fn(&[u8]) -> [u8; 64])),
            |message| identity.sign("statement", message),
        );
        let id = id(&bytes);
        let account = if self.account == AccountId::NONE { id.into() } else { self.account };
        Statement {
            id,
            bytes,
            account,
            author: identity.device(),
            number: self.number,
            previous: self.previous,
            parents: self.parents,
            time: self.time,
            action: self.action,
            critical,
            countersign: if pin.is_some() { BY_PIN } else { 0 },
        }
    }

    fn critical(&self) -> Option<u16> {
        self.action.critical().or(self.ext.critical())
    }

    fn encode(&self, author: DeviceId, w: &mut Writer) {
        self.account.encode(w);
        author.encode(w);
        w.u32(self.number);
        self.previous.encode(w);
        w.n8(&self.parents);
        w.u64(self.time.0);
        w.u16(self.action.kind());
        w.v16(&self.action.body());
        self.ext.encode(w);
    }
}

fn id(bytes: &[u8]) -> StatementId {
    StatementId(key::hash("statement id", &[bytes]).0)
}

impl Statement {
    /// The id of the statement with these bytes, whether or not it is one.
    #[must_use]
    pub fn id_of(bytes: &[u8]) -> StatementId {
        id(bytes)
    }

    /// Reads a statement and verifies its author's signature and, of a link, the device's consent.
    ///
    /// # Errors
    /// For bytes that are not a statement, for signatures that do not verify, and
    /// [`DecodeError::Newer`] for a format or suite that this version does not know.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > STATEMENT_BYTES {
            return Err(DecodeError::TooLarge { what: "statement", len: bytes.len(), max: STATEMENT_BYTES });
        }
        let mut r = object::open(bytes, object::kind::STATEMENT)?;
        let mut statement = Self::read(&mut r)?;
        let signed = r.since(0);
        let signature = r.array()?;
        r.finish()?;
        if !key::verify(&statement.author, "statement", signed, &signature) {
            return Err(DecodeError::Signature("statement"));
        }
        statement.id = id(bytes);
        statement.bytes = bytes.to_vec();
        statement.check()?;
        Ok(statement)
    }

    /// A reference to it.
    #[must_use]
    pub fn reference(&self) -> Parent {
        Parent { author: self.author, number: self.number, id: self.id }
    }

    /// The device that it revokes.
    #[must_use]
    pub fn revokes(&self) -> Option<DeviceId> {
        match &self.action {
            Action::Revoke(revoke) => Some(revoke.device),
            _ => None,
        }
    }

    /// The device whose rights it takes: by a revocation or a suspension.
    #[must_use]
    pub fn removes(&self) -> Option<DeviceId> {
        match &self.action {
            Action::Revoke(revoke) => Some(revoke.device),
            Action::Suspend(suspend) => Some(suspend.device),
            _ => None,
        }
    }

    /// Whether its author leaves with it.
    #[must_use]
    pub fn leaves(&self) -> bool {
        self.revokes() == Some(self.author)
    }

    /// Whether it is countersigned by that PIN's key.
    pub(super) fn is_countersigned(&self, key: &PinKey) -> bool {
        let split = self.bytes.len().checked_sub(SIGNATURES).filter(|_| self.countersign == BY_PIN);
        let Some((message, signatures)) = split.map(|at| self.bytes.split_at(at)) else { return false };
        signatures[1..].first_chunk().is_some_and(|signature| key::verify_countersign(key, message, signature))
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let account = AccountId::decode(r)?;
        let author = DeviceId::decode(r)?;
        let number = r.u32()?;
        let previous = StatementId::decode(r)?;
        let parents = r.n8("parents", PARENTS)?;
        let time = Wall(r.u64()?);
        let action = Action::read(r)?;
        let ext = Extensions::decode(r)?;
        let countersign = r.u8()?;
        if countersign != 0 {
            // Which key it is of follows from the roster: rule E10.
            r.take(64)?;
        }
        let critical = action.critical().or(ext.critical());
        let (id, bytes) = (StatementId::NONE, Vec::new());
        Ok(Self { id, bytes, account, author, number, previous, parents, time, action, critical, countersign })
    }

    /// What holds within every statement, whatever else is known.
    fn check(&mut self) -> Result<(), DecodeError> {
        sorted("parents", &self.parents, |parent: &Parent| parent.author)?;
        if self.parents.iter().any(|parent| parent.author == self.author || parent.number == 0) {
            return Err(DecodeError::Invalid("parents"));
        }
        if self.number == 0 || (self.number == 1) != (self.previous == StatementId::NONE) {
            return Err(DecodeError::Invalid("number"));
        }
        match &self.action {
            Action::Genesis(_) => {
                if self.account != AccountId::NONE || self.number != 1 || !self.parents.is_empty() {
                    return Err(DecodeError::Invalid("genesis"));
                }
                self.account = self.id.into();
            }
            // Everything but a genesis descends from it.
            _ if self.number == 1 && self.parents.is_empty() => return Err(DecodeError::Invalid("parents")),
            _ if self.account == AccountId::NONE => return Err(DecodeError::Invalid("account")),
            Action::Link(link) => link.check(self.account)?,
            _ => {}
        }
        Ok(())
    }
}

impl Link {
    fn check(&self, account: AccountId) -> Result<(), DecodeError> {
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

    fn critical(&self) -> Option<u16> {
        match self {
            Self::Unknown { kind, .. } if kind & CRITICAL != 0 => Some(*kind),
            _ => None,
        }
    }

    fn body(&self) -> Vec<u8> {
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
            Self::Pin(setting) => super::action::encode_pin(setting.as_ref(), &mut w),
            Self::Epoch(epoch) => epoch.encode(&mut w),
            Self::Applied { revocations } => w.n8(revocations),
            Self::Unknown { body, .. } => w.raw(body),
        }
        w.finish()
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
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
            kind::PIN => Self::Pin(super::action::decode_pin(&mut r)?),
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
