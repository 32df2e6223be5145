//! The hashes of one block of a journal, computed from what lies in the store.

use super::operation::Item;
use super::tables::{self, BLOCK, PART_LEVEL};
use super::tree::{Peaks, node};
use crate::id::{Hash, JournalId};
use crate::limits::SEGMENT_LEVEL;
use crate::store::{Read, StoreError};

/// An aligned subtree of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its root, if it is known.
    pub(crate) hash: Option<Hash>,
    /// Whether content of it is held.
    pub(crate) live: bool,
}

/// A perfect subtree: 2^level operations from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) level: u8,
}

impl Span {
    pub(crate) fn len(self) -> u64 {
        1 << self.level
    }

    pub(crate) fn end(self) -> u64 {
        self.first + self.len()
    }

    pub(crate) fn halves(self) -> Option<[Self; 2]> {
        let level = self.level.checked_sub(1)?;
        Some([Self { first: self.first, level }, Self { first: self.first + (1 << level), level }])
    }
}

/// The parts of a complete block: enough to send it in segments of at least one part, without reading it.
pub(crate) struct Parts {
    hashes: Vec<Hash>,
    /// Bytes of each, at most.
    bytes: Vec<u64>,
}

impl Parts {
    /// `None` if one is not known.
    pub(crate) fn load(store: &dyn Read, index: u32, block: u64) -> Result<Option<Self>, StoreError> {
        let Some(rows) = tables::parts(store, index, block)? else { return Ok(None) };
        let mut before = 0;
        let bytes = rows.iter().map(|row| row.bytes.saturating_sub(std::mem::replace(&mut before, row.bytes)));
        Ok(Some(Self { bytes: bytes.collect(), hashes: rows.iter().map(|row| row.hash).collect() }))
    }

    /// Bytes of the largest subtree of a level, at most; `None` for a level below that of a part.
    pub(crate) fn largest(&self, level: u8) -> Option<u64> {
        let size = 1 << level.checked_sub(PART_LEVEL)?;
        self.bytes.chunks(size).map(|parts| parts.iter().sum()).max()
    }

    /// The roots of a level; `None` for one below that of a part.
    pub(crate) fn roots(mut self, level: u8) -> Option<Vec<Hash>> {
        for _ in 0..level.checked_sub(PART_LEVEL)? {
            self.hashes = self.hashes.chunks_exact(2).map(|pair| node(&pair[0], &pair[1])).collect();
        }
        Some(self.hashes)
    }
}

/// What is known of one block: every node whose hash follows from the operations held, or was given.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    first: u64,
    /// By level, then by place.
    levels: Vec<Vec<Node>>,
    /// Bytes of each ciphertext that is held.
    bytes: Vec<usize>,
}

impl Block {
    /// Reads the block `at` of a journal of `size` operations.
    pub(crate) fn load(
        store: &dyn Read,
        index: u32,
        journal: JournalId,
        size: u64,
        at: u64,
    ) -> Result<Self, StoreError> {
        let first = at * BLOCK;
        let slots = usize::try_from(BLOCK).unwrap_or(usize::MAX);
        let (mut leaves, mut bytes) = (vec![Node::default(); slots], vec![0; slots]);
        tables::each_item(store, index, first, size.min(first + BLOCK), |number, item| {
            let slot = place(number - first, 0);
            bytes[slot] = if let Item::Content(sealed) = &item { sealed.ciphertext().len() } else { 0 };
            leaves[slot] = known(journal, number, &item);
        })?;
        let mut block = Self { first, levels: vec![leaves], bytes };
        (1..=SEGMENT_LEVEL).try_for_each(|level| block.raise(store, index, size, level))?;
        Ok(block)
    }

    /// Computes the nodes of `level`; where a half is not known, asks the store for the whole.
    fn raise(&mut self, store: &dyn Read, index: u32, size: u64, level: u8) -> Result<(), StoreError> {
        let below = &self.levels[usize::from(level) - 1];
        let mut nodes = Vec::with_capacity(below.len() / 2);
        for (pair, at) in below.chunks_exact(2).zip(self.first >> level..) {
            let mut hash = pair[0].hash.zip(pair[1].hash).map(|(left, right)| node(&left, &right));
            if hash.is_none() && (at + 1) << level <= size {
                hash = tables::subtree(store, index, level, at)?.map(|subtree| subtree.hash);
            }
            nodes.push(Node { hash, live: pair[0].live || pair[1].live });
        }
        self.levels.push(nodes);
        Ok(())
    }

