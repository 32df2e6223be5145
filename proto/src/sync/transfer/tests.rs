//! Two or three devices in memory that pass journals on.

use std::cell::Cell;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::id::{AccountId, EpochId, JournalId, RunId, SessionId};
use crate::journal::{Author, Head, Journals, Operation, Sealed};
use crate::key::Identity;
use crate::limits::{FRAME_SEGMENT, SEGMENT_BYTES};
use crate::roster::keyring::Keyring;
use crate::store::{MemoryStore, Read, Row, StoreError, Table};
use crate::sync::vector::wants;
use crate::wire::frame::Frame;
use crate::wire::message::kind;

const ACCOUNT: AccountId = AccountId([7; 32]);

struct Device {
    store: MemoryStore,
    journals: Journals,
    rng: ChaCha20Rng,
    identity: Identity,
}

impl Device {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let identity = Identity::random(&mut rng);
        Self { store: MemoryStore::new(), journals: Journals::default(), rng, identity }
    }

    fn journal(&self) -> JournalId {
        JournalId { device: self.identity.device(), generation: 0 }
    }

    /// Writes `count` operations of up to `bytes` bytes.
    fn write(&mut self, count: usize, bytes: usize) {
        let identity = self.identity.clone();
        let author = Author { identity: &identity, account: ACCOUNT, run: RunId([1; 16]), generation: 0 };
        for _ in 0..count {
            let mut ciphertext = vec![0; 1 + usize::try_from(self.rng.next_u32()).unwrap() % bytes];
            self.rng.fill_bytes(&mut ciphertext);
            let session = SessionId([ciphertext[0]; 16]);
            self.journals.append(&mut self.store, &author, session, EpochId([3; 32]), |_| ciphertext).unwrap();
        }
        self.journals.sign_head(&mut self.store, &author).unwrap();
    }

    fn drop_range(&mut self, journal: JournalId, range: std::ops::Range<u64>) {
        for number in range {
            self.journals.drop(&mut self.store, journal, number).unwrap();
        }
    }

    fn content(&self, journal: JournalId) -> Vec<Option<Operation>> {
        let all = 0..self.journals.size(journal);
        all.map(|number| self.journals.operation(&self.store, journal, number).unwrap()).collect()
    }

    fn frames(&self, journal: JournalId, from: u64) -> Vec<Frame> {
        let Some(mut outgoing) = Outgoing::new(&self.store, journal, from, None).unwrap() else { return Vec::new() };
        std::iter::from_fn(|| outgoing.frame(&self.store).unwrap()).collect()
    }

    /// Takes in frames as they arrive, up to the first that is refused.
    fn receive(&mut self, frames: &[Frame], limit: Option<Limit>) -> Result<Vec<Applied>, TransferError> {
        let header = TransferHeader::from_bytes(&frames[0].body)?;
        let head = Head::open(&header.head)?;
        let mut incoming = Incoming::start(&self.journals, &self.store, header, head, ACCOUNT, limit)?;
        let mut applied = Vec::new();
        let mut preparer = Preparer::default();
        preparer.header(&frames[0].body);
        for frame in &frames[1..] {
            // Every other one is worked out before.
            let prepared = preparer.segment(&frame.body, &Keyring::default()).filter(|_| self.rng.next_u32() & 1 == 0);
            let (segment, worked) = match prepared.and_then(|prepared| prepared.of(incoming.journal())) {
                Some(prepared) => prepared,
                None => (Segment::from_bytes(&frame.body)?, Worked::default()),
            };
            applied.push(incoming.segment(&mut self.journals, &mut self.store, segment, &worked)?);
        }
        Ok(applied)
    }

    /// Fetches all that `peer` is ahead in; the connection breaks behind each segment.
    fn fetch(&mut self, peer: &Self) {
        while let [want, ..] = wants(&self.journals.vector(), &peer.journals.vector())[..] {
            let frames = peer.frames(want.journal, want.from);
            self.receive(&frames[..2], None).unwrap();
        }
    }

    fn assert_same_as(&self, other: &Self, journal: JournalId) {
        assert_eq!(self.journals.vector(), other.journals.vector());
        assert_eq!(self.journals.head(journal), other.journals.head(journal));
        assert_eq!(self.content(journal), other.content(journal));
        assert_eq!(Journals::load(&self.store).unwrap().vector(), self.journals.vector());
    }
}

