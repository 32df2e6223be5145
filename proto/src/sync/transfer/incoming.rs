//! The receiving side: nothing is stored that a signed head does not vouch for.

use super::{Item, Segment, TransferHeader, Worked, segment_end};
use crate::id::{AccountId, Hash, JournalId};
use crate::journal::tree::aligned;
use crate::journal::{Completed, Head, Journals, Operation, Peaks, Verified};
use crate::limits::SEGMENT_LEVEL;
use crate::store::{Read, Store, StoreError};
use crate::wire::DecodeError;

/// Why a transfer is refused. Nothing of what it is about was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The head is malformed or not signed.
    #[error("the head of the journal: {0}")]
    Head(#[from] DecodeError),
    /// The head belongs to another account.
    #[error("the journal belongs to another account")]
    Account,
    /// The range begins behind what is held here: ask from `size` on.
    #[error("the range begins at {from}, and only {size} operations are held here")]
    Gap {
        /// Where it begins.
        from: u64,
        /// What can be built upon.
        size: u64,
    },
    /// Only operations below `limit` count: the device was revoked.
    #[error("only the first {limit} operations of this journal count")]
    PastHonoured {
        /// The honoured size.
        limit: u64,
    },
    /// All that it brings is held here.
    #[error("all of the range is held here already")]
    Nothing,
    /// The hashes do not lead to the head's root: they were altered under way or, if the range does not begin at 0, the
    /// journal is a fork of the one held here. Asking again from 0 tells which.
    #[error("the hashes do not lead to the signed root; ask again from the start")]
    Mismatch,
    /// The device signed two journals that do not extend one another. The one held here stays.
    #[error("the journal is not the one held here: its device signed two different ones")]
    Fork,
    /// A segment does not begin where the one before it ended.
    #[error("a segment begins at {from} instead of {next}")]
    Order {
        /// Where it begins.
        from: u64,
        /// Where it should.
        next: u64,
    },
    /// A segment or header is not of the form announced.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The store failed; the transaction is lost.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How much of a journal counts: the honoured position of a device that was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Operations below this number.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// What a segment brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Of which journal.
    pub journal: JournalId,
    /// The first number.
    pub from: u64,
    /// The number behind the last.
    pub to: u64,
    /// The operations whose content is new here, ascending.
    pub operations: Vec<Operation>,
    /// Whether this was the last segment.
    pub done: bool,
}

/// A transfer under way from a peer. It can be given up behind any segment, and resumed with a new header.
#[derive(Clone, Debug)]
pub struct Incoming {
    head: Head,
    target: Limit,
    level: u8,
    /// The roots of the complete segments that are still to come, last first.
    roots: Vec<Hash>,
    /// At the next number.
    peaks: Peaks,
    /// At the end of the last complete segment before it.
    announced: Peaks,
    /// At the end of the range.
    end: Peaks,
    /// Below this number the range is proven to be what is held here.
    proven: u64,
}

impl Incoming {
    /// Checks a header, in which `head` was opened, against what is held. `limit` is the honoured position, if the device was revoked: a head beyond
    /// it serves to name the journal, and the hashes must lead to the honoured root instead.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub fn start(
        journals: &Journals,
        store: &dyn Read,
        header: TransferHeader,
        head: Head,
        account: AccountId,
        limit: Option<Limit>,
    ) -> Result<Self, TransferError> {
        if head.account != account {
            return Err(TransferError::Account);
        }
        let target = target(&head, limit, header.from)?;
        let held = held(journals, store, head.journal, target)?;
        let peaks = begin(journals, store, head.journal, header.from)?;
        let announced = peaks.at_multiple(header.level);
        let end = announce(&header, announced.clone(), target, &held)?;
        let proven = if held.size() == target.size { target.size } else { held.at_multiple(header.level).size() };
        let (level, mut roots) = (header.level, header.roots);
        roots.reverse();
        Ok(Self { head, target, level, roots, peaks, announced, end, proven })
    }

    /// The journal that it brings.
    #[must_use]
    pub fn journal(&self) -> JournalId {
        self.head.journal
    }

    /// The number at which the next segment begins.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.peaks.size()
    }

    /// The size that the journal has when all is in.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.target.size
    }

    /// Verifies the next segment as a whole, then stores it as a whole. Hashes of its items are taken from `worked` where they
    /// are there.
    ///
    /// # Errors
    /// See [`TransferError`]; nothing is stored then, and the transfer is over.
    pub fn segment(
        &mut self,
        journals: &mut Journals,
        store: &mut dyn Store,
        segment: Segment,
        worked: &Worked,
    ) -> Result<Applied, TransferError> {
        let journal = self.head.journal;
        let held = journals.peaks(journal);
        let (walk, to) = self.walk(&held, &segment, worked)?;
        let announced = self.announced_at(to)?;
        if walk.peaks != announced {
            return Err(TransferError::Mismatch);
        }
        if walk.forked {
            return Err(TransferError::Fork);
        }
        let done = to == self.target.size;
        let range = Verified {
            from: segment.from,
            items: segment.items,
            peaks: walk.peaks.clone(),
            completed: walk.completed,
            fill: if walk.met { held.size() } else { self.proven },
            head: done.then(|| self.head.clone()),
        };
        let operations = journals.apply(store, journal, range)?;
        self.roots.pop();
        (self.peaks, self.announced) = (walk.peaks, announced);
        Ok(Applied { journal, from: segment.from, to, operations, done })
    }

    /// Adds the segment's leaves to the peaks, without believing them yet.
    fn walk(&self, held: &Peaks, segment: &Segment, worked: &Worked) -> Result<(Walk, u64), TransferError> {
        let (from, next) = (segment.from, self.next());
        if from != next {
            return Err(TransferError::Order { from, next });
        }
        if from > held.size() {
            return Err(TransferError::Gap { from, size: held.size() });
        }
        let to = segment_end(from, self.level, self.target.size);
        let mut walk = Walk { peaks: self.peaks.clone(), completed: Completed::default(), met: false, forked: false };
        walk.meet(held);
        for (place, item) in segment.items.iter().enumerate() {
            let subtree = worked.subtree(place);
            walk.step(item, subtree.unwrap_or_else(|| item.subtree(self.head.journal, walk.peaks.size())), to)?;
            walk.meet(held);
        }
        if walk.peaks.size() == to { Ok((walk, to)) } else { Err(TransferError::Malformed("a segment ends too early")) }
    }

    /// What the header announced for the end of the segment that ends at `to`.
    fn announced_at(&self, to: u64) -> Result<Peaks, TransferError> {
        if to == self.target.size {
            return Ok(self.end.clone());
        }
        let mut peaks = self.announced.clone();
        let root = self.roots.last().ok_or(TransferError::Malformed("a root is missing"))?;
        if peaks.push_subtree(self.level, *root) {
            Ok(peaks)
        } else {
            Err(TransferError::Malformed("a root out of place"))
        }
    }
}

