//! The sending side. It reads the store alone, so that it can stream from a snapshot beside the engine.

use bytes::Bytes;

use super::{Item, Segment, TransferHeader, segment_end};
use crate::id::{Hash, JournalId};
use crate::journal::Head;
use crate::journal::block::{Block, Parts, Span, perfect};
use crate::journal::operation::CONTENT;
use crate::journal::tables::{self, BLOCK, Record};
use crate::limits::{INLINE_BYTES, SEGMENT_BYTES, SEGMENT_LEVEL};
use crate::store::{Read, StoreError};
use crate::wire::frame::Frame;
use crate::wire::message::kind;
use crate::wire::object::Extensions;
use crate::wire::{Encode, Writer};

/// Bytes that an item needs beside its ciphertext, rounded up.
const ITEM: usize = 64;
/// Roots that a header has room for.
const ROOTS: u64 = u16::MAX as u64;

/// A small range, whole: the content of a Journal frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inline {
    /// The encoded [`TransferHeader`].
    pub header: Vec<u8>,
    /// The encoded [`Segment`]s.
    pub segments: Vec<Bytes>,
}

/// A range of a journal under way to a peer: a header, then its segments.
#[derive(Debug)]
pub struct Outgoing {
    source: Source,
    level: u8,
    next: u64,
    header: Option<TransferHeader>,
    block: Option<(u64, Block)>,
    /// Bytes of the segment before: the next one is of about this size.
    bytes: usize,
}

/// What is sent from: a journal up to where its signed head, or the honoured position, reaches.
#[derive(Debug)]
struct Source {
    index: u32,
    record: Record,
    end: u64,
}

impl Outgoing {
    /// The range of `journal` from the number `from` on. Where the peer lets only the first operations of this
    /// journal count (its device was revoked), `upto` is how many.
    ///
    /// It can begin before `from`, where only the root of a dropped subtree around `from` is known here.
    /// `None` if nothing that a signed head vouches for is held behind `from`.
    ///
    /// # Errors
    /// If the store cannot be read, or a row is damaged.
    pub fn new(store: &dyn Read, journal: JournalId, from: u64, upto: Option<u64>) -> Result<Option<Self>, StoreError> {
        match Source::find(store, journal, upto)?.filter(|source| from < source.end) {
            Some(source) => Self::of(source, store, from),
            None => Ok(None),
        }
    }

    fn of(source: Source, store: &dyn Read, from: u64) -> Result<Option<Self>, StoreError> {
        if source.is_end(store, from)? {
            return Ok(Some(source.last(from)));
        }
        for level in source.level(store, from)?..=SEGMENT_LEVEL {
            if let Some(header) = source.header(store, from, level)? {
                let next = header.from;
                return Ok(Some(Self { source, level, next, header: Some(header), block: None, bytes: 0 }));
            }
        }
        Ok(None)
    }

    /// The next frame: a TransferHeader, then Segments; `None` after the last.
    ///
    /// # Errors
    /// If the store cannot be read, or does not hold what it held when this began.
    pub fn frame(&mut self, store: &dyn Read) -> Result<Option<Frame>, StoreError> {
        if let Some(header) = self.header.take() {
            return Ok(Some(Frame::new(kind::TRANSFER_HEADER, header.to_bytes())));
        }
        Ok(self.segment(store)?.map(|segment| Frame::new(kind::SEGMENT, segment)))
    }

    /// The next segment, encoded.
    fn segment(&mut self, store: &dyn Read) -> Result<Option<Vec<u8>>, StoreError> {
        let (from, end) = (self.next, self.source.end);
        if from >= end {
            return Ok(None);
        }
        self.next = segment_end(from, self.level, end);
        let segment = match self.whole(store, from)? {
            Some(segment) => segment,
            None => Segment { from, items: self.with_gaps(store, from)? }.to_bytes(),
        };
        self.bytes = segment.len();
        Ok(Some(segment))
    }

    /// A segment of which all content is held: its rows are its items. `None` if some was dropped.
    fn whole(&self, store: &dyn Read, from: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let count = self.next - from;
        let mut w = Writer::with_capacity(self.bytes);
        w.u64(from);
        // At most one block.
        w.u16(u16::try_from(count).unwrap_or(u16::MAX));
        let mut contents = 0;
        tables::each_row(store, self.source.index, from, self.next, |_, row| {
            if row.first() == Some(&CONTENT) {
                contents += 1;
                w.raw(row);
            }
            Ok(())
        })?;
        Ok((contents == count).then(|| w.finish()))
    }

    /// The items of a range of which some content was dropped.
    fn with_gaps(&mut self, store: &dyn Read, from: u64) -> Result<Vec<Item>, StoreError> {
        let (to, level) = (self.next, self.level);
        let mut rows = Vec::new();
        tables::each_item(store, self.source.index, from, to, |number, item| rows.push((number, item)))?;
        let block = self.block(store, from / BLOCK)?;
        let gone = || StoreError("a range of a journal is no longer held as it was announced".into());
        let spans = block.cover(from, to, level).ok_or_else(gone)?;
        let mut rows = rows.into_iter();
        let mut items = Vec::new();
        spans.into_iter().for_each(|span| expand(block, span, &mut rows, &mut items));
        Ok(items)
    }

