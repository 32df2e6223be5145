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

impl From<&Held> for Position {
    /// How much of it is content is not said.
    fn from(held: &Held) -> Self {
        Self { journal: held.journal, size: held.size, root: held.root, live: 0, digest: [0; 16] }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::id::StatementId;

    fn identity(seed: u64) -> Identity {
        Identity::random(&mut ChaCha20Rng::seed_from_u64(seed))
    }

    fn content(identity: &Identity, authors: &[u8], counter: u64, grease: [u8; 4]) -> Content {
        let device = |author: &u8| DeviceId([*author; 32]);
        let parent = |author| Parent { author: device(author), number: 3, id: StatementId([4; 32]) };
        let held = |author: &u8| {
            let journal = JournalId { device: device(author), generation: 2 };
            Held { journal, size: u64::from(*author), root: Hash([5; 32]) }
        };
        Content {
            account: AccountId([1; 32]),
            device: identity.device(),
            counter,
            run: RunId([2; 16]),
            time: Wall(counter),
            heads: authors.iter().map(parent).collect(),
            journals: authors.iter().map(held).collect(),
            capabilities: 0,
            addresses: vec![Address::none(), "192.0.2.1:7".parse::<std::net::SocketAddr>().unwrap().into()],
            ext: Extensions::grease(grease),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_report_is_believed_as_signed_and_in_no_other_byte(
            seed: u64, authors in prop::collection::btree_set(any::<u8>(), 0..30), counter: u64, grease: [u8; 4],
        ) {
            let identity = identity(seed);
            let authors = Vec::from_iter(authors);
            let report = Report::sign(content(&identity, &authors, counter, grease), &identity);
            prop_assert_eq!(Report::open(report.bytes()), Ok(report.clone()));
            prop_assert_eq!(report.critical(), None);
            for author in authors {
                let journal = JournalId { device: DeviceId([author; 32]), generation: 2 };
                prop_assert_eq!(report.size(journal), u64::from(author));
                prop_assert_eq!(report.size(JournalId { generation: 1, ..journal }), 0);
            }
            for at in (0..report.bytes().len()).step_by(7) {
                let mut bytes = report.bytes().to_vec();
                bytes[at] ^= 1 << (seed % 8);
                prop_assert!(Report::open(&bytes).is_err(), "byte {at} flipped");
            }
            prop_assert!(Report::open(&[report.bytes(), &[0]].concat()).is_err());
        }
    }

    #[test]
    fn a_report_signed_by_another_is_refused() {
        let report = Report::sign(content(&identity(1), &[], 1, [0; 4]), &identity(2));
        assert_eq!(Report::open(report.bytes()), Err(DecodeError::Signature("report")));
    }

    #[test]
    fn unsorted_and_oversized_lists_are_refused() {
        let identity = identity(3);
        let open = |content| Report::open(Report::sign(content, &identity).bytes());
        let mut unsorted = content(&identity, &[], 1, [0; 4]);
        unsorted.heads = content(&identity, &[2, 1], 1, [0; 4]).heads;
        assert_eq!(open(unsorted), Err(DecodeError::Unsorted("heads")));
        let mut twice = content(&identity, &[], 1, [0; 4]);
        twice.journals = content(&identity, &[1, 1], 1, [0; 4]).journals;
        assert_eq!(open(twice), Err(DecodeError::Unsorted("journals")));
        let mut many = content(&identity, &[], 1, [0; 4]);
        many.addresses = vec![Address::none(); limits::ADDRESSES + 1];
        assert!(matches!(open(many), Err(DecodeError::TooLarge { what: "addresses", .. })));
    }

    #[test]
    fn a_critical_extension_is_kept_and_told() {
        let identity = identity(4);
        let mut newer = content(&identity, &[], 1, [0; 4]);
        newer.ext.0[0].kind = 0x8001;
        let report = Report::sign(newer, &identity);
        assert_eq!(Report::open(report.bytes()).unwrap().critical(), Some(0x8001));
    }
}
