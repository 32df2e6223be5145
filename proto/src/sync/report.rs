//! Reports: what a device holds and has applied, signed, and relayed by every other. PROTOCOL.md section 9.

use crate::id::{AccountId, DeviceId, Hash, JournalId, RunId};
use crate::journal::Position;
use crate::key::{Identity, verify};
use crate::limits;
use crate::roster::statement::Parent;
use crate::time::Wall;
use crate::wire::address::Address;
use crate::wire::codec::sorted;
use crate::wire::object::{self, Extensions, kind};
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Bytes of a report at most: all journals of all authors with room to spare, and well within a control frame.
pub const REPORT_BYTES: usize = 512 * 1024;
/// Journals named in a report: see the vector of a hello.
const JOURNALS: usize = 4096;

/// What a device has of a journal, durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which journal.
    pub journal: JournalId,
    /// How many operations.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl From<&Position> for Held {
    fn from(position: &Position) -> Self {
        Self { journal: position.journal, size: position.size, root: position.root }
    }
}

impl Encode for Held {
    fn encode(&self, w: &mut Writer) {
        self.journal.encode(w);
        w.u64(self.size);
        self.root.encode(w);
    }
}

impl Decode for Held {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { journal: JournalId::decode(r)?, size: r.u64()?, root: Hash::decode(r)? })
    }
}

/// What a report says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Whose account.
    pub account: AccountId,
    /// Who says it.
    pub device: DeviceId,
    /// The device's own count of its reports: the highest replaces the others.
    pub counter: u64,
    /// The run that signed.
    pub run: RunId,
    /// When, for display.
    pub time: Wall,
    /// The newest statement of each author that it has evaluated, sorted by author.
    pub heads: Vec<Parent>,
    /// What it holds of each journal, sorted.
    pub journals: Vec<Held>,
    /// Reserved; 0.
    pub capabilities: u64,
    /// Where it can be reached, best first.
    pub addresses: Vec<Address>,
    /// Extensions, carried unread.
    pub ext: Extensions,
}

/// A signed report, with the bytes in which it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it says.
    pub content: Content,
    bytes: Vec<u8>,
}

impl Report {
    /// Signs a report of this device. `content.device` must be that of `identity`, and its lists sorted and within their limits.
    #[must_use]
    pub fn sign(content: Content, identity: &Identity) -> Self {
        let bytes =
            object::wrap_signed(kind::REPORT, |w| content.encode(w), |message| identity.sign("report", message));
        Self { content, bytes }
    }

    /// Reads a report and checks its signature.
    ///
    /// # Errors
    /// If the bytes are malformed, unsorted or over a limit, or are not signed by the device that they name. A critical extension is
    /// no error: the report is kept and relayed, and [`Report::critical`] says that an update is needed.
    pub fn open(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > REPORT_BYTES {
            return Err(DecodeError::TooLarge { what: "report", len: bytes.len(), max: REPORT_BYTES });
        }
        let mut r = object::open(bytes, kind::REPORT)?;
        let content = Content::decode(&mut r)?;
        let signed = r.since(0);
        let signature = r.array()?;
        r.finish()?;
        let valid = verify(&content.device, "report", signed, &signature);
        if valid { Ok(Self { content, bytes: bytes.to_vec() }) } else { Err(DecodeError::Signature("report")) }
    }

    /// The object as it came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The type of an extension that must be understood and is not.
    #[must_use]
    pub fn critical(&self) -> Option<u16> {
        self.content.ext.critical()
    }

    /// How much of a journal the device holds, durable: every operation below this number.
    #[must_use]
    pub fn size(&self, journal: JournalId) -> u64 {
        let held = self.content.journals.binary_search_by_key(&journal, |held| held.journal);
        held.map_or(0, |at| self.content.journals[at].size)
    }
}

impl Encode for Content {
    fn encode(&self, w: &mut Writer) {
        self.account.encode(w);
        self.device.encode(w);
        w.u64(self.counter);
        self.run.encode(w);
        w.u64(self.time.0);
        w.n8(&self.heads);
        w.n16(&self.journals);
        w.u64(self.capabilities);
        w.n8(&self.addresses);
        self.ext.encode(w);
    }
}

impl Decode for Content {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let content = Self {
            account: AccountId::decode(r)?,
            device: DeviceId::decode(r)?,
            counter: r.u64()?,
            run: RunId::decode(r)?,
            time: Wall(r.u64()?),
            heads: r.n8("heads", limits::AUTHORS)?,
            journals: r.n16("journals", JOURNALS)?,
            capabilities: r.u64()?,
            addresses: r.n8("addresses", limits::ADDRESSES)?,
            ext: Extensions::decode(r)?,
        };
        sorted("heads", &content.heads, |head| head.author)?;
        sorted("journals", &content.journals, |held| held.journal)?;
        Ok(content)
    }
}