/// A second device that holds the same key: its journal can fork.
fn twin(of: &Device, seed: u64) -> Device {
    let mut twin = Device::new(seed);
    twin.identity = of.identity.clone();
    twin
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_journal_arrives_whole_however_often_the_transfer_breaks(seed: u64, before in 0_usize..2500, after in 0_usize..2500) {
        let (mut a, mut b, mut c) = (Device::new(seed), Device::new(seed ^ 1), Device::new(seed ^ 2));
        for count in [before, after] {
            a.write(count, 100);
            b.fetch(&a);
            b.assert_same_as(&a, a.journal());
        }
        // From one that is not the author, in one go.
        let frames = b.frames(a.journal(), 0);
        if !frames.is_empty() {
            c.receive(&frames, None).unwrap();
        }
        prop_assert_eq!(c.content(a.journal()), a.content(a.journal()));
        prop_assert_eq!(c.frames(a.journal(), 0), a.frames(a.journal(), 0));
    }

    #[test]
    fn what_was_dropped_travels_as_a_hash_and_the_root_still_holds(
        seed: u64, size in 1_usize..2600, drops in prop::collection::vec((0_u64..2600, 1_u64..1500), 0..4),
    ) {
        let (mut a, mut b, mut c) = (Device::new(seed), Device::new(seed ^ 1), Device::new(seed ^ 2));
        a.write(size, 60);
        let journal = a.journal();
        for (from, count) in drops {
            a.drop_range(journal, from..from + count);
        }
        let live = a.content(journal).iter().flatten().count();
        prop_assert_eq!(u64::try_from(live), Ok(a.journals.position(journal).unwrap().live));
        b.fetch(&a);
        b.assert_same_as(&a, journal);
        c.fetch(&b);
        c.assert_same_as(&a, journal);
        a.write(10, 60);
        c.fetch(&a);
        b.fetch(&c);
        b.assert_same_as(&a, journal);
    }

    #[test]
    fn gaps_are_filled_from_a_peer_that_still_holds_the_content(
        seed: u64, size in 1_usize..2600, drops in prop::collection::vec((0_u64..2600, 1_u64..1500), 1..4),
    ) {
        let (mut a, mut b, mut c) = (Device::new(seed), Device::new(seed ^ 1), Device::new(seed ^ 2));
        a.write(size, 60);
        let journal = a.journal();
        b.fetch(&a);
        for (from, count) in drops {
            b.drop_range(journal, from..from + count);
        }
        // One learns of the drops as leaves, one as subtrees.
        c.fetch(&b);
        for device in [&mut b, &mut c] {
            if let [want] = wants(&device.journals.vector(), &a.journals.vector())[..] {
                prop_assert_eq!(want.from, 0);
                device.receive(&a.frames(journal, want.from), None).unwrap();
            }
            device.assert_same_as(&a, journal);
        }
    }

    #[test]
    fn nothing_altered_gets_in(seed: u64, size in 1_usize..1500, have in 0_usize..1500, at: prop::sample::Index, bit in 0_u8..8) {
        let mut a = Device::new(seed);
        a.write(have.min(size - 1), 40);
        let mut b = Device::new(seed ^ 1);
        b.fetch(&a);
        a.write(size - have.min(size - 1), 40);
        a.drop_range(a.journal(), 1100..1300);
        let mut honest = a.frames(a.journal(), b.journals.size(a.journal()));
        // Both halves of the sample go to the header, which is short, and to the segments.
        let which = usize::from(at.index(2) != 0) * (1 + at.index(honest.len() - 1));
        let (index, before) = (at.index(honest[which].body.len()), b.store.snapshot());
        honest[which].alter(|body| body[index] ^= 1 << bit);
        let result = b.receive(&honest, None);
        if result.is_ok() {
            // Only what changes nothing may pass: the level of a header without segments behind it.
            prop_assert_eq!(b.content(a.journal()), a.content(a.journal()));
        }
        let mut clean = Device::new(seed ^ 2);
        clean.store = before.snapshot();
        clean.journals = Journals::load(&clean.store).unwrap();
        let frames = a.frames(a.journal(), clean.journals.size(a.journal()));
        if which > 0 {
            prop_assert!(result.is_err());
            clean.receive(&frames[..which], None).unwrap();
        }
        if result.is_err() {
            prop_assert_eq!(&b.store, &clean.store);
        }
    }

    #[test]
    fn a_journal_that_forks_is_refused(seed: u64, common in 0_usize..1500, more in 1_usize..1500, other in 1_usize..1500) {
        let mut a = Device::new(seed);
        a.write(common, 20);
        let mut twin = twin(&a, seed ^ 1);
        twin.store = a.store.snapshot();
        twin.journals = a.journals.clone();
        a.write(more, 20);
        twin.write(other, 20);
        let mut b = Device::new(seed ^ 2);
        b.fetch(&a);
        let (journal, before) = (a.journal(), b.store.snapshot());
        let have = b.journals.size(journal);
        let frames = twin.frames(journal, have);
        prop_assert!(frames.is_empty() || b.receive(&frames, None).is_err());
        prop_assert_eq!(&b.store, &before);
        prop_assert_eq!(b.receive(&twin.frames(journal, 0), None), Err(TransferError::Fork));
        prop_assert_eq!(b.content(journal), a.content(journal));
        prop_assert_eq!(b.journals.vector(), a.journals.vector());
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order(seed: u64, mut dropped in prop::collection::btree_set(0_u64..40, 0..40).prop_map(Vec::from_iter)) {
        let (mut a, mut b) = (Device::new(seed), Device::new(seed));
        a.write(40, 10);
        b.write(40, 10);
        for number in &dropped {
            a.drop_range(a.journal(), *number..number + 1);
        }
        dropped.reverse();
        for number in &dropped {
            b.drop_range(b.journal(), *number..number + 1);
        }
        prop_assert_eq!(a.journals.vector(), b.journals.vector());
    }

    #[test]
    fn only_the_honoured_part_of_a_revoked_journal_is_taken(seed: u64, size in 2_usize..2500, cut: prop::sample::Index) {
        let mut a = Device::new(seed);
        let honoured = 1 + cut.index(size - 1);
        a.write(honoured, 20);
        let journal = a.journal();
        let limit = Limit { size: u64::try_from(honoured).unwrap(), root: a.journals.position(journal).unwrap().root };
        a.write(size - honoured, 20);

        let mut b = Device::new(seed ^ 1);
        let all = a.frames(journal, 0);
        if honoured < size {
            prop_assert!(b.receive(&all, Some(limit)).is_err());
            prop_assert_eq!(b.journals.vector(), []);
        }
        for hop in [a, Device::new(0)] {
            let source = if hop.journals.size(journal) > 0 { &hop } else { &b };
            let mut outgoing = Outgoing::new(&source.store, journal, 0, Some(limit.size)).unwrap().unwrap();
            let frames: Vec<_> = std::iter::from_fn(|| outgoing.frame(&source.store).unwrap()).collect();
            let mut next = Device::new(seed ^ 2);
            next.receive(&frames, Some(limit)).unwrap();
            prop_assert_eq!(next.journals.size(journal), limit.size);
            prop_assert_eq!(next.journals.position(journal).unwrap().root, limit.root);
            b = next;
        }
        let nothing = Limit { size: 0, root: crate::journal::Peaks::new().root() };
        prop_assert!(Device::new(seed).receive(&all, Some(nothing)).is_err());
    }
}

/// A device that stopped in the middle of what the others dropped since, and of which they keep one hash only.
#[test]
fn a_range_that_begins_within_a_dropped_subtree_is_sent_from_its_start() {
    let (mut a, mut b, mut c) = (Device::new(1), Device::new(2), Device::new(3));
    let journal = a.journal();
    a.write(300, 20);
    b.fetch(&a);
    let kept = b.content(journal);
    a.write(1500, 20);
    a.drop_range(journal, 0..1024);
    c.fetch(&a);
    let frames = c.frames(journal, 300);
    assert_eq!(TransferHeader::from_bytes(&frames[0].body).unwrap().from, 0);
    b.receive(&frames, None).unwrap();
    assert_eq!(b.journals.position(journal).unwrap().root, a.journals.position(journal).unwrap().root);
    assert_eq!(b.content(journal)[..300], kept);
    assert_eq!(b.content(journal)[300..], a.content(journal)[300..]);
    // What it kept cannot be verified by others, so it is passed on as it came.
    assert_eq!(b.frames(journal, 0), c.frames(journal, 0));
}

#[test]
fn a_dropped_block_costs_one_item() {
    let mut a = Device::new(4);
    a.write(2048, 20);
    a.drop_range(a.journal(), 0..1024);
    let frames = a.frames(a.journal(), 0);
    let segment = Segment::from_bytes(&frames[1].body).unwrap();
    assert!(matches!(segment.items[..], [Item::Dropped { level: 10, .. }]));
}

#[test]
fn large_values_make_segments_shorter() {
    let (mut a, mut b) = (Device::new(5), Device::new(6));
    a.write(1200, 20);
    a.write(12, 1 << 20);
    a.write(900, 20);
    let frames = a.frames(a.journal(), 0);
    assert!(frames.iter().all(|frame| frame.body.len() <= SEGMENT_BYTES && frame.body.len() <= FRAME_SEGMENT));
    assert!(TransferHeader::from_bytes(&frames[0].body).unwrap().level < SEGMENT_LEVEL);
    let middle = frames.len() / 2;
    b.receive(&frames[..middle], None).unwrap();
    b.receive(&a.frames(a.journal(), b.journals.size(a.journal())), None).unwrap();
    b.assert_same_as(&a, a.journal());
}

#[test]
fn middling_values_travel_as_parts_of_blocks() {
    let (mut a, mut b) = (Device::new(5), Device::new(6));
    a.write(1000, 16 << 10);
    a.write(1100, 16 << 10);
    let frames = a.frames(a.journal(), 0);
    let level = TransferHeader::from_bytes(&frames[0].body).unwrap().level;
    assert!((5..SEGMENT_LEVEL).contains(&level), "{level}");
    assert!(frames.iter().all(|frame| frame.body.len() <= SEGMENT_BYTES));
    b.receive(&frames, None).unwrap();
    b.assert_same_as(&a, a.journal());
    // Whoever took it in can pass it on alike, and so can one that gave up content and got it back.
    assert_eq!(b.frames(a.journal(), 0), frames);
    b.drop_range(a.journal(), 40..1030);
    b.receive(&frames, None).unwrap();
    assert_eq!(b.frames(a.journal(), 0), frames);
}

#[test]
fn small_ranges_travel_inline_and_large_ones_do_not() {
    let (mut a, mut b) = (Device::new(7), Device::new(8));
    a.write(50, 100);
    let Inline { header, segments } = inline(&a.store, a.journal(), 0, None).unwrap().unwrap();
    let frame = |body| Frame { kind: kind::SEGMENT, body };
    let frames: Vec<_> = std::iter::once(header.into()).chain(segments).map(frame).collect();
    let applied = b.receive(&frames, None).unwrap();
    assert_eq!((applied[0].from, applied[0].to, applied[0].done), (0, 50, true));
    assert_eq!(applied[0].operations.iter().cloned().map(Some).collect::<Vec<_>>(), a.content(a.journal()));
    assert_eq!(inline(&a.store, a.journal(), 50, None).unwrap(), None);
    a.write(4000, 200);
    assert_eq!(inline(&a.store, a.journal(), 50, None).unwrap(), None);
}

/// Counts the operations that are read through it.
struct Counting<'a> {
    store: &'a MemoryStore,
    read: Cell<usize>,
}

