//! Forgetting what does not count: the operations of a revoked device behind its honoured position.

use super::operation::Item;
use super::tables::{self, BLOCK};
use super::{Journals, live_hash};
use crate::id::JournalId;
use crate::store::{Store, StoreError, Table};

impl Journals {
    /// Forgets the operations of a journal from `size` on. The newest head stays, ahead of the journal: it names
    /// the journal to others, who hold the honoured root against it.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn truncate(&mut self, store: &mut dyn Store, journal: JournalId, size: u64) -> Result<(), StoreError> {
        let Some(peaks) = self.peaks_at(store, journal, size)? else { return Ok(()) };
        let Some(entry) = self.entries.get_mut(&journal) else { return Ok(()) };
        let (index, end) = (entry.index, entry.position.size);
        let (mut gone, mut bytes) = (Vec::new(), 0);
        tables::each_item(store, index, size, end, |number, item| {
            gone.push((number, matches!(item, Item::Content(_))));
        })?;
        for (number, live) in gone {
            store.delete(Table::Operations, &tables::operation_key(index, number))?;
            if live {
                entry.record.live = entry.record.live.saturating_sub(1);
                entry.record.digest = entry.record.digest.wrapping_sub(live_hash(journal, number));
            }
        }
        tables::delete_subtrees(store, index, size)?;
        tables::each_item(store, index, size - size % BLOCK, size, |_, item| {
            if let Item::Content(sealed) = item {
                bytes += u64::try_from(sealed.ciphertext().len()).unwrap_or(u64::MAX);
            }
        })?;
        entry.record.bytes = bytes;
        entry.record.peaks = peaks;
        entry.save(store)
    }
}

impl Journals {
    /// Forgets an end of a journal that does not count, from `keep` on, with the head that named it. If the tree below
    /// `keep` is not known any more, what is kept begins where it is, at a complete block at the latest.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn discard(&mut self, store: &mut dyn Store, journal: JournalId, keep: u64) -> Result<(), StoreError> {
        let known = self.peaks_at(store, journal, keep)?.is_some();
        self.truncate(store, journal, if known { keep } else { keep - keep % BLOCK })?;
        let Some(entry) = self.entries.get_mut(&journal) else { return Ok(()) };
        entry.record.head = Vec::new();
        entry.head = None;
        entry.save(store)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use crate::id::{AccountId, EpochId, RunId, SessionId};
    use crate::journal::{Author, Journals};
    use crate::key::Identity;
    use crate::store::MemoryStore;

    #[test]
    fn a_truncated_journal_is_the_one_that_was_never_longer() {
        let identity = Identity::random(&mut ChaCha20Rng::seed_from_u64(7));
        let author = Author { identity: &identity, account: AccountId([1; 32]), run: RunId([2; 16]), generation: 1 };
        for (long, short) in [(1, 0), (5, 3), (1030, 1024), (1030, 1027), (2100, 900), (2048, 1024)] {
            let grow = |size: u64| {
                let (mut journals, mut store) = (Journals::default(), MemoryStore::new());
                for number in 0..size {
                    let seal = |_: &_| number.to_be_bytes().to_vec();
                    journals.append(&mut store, &author, SessionId([3; 16]), EpochId([4; 32]), seal).unwrap();
                }
                (journals, store)
            };
            let (mut journals, mut store) = grow(long);
            journals.truncate(&mut store, author.journal(), short).unwrap();
            let (expected, expected_store) = grow(short);
            if short > 0 {
                assert_eq!(journals.vector(), expected.vector(), "{long} cut to {short}");
                assert_eq!(store, expected_store, "{long} cut to {short}");
            }
            assert_eq!(Journals::load(&store).unwrap().vector(), journals.vector());
        }
    }
}
