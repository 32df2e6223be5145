//! Operations: a header in the clear, and sealed content.

use super::tree;
use crate::id::{EpochId, Hash, JournalId, SessionId};
use crate::key::sha256;
use crate::limits::{SEGMENT_LEVEL, VALUE_BYTES};
use crate::wire::object::{FORMAT, SUITE, kind};
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Bytes of a header.
pub const HEADER: usize = 96;
/// Bytes of a ciphertext: the largest value, with room for key, context and extensions.
pub const CIPHERTEXT_BYTES: usize = VALUE_BYTES + 64 * 1024;

/// What stands before a ciphertext and is its associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Author and generation.
    pub journal: JournalId,
    /// Place in the journal, from 0.
    pub number: u64,
    /// The session that it belongs to.
    pub session: SessionId,
    /// The epoch under which it is sealed.
    pub epoch: EpochId,
}

impl Encode for Header {
    fn encode(&self, w: &mut Writer) {
        w.u8(FORMAT);
        w.u16(kind::OPERATION);
        w.u8(SUITE);
        self.journal.encode(w);
        w.u64(self.number);
        self.session.encode(w);
        self.epoch.encode(w);
    }
}

impl Decode for Header {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        expect("format", r.u8()?.into(), FORMAT.into())?;
        expect("object type", r.u16()?.into(), kind::OPERATION.into())?;
        expect("suite", r.u8()?.into(), SUITE.into())?;
        Ok(Self {
            journal: JournalId::decode(r)?,
            number: r.u64()?,
            session: SessionId::decode(r)?,
            epoch: EpochId::decode(r)?,
        })
    }
}

fn expect(what: &'static str, value: u32, known: u32) -> Result<(), DecodeError> {
    if value == known { Ok(()) } else { Err(DecodeError::Newer { what, value }) }
}

/// An operation whose content is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who, where, which session, under which epoch.
    pub header: Header,
    /// Nonce, sealed content and tag, as its author made them.
    pub ciphertext: Vec<u8>,
}

impl Operation {
    /// Its leaf in the journal's tree.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        tree::leaf(&self.header, &sha256(&[&self.ciphertext]))
    }
}

/// What the store holds under an operation's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The operation.
    Present {
        /// Its session.
        session: SessionId,
        /// Its epoch.
        epoch: EpochId,
        /// Its ciphertext.
        ciphertext: Vec<u8>,
    },
    /// Its content was dropped; the leaf stays.
    Dropped(Hash),
}

impl Stored {
    /// The operation, if its content is held.
    #[must_use]
    pub fn operation(self, journal: JournalId, number: u64) -> Option<Operation> {
        match self {
            Self::Present { session, epoch, ciphertext } => {
                Some(Operation { header: Header { journal, number, session, epoch }, ciphertext })
            }
            Self::Dropped(_) => None,
        }
    }
}

impl From<Operation> for Stored {
    fn from(operation: Operation) -> Self {
        let Header { session, epoch, .. } = operation.header;
        Self::Present { session, epoch, ciphertext: operation.ciphertext }
    }
}

/// What a segment of a transfer carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An operation; number and journal follow from its place.
    Content {
        /// Its session.
        session: SessionId,
        /// Its epoch.
        epoch: EpochId,
        /// Its ciphertext.
        ciphertext: Vec<u8>,
    },
    /// 2^`level` operations whose content was dropped: an aligned perfect subtree.
    Dropped {
        /// At most [`SEGMENT_LEVEL`].
        level: u8,
        /// The subtree's root.
        hash: Hash,
    },
}

impl Item {
    /// How many operations it stands for.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Content { .. } => 1,
            Self::Dropped { level, .. } => 1 << level,
        }
    }

    /// The level and root of the subtree that it is, beginning at `number`.
    #[must_use]
    pub fn subtree(&self, journal: JournalId, number: u64) -> (u8, Hash) {
        match self {
            Self::Dropped { level, hash } => (*level, *hash),
            Self::Content { session, epoch, ciphertext } => {
                let header = Header { journal, number, session: *session, epoch: *epoch };
                (0, tree::leaf(&header, &sha256(&[ciphertext])))
            }
        }
    }
}

const CONTENT: u8 = 0;
const SUBTREE: u8 = 1;

