//! Journals: each device's operations, append-only, as a Merkle tree with a signed head. PROTOCOL.md section 7.
//!
//! [`Journals`] is the index in memory over what lies in the store; each change goes to both. If the
//! store's transaction is lost, the index is void as well and is loaded anew.

pub(crate) mod block;
pub mod head;
pub mod operation;
pub(crate) mod tables;
pub mod tree;
mod truncate;

use std::collections::BTreeMap;

pub use head::{Author, Branch, Head};
pub use operation::{Header, Item, Operation, Sealed};
pub use tree::Peaks;

use crate::id::{DeviceId, EpochId, Hash, JournalId, SessionId};
use crate::key::hash;
use crate::limits::SEGMENT_LEVEL;
use crate::store::{Read, Store, StoreError, Table};
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};
use tables::{BLOCK, PART, PART_LEVEL, Record, Subtree};

/// What a device holds of a journal, as told to peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which journal.
    pub journal: JournalId,
    /// How many operations are known, with or without their content.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// How many of them are held with their content.
    pub live: u64,
    /// Sum modulo 2^128 of the hashes of those. A hint, not a proof.
    pub digest: [u8; 16],
}

impl Encode for Position {
    fn encode(&self, w: &mut Writer) {
        self.journal.encode(w);
        w.u64(self.size);
        self.root.encode(w);
        w.u64(self.live);
        w.raw(&self.digest);
    }
}

impl Decode for Position {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            journal: JournalId::decode(r)?,
            size: r.u64()?,
            root: Hash::decode(r)?,
            live: r.u64()?,
            digest: r.array()?,
        })
    }
}

/// All journals of the account.
#[derive(Clone, Debug, Default)]
pub struct Journals {
    entries: BTreeMap<JournalId, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    index: u32,
    record: Record,
    position: Position,
    head: Option<Head>,
}

impl Journals {
    /// Reads the index.
    ///
    /// # Errors
    /// If the store cannot be read, or a row is damaged.
    pub fn load(store: &dyn Read) -> Result<Self, StoreError> {
        let entries = tables::records(store)?.into_iter().map(|(index, record)| {
            let entry = Entry::load(index, record)?;
            Ok((entry.position.journal, entry))
        });
        Ok(Self { entries: entries.collect::<Result<_, StoreError>>()? })
    }

    /// What is held of each journal, sorted by journal.
    #[must_use]
    pub fn vector(&self) -> Vec<Position> {
        self.entries.values().map(|entry| entry.position).collect()
    }

    /// What is held of one journal; `None` if nothing.
    #[must_use]
    pub fn position(&self, journal: JournalId) -> Option<&Position> {
        self.entries.get(&journal).map(|entry| &entry.position)
    }

    /// How many operations of a journal are known; 0 if it is not.
    #[must_use]
    pub fn size(&self, journal: JournalId) -> u64 {
        self.position(journal).map_or(0, |position| position.size)
    }

    /// How many operations of a journal [`Journals::drop`] left without content that a peer may still hold: nobody
    /// needs to be asked for it.
    #[must_use]
    pub fn dropped(&self, journal: JournalId) -> u64 {
        self.entries.get(&journal).map_or(0, |entry| entry.record.dropped)
    }

    /// The newest signed head of a journal that is held whole.
    ///
    /// While a transfer is under way it is that of the previous one. It can be ahead of [`Journals::size`]
    /// where only the first part of a journal counts, because its device was revoked.
    #[must_use]
    pub fn head(&self, journal: JournalId) -> Option<&Head> {
        self.entries.get(&journal)?.head.as_ref()
    }

    /// The ends of a device's earlier journals that do not count, as the head of its newest one lists them.
    #[must_use]
    pub fn branches(&self, device: DeviceId) -> &[Branch] {
        let all = JournalId { device, generation: 0 }..=JournalId { device, generation: u32::MAX };
        let newest = self.entries.range(all).rev().find_map(|(_, entry)| entry.head.as_ref());
        newest.map_or(&[], |head| head.branches.as_slice())
    }