impl Read for Counting<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read.update(|read| read + usize::from(table == Table::Operations));
        self.store.get(table, key)
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let rows = self.store.range(table, from, to, limit)?;
        self.read.update(|read| read + if table == Table::Operations { rows.len() } else { 0 });
        Ok(rows)
    }
}

#[test]
fn a_new_operation_is_sent_without_a_look_at_the_others() {
    let (mut a, mut b) = (Device::new(10), Device::new(11));
    for size in [1, 1000, 1024, 1500] {
        a.write(size - usize::try_from(a.journals.size(a.journal())).unwrap(), 100);
        b.fetch(&a);
        a.write(1, 100);
        let held = b.journals.size(a.journal());
        let counting = Counting { store: &a.store, read: Cell::new(0) };
        assert!(inline(&counting, a.journal(), held, None).unwrap().is_some());
        assert_eq!(counting.read.get(), 2, "once for its length and once for its content");
        b.receive(&a.frames(a.journal(), held), None).unwrap();
        b.assert_same_as(&a, a.journal());
    }
}

#[test]
fn what_is_not_signed_yet_is_not_sent() {
    let mut a = Device::new(9);
    a.write(3, 10);
    let identity = a.identity.clone();
    let author = Author { identity: &identity, account: ACCOUNT, run: RunId([1; 16]), generation: 0 };
    a.journals.append(&mut a.store, &author, SessionId([1; 16]), EpochId([1; 32]), |_| vec![1]).unwrap();
    assert!(a.frames(a.journal(), 3).is_empty());
    assert_eq!(Device::new(10).receive(&a.frames(a.journal(), 0), None).unwrap()[0].to, 3);
}

