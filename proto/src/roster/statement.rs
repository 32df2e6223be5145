//! Statements: what devices say about one another, in the bytes of PROTOCOL.md section 5.1 and 5.2.

pub use super::action::{
    Action, CIPHER, EpochAction, Genesis, Honoured, Link, PinSetting, Revoke, Suspend, consent_message,
};
use crate::id::{AccountId, DeviceId, PinKey, StatementId};
use crate::key::{self, Identity, PinSigner};
use crate::limits::{PARENTS, STATEMENT_BYTES};
use crate::time::Wall;
use crate::wire::codec::sorted;
use crate::wire::object::{self, Extensions};
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

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