    /// Appends an operation of this device's own and returns it. `seal` makes the ciphertext; the
    /// header is its associated data. Once all of a batch are in, call [`Journals::sign_head`].
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn append(
        &mut self,
        store: &mut dyn Store,
        author: &Author<'_>,
        session: SessionId,
        epoch: EpochId,
        seal: impl FnOnce(&Header) -> Vec<u8>,
    ) -> Result<Operation, StoreError> {
        let entry = self.entry(author.journal());
        let number = entry.position.size;
        let header = author.header(number, session, epoch);
        let operation = Operation::new(header, &seal(&header));
        let (mut peaks, mut completed) = (entry.record.peaks.clone(), Completed::default());
        peaks.push_noting(0, operation.leaf(), |level, hash| completed.note(number + 1, level, hash));
        entry.put_operation(store, &operation)?;
        entry.put_part(store, number + 1, &completed)?;
        entry.advance(store, peaks, completed.block)?;
        entry.save(store)?;
        Ok(operation)
    }

    /// Signs the head over all that was appended. Peers can be given nothing that is not below a signed head.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn sign_head(&mut self, store: &mut dyn Store, author: &Author<'_>) -> Result<Head, StoreError> {
        self.sign_head_listing(store, author, &[])
    }

    /// As [`Self::sign_head`], listing ends of earlier generations that do not count.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn sign_head_listing(
        &mut self,
        store: &mut dyn Store,
        author: &Author<'_>,
        branches: &[Branch],
    ) -> Result<Head, StoreError> {
        let entry = self.entry(author.journal());
        let head = Head::sign(author, entry.position.size, entry.position.root, branches);
        entry.set_head(&head);
        entry.save(store)?;
        Ok(head)
    }

    /// An operation; `None` if it is not known or its content was dropped.
    ///
    /// # Errors
    /// If the store cannot be read, or the row is damaged.
    pub fn operation(
        &self,
        store: &dyn Read,
        journal: JournalId,
        number: u64,
    ) -> Result<Option<Operation>, StoreError> {
        let Some(entry) = self.entries.get(&journal) else { return Ok(None) };
        tables::operation(store, entry.index, journal, number)
    }

    /// Whether the content of an operation is held.
    ///
    /// # Errors
    /// If the store cannot be read, or the row is damaged.
    pub fn is_live(&self, store: &dyn Read, journal: JournalId, number: u64) -> Result<bool, StoreError> {
        self.entries.get(&journal).map_or(Ok(false), |entry| tables::is_present(store, entry.index, number))
    }

    /// Forgets the content of an operation and keeps its leaf. `false` if it was not held.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn drop(&mut self, store: &mut dyn Store, journal: JournalId, number: u64) -> Result<bool, StoreError> {
        let Some(entry) = self.entries.get_mut(&journal) else { return Ok(false) };
        let Some(operation) = tables::operation(store, entry.index, journal, number)? else { return Ok(false) };
        tables::put_leaf(store, entry.index, number, operation.leaf())?;
        entry.record.live = entry.record.live.saturating_sub(1);
        entry.record.dropped += 1;
        entry.record.digest = entry.record.digest.wrapping_sub(live_hash(journal, number));
        entry.save(store)?;
        Ok(true)
    }

    /// Forgets all journals.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn clear(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        self.entries.clear();
        [Table::Journals, Table::Operations, Table::Subtrees].into_iter().try_for_each(|table| store.clear(table))
    }

    /// The peaks of all that is known of a journal.
    pub(crate) fn peaks(&self, journal: JournalId) -> Peaks {
        self.entries.get(&journal).map(|entry| entry.record.peaks.clone()).unwrap_or_default()
    }

    /// The peaks of its first `at` operations; `None` if they are not known.
    pub(crate) fn peaks_at(&self, store: &dyn Read, journal: JournalId, at: u64) -> Result<Option<Peaks>, StoreError> {
        let size = self.size(journal);
        match self.entries.get(&journal) {
            _ if at > size => Ok(None),
            Some(entry) if at < size => block::peaks_at(store, entry.index, journal, size, at),
            _ => Ok(Some(self.peaks(journal))),
        }
    }

    /// Stores a range that was verified, and returns the operations whose content is new here.
    pub(crate) fn apply(
        &mut self,
        store: &mut dyn Store,
        journal: JournalId,
        range: Verified,
    ) -> Result<Vec<Operation>, StoreError> {
        let entry = self.entry(journal);
        let operations = entry.put_range(store, range)?;
        entry.save(store)?;
        Ok(operations)
    }

    fn entry(&mut self, journal: JournalId) -> &mut Entry {
        let next = self.entries.values().map(|entry| entry.index + 1).max().unwrap_or(0);
        self.entries.entry(journal).or_insert_with(|| Entry::new(next, journal))
    }
}