/// A segment's way from one end to the other.
struct Walk {
    peaks: Peaks,
    completed: Completed,
    /// Whether the end of what is held here was passed.
    met: bool,
    /// Whether it was another there.
    forked: bool,
}

impl Walk {
    fn step(&mut self, item: &Item, (level, hash): (u8, Hash), to: u64) -> Result<(), TransferError> {
        let number = self.peaks.size();
        if !aligned(number, level) || item.count() > to - number {
            return Err(TransferError::Malformed("an item is out of place"));
        }
        let (completed, end) = (&mut self.completed, number + item.count());
        self.peaks.push_noting(level, hash, |level, hash| completed.note(end, level, hash));
        Ok(())
    }

    fn meet(&mut self, held: &Peaks) {
        if self.peaks.size() == held.size() {
            self.met = true;
            self.forked = self.peaks != *held;
        }
    }
}

/// What the hashes must lead to: the head, or the honoured position if that is lower.
fn target(head: &Head, limit: Option<Limit>, from: u64) -> Result<Limit, TransferError> {
    let target = limit.filter(|limit| limit.size <= head.size).unwrap_or(Limit { size: head.size, root: head.root });
    match limit {
        _ if from < target.size => Ok(target),
        Some(Limit { size: limit, .. }) if limit < head.size => Err(TransferError::PastHonoured { limit }),
        _ => Err(TransferError::Nothing),
    }
}

/// The peaks of what is held, as far as the target reaches.
fn held(journals: &Journals, store: &dyn Read, journal: JournalId, target: Limit) -> Result<Peaks, TransferError> {
    let Some(position) = journals.position(journal).filter(|position| position.size >= target.size) else {
        return Ok(journals.peaks(journal));
    };
    let peaks = journals.peaks_at(store, journal, target.size)?.ok_or(TransferError::Nothing)?;
    if peaks.root() != target.root {
        return Err(TransferError::Fork);
    }
    if position.live == position.size { Err(TransferError::Nothing) } else { Ok(peaks) }
}

/// The peaks from which the range goes on.
fn begin(journals: &Journals, store: &dyn Read, journal: JournalId, from: u64) -> Result<Peaks, TransferError> {
    let size = journals.size(journal);
    if from > size {
        return Err(TransferError::Gap { from, size });
    }
    let block = from >> SEGMENT_LEVEL << SEGMENT_LEVEL;
    journals.peaks_at(store, journal, from)?.ok_or(TransferError::Gap { from, size: block })
}

/// Folds what the header announces, and returns the peaks at the end of the range.
fn announce(header: &TransferHeader, mut peaks: Peaks, target: Limit, held: &Peaks) -> Result<Peaks, TransferError> {
    let (level, rest) = (header.level, target.size & ((1 << header.level) - 1));
    let segments = (target.size >> level) - (header.from >> level);
    if u64::try_from(header.roots.len()) != Ok(segments) || header.tail.len() != rest.count_ones() as usize {
        return Err(TransferError::Malformed("the header has not the hashes of its range"));
    }
    let known = held.at_multiple(level);
    let mut forked = false;
    let tail = (0..level).rev().filter(|bit| rest >> bit & 1 == 1).zip(&header.tail);
    for (level, root) in header.roots.iter().map(|root| (level, root)).chain(tail) {
        forked |= peaks.size() == known.size() && peaks != known;
        if !peaks.push_subtree(level, *root) {
            return Err(TransferError::Malformed("a root out of place"));
        }
    }
    forked |= peaks.size() == known.size() && peaks != known;
    match peaks.root() == target.root {
        false => Err(TransferError::Mismatch),
        true if forked => Err(TransferError::Fork),
        true => Ok(peaks),
    }
}