    fn block(&mut self, store: &dyn Read, at: u64) -> Result<&Block, StoreError> {
        let held = self.block.take().filter(|(held, _)| *held == at);
        let block = match held {
            Some((_, block)) => block,
            None => self.source.block(store, at)?,
        };
        Ok(&self.block.insert((at, block)).1)
    }
}

/// A range as the content of one Journal frame; `None` if there is nothing to send, or too much for one frame. The arguments
/// are those of [`Outgoing::new`].
///
/// # Errors
/// If the store cannot be read, or a row is damaged.
pub fn inline(
    store: &dyn Read,
    journal: JournalId,
    from: u64,
    upto: Option<u64>,
) -> Result<Option<Inline>, StoreError> {
    let Some(source) = Source::find(store, journal, upto)?.filter(|source| from < source.end) else { return Ok(None) };
    if source.is_long(store, from)? {
        return Ok(None);
    }
    let Some(mut outgoing) = Outgoing::of(source, store, from)? else { return Ok(None) };
    let Some(header) = outgoing.header.take().map(|header| header.to_bytes()) else { return Ok(None) };
    let (mut total, mut segments) = (header.len(), Vec::new());
    while let Some(segment) = outgoing.segment(store)? {
        total += segment.len();
        if total > INLINE_BYTES {
            return Ok(None);
        }
        segments.push(segment.into());
    }
    Ok(Some(Inline { header, segments }))
}

impl Source {
    fn find(store: &dyn Read, journal: JournalId, upto: Option<u64>) -> Result<Option<Self>, StoreError> {
        let Some((index, record)) = tables::find(store, journal)?.filter(|(_, record)| !record.head.is_empty()) else {
            return Ok(None);
        };
        let damaged = |error| StoreError(format!("the head of a journal is damaged: {error}"));
        let signed = Head::stored(&record.head).map_err(damaged)?.size;
        let end = upto.map_or(signed, |upto| upto.min(signed));
        Ok((end <= record.peaks.size()).then_some(Self { index, record, end }))
    }

    /// Whether the whole blocks behind `from` alone are too much for one frame, unless content of them was dropped: that is
    /// known without reading them.
    fn is_long(&self, store: &dyn Read, from: u64) -> Result<bool, StoreError> {
        let blocks = tables::blocks(store, self.index, from.div_ceil(BLOCK), self.end / BLOCK)?;
        Ok(blocks.iter().map(|block| block.bytes).sum::<u64>() > INLINE_BYTES as u64)
    }

    /// Whether what lies from `from` on is held without a gap, fits into one segment, and ends the journal within its last
    /// block. So it is with what was just written: nothing else of the block has to be read and hashed for it.
    fn is_end(&self, store: &dyn Read, from: u64) -> Result<bool, StoreError> {
        let (end, size) = (self.end, self.record.peaks.size());
        if end < size || from / BLOCK < end / BLOCK {
            return Ok(false);
        }
        let (mut next, mut bytes) = (from, 0);
        tables::each_row(store, self.index, from, end, |number, row| {
            next += u64::from(number == next);
            bytes += row.len();
            Ok(())
        })?;
        Ok(next == end && bytes <= SEGMENT_BYTES)
    }

    /// The range of which [`Self::is_end`] is true.
    fn last(self, from: u64) -> Outgoing {
        let (head, tail) = (self.record.head.clone(), self.record.peaks.behind_multiple(SEGMENT_LEVEL).to_vec());
        let (level, ext) = (SEGMENT_LEVEL, Extensions::default());
        let header = TransferHeader { head, from, level, roots: Vec::new(), tail, ext };
        Outgoing { source: self, level, next: from, header: Some(header), block: None, bytes: 0 }
    }

    fn block(&self, store: &dyn Read, at: u64) -> Result<Block, StoreError> {
        Block::load(store, self.index, self.record.journal, self.record.peaks.size(), at)
    }

    /// The highest level at which every segment stays under its size.
    fn level(&self, store: &dyn Read, from: u64) -> Result<u8, StoreError> {
        let mut level = SEGMENT_LEVEL;
        for at in from / BLOCK..=(self.end - 1) / BLOCK {
            if self.bytes(store, at)? + ITEM as u64 * BLOCK > SEGMENT_BYTES as u64 {
                level = level.min(self.level_of_block(store, at)?);
            }
        }
        let announceable = |level: &u8| (self.end - from) >> level < ROOTS;
        Ok((level..=SEGMENT_LEVEL).find(announceable).unwrap_or(SEGMENT_LEVEL))
    }