    pub(crate) fn node(&self, span: Span) -> Node {
        self.levels[usize::from(span.level)][place(span.first - self.first, span.level)]
    }

    /// Whether everything below a node is known down to what was dropped, so that its content can be given away.
    pub(crate) fn open(&self, span: Span) -> bool {
        span.halves().is_some_and(|halves| halves.iter().all(|half| self.node(*half).hash.is_some()))
    }

    /// The perfect subtrees of which `from..to` consists, each of at most 2^`level`; `None` if one is not known.
    pub(crate) fn cover(&self, from: u64, to: u64, level: u8) -> Option<Vec<Span>> {
        let spans = perfect(from, to, level);
        spans.iter().all(|span| self.node(*span).hash.is_some()).then_some(spans)
    }

    /// The largest number at or below `from` at which a range up to `to` can begin: `from` itself unless it lies within a dropped
    /// subtree of which only the root is known.
    pub(crate) fn begin(&self, from: u64, to: u64, level: u8) -> Option<u64> {
        let starts = (0..=SEGMENT_LEVEL).map(|round| from >> round << round);
        starts.into_iter().find(|start| self.cover(*start, to, level).is_some())
    }

    /// Bytes of ciphertext held within `from..to`.
    pub(crate) fn bytes(&self, from: u64, to: u64) -> usize {
        let slots = place(from - self.first, 0)..place(to - self.first, 0);
        self.bytes[slots].iter().sum()
    }
}

fn place(offset: u64, level: u8) -> usize {
    // At most 1024: within one block.
    usize::try_from(offset >> level).unwrap_or(usize::MAX)
}

fn known(journal: JournalId, number: u64, item: &Item) -> Node {
    let (_, hash) = item.subtree(journal, number);
    Node { hash: Some(hash), live: matches!(item, Item::Content(_)) }
}

/// `from..to` as perfect subtrees of at most 2^`level`, ascending.
pub(crate) fn perfect(mut from: u64, to: u64, level: u8) -> Vec<Span> {
    let mut spans = Vec::new();
    while from < to {
        let fits = |l: &u8| super::tree::aligned(from, *l) && from + (1 << *l) <= to;
        let span = Span { first: from, level: (0..=level).rev().find(fits).unwrap_or(0) };
        spans.push(span);
        from = span.end();
    }
    spans
}

/// The peaks of the first `at` operations of a journal of `size`; `None` if a dropped subtree of which only the root is known
/// reaches across `at`.
pub(crate) fn peaks_at(
    store: &dyn Read,
    index: u32,
    journal: JournalId,
    size: u64,
    at: u64,
) -> Result<Option<Peaks>, StoreError> {
    let mut peaks = Peaks::new();
    for block in tables::blocks(store, index, 0, at / BLOCK)? {
        peaks.push_noting(SEGMENT_LEVEL, block.hash, |_, _| ());
    }
    if at.is_multiple_of(BLOCK) {
        return Ok(Some(peaks));
    }
    let block = Block::load(store, index, journal, size, at / BLOCK)?;
    let Some(spans) = block.cover(peaks.size(), at, SEGMENT_LEVEL) else { return Ok(None) };
    for span in spans {
        let Some(hash) = block.node(span).hash else { return Ok(None) };
        peaks.push_noting(span.level, hash, |_, _| ());
    }
    Ok(Some(peaks))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn perfect_subtrees_are_aligned_and_leave_no_gap(from in 0_u64..2000, len in 0_u64..2000, level in 0_u8..=10) {
            let spans = perfect(from, from + len, level);
            let mut at = from;
            for span in spans {
                prop_assert!(span.level <= level && span.first == at && span.first % span.len() == 0);
                at = span.end();
            }
            prop_assert_eq!(at, from + len);
        }
    }
}