#[test]
fn a_transfer_that_does_not_fit_is_refused_with_the_reason() {
    let (mut a, mut b) = (Device::new(11), Device::new(12));
    let journal = a.journal();
    a.write(20, 10);
    let frames = a.frames(journal, 5);
    assert_eq!(b.receive(&frames, None), Err(TransferError::Gap { from: 5, size: 0 }));
    b.fetch(&a);
    assert_eq!(b.receive(&a.frames(journal, 0), None), Err(TransferError::Nothing));
    let header = TransferHeader::from_bytes(&frames[0].body).unwrap();
    let head = Head::open(&header.head).unwrap();
    let other = Incoming::start(&b.journals, &b.store, header, head, AccountId([8; 32]), None);
    assert_eq!(other.unwrap_err(), TransferError::Account);
}

/// Hashes and operations agree with one another, and are not what the device signed.
#[test]
fn a_forged_journal_under_a_true_head_is_refused() {
    for (size, from) in [(30, 0), (30, 10), (1024, 0), (2100, 0), (2100, 1500)] {
        let mut a = Device::new(16);
        a.write(from, 10);
        let mut b = Device::new(17);
        b.fetch(&a);
        let mut forger = twin(&a, 18);
        (forger.store, forger.journals) = (a.store.snapshot(), a.journals.clone());
        a.write(size - from, 10);
        forger.write(size - from, 10);

        let (journal, before) = (a.journal(), b.store.snapshot());
        let mut frames = forger.frames(journal, b.journals.size(journal));
        let mut header = TransferHeader::from_bytes(&frames[0].body).unwrap();
        header.head = a.journals.head(journal).unwrap().bytes().to_vec();
        frames[0].body = header.to_bytes().into();
        assert_eq!(b.receive(&frames, None), Err(TransferError::Mismatch), "{size} operations from {from}");
        assert_eq!(b.store, before);
    }
}