    fn level_of_block(&self, store: &dyn Read, at: u64) -> Result<u8, StoreError> {
        if let Some(parts) = Parts::load(store, self.index, at)? {
            let fits = |level: &u8| {
                let items = ITEM as u64 * (1 << *level);
                parts.largest(*level).is_some_and(|bytes| bytes + items <= SEGMENT_BYTES as u64)
            };
            if let Some(level) = (0..=SEGMENT_LEVEL).rev().find(fits) {
                return Ok(level);
            }
        }
        let block = self.block(store, at)?;
        let to = self.end.min((at + 1) * BLOCK);
        let level = (1..=SEGMENT_LEVEL).rev().find(|level| fits(&block, at * BLOCK, to, *level));
        Ok(level.unwrap_or(0))
    }

    /// Bytes of ciphertext in a block, at most.
    fn bytes(&self, store: &dyn Read, at: u64) -> Result<u64, StoreError> {
        let row = tables::subtree(store, self.index, SEGMENT_LEVEL, at)?;
        Ok(row.map_or(self.record.bytes, |row| row.bytes))
    }

    /// `None` if a hash is not known at this level.
    fn header(&self, store: &dyn Read, from: u64, level: u8) -> Result<Option<TransferHeader>, StoreError> {
        let Some(from) = self.begin(store, from, level)? else { return Ok(None) };
        let rest = self.end >> level << level;
        let roots = self.roots(store, from >> level << level, rest, level)?;
        let tail = match self.record.peaks.size() == self.end {
            // The peaks of a tree are the perfect subtrees of which it consists.
            true => Some(self.record.peaks.behind_multiple(level).to_vec()),
            false => self.hashes(store, perfect(rest, self.end, level))?,
        };
        let (head, ext) = (self.record.head.clone(), Extensions::default());
        Ok(roots.zip(tail).map(|(roots, tail)| TransferHeader { head, from, level, roots, tail, ext }))
    }

    fn begin(&self, store: &dyn Read, from: u64, level: u8) -> Result<Option<u64>, StoreError> {
        let to = segment_end(from, SEGMENT_LEVEL, self.end);
        if level == SEGMENT_LEVEL && from.is_multiple_of(BLOCK) && to.is_multiple_of(BLOCK) {
            return Ok(Some(from));
        }
        Ok(self.block(store, from / BLOCK)?.begin(from, to, level))
    }

    fn roots(&self, store: &dyn Read, from: u64, to: u64, level: u8) -> Result<Option<Vec<Hash>>, StoreError> {
        if level == SEGMENT_LEVEL {
            let blocks = tables::blocks(store, self.index, from / BLOCK, to / BLOCK)?;
            return Ok(Some(blocks.into_iter().map(|block| block.hash).collect()));
        }
        let mut roots = Vec::new();
        for at in from / BLOCK..to.div_ceil(BLOCK) {
            let (first, end) = (from.max(at * BLOCK), to.min((at + 1) * BLOCK));
            let whole = end - first == BLOCK;
            let parts = if whole { Parts::load(store, self.index, at)? } else { None };
            let spans = || (first >> level..end >> level).map(|at| Span { first: at << level, level }).collect();
            match parts.and_then(|parts| parts.roots(level)) {
                Some(known) => roots.extend(known),
                None => match self.hashes(store, spans())? {
                    Some(computed) => roots.extend(computed),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(roots))
    }

    fn hashes(&self, store: &dyn Read, spans: Vec<Span>) -> Result<Option<Vec<Hash>>, StoreError> {
        let mut hashes = Vec::with_capacity(spans.len());
        for group in spans.chunk_by(|a, b| a.first / BLOCK == b.first / BLOCK) {
            let block = self.block(store, group[0].first / BLOCK)?;
            hashes.extend(group.iter().map(|span| block.node(*span).hash));
        }
        Ok(hashes.into_iter().collect())
    }
}

fn fits(block: &Block, from: u64, to: u64, level: u8) -> bool {
    let mut starts = (from..to).step_by(1 << level);
    starts.all(|start| {
        let end = segment_end(start, level, to);
        // Within one block: at most 1024 items.
        let items = usize::try_from(end - start).unwrap_or(usize::MAX);
        block.bytes(start, end) + ITEM * items <= SEGMENT_BYTES
    })
}

/// A subtree as items: content where it is held, and one hash for each largest part without any.
fn expand(block: &Block, span: Span, rows: &mut impl Iterator<Item = (u64, Item)>, items: &mut Vec<Item>) {
    let node = block.node(span);
    if node.live && block.open(span) {
        span.halves().into_iter().flatten().for_each(|half| expand(block, half, rows, items));
    } else if node.live && span.level == 0 {
        let row = rows.find(|(number, _)| *number == span.first);
        items.extend(row.map(|(_, item)| item));
    } else {
        items.extend(node.hash.map(|hash| Item::Dropped { level: span.level, hash }));
    }
}