impl Entry {
    fn new(index: u32, journal: JournalId) -> Self {
        let record =
            Record { journal, peaks: Peaks::new(), live: 0, digest: 0, dropped: 0, bytes: 0, head: Vec::new() };
        let position = position(&record);
        Self { index, record, position, head: None }
    }

    fn load(index: u32, record: Record) -> Result<Self, StoreError> {
        let damaged = |error| StoreError(format!("the head of a journal is damaged: {error}"));
        let head = if record.head.is_empty() { None } else { Some(Head::open(&record.head).map_err(damaged)?) };
        Ok(Self { index, position: position(&record), record, head })
    }

    /// Stores an operation whose content was not held.
    fn put_operation(&mut self, store: &mut dyn Store, operation: &Operation) -> Result<(), StoreError> {
        let Header { journal, number, .. } = operation.header;
        self.record.live += 1;
        self.record.digest = self.record.digest.wrapping_add(live_hash(journal, number));
        self.record.bytes += u64::try_from(operation.ciphertext().len()).unwrap_or(u64::MAX);
        tables::put_content(store, self.index, number, operation.sealed())
    }

    /// Notes the part that ends at `end`, if one does.
    fn put_part(&self, store: &mut dyn Store, end: u64, completed: &Completed) -> Result<(), StoreError> {
        let Some(hash) = completed.parts.get(&end).copied() else { return Ok(()) };
        tables::put_subtree(store, self.index, PART_LEVEL, end / PART - 1, Subtree { hash, bytes: self.record.bytes })
    }

    /// Takes on `peaks`, which may have completed a block, whose root is then `block`.
    fn advance(&mut self, store: &mut dyn Store, peaks: Peaks, block: Option<Hash>) -> Result<(), StoreError> {
        if let Some(hash) = block {
            let row = Subtree { hash, bytes: std::mem::take(&mut self.record.bytes) };
            tables::put_subtree(store, self.index, SEGMENT_LEVEL, peaks.size() / BLOCK - 1, row)?;
        }
        self.record.peaks = peaks;
        Ok(())
    }

    /// Adds what lies behind the end, and fills gaps before it; what is held already stays.
    fn put_range(&mut self, store: &mut dyn Store, range: Verified) -> Result<Vec<Operation>, StoreError> {
        let (size, bytes) = (self.record.peaks.size(), self.record.bytes);
        let (mut number, mut operations) = (range.from, Vec::new());
        for item in range.items {
            let next = number + item.count();
            if next > size || (number < range.fill && self.lacks(store, number, &item)?) {
                operations.extend(self.put_item(store, number, item)?);
            }
            if next > size {
                self.put_part(store, next, &range.completed)?;
            }
            number = next;
        }
        if number > size {
            self.advance(store, range.peaks, range.completed.block)?;
        } else if range.from / BLOCK < size / BLOCK {
            let added = std::mem::replace(&mut self.record.bytes, bytes).abs_diff(bytes);
            self.grow_block(store, range.from / BLOCK, added)?;
        }
        if let Some(head) = range.head.filter(|head| self.head.as_ref().is_none_or(|old| old.size < head.size)) {
            self.set_head(&head);
        }
        Ok(operations)
    }

