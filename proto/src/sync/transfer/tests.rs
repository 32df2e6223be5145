//! Two or three devices in memory that pass journals on.

mod bytes;
mod refused;
mod sent;

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