#[test]
fn items_out_of_place_are_refused() {
    let mut a = Device::new(19);
    a.write(5, 10);
    let frames = a.frames(a.journal(), 0);
    let honest = Segment::from_bytes(&frames[1].body).unwrap();
    let dropped = |level| Item::Dropped { level, hash: Hash::NONE };
    let misaligned = [&honest.items[..1], &[dropped(1)], &honest.items[3..]].concat();
    let too_long = [&honest.items[..4], &[dropped(2)]].concat();
    let too_many = [&honest.items[..], &honest.items[..1]].concat();
    let too_few = honest.items[..4].to_vec();
    for items in [misaligned, too_long, too_many, too_few] {
        let mut frames = frames.clone();
        frames[1].body = Segment { from: 0, items }.to_bytes().into();
        let mut b = Device::new(20);
        assert!(matches!(b.receive(&frames, None), Err(TransferError::Malformed(_))));
        assert_eq!(b.store, MemoryStore::new());
    }
}

#[test]
fn forgetting_everything_leaves_no_row() {
    let mut a = Device::new(13);
    a.write(1100, 10);
    a.journals.clear(&mut a.store).unwrap();
    assert_eq!(a.store, MemoryStore::new());
    assert_eq!(a.journals.vector(), []);
    a.write(1, 10);
    assert_eq!(a.journals.size(a.journal()), 1);
}