    fn lacks(&self, store: &dyn Read, number: u64, item: &Item) -> Result<bool, StoreError> {
        Ok(match item {
            Item::Content(_) => !tables::is_present(store, self.index, number)?,
            Item::Dropped { level, .. } => *level == 0 && tables::item(store, self.index, number)?.is_none(),
        })
    }

    fn put_item(&mut self, store: &mut dyn Store, number: u64, item: Item) -> Result<Option<Operation>, StoreError> {
        match item {
            Item::Content(sealed) => {
                let operation = sealed.at(self.record.journal, number);
                self.put_operation(store, &operation)?;
                return Ok(Some(operation));
            }
            Item::Dropped { level: 0, hash } => tables::put_leaf(store, self.index, number, hash)?,
            Item::Dropped { level, hash } => {
                tables::put_subtree(store, self.index, level, number >> level, Subtree { hash, bytes: 0 })?;
            }
        }
        Ok(None)
    }

    fn grow_block(&self, store: &mut dyn Store, at: u64, added: u64) -> Result<(), StoreError> {
        match tables::subtree(store, self.index, SEGMENT_LEVEL, at)? {
            Some(row) if added > 0 => {
                let row = Subtree { bytes: row.bytes.saturating_add(added), ..row };
                tables::delete_parts(store, self.index, at)?;
                tables::put_subtree(store, self.index, SEGMENT_LEVEL, at, row)
            }
            _ => Ok(()),
        }
    }

    fn set_head(&mut self, head: &Head) {
        self.record.head = head.bytes().to_vec();
        self.head = Some(head.clone());
    }

    fn save(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        self.position = position(&self.record);
        // What came back, or does not count any more, is not missing.
        self.record.dropped = self.record.dropped.min(self.position.size.saturating_sub(self.position.live));
        tables::put_record(store, self.index, &self.record)
    }
}

/// A range of a journal that fits what is known of it, within one block.
#[derive(Debug)]
pub(crate) struct Verified {
    /// Its first number.
    pub(crate) from: u64,
    /// What it carries.
    pub(crate) items: Vec<Item>,
    /// The peaks at its end.
    pub(crate) peaks: Peaks,
    /// What it completes.
    pub(crate) completed: Completed,
    /// Below this number it is proven to be what is known here, so that gaps may be filled from it.
    pub(crate) fill: u64,
    /// The head, if this is the last range below it.
    pub(crate) head: Option<Head>,
}

/// Subtrees of which a row is kept, that became complete.
#[derive(Clone, Debug, Default)]
pub(crate) struct Completed {
    /// The root of the block, of which there is one at most in a range.
    block: Option<Hash>,
    /// The roots of parts, by where they end.
    parts: BTreeMap<u64, Hash>,
}

impl Completed {
    /// Takes note of the subtree of this level that ends at `end`.
    pub(crate) fn note(&mut self, end: u64, level: u8, hash: Hash) {
        match level {
            PART_LEVEL => drop(self.parts.insert(end, hash)),
            SEGMENT_LEVEL => self.block = Some(hash),
            _ => {}
        }
    }
}

fn position(record: &Record) -> Position {
    Position {
        journal: record.journal,
        size: record.peaks.size(),
        root: record.peaks.root(),
        live: record.live,
        digest: record.digest.to_be_bytes(),
    }
}

/// What an operation whose content is held adds to the digest: the first 16 bytes of `H("live", device ‖ generation ‖ number)`.
fn live_hash(journal: JournalId, number: u64) -> u128 {
    let hash = hash("live", &[journal.device.as_bytes(), &journal.generation.to_be_bytes(), &number.to_be_bytes()]);
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_be_bytes(first)
}