impl Encode for Item {
    fn encode(&self, w: &mut Writer) {
        match self {
            Self::Content { session, epoch, ciphertext } => {
                w.u8(CONTENT);
                session.encode(w);
                epoch.encode(w);
                w.v32(ciphertext);
            }
            Self::Dropped { level, hash } => {
                w.u8(SUBTREE);
                w.u8(*level);
                hash.encode(w);
            }
        }
    }
}

impl Decode for Item {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8()? {
            CONTENT => Ok(Self::Content {
                session: SessionId::decode(r)?,
                epoch: EpochId::decode(r)?,
                ciphertext: r.v32("ciphertext", CIPHERTEXT_BYTES)?.to_vec(),
            }),
            SUBTREE => Ok(Self::Dropped { level: level(r)?, hash: Hash::decode(r)? }),
            _ => Err(DecodeError::Invalid("item")),
        }
    }
}

/// A level of at most [`SEGMENT_LEVEL`].
pub(crate) fn level(r: &mut Reader<'_>) -> Result<u8, DecodeError> {
    let level = r.u8()?;
    if level <= SEGMENT_LEVEL { Ok(level) } else { Err(DecodeError::Invalid("level")) }
}

const PRESENT: u8 = 0;
const DROPPED: u8 = 1;

impl Encode for Stored {
    fn encode(&self, w: &mut Writer) {
        match self {
            Self::Present { session, epoch, ciphertext } => {
                w.u8(PRESENT);
                session.encode(w);
                epoch.encode(w);
                w.raw(ciphertext);
            }
            Self::Dropped(leaf) => {
                w.u8(DROPPED);
                leaf.encode(w);
            }
        }
    }
}

impl Decode for Stored {
    /// Reads to the end: the ciphertext has no length of its own.
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8()? {
            PRESENT => Ok(Self::Present {
                session: SessionId::decode(r)?,
                epoch: EpochId::decode(r)?,
                ciphertext: r.take(r.remaining())?.to_vec(),
            }),
            DROPPED => Ok(Self::Dropped(Hash::decode(r)?)),
            _ => Err(DecodeError::Invalid("stored operation")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::DeviceId;

    prop_compose! {
        fn any_header()(device: [u8; 32], generation: u32, number: u64, session: [u8; 16], epoch: [u8; 32]) -> Header {
            let journal = JournalId { device: DeviceId(device), generation };
            Header { journal, number, session: SessionId(session), epoch: EpochId(epoch) }
        }
    }

    /// PROTOCOL.md section 7, field by field.
    #[test]
    fn header_and_leaf_are_made_of_the_bytes_of_the_protocol() {
        let journal = JournalId { device: DeviceId([1; 32]), generation: 2 };
        let header = Header { journal, number: 3, session: SessionId([4; 16]), epoch: EpochId([5; 32]) };
        let bytes = [&[1, 0x80, 0x20, 1][..], &[1; 32], &2_u32.to_be_bytes(), &3_u64.to_be_bytes(), &[4; 16], &[5; 32]]
            .concat();
        assert_eq!(header.to_bytes(), bytes);
        let operation = Operation { header, ciphertext: b"sealed".to_vec() };
        assert_eq!(operation.leaf(), sha256(&[&[0], &bytes, sha256(&[b"sealed"]).as_bytes()]));
    }

    proptest! {
        #[test]
        fn a_header_has_one_encoding_of_96_bytes(header in any_header(), at in 0_usize..HEADER, flip in 1_u8..) {
            let mut bytes = header.to_bytes();
            prop_assert_eq!(bytes.len(), HEADER);
            prop_assert_eq!(Header::from_bytes(&bytes), Ok(header));
            bytes[at] ^= flip;
            prop_assert_ne!(Header::from_bytes(&bytes), Ok(header));
            bytes.push(0);
            prop_assert!(Header::from_bytes(&bytes).is_err());
        }

        #[test]
        fn stored_operations_come_back(header in any_header(), ciphertext: Vec<u8>, leaf: [u8; 32]) {
            let operation = Operation { header, ciphertext };
            let stored = Stored::from(operation.clone());
            let read = Stored::from_bytes(&stored.to_bytes()).unwrap();
            prop_assert_eq!(read.operation(header.journal, header.number), Some(operation));
            let dropped = Stored::Dropped(Hash(leaf));
            prop_assert_eq!(Stored::from_bytes(&dropped.to_bytes()), Ok(dropped));
        }
    }
}