#[test]
fn rows_rise_with_the_author_and_the_number() {
    let (mut a, mut b) = (Device::new(14), Device::new(15));
    a.write(2, 10);
    b.write(2, 10);
    b.fetch(&a);
    let rows = b.store.range(crate::store::Table::Operations, &[], &[255; 13], 10).unwrap();
    let keys: Vec<_> = rows.iter().map(|(key, _)| (key[3], key[11])).collect();
    assert_eq!(keys, [(0, 0), (0, 1), (1, 0), (1, 1)]);
}

fn any_item() -> impl Strategy<Value = Item> {
    let content = (any::<[u8; 16]>(), any::<[u8; 32]>(), any::<Vec<u8>>()).prop_map(|(session, epoch, ciphertext)| {
        Item::Content(Sealed::new(SessionId(session), EpochId(epoch), &ciphertext))
    });
    let dropped = (0..=SEGMENT_LEVEL, any::<[u8; 32]>());
    prop_oneof![content, dropped.prop_map(|(level, hash)| Item::Dropped { level, hash: Hash(hash) })]
}

proptest! {
    #[test]
    fn headers_and_segments_come_back_as_they_went(
        head in prop::collection::vec(any::<u8>(), 0..HEAD_BYTES), from: u64, level in 0..=SEGMENT_LEVEL,
        roots: Vec<[u8; 32]>, tail in prop::collection::vec(any::<[u8; 32]>(), 0..10), grease: [u8; 4],
        items in prop::collection::vec(any_item(), 0..20),
    ) {
        let hashes = |list: Vec<[u8; 32]>| list.into_iter().map(Hash).collect();
        let header = TransferHeader { head, from, level, roots: hashes(roots), tail: hashes(tail), ext: Extensions::grease(grease) };
        prop_assert_eq!(TransferHeader::from_bytes(&header.to_bytes()), Ok(header.clone()));
        prop_assert_eq!(TransferHeader::from_bytes(&[&header.to_bytes()[..], &[0]].concat()), Err(DecodeError::Trailing(1)));
        let segment = Segment { from, items };
        prop_assert_eq!(Segment::from_bytes(&segment.to_bytes()), Ok(segment.clone()));
        prop_assert_eq!(Segment::from_bytes(&[&segment.to_bytes()[..], &[0]].concat()), Err(DecodeError::Trailing(1)));
    }

    #[test]
    fn noise_is_no_header_and_no_segment_but_never_a_panic(bytes: Vec<u8>) {
        prop_assert!(TransferHeader::from_bytes(&bytes).is_err());
        if let Ok(segment) = Segment::from_bytes(&bytes) {
            prop_assert_eq!(segment.to_bytes(), bytes);
        }
    }
}

#[test]
fn what_is_over_a_limit_is_refused() {
    let dropped = Item::Dropped { level: 11, hash: Hash::NONE };
    let segment = |items| Segment { from: 0, items }.to_bytes();
    assert_eq!(Segment::from_bytes(&segment(vec![dropped])), Err(DecodeError::Invalid("level")));
    let many = vec![Item::Dropped { level: 0, hash: Hash::NONE }; ITEMS + 1];
    assert!(matches!(Segment::from_bytes(&segment(many)), Err(DecodeError::TooLarge { what: "items", .. })));
    let ciphertext = vec![0; crate::journal::operation::CIPHERTEXT_BYTES + 1];
    let large = Item::Content(Sealed::new(SessionId::NONE, EpochId::NONE, &ciphertext));
    assert!(matches!(
        Segment::from_bytes(&segment(vec![large])),
        Err(DecodeError::TooLarge { what: "ciphertext", .. })
    ));
}
