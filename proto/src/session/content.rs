//! What an operation says: PROTOCOL.md section 8, "Content". It leaves a device only sealed.

use zeroize::Zeroizing;

use crate::id::JournalId;
use crate::journal::operation::Header;
use crate::key::{self, Entropy, Secret};
use crate::limits::{CONTEXT_ENTRIES, KEY_BYTES, VALUE_BYTES};
use crate::time::Wall;
use crate::wire::codec::sorted;
use crate::wire::object::{CRITICAL, Extensions};
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// The type of a put.
const PUT: u16 = 0x8001;
/// The type of a delete.
const DELETE: u16 = 0x8002;

/// Which of a session's two name spaces a key stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// The session's own record and end.
    Record,
    /// Its app's entries.
    Entry,
}

impl Space {
    /// Its code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Record => 0,
            Self::Entry => 1,
        }
    }
}

/// The highest operation of a journal that a writer had seen of the key it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Whose, and which.
    pub journal: JournalId,
    /// Its number; all below it are meant too.
    pub number: u64,
}

/// What becomes of the key.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// It has this value.
    Put(Vec<u8>),
    /// It reads as absent.
    Delete,
}

/// The plaintext of an operation, read in place.
pub(super) struct Glance<'a> {
    pub(super) space: Space,
    pub(super) time: Wall,
    pub(super) key: &'a [u8],
    pub(super) context: Vec<Seen>,
    /// `None` if the key is removed.
    pub(super) value: Option<&'a [u8]>,
    ext: Extensions,
}

impl<'a> Glance<'a> {
    /// Reads what was opened.
    pub(super) fn of(plain: &'a [u8]) -> Result<Self, OpenError> {
        let kind = Reader::new(plain).u16()?;
        match kind {
            PUT | DELETE => {}
            newer if newer & CRITICAL != 0 => return Err(OpenError::Newer),
            _ => return Err(OpenError::Ignorable),
        }
        let mut r = Reader::new(plain);
        let glance = Self::read(&mut r)?;
        r.finish()?;
        match glance.ext.critical() {
            Some(_) => Err(OpenError::Newer),
            None => Ok(glance),
        }
    }

    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = r.u16()?;
        let space = Space::decode(r)?;
        let time = Wall(r.u64()?);
        let key = r.v16("key", KEY_BYTES)?;
        let context = r.n8("context", CONTEXT_ENTRIES)?;
        sorted("context", &context, |seen: &Seen| seen.journal)?;
        let value = match kind {
            PUT => Some(r.v32("value", VALUE_BYTES)?),
            DELETE => None,
            value => return Err(DecodeError::Newer { what: "kind of operation", value: value.into() }),
        };
        Ok(Self { space, time, key, context, value, ext: Extensions::decode(r)? })
    }

    fn keep(self) -> Content {
        let Self { space, time, key, context, value, ext } = self;
        Content { ext, ..Content::new(space, time, key, context, value) }
    }
}

/// The plaintext of an operation.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// In which name space.
    pub space: Space,
    /// When, by the writer's clock.
    pub time: Wall,
    /// Which key: at most [`KEY_BYTES`].
    pub key: Vec<u8>,
    /// What the writer had seen of this key, ascending by journal: at most [`CONTEXT_ENTRIES`].
    pub context: Vec<Seen>,
    /// What it writes: a value of at most [`VALUE_BYTES`], or nothing.
    pub write: Write,
    /// What this version does not know.
    pub ext: Extensions,
}

/// Why the content of an operation cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another key, or altered bytes.
    #[error("the operation does not open with the session's key")]
    Sealed,
    /// It opens, and is not what the format allows.
    #[error("the operation is malformed: {0}")]
    Malformed(DecodeError),
    /// It was made by a newer version and says that it must be understood.
    #[error("the operation was made by a newer version: update Kinlink on this device")]
    Newer,
    /// It is of a kind that this version does not know and need not.
    #[error("the operation is of an unknown kind, which may be ignored")]
    Ignorable,
}

impl From<DecodeError> for OpenError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Newer { .. } => Self::Newer,
            other => Self::Malformed(other),
        }
    }
}

impl Content {
    /// A write of `key` at `time`, by a writer that has seen `context`; no `value` is a delete.
    #[must_use]
    pub fn new(space: Space, time: Wall, key: &[u8], context: Vec<Seen>, value: Option<&[u8]>) -> Self {
        let write = value.map_or(Write::Delete, |value| Write::Put(value.to_vec()));
        Self { space, time, key: key.to_vec(), context, write, ext: Extensions::default() }
    }

    /// Seals this content under the session's key: nonce, ciphertext and tag. The operation's header is the
    /// associated data: the content opens nowhere else.
    #[must_use]
    pub fn seal(&self, header: &Header, key: &Secret, entropy: Entropy<'_>) -> Vec<u8> {
        let plain = Zeroizing::new(self.to_bytes());
        key::seal(key, &header.to_bytes(), &plain, entropy)
    }

    /// Opens what [`Content::seal`] made.
    ///
    /// # Errors
    /// If it was sealed under another key or header, is malformed, or needs a newer version.
    pub fn open(header: &Header, key: &Secret, ciphertext: &[u8]) -> Result<Self, OpenError> {
        let plain = key::open(key, &header.to_bytes(), ciphertext).ok_or(OpenError::Sealed)?;
        Ok(Glance::of(&plain)?.keep())
    }

