//! How journals lie in the store. Authors have a local index, so that keys are short and rise; it is never sent.

use super::head::HEAD_BYTES;
use super::operation::{Item, Operation, Sealed};
use super::tree::Peaks;
use crate::id::{Hash, JournalId};
use crate::limits::SEGMENT_LEVEL;
use crate::store::{Read, Store, StoreError, Table};
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Operations in a block: the largest segment, and what one row of [`Table::Subtrees`] sums up at least.
pub(crate) const BLOCK: u64 = 1 << SEGMENT_LEVEL;

/// log2 of the operations in a part: where a block is too large for one segment, its parts have to be known.
pub(crate) const PART_LEVEL: u8 = 5;
/// Operations in a part.
pub(crate) const PART: u64 = 1 << PART_LEVEL;

/// A row of [`Table::Journals`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) journal: JournalId,
    pub(crate) peaks: Peaks,
    /// Operations whose content is held.
    pub(crate) live: u64,
    /// Sum of their hashes.
    pub(crate) digest: u128,
    /// Operations whose content was held and was dropped here.
    pub(crate) dropped: u64,
    /// Bytes of ciphertext in the last, incomplete block.
    pub(crate) bytes: u64,
    /// The newest signed head; empty if there is none yet.
    pub(crate) head: Vec<u8>,
}

impl Encode for Record {
    fn encode(&self, w: &mut Writer) {
        self.journal.encode(w);
        self.peaks.encode(w);
        w.u64(self.live);
        w.raw(&self.digest.to_be_bytes());
        w.u64(self.dropped);
        w.u64(self.bytes);
        w.v16(&self.head);
    }
}

impl Decode for Record {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            journal: JournalId::decode(r)?,
            peaks: Peaks::decode(r)?,
            live: r.u64()?,
            digest: u128::from_be_bytes(r.array()?),
            dropped: r.u64()?,
            bytes: r.u64()?,
            head: r.v16("head", HEAD_BYTES)?.to_vec(),
        })
    }
}

/// A row of [`Table::Subtrees`]: a complete block, one of its parts, or a dropped subtree of which only this is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subtree {
    pub(crate) hash: Hash,
    /// Bytes of ciphertext, at most: in a block, or in the block of a part up to where the part ends.
    pub(crate) bytes: u64,
}

impl Encode for Subtree {
    fn encode(&self, w: &mut Writer) {
        self.hash.encode(w);
        w.u64(self.bytes);
    }
}

impl Decode for Subtree {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { hash: Hash::decode(r)?, bytes: r.u64()? })
    }
}

/// Every journal and its local index.
pub(crate) fn records(store: &dyn Read) -> Result<Vec<(u32, Record)>, StoreError> {
    let rows = store.range(Table::Journals, &[], &[u8::MAX; 5], usize::MAX)?;
    rows.iter().map(|(key, value)| Ok((index_of(key)?, read(value)?))).collect()
}

/// One journal and its local index.
pub(crate) fn find(store: &dyn Read, journal: JournalId) -> Result<Option<(u32, Record)>, StoreError> {
    Ok(records(store)?.into_iter().find(|(_, record)| record.journal == journal))
}

pub(crate) fn put_record(store: &mut dyn Store, index: u32, record: &Record) -> Result<(), StoreError> {
    store.put(Table::Journals, &index.to_be_bytes(), &record.to_bytes())
}

pub(crate) fn item(store: &dyn Read, index: u32, number: u64) -> Result<Option<Item>, StoreError> {
    let Some(value) = store.get(Table::Operations, &operation_key(index, number))? else { return Ok(None) };
    Item::from_buffer(&value.into()).map(Some).map_err(damaged)
}

pub(crate) fn put_content(store: &mut dyn Store, index: u32, number: u64, sealed: &Sealed) -> Result<(), StoreError> {
    store.put_shared(Table::Operations, &operation_key(index, number), sealed.bytes().clone())
}

/// Keeps only the leaf of an operation.
pub(crate) fn put_leaf(store: &mut dyn Store, index: u32, number: u64, hash: Hash) -> Result<(), StoreError> {
    store.put(Table::Operations, &operation_key(index, number), &Item::Dropped { level: 0, hash }.to_bytes())
}

/// The rows of the operations `from <= number < to`, ascending.
pub(crate) fn each_item(
    store: &dyn Read,
    index: u32,
    from: u64,
    to: u64,
    mut each: impl FnMut(u64, Item),
) -> Result<(), StoreError> {
    each_row(store, index, from, to, |number, row| {
        each(number, read(row)?);
        Ok(())
    })
}

