//! Operations: a header in the clear, and sealed content.

use bytes::Bytes;

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

/// What an operation is but for its place: session, epoch and ciphertext, in the one encoding in which it travels within a
/// segment and lies in the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Bytes);

/// Where the ciphertext begins: behind the tag, session, epoch and its length.
const CIPHERTEXT: usize = 1 + SessionId::LEN + EpochId::LEN + 4;

impl Sealed {
    /// Of its parts.
    #[must_use]
    pub fn new(session: SessionId, epoch: EpochId, ciphertext: &[u8]) -> Self {
        let mut w = Writer::with_capacity(CIPHERTEXT + ciphertext.len());
        w.u8(CONTENT);
        session.encode(&mut w);
        epoch.encode(&mut w);
        w.v32(ciphertext);
        Self(w.finish().into())
    }

    /// The rest of an item whose tag was read at `start`.
    fn read(r: &mut Reader<'_>, start: usize) -> Result<Self, DecodeError> {
        r.take(SessionId::LEN + EpochId::LEN)?;
        r.v32("ciphertext", CIPHERTEXT_BYTES)?;
        Ok(Self(r.share(start)))
    }

    /// Its session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        SessionId(self.part(1))
    }

    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> EpochId {
        EpochId(self.part(1 + SessionId::LEN))
    }

    /// Nonce, sealed content and tag, as its author made them.
    #[must_use]
    pub fn ciphertext(&self) -> &[u8] {
        &self.0[CIPHERTEXT..]
    }

    /// The whole, as it travels and is stored.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// With a place.
    #[must_use]
    pub fn at(self, journal: JournalId, number: u64) -> Operation {
        let header = Header { journal, number, session: self.session(), epoch: self.epoch() };
        Operation { header, sealed: self }
    }

    fn part<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut part = [0; N];
        part.copy_from_slice(&self.0[at..at + N]);
        part
    }
}

/// By its size.
impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({:?}, {:?}, {} bytes)", self.session(), self.epoch(), self.ciphertext().len())
    }
}

/// An operation whose content is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who, where, which session, under which epoch.
    pub header: Header,
    sealed: Sealed,
}

impl Operation {
    /// Of a header, and the ciphertext that was sealed under it.
    #[must_use]
    pub fn new(header: Header, ciphertext: &[u8]) -> Self {
        Self { header, sealed: Sealed::new(header.session, header.epoch, ciphertext) }
    }

    /// Nonce, sealed content and tag, as its author made them.
    #[must_use]
    pub fn ciphertext(&self) -> &[u8] {
        self.sealed.ciphertext()
    }

    /// What it is but for its place.
    #[must_use]
    pub fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    /// Its leaf in the journal's tree.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        tree::leaf(&self.header, &sha256(&[self.ciphertext()]))
    }
}

/// What a segment of a transfer carries, and what the store holds under an operation's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An operation; number and journal follow from its place.
    Content(Sealed),
    /// 2^`level` operations whose content was dropped: an aligned perfect subtree.
    Dropped {
        /// At most [`SEGMENT_LEVEL`]; 0 under an operation's number.
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
            Self::Content(_) => 1,
            Self::Dropped { level, .. } => 1 << level,
        }
    }

    /// The level and root of the subtree that it is, beginning at `number`.
    #[must_use]
    pub fn subtree(&self, journal: JournalId, number: u64) -> (u8, Hash) {
        match self {
            Self::Dropped { level, hash } => (*level, *hash),
            Self::Content(sealed) => {
                let header = Header { journal, number, session: sealed.session(), epoch: sealed.epoch() };
                (0, tree::leaf(&header, &sha256(&[sealed.ciphertext()])))
            }
        }
    }

    /// The operation, if its content is here.
    #[must_use]
    pub fn content(self) -> Option<Sealed> {
        match self {
            Self::Content(sealed) => Some(sealed),
            Self::Dropped { .. } => None,
        }
    }
}

/// With what an [`Item::Content`] begins.
pub(crate) const CONTENT: u8 = 0;
const SUBTREE: u8 = 1;

impl Encode for Item {
    fn encode(&self, w: &mut Writer) {
        match self {
            Self::Content(sealed) => w.raw(&sealed.0),
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
        let start = r.position();
        match r.u8()? {
            CONTENT => Ok(Self::Content(Sealed::read(r, start)?)),
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
        let operation = Operation::new(header, b"sealed");
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
        fn items_come_back_shared_or_not(header in any_header(), ciphertext: Vec<u8>, leaf: [u8; 32]) {
            let operation = Operation::new(header, &ciphertext);
            prop_assert_eq!(operation.ciphertext(), ciphertext.as_slice());
            let item = Item::Content(operation.sealed().clone());
            for read in [Item::from_bytes(&item.to_bytes()), Item::from_buffer(operation.sealed().bytes())] {
                prop_assert_eq!(&read, &Ok(item.clone()));
                let sealed = read.unwrap().content().unwrap();
                prop_assert_eq!(sealed.at(header.journal, header.number), operation.clone());
            }
            let dropped = Item::Dropped { level: 0, hash: Hash(leaf) };
            prop_assert_eq!(Item::from_bytes(&dropped.to_bytes()), Ok(dropped));
        }
    }
}