    /// Whether the key is removed.
    #[must_use]
    pub fn is_delete(&self) -> bool {
        matches!(self.write, Write::Delete)
    }

    /// The value; `None` if the key is removed.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        match &self.write {
            Write::Put(value) => Some(value),
            Write::Delete => None,
        }
    }
}

/// Keys and values are the user's: neither is shown.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.is_delete() { "Delete" } else { "Put" };
        write!(f, "{kind}({:?}, {:?}, seen {:?})", self.space, self.time, self.context)
    }
}

impl Encode for Content {
    fn encode(&self, w: &mut Writer) {
        w.u16(if self.is_delete() { DELETE } else { PUT });
        w.u8(self.space.code());
        w.u64(self.time.0);
        w.v16(&self.key);
        w.n8(&self.context);
        if let Write::Put(value) = &self.write {
            w.v32(value);
        }
        self.ext.encode(w);
    }
}

impl Decode for Content {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Glance::read(r)?.keep())
    }
}

impl Decode for Space {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8()? {
            0 => Ok(Self::Record),
            1 => Ok(Self::Entry),
            _ => Err(DecodeError::Invalid("space")),
        }
    }
}

impl Encode for Seen {
    fn encode(&self, w: &mut Writer) {
        self.journal.encode(w);
        w.u64(self.number);
    }
}

impl Decode for Seen {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { journal: JournalId::decode(r)?, number: r.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::id::{DeviceId, EpochId, SessionId};
    use crate::wire::object::Extension;

    fn content() -> Content {
        Content {
            space: Space::Entry,
            time: Wall(1_700_000_000_000),
            key: b"theme".to_vec(),
            context: [1, 2]
                .map(|n| Seen { journal: JournalId { device: DeviceId([n; 32]), generation: 0 }, number: 7 })
                .to_vec(),
            write: Write::Put(b"dark".to_vec()),
            ext: Extensions::grease([1, 2, 3, 4]),
        }
    }

    fn header(number: u64) -> Header {
        let journal = JournalId { device: DeviceId([1; 32]), generation: 0 };
        Header { journal, number, session: SessionId([2; 16]), epoch: EpochId([3; 32]) }
    }

    fn open(plain: &[u8]) -> Result<Content, OpenError> {
        let key = Secret([7; 32]);
        let sealed = key::seal(&key, &header(0).to_bytes(), plain, &mut ChaCha20Rng::seed_from_u64(1));
        Content::open(&header(0), &key, &sealed)
    }

    #[test]
    fn content_opens_only_with_its_key_and_its_header() {
        let (mut rng, key) = (ChaCha20Rng::seed_from_u64(1), Secret([1; 32]));
        let sealed = content().seal(&header(0), &key, &mut rng);
        assert_eq!(Content::open(&header(0), &key, &sealed), Ok(content()));
        assert_eq!(Content::open(&header(1), &key, &sealed), Err(OpenError::Sealed));
        assert_eq!(Content::open(&header(0), &Secret([2; 32]), &sealed), Err(OpenError::Sealed));
        assert!(!format!("{:?}", content()).contains("theme"));
    }

    #[test]
    fn a_delete_carries_no_value() {
        let delete = Content { write: Write::Delete, ..content() };
        assert_eq!(open(&delete.to_bytes()), Ok(delete.clone()));
        assert_eq!((delete.value(), delete.is_delete()), (None, true));
    }

    #[test]
    fn bytes_over_a_limit_or_out_of_order_are_refused() {
        let refused = |content: Content| matches!(open(&content.to_bytes()), Err(OpenError::Malformed(_)));
        assert!(refused(Content { key: vec![0; KEY_BYTES + 1], ..content() }));
        assert!(refused(Content { write: Write::Put(vec![0; VALUE_BYTES + 1]), ..content() }));
        let seen = |n: u8| Seen { journal: JournalId { device: DeviceId([n; 32]), generation: 0 }, number: 0 };
        assert!(refused(Content { context: (0..65).map(seen).collect(), ..content() }));
        assert!(refused(Content { context: vec![seen(2), seen(1)], ..content() }));
        assert!(refused(Content { context: vec![seen(1), seen(1)], ..content() }));
        let mut trailing = content().to_bytes();
        trailing.push(0);
        assert_eq!(open(&trailing), Err(OpenError::Malformed(DecodeError::Trailing(1))));
    }

    #[test]
    fn what_must_be_understood_asks_for_an_update_and_the_rest_is_ignored() {
        let ext = Extensions(vec![Extension { kind: CRITICAL | 9, value: vec![] }]);
        assert_eq!(open(&Content { ext, ..content() }.to_bytes()), Err(OpenError::Newer));
        assert_eq!(open(&[0x80, 0x09, 1]), Err(OpenError::Newer));
        assert_eq!(open(&[0x00, 0x09, 1]), Err(OpenError::Ignorable));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_decodes_encodes_to_the_same(
            start in prop::sample::select(vec![vec![], vec![0x80, 1, 1], vec![0x80, 2, 0]]),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [start, rest].concat();
            if let Ok(content) = Content::from_bytes(&bytes) {
                prop_assert_eq!(content.to_bytes(), bytes);
            }
        }

        #[test]
        fn one_changed_byte_never_panics(at in 0usize..200, to in any::<u8>()) {
            let mut bytes = content().to_bytes();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(content) = Content::from_bytes(&bytes) {
                prop_assert_eq!(content.to_bytes(), bytes);
            }
        }
    }
}