/// As [`each_item`], unread: each row is an encoded [`Item`].
pub(crate) fn each_row(
    store: &dyn Read,
    index: u32,
    from: u64,
    to: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let (from, to) = (operation_key(index, from), operation_key(index, to));
    store.each(Table::Operations, &from, &to, &mut |key, row| each(number_of(key)?, row))
}

pub(crate) fn subtree(store: &dyn Read, index: u32, level: u8, at: u64) -> Result<Option<Subtree>, StoreError> {
    store.get(Table::Subtrees, &subtree_key(index, level, at))?.map(|value| read(&value)).transpose()
}

pub(crate) fn put_subtree(
    store: &mut dyn Store,
    index: u32,
    level: u8,
    at: u64,
    subtree: Subtree,
) -> Result<(), StoreError> {
    store.put(Table::Subtrees, &subtree_key(index, level, at), &subtree.to_bytes())
}

/// The complete blocks `from <= position < to`; an error if one is missing, as every complete block has its row.
pub(crate) fn blocks(store: &dyn Read, index: u32, from: u64, to: u64) -> Result<Vec<Subtree>, StoreError> {
    let (first, end) = (subtree_key(index, SEGMENT_LEVEL, from), subtree_key(index, SEGMENT_LEVEL, to));
    let rows = store.range(Table::Subtrees, &first, &end, usize::MAX)?;
    if u64::try_from(rows.len()) != Ok(to.saturating_sub(from)) {
        return Err(StoreError(format!("journal {index}: the hash of a block of operations is missing")));
    }
    rows.iter().map(|(_, value)| read(value)).collect()
}

/// The parts of a complete block, if all are known.
pub(crate) fn parts(store: &dyn Read, index: u32, block: u64) -> Result<Option<Vec<Subtree>>, StoreError> {
    let first = block * (BLOCK / PART);
    let (from, to) = (subtree_key(index, PART_LEVEL, first), subtree_key(index, PART_LEVEL, first + BLOCK / PART));
    let rows = store.range(Table::Subtrees, &from, &to, usize::MAX)?;
    let all = u64::try_from(rows.len()) == Ok(BLOCK / PART);
    all.then(|| rows.iter().map(|(_, value)| read(value)).collect()).transpose()
}

/// Forgets the parts of a block: their sizes are no longer right.
pub(crate) fn delete_parts(store: &mut dyn Store, index: u32, block: u64) -> Result<(), StoreError> {
    let first = block * (BLOCK / PART);
    (first..first + BLOCK / PART).try_for_each(|at| store.delete(Table::Subtrees, &subtree_key(index, PART_LEVEL, at)))
}

/// Forgets the sums of all subtrees that reach behind the first `size` operations.
pub(crate) fn delete_subtrees(store: &mut dyn Store, index: u32, size: u64) -> Result<(), StoreError> {
    for level in 0..=SEGMENT_LEVEL {
        let (from, to) = (subtree_key(index, level, size >> level), subtree_key(index, level, u64::MAX));
        for (key, _) in store.range(Table::Subtrees, &from, &to, usize::MAX)? {
            store.delete(Table::Subtrees, &key)?;
        }
    }
    Ok(())
}

/// Whether the content of an operation is held.
pub(crate) fn is_present(store: &dyn Read, index: u32, number: u64) -> Result<bool, StoreError> {
    Ok(matches!(item(store, index, number)?, Some(Item::Content(_))))
}

pub(crate) fn operation(
    store: &dyn Read,
    index: u32,
    journal: JournalId,
    number: u64,
) -> Result<Option<Operation>, StoreError> {
    Ok(item(store, index, number)?.and_then(Item::content).map(|sealed| sealed.at(journal, number)))
}

pub(crate) fn operation_key(index: u32, number: u64) -> Vec<u8> {
    [&index.to_be_bytes()[..], &number.to_be_bytes()].concat()
}

fn subtree_key(index: u32, level: u8, at: u64) -> Vec<u8> {
    [&index.to_be_bytes()[..], &[level], &at.to_be_bytes()].concat()
}

fn index_of(key: &[u8]) -> Result<u32, StoreError> {
    key.try_into().map(u32::from_be_bytes).map_err(|_| StoreError("the key of a journal is damaged".into()))
}

fn number_of(key: &[u8]) -> Result<u64, StoreError> {
    let number = key.get(4..).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes);
    number.ok_or_else(|| StoreError("the key of an operation is damaged".into()))
}

fn read<T: Decode>(bytes: &[u8]) -> Result<T, StoreError> {
    T::from_bytes(bytes).map_err(damaged)
}

fn damaged(error: DecodeError) -> StoreError {
    StoreError(format!("a row of a journal is damaged: {error}"))
}
